/* Tables of accuracy rows: tasks by method, their average, and how far a method is from
 * FlashAttn on the same samples. */
#include "harness/report/page.h"

#include "harness/error.h"
#include "harness/report/intervals/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The mean over tasks that ended well; how many those were goes to *found. */
static double mean_over_tasks(const page *page, int series, int64_t length, const char *column,
                              const char **tasks, int count, int *found)
{
    double sum = 0;
    *found = 0;
    for (int i = 0; i < count; i++) {
        const result *row = results_find(page->all, page->group, series, length, tasks[i]);
        double value = results_value(page->all, row, column);
        if (!isnan(value)) {
            sum += value;
            ++*found;
        }
    }
    return *found ? sum / *found : NAN;
}

/* Puts " (low to high)" behind what a cell says, or a note of why there is no interval. */
static void add_interval(page *page, grid *table, int line, int column, const estimate *found,
                         bool change)
{
    const char *before = table->cells[line * table->columns + column];
    char low[64], high[64], *text = copy_text(before ? before : "");
    if (*found->lacks) {
        grid_set(table, line, column, "%s [%d]", text, footnote(&page->notes, found->lacks));
    } else if (change) {
        grid_set(table, line, column, "%s (%+.2f to %+.2f)", text, found->percent.low,
                 found->percent.high);
    } else {
        number_text(found->percent.low, low, sizeof low);
        number_text(found->percent.high, high, sizeof high);
        grid_set(table, line, column, "%s (%s to %s)", text, low, high);
    }
    free(text);
}

/* A line of means over tasks under an accuracy table. */
static void put_means(page *page, grid *table, const char *title, const char *column,
                      const int *series, int series_count, int64_t length, const char **tasks,
                      int task_count, bool change)
{
    int line = grid_row(table);
    grid_set(table, line, 0, "%s", title);
    for (int i = 0; i < series_count; i++) {
        int found, whole = task_count;
        int baseline = results_baseline(page->all, page->group, series[i]);
        char text[64];
        double value =
            mean_over_tasks(page, series[i], length, column, tasks, task_count, &found);
        if (change && baseline >= 0)
            value -= mean_over_tasks(page, baseline, length, column, tasks, task_count, &whole);
        if (isnan(value) ||
            (change && (baseline < 0 || found < task_count || whole < task_count))) {
            grid_set(table, line, 1 + i, "-");
        } else if (change) {
            grid_set(table, line, 1 + i, "%+.2f", value);
            if (baseline != series[i]) {
                estimate difference = estimate_difference(page, series[i], baseline, length, tasks,
                                                          task_count);
                add_interval(page, table, line, 1 + i, &difference, true);
            }
        } else {
            number_text(value, text, sizeof text);
            char *note = format_text("mean of %d of the %d tasks", found, task_count);
            if (found < task_count)
                grid_set(table, line, 1 + i, "%s [%d]", text, footnote(&page->notes, note));
            else
                grid_set(table, line, 1 + i, "%s", text);
            free(note);
            if (page->intervals && found == task_count && !strcmp(column, "score")) {
                estimate mean = estimate_mean(page, series[i], length, tasks, task_count);
                add_interval(page, table, line, 1 + i, &mean, false);
            }
        }
    }
}

/* Lines of means of the error of the last layer's output, by place, where the file has it. */
static void put_errors(page *page, grid *table, const int *series, int series_count, int64_t length,
                       const char **tasks, int task_count)
{
    static const struct {
        const char *column, *title;
    } places[] = {
        {"error_start", "error of last layer, block start"},
        {"error_end", "error of last layer, block end"},
        {"error_document", "error of last layer, document"},
        {"error_query", "error of last layer, query"},
    };
    int found = 0;
    for (int i = 0; i < series_count && !found; i++)
        mean_over_tasks(page, series[i], length, places[0].column, tasks, task_count, &found);
    for (size_t k = 0; found && k < sizeof places / sizeof *places; k++)
        put_means(page, table, places[k].title, places[k].column, series, series_count, length,
                  tasks, task_count, false);
}

void print_accuracy(page *page, int64_t length, const char *column)
{
    const results *all = page->all;
    int task_count, series_count = 0;
    const char **tasks = results_tasks(all, page->group, &task_count);
    int *series = alloc_or_die((size_t)all->series_count, sizeof *series);
    for (int i = 0; i < all->series_count; i++) {
        bool any = false;
        for (int j = 0; j < task_count; j++)
            any |= results_find(all, page->group, i, length, tasks[j]) != NULL;
        if (any)
            series[series_count++] = i;
    }
    grid table = grid_new(1 + series_count, 1);
    grid_set(&table, 0, 0, "task");
    for (int i = 0; i < series_count; i++) {
        const result_series *one = &all->series[series[i]];
        if (one->hosts > 1)
            grid_set(&table, 0, 1 + i, "%s, %d hosts", one->label, one->hosts);
        else
            grid_set(&table, 0, 1 + i, "%s", one->label);
    }
    for (int j = 0; j < task_count; j++) {
        int line = grid_row(&table);
        grid_set(&table, line, 0, "%s", tasks[j]);
        for (int i = 0; i < series_count; i++) {
            const result *row = results_find(all, page->group, series[i], length, tasks[j]);
            double value = results_value(all, row, column);
            put_cell(page, &table, line, 1 + i, row, value);
            if (page->intervals && !isnan(value) && !strcmp(column, "score")) {
                estimate found = estimate_mean(page, series[i], length, &tasks[j], 1);
                add_interval(page, &table, line, 1 + i, &found, false);
            }
        }
    }
    put_means(page, &table, "**average**", column, series, series_count, length, tasks, task_count,
              false);
    if (!strcmp(column, "score")) {
        put_means(page, &table, "average - FlashAttn", column, series, series_count, length, tasks,
                  task_count, true);
        put_means(page, &table, "KL from FlashAttn, nats", "kl", series, series_count, length,
                  tasks, task_count, false);
        put_means(page, &table, "same first token, share", "top1", series, series_count, length,
                  tasks, task_count, false);
        put_errors(page, &table, series, series_count, length, tasks, task_count);
    }
    grid_print(&table, page->out);
    if (!strcmp(column, "score") && page->scores && page->scores->count)
        fprintf(page->out, "\nIn brackets: 95 %% intervals by the bootstrap over samples within each "
                "task (%d resamples); of differences, over\nthe same samples under both.\n",
                BOOTSTRAP_RESAMPLES);
    grid_free(&table);
    free(series);
    free(tasks);
}
