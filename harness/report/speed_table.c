/* Tables of speed rows: methods by length, and the breakdown by parts. What a reader must not miss
 * is in the table itself: projected times, cells that did not run and why, and the bound of a
 * perfectly split exact attention, since the paper's ring is unbalanced. */
#include "harness/report/page.h"

#include "harness/error.h"
#include "harness/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a table of methods by length shows. */
typedef enum { SHOW_COLUMN, SHOW_SPEEDUP } shown;

/* "measured", or over which link it was projected; of a series' first row in the group. */
static char *timing_of(const page *page, int series)
{
    const results *all = page->all;
    for (int i = 0; i < all->row_count; i++) {
        const result *row = &all->rows[i];
        if (row->series != series || !results_in_group(page->group, row) ||
            strcmp(row->status, "ok"))
            continue;
        if (csv_number(row->file, row->row, "projected") == 1)
            return format_text("projected, %s",
                               csv_cell(row->file, row->row, csv_column(row->file, "link")));
        return copy_text("measured");
    }
    return copy_text("-");
}

/* *row: whose status or scaling the cell is to say; of a speedup's two rows the one that was scaled more. */
static double shown_value(const page *page, shown what, const char *column, int series,
                          int64_t length, const result **row)
{
    const results *all = page->all;
    *row = results_find(all, page->group, series, length, NULL);
    if (what == SHOW_COLUMN)
        return results_value(all, *row, column);
    int baseline = results_baseline(all, page->group, series);
    const result *reference = results_find(all, page->group, baseline, length, NULL);
    double value = results_value(all, reference, "prefill_s") / results_value(all, *row, "prefill_s");
    if (!isnan(value) && results_scale(all, reference) > results_scale(all, *row))
        *row = reference;
    return value;
}

/* The paper's series beside a series of ours; for a paper series without ours, itself. */
static int paper_side(const results *all, int series)
{
    return all->series[series].paper ? series : all->series[series].paper_twin;
}

/* A line of FlashAttn's time divided by the hosts: what exact attention could reach at best. */
static void put_bound_of(page *page, grid *table, shown what, const int64_t *lengths, int count,
                         int step, int flash)
{
    int hosts = page->group->hosts, line = grid_row(table);
    const char *label = page->all->series[flash].label, *extras = strstr(label, " (");
    grid_set(table, line, 0, "perfect exact%s", extras ? extras : "");
    grid_set(table, line, 1, "FlashAttn / hosts");
    grid_set(table, line, 2, "%d", hosts);
    for (int i = 0; i < count * step; i++) { /* ours and, in every second column, the paper's */
        const result *row;
        int series = i % step ? paper_side(page->all, flash) : flash;
        double value =
            shown_value(page, SHOW_COLUMN, "prefill_s", series, lengths[i / step], &row) / hosts;
        if (isnan(value))
            grid_set(table, line, 3 + i, "-");
        else
            put_cell(page, table, line, 3 + i, row, what == SHOW_SPEEDUP ? hosts : value);
    }
}

/* Such a line for each of our series of FlashAttn: another device's is no bound for this one's. */
static void put_bounds(page *page, grid *table, shown what, const int64_t *lengths, int count, int step)
{
    for (int i = 0; i < page->all->series_count && page->group->hosts > 1; i++)
        if (!page->all->series[i].paper && !strcmp(page->all->series[i].method, "flash") &&
            page->all->series[i].hosts == 1 && results_belongs(page->all, page->group, i))
            put_bound_of(page, table, what, lengths, count, step, i);
}

/* Whether the line of a paper series is printed with that of a series of ours. */
static bool has_twin(const page *page, int paper)
{
    for (int i = 0; i < page->all->series_count; i++)
        if (page->all->series[i].paper_twin == paper && results_belongs(page->all, page->group, i))
            return true;
    return false;
}

/* Whether the paper has this value for this group at all. */
static bool paper_has(const page *page, shown what, const char *column, const int64_t *lengths,
                      int count)
{
    const results *all = page->all;
    for (int i = 0; i < all->series_count; i++) {
        if (!all->series[i].paper || all->series[i].hosts != page->group->hosts)
            continue;
        for (int j = 0; j < count; j++) {
            const result *row;
            if (!isnan(shown_value(page, what, column, i, lengths[j], &row)))
                return true;
        }
    }
    return false;
}

/* Methods by length. When no row has the value nothing is printed, or with reasons why none has. */
static void print_by_length(page *page, shown what, const char *column, const char *caption,
                            bool reasons)
{
    const results *all = page->all;
    int count, values = 0;
    int64_t *lengths = results_lengths(all, page->group, &count);
    bool paper = paper_has(page, what, column, lengths, count);
    int step = paper ? 2 : 1;
    grid table = grid_new(3 + count * step, 2);
    grid_set(&table, 0, 0, "method");
    grid_set(&table, 0, 1, "timing");
    grid_set(&table, 0, 2, "hosts");
    for (int i = 0; i < count; i++) {
        char text[32];
        grid_set(&table, 0, 3 + i * step, "%s", format_size(lengths[i], text, sizeof text));
        if (paper)
            grid_set(&table, 0, 4 + i * step, "paper");
    }
    for (int series = 0; series < all->series_count; series++) {
        const result_series *one = &all->series[series];
        if (!results_belongs(all, page->group, series) ||
            (one->paper && (!paper || has_twin(page, series))))
            continue;
        int line = grid_row(&table);
        char *timing = one->paper ? copy_text("paper") : timing_of(page, series);
        grid_set(&table, line, 0, "%s", one->label);
        grid_set(&table, line, 1, "%s", timing);
        grid_set(&table, line, 2, "%d", one->hosts);
        free(timing);
        for (int i = 0; i < count; i++) {
            const result *row;
            double value = shown_value(page, what, column, series, lengths[i], &row);
            values += !one->paper && row && (reasons || !isnan(value));
            put_cell(page, &table, line, 3 + i * step, one->paper ? NULL : row, value);
            if (paper) {
                value = shown_value(page, what, column, paper_side(all, series), lengths[i], &row);
                if (what == SHOW_COLUMN && !isnan(value)) /* as it is printed in the paper */
                    grid_set(&table, line, 4 + i * step, "%s",
                             csv_cell(row->file, row->row, csv_column(row->file, column)));
                else
                    put_cell(page, &table, line, 4 + i * step, row, value);
            }
        }
    }
    if (what == SHOW_SPEEDUP || !strcmp(column, "prefill_s"))
        put_bounds(page, &table, what, lengths, count, step);
    if (values) {
        fprintf(page->out, "\n%s\n\n", caption);
        grid_print(&table, page->out);
    }
    grid_free(&table);
    free(lengths);
}

/* ---- Breakdown ---- */

static void print_breakdown(page *page, int64_t wanted)
{
    const results *all = page->all;
    int64_t length = breakdown_length(all, page->group, wanted);
    int lines = 0;
    grid table = grid_new(BREAKDOWN_PARTS + 4, 2);
    const char *const heads[] = {"method", "timing", "hosts"};
    for (int i = 0; i < BREAKDOWN_PARTS + 4; i++)
        grid_set(&table, 0, i, "%s", i < 3           ? heads[i]
                                     : i < BREAKDOWN_PARTS + 3 ? breakdown_titles[i - 3]
                                                     : "sum");
    for (int series = 0; length && series < all->series_count; series++) {
        const result_series *one = &all->series[series];
        const result *row = results_find(all, page->group, series, length, NULL);
        if (!results_belongs(all, page->group, series) || isnan(breakdown_ms(row, 3)))
            continue;
        int line = grid_row(&table);
        char *timing = one->paper ? copy_text("paper") : timing_of(page, series), text[64];
        grid_set(&table, line, 0, "%s", one->label);
        grid_set(&table, line, 1, "%s", timing);
        grid_set(&table, line, 2, "%d", one->hosts);
        free(timing);
        double sum = 0;
        for (int i = 0; i <= BREAKDOWN_PARTS; i++) {
            double value = i < BREAKDOWN_PARTS ? breakdown_ms(row, i) : sum;
            number_text(value, text, sizeof text);
            grid_set(&table, line, 3 + i, "%s", isnan(value) ? "-" : text);
            sum += isnan(value) ? 0 : value;
        }
        lines++;
    }
    if (lines) {
        char size[32];
        fprintf(page->out,
                "\n**Milliseconds a layer by part, %s tokens** (instrumented repetition, busiest "
                "host)\n\n",
                format_size(length, size, sizeof size));
        grid_print(&table, page->out);
    }
    grid_free(&table);
}

void print_speed(page *page, const char *value, int64_t length)
{
    bool every = !value;
    print_heading(page, 0);
    print_conditions(page, 0);
    print_options(page, 0);
    if (every || !strcmp(value, "prefill_s"))
        print_by_length(page, SHOW_COLUMN, "prefill_s",
                        "**Prefill, seconds** by length (start to first token, slowest host, "
                        "median)", true);
    if (every || !strcmp(value, "speedup"))
        print_by_length(page, SHOW_SPEEDUP, "prefill_s",
                        "**Speedup of prefill** over FlashAttn on one host", !every);
    if (every || !strcmp(value, "speed_tok_s"))
        print_by_length(page, SHOW_COLUMN, "speed_tok_s",
                        "**Speed, tokens a second**: (input + output) / (prefill + decode)",
                        !every);
    if (every || !strcmp(value, "breakdown"))
        print_breakdown(page, length);
    if (!every && strcmp(value, "prefill_s") && strcmp(value, "speed_tok_s") &&
        strcmp(value, "speedup") && strcmp(value, "breakdown")) {
        char *caption = format_text("**%s** by length", value);
        print_by_length(page, SHOW_COLUMN, value, caption, true);
        free(caption);
    }
    footnotes_print(&page->notes, page->out);
}
