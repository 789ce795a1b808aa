/* Measured against projected: cells that a results file holds both over real links and over a link
 * model, side by side. The ratio judges the model; exposed communication tells where it goes wrong. */
#include "harness/report/page.h"

#include "harness/error.h"
#include "harness/options.h"
#include "methods/method.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_projected(const result *row)
{
    return csv_number(row->file, row->row, "projected") == 1;
}

/* Whether two rows are of one cell, but for what links its hosts. What was run, not how often. */
static bool same_cell(const result *a, const result *b)
{
    static const char *const names[] = {"model", "layers", "method",     "options", "device", "hosts",
                                        "length", "query", "new_tokens", "dtype",   "weights"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(csv_cell(a->file, a->row, csv_column(a->file, names[i])),
                   csv_cell(b->file, b->row, csv_column(b->file, names[i]))))
            return false;
    return true;
}

/* Of equal cells over equal links the latest row counts. */
static bool is_latest(const results *all, int at)
{
    for (int i = at + 1; i < all->row_count; i++)
        if (all->rows[i].file == all->ours && !strcmp(all->rows[i].status, "ok") &&
            !strcmp(all->rows[i].link, all->rows[at].link) &&
            is_projected(&all->rows[i]) == is_projected(&all->rows[at]) &&
            same_cell(&all->rows[i], &all->rows[at]))
            return false;
    return true;
}

static bool counts(const results *all, int at, bool projected)
{
    const result *row = &all->rows[at];
    return row->file == all->ours && !strcmp(row->status, "ok") && row->hosts > 1 &&
           is_projected(row) == projected && is_latest(all, at);
}

static void put_number(grid *table, int line, int column, double value)
{
    char text[64];
    number_text(value, text, sizeof text);
    grid_set(table, line, column, "%s", isnan(value) ? "-" : text);
}

/* Exposed communication of the instrumented repetition as a share of it. */
static void put_exposed(grid *table, int line, int column, const result *row)
{
    double share = 100 * csv_number(row->file, row->row, "comm_s") /
                   csv_number(row->file, row->row, "instrumented_s");
    if (isnan(share))
        grid_set(table, line, column, "-");
    else
        grid_set(table, line, column, "%.1f %%", share);
}

static void put_pair(const results *all, grid *table, const result *measured, const result *projected)
{
    char size[32];
    int line = grid_row(table);
    double real = csv_number(measured->file, measured->row, "prefill_s");
    double model = csv_number(projected->file, projected->row, "prefill_s");
    const char *variant = csv_cell(measured->file, measured->row, csv_column(measured->file, "variant"));
    const method *known = method_find(all->series[measured->series].method);
    const char *title = known ? known->title : all->series[measured->series].method;
    grid_set(table, line, 0, *variant ? "%s (%s)" : "%s", title, variant);
    grid_set(table, line, 1, "%s", projected->link);
    grid_set(table, line, 2, "%s", measured->model);
    grid_set(table, line, 3, "%d of %d", measured->layers, measured->model_layers);
    grid_set(table, line, 4, "%d", measured->hosts);
    grid_set(table, line, 5, "%s", format_size(measured->length, size, sizeof size));
    put_number(table, line, 6, real);
    put_number(table, line, 7, model);
    grid_set(table, line, 8, "%.3f", real / model);
    put_exposed(table, line, 9, measured);
    put_exposed(table, line, 10, projected);
}

void print_comparison(const results *all, FILE *out)
{
    static const char *const heads[] = {"method",   "projected over", "model",  "layers", "hosts", "length",
                                        "measured", "projected", "ratio", "exposed, measured",
                                        "exposed, projected"};
    enum { COLUMNS = sizeof heads / sizeof *heads };
    if (all->accuracy || csv_column(all->ours, "projected") < 0)
        return;
    grid table = grid_new(COLUMNS, 3);
    for (int i = 0; i < COLUMNS; i++)
        grid_set(&table, 0, i, "%s", heads[i]);
    int pairs = 0;
    double off = 0;
    for (int series = 0; series < all->series_count; series++) /* methods in their order */
        for (int m = 0; m < all->row_count; m++) {
            if (all->rows[m].series != series || !counts(all, m, false))
                continue;
            for (int p = 0; p < all->row_count; p++) {
                if (!counts(all, p, true) || !same_cell(&all->rows[m], &all->rows[p]))
                    continue;
                put_pair(all, &table, &all->rows[m], &all->rows[p]);
                double ratio = csv_number(all->ours, all->rows[m].row, "prefill_s") /
                               csv_number(all->ours, all->rows[p].row, "prefill_s");
                off = fmax(off, fabs(ratio - 1));
                pairs++;
            }
        }
    if (pairs) {
        fprintf(out, "\n## Measured against projected\n\n"
                "Prefill, seconds: over real links, and the same cell projected over a link model; and "
                "exposed communication, a\nshare of the instrumented repetition. Off by %.1f %% at "
                "most.\n\n", 100 * off);
        grid_print(&table, out);
    }
    grid_free(&table);
}
