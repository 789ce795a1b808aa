/* Intervals of means by the bootstrap (Efron 1979; percentile method), stratified: samples are drawn
 * anew, with replacement, within each stratum, and the strata weigh alike however many samples each
 * has, as tasks do in a benchmark's average. Deterministic: the same values give the same interval. */
#ifndef HARNESS_REPORT_BOOTSTRAP_H
#define HARNESS_REPORT_BOOTSTRAP_H
#include <stdint.h>

typedef struct {
    double mean, low, high; /* low and high: the 2.5 % and 97.5 % quantiles of the resampled means */
} interval;

enum { BOOTSTRAP_RESAMPLES = 10000 };

/* values: stratum after stratum, counts[i] >= 1 of them in stratum i. mean = the mean over strata of
 * their means. For a paired comparison the values are the differences of pairs. */
interval bootstrap_mean(const double *values, const int64_t *counts, int strata);
#endif
