/* Scores and differences of scores with their intervals. See estimate.h. */
#include "harness/report/intervals/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/task.h"
#include "harness/error.h"
#include "harness/report/intervals/samples.h"

/* Values of all tasks, a stratum each. */
typedef struct {
    double *values;
    int64_t *counts, total;
    int strata;
} strata;

/* The row's samples when they are all there: as many as it says, and they make its score. */
static const sample_score *samples_of(const page *page, const result *row, int64_t *count,
                                      estimate *found)
{
    const sample_score *samples = NULL;
    *count = 0;
    if (!page->scores || page->scores->missing) {
        snprintf(found->lacks, sizeof found->lacks, "no interval: %s is missing",
                 page->scores ? page->scores->name : "the file of samples");
        return NULL;
    }
    double number = csv_number(row->file, row->row, "row"), sum = 0;
    double wanted = csv_number(row->file, row->row, "samples");
    if (!isnan(number))
        samples = sample_scores_of(page->scores, (int64_t)number, count);
    for (int64_t i = 0; i < *count; i++)
        sum += samples[i].score;
    /* Scores stand in the CSV with two decimals, and sums in another order may round otherwise. */
    if (!samples || (!isnan(wanted) && (double)*count != wanted))
        snprintf(found->lacks, sizeof found->lacks, "no interval: not all samples of this row are in %s",
                 page->scores->name);
    else if (!(fabs(score_percent(sum, *count) - csv_number(row->file, row->row, "score")) < 0.015))
        snprintf(found->lacks, sizeof found->lacks,
                 "no interval: the samples in %s do not make the score of this row",
                 page->scores->name);
    else if (*count < 2)
        snprintf(found->lacks, sizeof found->lacks, "no interval: a single sample");
    return *found->lacks ? NULL : samples;
}

/* Whether two rows of one task and length were given the same samples. */
static bool same_samples(const result *a, const result *b)
{
    static const char *const names[] = {"seed", "generator", "source", "chat"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(csv_cell(a->file, a->row, csv_column(a->file, names[i])),
                   csv_cell(b->file, b->row, csv_column(b->file, names[i]))))
            return false;
    return true;
}

static const result *row_of(const page *page, int series, int64_t length, const char *task,
                            estimate *found)
{
    const result *row = results_find(page->all, page->group, series, length, task);
    if (!isnan(results_value(page->all, row, "score")))
        return row;
    snprintf(found->lacks, sizeof found->lacks, "no interval: %.80s has no score", task);
    return NULL;
}

/* Adds a task's scores, or (other not NULL) what they are above those of the other row. */
static void add_task(const page *page, const result *row, const result *other, strata *all,
                     estimate *found)
{
    int64_t count, other_count = 0;
    const sample_score *samples = samples_of(page, row, &count, found), *others = NULL;
    if (other && !*found->lacks)
        others = samples_of(page, other, &other_count, found);
    if (*found->lacks)
        return;
    bool paired = !other || (count == other_count && same_samples(row, other));
    for (int64_t i = 0; other && paired && i < count; i++) /* both ascend */
        paired = samples[i].number == others[i].number;
    if (!paired) {
        snprintf(found->lacks, sizeof found->lacks,
                 "no interval: the two were not given the same samples");
        return;
    }
    all->values = realloc_or_die(all->values, (size_t)(all->total + count), sizeof *all->values);
    for (int64_t i = 0; i < count; i++) {
        double value = samples[i].score - (other ? others[i].score : 0);
        all->values[all->total++] = 100 * value;
        found->better += value > 0;
        found->worse += value < 0;
        found->equal += value == 0;
    }
    found->samples += count;
    all->counts[all->strata++] = count;
}

static estimate estimate_scores(const page *page, int series, int less, int64_t length,
                                const char *const *tasks, int task_count)
{
    estimate found = {.percent = {NAN, NAN, NAN}};
    strata all = {.counts = alloc_or_die((size_t)task_count, sizeof *all.counts)};
    for (int i = 0; i < task_count && !*found.lacks; i++) {
        const result *row = row_of(page, series, length, tasks[i], &found), *other = NULL;
        if (row && less >= 0)
            other = row_of(page, less, length, tasks[i], &found);
        if (!*found.lacks)
            add_task(page, row, other, &all, &found);
    }
    if (!task_count)
        snprintf(found.lacks, sizeof found.lacks, "no interval: no task that both have");
    if (!*found.lacks)
        found.percent = bootstrap_mean(all.values, all.counts, all.strata);
    free(all.values);
    free(all.counts);
    return found;
}

estimate estimate_mean(const page *page, int series, int64_t length, const char *const *tasks,
                       int task_count)
{
    return estimate_scores(page, series, -1, length, tasks, task_count);
}

estimate estimate_difference(const page *page, int series, int less, int64_t length,
                             const char *const *tasks, int task_count)
{
    return estimate_scores(page, series, less, length, tasks, task_count);
}
