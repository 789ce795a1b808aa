/* The section "Paired differences" of an accuracy table: series against others on the same samples,
 * with intervals and the share of samples that each answers better. */
#include "harness/report/intervals/paired.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/options.h"
#include "harness/report/intervals/estimate.h"
#include "methods/method.h"

enum { COLUMNS = 8 };

/* "apb:compressor=random@8" in its parts: method and variant as rows have them, hosts 0 = none said. */
typedef struct {
    char *method, *variant;
    int64_t hosts;
} series_name;

static void series_name_free(series_name *name)
{
    free(name->method);
    free(name->variant);
}

static int parse_name(const char *text, series_name *name)
{
    const char *at = strrchr(text, '@'), *end = at ? at : text + strlen(text);
    const char *colon = memchr(text, ':', (size_t)(end - text));
    *name = (series_name){0};
    if (at && (parse_size(at + 1, &name->hosts) < 0 || name->hosts < 1 || name->hosts > 1 << 20))
        return fail("--against %s: behind the @ belongs a number of hosts", text);
    name->method = copy_bytes(text, (size_t)((colon ? colon : end) - text));
    name->variant = colon ? copy_bytes(colon + 1, (size_t)(end - colon - 1)) : copy_text("");
    return 0;
}

static const char *variant_of(const result *row)
{
    return csv_cell(row->file, row->row, csv_column(row->file, "variant"));
}

static bool is_named(const results *all, const result *row, const series_name *name)
{
    return row->file == all->ours && !strcmp(all->series[row->series].method, name->method) &&
           !strcmp(variant_of(row), name->variant);
}

/* As --methods and --against name the file's series, each once; to be freed. */
static char *names_of(const results *all)
{
    char *names = copy_text("");
    for (int i = 0; i < all->row_count; i++) {
        const result *row = &all->rows[i];
        bool known = row->file != all->ours;
        for (int j = 0; j < i && !known; j++)
            known = !strcmp(all->series[all->rows[j].series].method,
                            all->series[row->series].method) &&
                    !strcmp(variant_of(&all->rows[j]), variant_of(row));
        if (known)
            continue;
        const char *variant = variant_of(row);
        char *longer = format_text("%s%s%s%s%s", names, *names ? ", " : "",
                                   all->series[row->series].method, *variant ? ":" : "", variant);
        free(names);
        names = longer;
    }
    return names;
}

int check_against(const results *all, const char *path, const text_list *against)
{
    for (int i = 0; i < against->count; i++) {
        series_name name;
        bool found = !strcmp(against->items[i], "all");
        if (found)
            continue;
        if (parse_name(against->items[i], &name))
            return -1;
        for (int j = 0; j < all->row_count && !found; j++)
            found = is_named(all, &all->rows[j], &name) &&
                    (!name.hosts || name.hosts == all->rows[j].hosts);
        series_name_free(&name);
        if (!found) {
            char *names = names_of(all);
            fail("%s has no series '%s' for --against; it has %s, each with @HOSTS for one number "
                 "of hosts, and 'all' stands for every pair", path, against->items[i], names);
            free(names);
            return -1;
        }
    }
    return 0;
}

/* ---- The table ---- */

static void put_series(const results *all, grid *table, int line, int column, int series)
{
    const result_series *one = &all->series[series];
    if (one->hosts > 1)
        grid_set(table, line, column, "%s, %d hosts", one->label, one->hosts);
    else
        grid_set(table, line, column, "%s", one->label);
}

/* The tasks of which both have a score at this length; to be freed. */
static const char **common_tasks(const page *page, int a, int b, int64_t length, int *count,
                                 int *all_count)
{
    const char **tasks = results_tasks(page->all, page->group, all_count);
    *count = 0;
    for (int i = 0; i < *all_count; i++) {
        const result *first = results_find(page->all, page->group, a, length, tasks[i]);
        const result *second = results_find(page->all, page->group, b, length, tasks[i]);
        if (!isnan(results_value(page->all, first, "score")) &&
            !isnan(results_value(page->all, second, "score")))
            tasks[(*count)++] = tasks[i];
    }
    return tasks;
}

/* listed: [series, series], which pairs have a line, either way round. */
static void put_pair(page *page, grid *table, int series, int less, int64_t length, bool *listed)
{
    int count, all_count, series_count = page->all->series_count;
    if (listed[series * series_count + less])
        return;
    listed[series * series_count + less] = listed[less * series_count + series] = true;
    const char **tasks = common_tasks(page, series, less, length, &count, &all_count);
    if (!count) {
        free(tasks);
        return;
    }
    estimate found = estimate_difference(page, series, less, length, tasks, count);
    int line = grid_row(table);
    put_series(page->all, table, line, 0, series);
    put_series(page->all, table, line, 1, less);
    if (*found.lacks) {
        grid_set(table, line, 2, "- [%d]", footnote(&page->notes, found.lacks));
        for (int i = 3; i < COLUMNS; i++)
            grid_set(table, line, i, "-");
    } else {
        double samples = (double)found.samples;
        char *note = format_text("of %d of the %d tasks, which both have", count, all_count);
        grid_set(table, line, 2, "%+.2f", found.percent.mean);
        grid_set(table, line, 3, "%+.2f to %+.2f", found.percent.low, found.percent.high);
        grid_set(table, line, 4, "%.1f %%", 100 * (double)found.better / samples);
        grid_set(table, line, 5, "%.1f %%", 100 * (double)found.equal / samples);
        grid_set(table, line, 6, "%.1f %%", 100 * (double)found.worse / samples);
        if (count < all_count)
            grid_set(table, line, 7, "%lld [%d]", (long long)found.samples,
                     footnote(&page->notes, note));
        else
            grid_set(table, line, 7, "%lld", (long long)found.samples);
        free(note);
    }
    free(tasks);
}

/* Every series against this one: on as many hosts as each has, or on those that the name says. */
static void put_against(page *page, grid *table, const char *text, int64_t length, bool *listed)
{
    const results *all = page->all;
    series_name name;
    if (parse_name(text, &name))
        return; /* check_against() has said so */
    for (int series = 0; series < all->series_count; series++) {
        if (all->series[series].paper)
            continue;
        int hosts = name.hosts ? (int)name.hosts : all->series[series].hosts;
        const method *known = method_find(name.method);
        if (known && known->single_host)
            hosts = 1;
        int less = results_counterpart(all, page->group, series, name.method, name.variant, hosts);
        if (less >= 0 && less != series)
            put_pair(page, table, series, less, length, listed);
    }
    series_name_free(&name);
}

void print_paired(page *page, int64_t length, const text_list *against)
{
    static const char *const heads[COLUMNS] = {"series", "less", "difference", "95 % interval",
                                               "better", "equal", "worse", "samples"};
    grid table = grid_new(COLUMNS, 2);
    size_t series = (size_t)page->all->series_count;
    bool *listed = alloc_or_die(series * series, sizeof *listed);
    for (int i = 0; i < COLUMNS; i++)
        grid_set(&table, 0, i, "%s", heads[i]);
    for (int i = 0; i < against->count; i++) {
        if (strcmp(against->items[i], "all")) {
            put_against(page, &table, against->items[i], length, listed);
            continue;
        }
        for (int a = 0; a < page->all->series_count; a++)
            for (int b = 0; b < a; b++)
                put_pair(page, &table, a, b, length, listed);
    }
    if (table.rows > 1) {
        fprintf(page->out, "\n**Paired differences** of the average over tasks, the same samples under "
                "both: points of score, and the share of\nsamples that the series answers better, "
                "equally and worse.\n\n");
        grid_print(&table, page->out);
    }
    grid_free(&table);
    free(listed);
    footnotes_print(&page->notes, page->out);
}
