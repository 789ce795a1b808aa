/* `apbench plot`: the figures of a results CSV through gnuplot, as PNG and SVG: prefill seconds and
 * speedup by length, speedup by hosts, the breakdown by parts, scores by length and as bars. With a
 * preset of the paper, its own curves stand beside ours. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/folders.h"
#include "harness/report/figures/curves.h"
#include "harness/report/figures/scores.h"
#include "harness/report/page.h"
#include "harness/sweep/preset.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static double speedup_of(const results *all, const result_group *group, int series, int64_t length)
{
    const result *row = results_find(all, group, series, length, NULL);
    const result *reference =
        results_find(all, group, results_baseline(all, group, series), length, NULL);
    return results_value(all, reference, "prefill_s") / results_value(all, row, "prefill_s");
}

/* Prefill seconds, or speedup, by length. */
static int draw_by_length(drawing *drawing, const result_group *group, bool speedup)
{
    const results *all = drawing->all;
    int count;
    int64_t *lengths = results_lengths(all, group, &count);
    curves made = {.figure = figure_start(speedup ? "speedup" : "prefill", all, group,
                                   speedup ? "Speedup of prefill" : "Prefill")};
    if (!made.figure) {
        free(lengths);
        return -1;
    }
    figure_marks(made.figure, lengths, count);
    /* Bounds come first, so that the others lie over them: of each series of FlashAttn its own. */
    for (int series = 0; series < all->series_count && group->hosts > 1; series++) {
        const result_series *one = &all->series[series];
        if (one->paper || strcmp(one->method, "flash") || !results_belongs(all, group, series))
            continue;
        bool begun = false;
        char *bound = format_text("perfect exact (%s / %d)", one->label, group->hosts);
        for (int i = 0; i < count; i++) {
            double best = results_value(
                all, results_find(all, group, series, lengths[i], NULL), "prefill_s");
            if (!isnan(best))
                curves_point(&made, &begun, bound, BOUND_STYLE, (double)lengths[i],
                             speedup ? group->hosts : best / group->hosts);
        }
        free(bound);
    }
    for (int series = 0; series < all->series_count; series++) {
        const result_series *one = &all->series[series];
        bool begun = false;
        char *label = one->paper ? format_text("%s, paper", one->label) : copy_text(one->label);
        for (int i = 0; i < count && results_belongs(all, group, series); i++) {
            const result *row = results_find(all, group, series, lengths[i], NULL);
            double y = speedup ? speedup_of(all, group, series, lengths[i])
                               : results_value(all, row, "prefill_s");
            if (!isnan(y))
                curves_point(&made, &begun, label, series_style(all, series), (double)lengths[i], y);
        }
        free(label);
    }
    free(lengths);
    return curves_draw(drawing, &made);
}

/* The numbers of hosts that have a speedup at this length, sorted; how many. */
static int hosts_with_speedup(const results *all, const result_group *group, int64_t length, int64_t *hosts)
{
    int count = 0;
    for (int series = 0; series < all->series_count; series++) {
        bool known = all->series[series].paper || !results_belongs(all, group, series) ||
                     isnan(speedup_of(all, group, series, length));
        int at = count;
        for (int i = 0; !known && i < count; i++)
            known = hosts[i] == all->series[series].hosts;
        if (known)
            continue;
        for (; at > 0 && hosts[at - 1] > all->series[series].hosts; at--)
            hosts[at] = hosts[at - 1];
        hosts[at] = all->series[series].hosts;
        count++;
    }
    return count;
}

/* Speedup by hosts at the longest length that three numbers of hosts have: fewer are no curve. */
static int draw_by_hosts(drawing *drawing, const result_group *group)
{
    const results *all = drawing->all;
    int count, host_count = 0;
    int64_t length = 0, *lengths = results_lengths(all, group, &count);
    int64_t *hosts = alloc_or_die((size_t)all->series_count, sizeof *hosts);
    for (int i = count; i-- > 0 && host_count < 3;) {
        length = lengths[i];
        host_count = hosts_with_speedup(all, group, length, hosts);
    }
    free(lengths);
    if (host_count < 3) {
        free(hosts);
        return 0;
    }
    char size[32], *heading = format_text("Speedup of prefill at %s tokens",
                                          format_size(length, size, sizeof size));
    curves made = {.figure = figure_start("scaling", all, group, heading)};
    free(heading);
    if (!made.figure) {
        free(hosts);
        return -1;
    }
    figure_marks(made.figure, hosts, host_count);
    bool begun = false;
    for (int h = 0; h < host_count; h++)
        curves_point(&made, &begun, "perfect exact", BOUND_STYLE, (double)hosts[h],
                  (double)hosts[h]);
    for (int first = 0; first < all->series_count; first++) {
        bool known = all->series[first].paper;
        begun = false;
        for (int i = 0; i < first && !known; i++)
            known = !strcmp(all->series[i].label, all->series[first].label);
        for (int h = 0; h < host_count && !known; h++) {
            for (int series = first; series < all->series_count; series++) {
                if (strcmp(all->series[series].label, all->series[first].label) ||
                    all->series[series].paper || all->series[series].hosts != hosts[h] ||
                    !results_belongs(all, group, series))
                    continue;
                double y = speedup_of(all, group, series, length);
                if (!isnan(y))
                    curves_point(&made, &begun, all->series[first].label, series_style(all, first),
                              (double)hosts[h], y);
            }
        }
    }
    free(hosts);
    return curves_draw(drawing, &made);
}

/* Stacked bars of the parts, ours and then the paper's. */
static int draw_breakdown(drawing *drawing, const result_group *group, int64_t wanted)
{
    const results *all = drawing->all;
    int64_t length = breakdown_length(all, group, wanted);
    double highest = 0, second = 0;
    char size[32];
    if (!length)
        return 0;
    char *heading = format_text("Prefill by part at %s tokens",
                                format_size(length, size, sizeof size));
    figure *figure = figure_start("breakdown", all, group, heading);
    free(heading);
    if (!figure)
        return -1;
    figure_field(figure, "method");
    for (int i = 0; i < BREAKDOWN_PARTS; i++) {
        fputc(' ', figure->data);
        figure_field(figure, breakdown_titles[i]);
    }
    fputs(" \"sum\"\n", figure->data);
    for (int series = 0; series < all->series_count; series++) {
        const result *row = results_find(all, group, series, length, NULL);
        double sum = 0;
        if (!results_belongs(all, group, series) || isnan(breakdown_ms(row, 3)))
            continue;
        const result_series *one = &all->series[series];
        char *label = one->paper ? format_text("%s, paper", one->label) : copy_text(one->label);
        figure_field(figure, label);
        free(label);
        for (int i = 0; i < BREAKDOWN_PARTS; i++) {
            double value = breakdown_ms(row, i);
            fprintf(figure->data, " %.9g", isnan(value) ? 0 : value);
            sum += isnan(value) ? 0 : value;
        }
        fprintf(figure->data, " %.9g\n", sum);
        second = sum > highest ? highest : sum > second ? sum : second;
        highest = sum > highest ? sum : highest;
    }
    /* FlashAttn on one host would leave no room for the others to be told apart. */
    figure_number(figure, "top",
                  second > 0 && highest > 2.5 * second ? 1.25 * second : 1.08 * highest);
    figure_text(figure, "styles", "");
    drawing->drawn++;
    return figure_draw(figure, drawing->folder, drawing->keep_data);
}

static int draw_results(drawing *drawing, int64_t length)
{
    const results *all = drawing->all;
    for (int by_hosts = 0; by_hosts < 2; by_hosts++) {
        int count, status = 0;
        result_group *groups = results_groups(all, by_hosts, &count);
        for (int i = 0; i < count && status == 0; i++) {
            if (all->accuracy)
                status = by_hosts ? 0 : draw_scores(drawing, &groups[i], length);
            else if (!by_hosts)
                status = draw_by_hosts(drawing, &groups[i]);
            else if (draw_by_length(drawing, &groups[i], false) < 0 ||
                     draw_by_length(drawing, &groups[i], true) < 0 ||
                     draw_breakdown(drawing, &groups[i], length) < 0)
                status = -1;
        }
        free(groups);
        if (status < 0)
            return -1;
    }
    return 0;
}

/* Scores are drawn as means over tasks, which only series that have all of them share. */
static int nothing_drawn(const results *all, const char *path)
{
    if (all->accuracy)
        return fail("%s: no series has scores of all tasks at a length, so there is nothing to draw", path);
    return fail("%s: no row ended well%s, so there is nothing to draw", path,
                all->untimed ? " on a GPU or cores of its host's own" : "");
}

int command_plot(int argc, char **argv)
{
    const char *preset = NULL, *folder = NULL;
    int64_t length = 0;
    bool scale = false, keep_data = false;
    text_list files = {0};
    const flag flags[] = {
        {"out", FLAG_TEXT, &folder, "DIR", "where the figures go"},
        {"preset", FLAG_TEXT, &preset, "NAME", "put the paper's curves of this preset beside"},
        {"length", FLAG_SIZE, &length, "N", "the length of the breakdown, 0 = the longest; of scores as bars"},
        {"scale-layers", FLAG_SWITCH, &scale, NULL,
         "multiply times of rows made with --layers up to the whole model; always on beside the "
         "paper"},
        {"keep-data", FLAG_SWITCH, &keep_data, NULL,
         "leave the plotted data as DIR/NAME.dat, with the command that draws it"},
    };
    int status = options_parse("usage: apbench plot FILE.csv... --out DIR [flags]\n\n"
                               "Figures of results as PNG and SVG, through gnuplot and plots/*.gp.\n",
                               flags, FLAG_COUNT(flags), argc, argv, &files);
    if (status == 0 && !files.count)
        status = fail("a results file is missing; see 'apbench plot --help'");
    if (status == 0 && !folder)
        status = fail("--out is missing: the folder for the figures");
    if (status == 0 && preset)
        status = preset_check(preset);
    if (status) {
        text_list_free(&files);
        return status > 0 ? 0 : command_misused();
    }
    for (int i = 0; status == 0 && i < files.count; i++) {
        results *all = results_read(files.items[i], preset, scale);
        sample_scores *scores =
            all && all->accuracy ? sample_scores_read(files.items[i]) : NULL;
        drawing drawing = {all, folder, keep_data, 0, scores};
        if (!all || (all->accuracy && !scores) || results_check_length(all, files.items[i], length) < 0 ||
            make_folder(folder) < 0 || draw_results(&drawing, length) < 0 ||
            (!drawing.drawn && nothing_drawn(all, files.items[i])))
            status = command_failed();
        char note[160];
        if (status == 0 && results_untimed(all, note, sizeof note))
            fprintf(stderr, "apbench: %s: %s\n", files.items[i], note);
        sample_scores_free(scores);
        results_free(all);
    }
    text_list_free(&files);
    return status;
}
