/* `apbench table`: a results CSV as Markdown on stdout, one set of tables for each model and number
 * of hosts (speed) or model and length (accuracy), with the paper's own figures beside ours where
 * the preset has them. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/options.h"
#include "harness/report/intervals/paired.h"
#include "harness/report/page.h"
#include "harness/sweep/preset.h"

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

/* What the flags ask for, of accuracy too. */
typedef struct {
    const char *value;
    int64_t length;
    bool intervals;
    text_list against;
} wanted_tables;

static int check_accuracy_flags(const results *all, const char *path, const wanted_tables *wanted)
{
    if (!all->accuracy && (wanted->intervals || wanted->against.count))
        return fail("%s holds times: --intervals and --against are for scores", path);
    return wanted->against.count ? check_against(all, path, &wanted->against) : 0;
}

static void print_results(const results *all, const sample_scores *scores,
                          const wanted_tables *wanted)
{
    const char *value = wanted->value;
    int count;
    result_group *groups = results_groups(all, !all->accuracy, &count);
    for (int i = 0; i < count; i++) {
        page page = {.all = all, .group = &groups[i], .out = stdout, .scores = scores,
                     .intervals = wanted->intervals};
        if (!all->accuracy) {
            print_speed(&page, value, wanted->length);
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
            if (wanted->against.count)
                print_paired(&page, lengths[j], &wanted->against);
        }
        free(lengths);
    }
    if (!value || !strcmp(value, "prefill_s"))
        print_comparison(all, stdout);
    print_provenance(all, stdout);
    free(groups);
}

int command_table(int argc, char **argv)
{
    const char *preset = NULL;
    wanted_tables wanted = {0};
    bool scale = false;
    text_list files = {0};
    const flag flags[] = {
        {"preset", FLAG_TEXT, &preset, "NAME", "put the paper's figures of this preset beside"},
        {"value", FLAG_TEXT, &wanted.value, "COLUMN",
         "only this: prefill_s, speedup, speed_tok_s, breakdown, score, or any column"},
        {"length", FLAG_SIZE, &wanted.length, "N", "the length of the breakdown; 0 = the longest"},
        {"scale-layers", FLAG_SWITCH, &scale, NULL,
         "multiply times of rows made with --layers up to the whole model, marked; always on "
         "beside the paper"},
        {"intervals", FLAG_SWITCH, &wanted.intervals, NULL,
         "95 % intervals of every score, from the samples beside the file"},
        {"against", FLAG_TEXTS, &wanted.against, "LIST",
         "paired differences from these: METHOD[:OPTION=VALUE...][@HOSTS], or all: every pair"},
    };
    int status = options_parse("usage: apbench table FILE.csv... [flags]\n\n"
                               "Results as Markdown tables on the standard output.\n",
                               flags, FLAG_COUNT(flags), argc, argv, &files);
    if (status == 0 && !files.count)
        status = fail("a results file is missing; see 'apbench table --help'");
    if (status == 0 && preset)
        status = preset_check(preset);
    if (status) {
        text_list_free(&files);
        text_list_free(&wanted.against);
        return status > 0 ? 0 : command_misused();
    }
    for (int i = 0; status == 0 && i < files.count; i++) {
        const char *path = files.items[i];
        results *all = results_read(path, preset, scale);
        sample_scores *scores = NULL;
        if (!all || check_value(all, path, wanted.value) < 0 ||
            (!all->accuracy && results_check_length(all, path, wanted.length) < 0) ||
            check_accuracy_flags(all, path, &wanted) < 0 ||
            (all->accuracy && !(scores = sample_scores_read(path)))) {
            status = command_failed();
        } else {
            printf("%s# %s\n", i ? "\n" : "", path);
            print_results(all, scores, &wanted);
            if (all->ours->torn)
                fprintf(stderr, "apbench: %s: the last line is not finished and is left out\n",
                        path);
        }
        sample_scores_free(scores);
        results_free(all);
    }
    text_list_free(&files);
    text_list_free(&wanted.against);
    if (status == 0 && (fflush(stdout) || ferror(stdout))) {
        fail("the standard output cannot be written to");
        status = command_failed();
    }
    return status;
}
