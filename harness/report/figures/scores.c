/* Scores as curves and bars. See scores.h. */
#include "harness/report/figures/scores.h"

#include "harness/error.h"
#include "harness/options.h"
#include "harness/report/intervals/estimate.h"
#include "methods/method.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The mean over tasks with its interval, which has no width where samples are missing; NaN when a task
 * has no score. */
static interval mean_score(const page *page, int series, int64_t length, const char **tasks,
                           int task_count)
{
    double sum = 0;
    for (int i = 0; i < task_count; i++)
        sum += results_value(page->all,
                             results_find(page->all, page->group, series, length, tasks[i]), "score");
    double mean = sum / task_count;
    if (isnan(mean))
        return (interval){NAN, NAN, NAN};
    estimate found = estimate_mean(page, series, length, tasks, task_count);
    if (*found.lacks)
        return (interval){mean, mean, mean};
    return (interval){mean, found.percent.low, found.percent.high};
}

static char *label_of(const result_series *one, bool with_hosts)
{
    return with_hosts && one->hosts > 1 ? format_text("%s, %d hosts", one->label, one->hosts)
                                        : copy_text(one->label);
}

static char *heading_of(const char *first, const char **tasks, int task_count)
{
    return task_count == 1 ? format_text("%s of %s", first, tasks[0])
                           : format_text("%s, mean of %d tasks", first, task_count);
}

static int draw_by_length(drawing *drawing, const page *page, const int64_t *lengths, int count,
                          const char **tasks, int task_count)
{
    const results *all = page->all;
    char *heading = heading_of("Score", tasks, task_count);
    curves made = {.figure = figure_start("accuracy", all, page->group, heading)};
    free(heading);
    if (!made.figure)
        return -1;
    bool many_hosts = false; /* one method at several: a style each, then */
    for (int i = 0; i < all->series_count; i++)
        for (int j = 0; j < i; j++)
            many_hosts |= !strcmp(all->series[i].label, all->series[j].label);
    for (int series = 0; series < all->series_count; series++) {
        bool begun = false;
        char *label = label_of(&all->series[series], true);
        int style = many_hosts ? series % STYLES + 1 : series_style(all, series);
        for (int i = 0; i < count; i++) {
            interval mean = mean_score(page, series, lengths[i], tasks, task_count);
            if (!isnan(mean.mean))
                curves_span(&made, &begun, label, style, (double)lengths[i], mean.mean, mean.low,
                            mean.high);
        }
        free(label);
    }
    figure_marks(made.figure, lengths, count);
    return curves_draw(drawing, &made);
}

/* How many hosts all series of several have; 0 when they differ. */
static int shared_hosts(const results *all)
{
    int hosts = 0;
    for (int i = 0; i < all->series_count; i++) {
        if (all->series[i].hosts > 1 && hosts && all->series[i].hosts != hosts)
            return 0;
        if (all->series[i].hosts > 1)
            hosts = all->series[i].hosts;
    }
    return hosts;
}

/* What stands behind a bar: the score, and how far it is from FlashAttn on the same samples. */
static char *remark_of(const page *page, int series, int64_t length, double mean, const char **tasks,
                       int task_count)
{
    int less = results_baseline(page->all, page->group, series);
    if (less < 0 || less == series)
        return format_text("%.1f", mean);
    estimate found = estimate_difference(page, series, less, length, tasks, task_count);
    return *found.lacks ? format_text("%.1f", mean)
                        : format_text("%.1f   %+.1f (%+.1f to %+.1f)", mean, found.percent.mean,
                                      found.percent.low, found.percent.high);
}

/* Bars are told apart by their labels: what a method's look alike. */
static int method_style(const char *name)
{
    int i = 0;
    while (i < method_count && strcmp(method_table[i]->name, name))
        i++;
    return i % STYLES + 1;
}

/* A bar a series. A line of data has: label, mean, low, high, style, remark. */
static int draw_bars(drawing *drawing, const page *page, int64_t length, const char **tasks,
                     int task_count)
{
    const results *all = page->all;
    int hosts = shared_hosts(all), bars = 0;
    double top = 0, reference = NAN;
    char size[32], *name;
    char *place = format_text(hosts ? "Score at %s tokens on %d hosts" : "Score at %s tokens",
                              format_size(length, size, sizeof size), hosts);
    char *heading = heading_of(place, tasks, task_count);
    figure *figure = figure_start("scores", all, page->group, heading);
    free(place);
    free(heading);
    if (!figure)
        return -1;
    name = format_text("%s-%s", figure->name, size);
    free(figure->name);
    figure->name = name;
    for (int series = 0; series < all->series_count; series++) {
        interval mean = mean_score(page, series, length, tasks, task_count);
        if (isnan(mean.mean))
            continue;
        char *label = label_of(&all->series[series], !hosts);
        char *remark = remark_of(page, series, length, mean.mean, tasks, task_count);
        figure_field(figure, label);
        fprintf(figure->data, " %.9g %.9g %.9g %d ", mean.mean, mean.low, mean.high,
                method_style(all->series[series].method));
        figure_field(figure, remark);
        fputc('\n', figure->data);
        free(label);
        free(remark);
        if (isnan(reference) && results_baseline(all, page->group, series) == series)
            reference = mean.mean;
        top = fmax(top, mean.high);
        bars++;
    }
    if (!bars) {
        figure_free(figure);
        return 0;
    }
    figure_number(figure, "bars", bars);
    figure_number(figure, "top", top > 0 ? top : 1);
    figure_number(figure, "reference", isnan(reference) ? -1 : reference);
    figure_text(figure, "styles", "");
    drawing->drawn++;
    return figure_draw(figure, drawing->folder, drawing->keep_data);
}

int draw_scores(drawing *drawing, const result_group *group, int64_t length)
{
    const results *all = drawing->all;
    const page page = {.all = all, .group = group, .scores = drawing->scores};
    int count, task_count, status = 0;
    int64_t *lengths = results_lengths(all, group, &count);
    const char **tasks = results_tasks(all, group, &task_count);
    if (count > 1)
        status = draw_by_length(drawing, &page, lengths, count, tasks, task_count);
    if (!status && (count == 1 || length))
        status = draw_bars(drawing, &page, length ? length : lengths[0], tasks, task_count);
    free(lengths);
    free(tasks);
    return status;
}
