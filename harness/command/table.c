/* `apbench table`: a results CSV as Markdown on stdout, one set of tables for each model and number
 * of hosts (speed) or model and length (accuracy), with the paper's own figures beside ours where
 * the preset has them. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/options.h"
#include "harness/report/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int check_value(const results *all, const char *path, const char *value)
{
    if (!value || (!all->accuracy && (!strcmp(value, "speedup") || !strcmp(value, "breakdown"))))
        return 0;
    if (csv_column(all->ours, value) < 0)
        return fail("%s has no column \"%s\" for --value (%s; see `apbench list columns`)", path,
                    value, all->accuracy ? "score, kl, top1, ..."
                                         : "prefill_s, speed_tok_s, speedup, breakdown, ...");
    for (int i = 0; i < all->ours->rows; i++)
        if (!isnan(csv_number(all->ours, i, value)))
            return 0;
    return fail("%s: no row has a number in column \"%s\"", path, value);
}

int command_table(int argc, char **argv)
{
    const char *preset = NULL, *value = NULL;
    int64_t length = 0;
    bool scale = false;
    text_list files = {0};
    const flag flags[] = {
        {"preset", FLAG_TEXT, &preset, "NAME", "put the paper's figures of this preset beside"},
        {"value", FLAG_TEXT, &value, "COLUMN",
         "only this: prefill_s, speedup, speed_tok_s, breakdown, score, or any column"},
        {"length", FLAG_SIZE, &length, "N", "the length of the breakdown (the longest)"},
        {"scale-layers", FLAG_SWITCH, &scale, NULL,
         "multiply times of rows made with --layers up to the whole model, and say so; always on "
         "beside the paper's figures"},
    };
    int parsed = options_parse("apbench table FILE.csv [flags]\nResults as Markdown tables.", flags,
                               FLAG_COUNT(flags), argc, argv, &files);
    if (parsed > 0)
        return 0;
    if (parsed == 0 && files.count != 1)
        parsed = fail("one results file is needed, %d were given", files.count);
    if (parsed < 0) {
        text_list_free(&files);
        return command_misused();
    }
    results *all = results_read(files.items[0], preset, scale);
    if (!all || check_value(all, files.items[0], value) < 0) {
        results_free(all);
        text_list_free(&files);
        return command_failed();
    }
    int count;
    result_group *groups = results_groups(all, !all->accuracy, &count);
    printf("# %s\n", files.items[0]);
    for (int i = 0; i < count; i++) {
        page page = {.all = all, .group = &groups[i], .out = stdout};
        if (!all->accuracy) {
            print_speed(&page, value, length);
            continue;
        }
        int length_count;
        int64_t *lengths = results_lengths(all, &groups[i], &length_count);
        for (int j = 0; j < length_count; j++) {
            print_heading(&page, lengths[j]);
            print_conditions(&page, lengths[j]);
            print_options(&page, lengths[j]);
            printf("\n");
            print_accuracy(&page, lengths[j], value ? value : "score");
            footnotes_print(&page.notes, stdout);
        }
        free(lengths);
    }
    print_provenance(all, stdout);
    free(groups);
    if (all->ours->torn)
        fprintf(stderr, "apbench: %s: the last line is not finished and is left out\n",
                files.items[0]);
    results_free(all);
    text_list_free(&files);
    if (fflush(stdout) || ferror(stdout)) {
        fail("the standard output cannot be written to");
        return command_failed();
    }
    return 0;
}
