/* How sure a score is, and a difference of scores: means over tasks with their 95 % intervals. A
 * difference is paired: of the same samples (task, length, number) under two series, so that what
 * makes a sample hard for both does not blur it. */
#ifndef HARNESS_REPORT_ESTIMATE_H
#define HARNESS_REPORT_ESTIMATE_H
#include "harness/report/intervals/bootstrap.h"
#include "harness/report/page.h"

typedef struct {
    interval percent; /* as the tables have it: 100 for a score of 1 */
    int64_t samples, better, equal, worse; /* of a difference: samples of the first beside the second */
    char lacks[160];  /* why there is none, else "" */
} estimate;

/* The mean over the tasks of a series' scores. */
estimate estimate_mean(const page *, int series, int64_t length, const char *const *tasks,
                       int task_count);
/* The mean over the tasks of one series less another, both of the page's group. */
estimate estimate_difference(const page *, int series, int less, int64_t length,
                             const char *const *tasks, int task_count);
#endif
