/* The stratified bootstrap. See bootstrap.h. */
#include "harness/report/intervals/bootstrap.h"

#include <stdlib.h>

#include "datasets/random.h"
#include "harness/error.h"

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Interpolated between the two order statistics that it lies between (Hyndman and Fan's type 7). */
static double quantile(const double *sorted, int count, double share)
{
    double at = share * (count - 1);
    int below = (int)at;
    int above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/* One of 0 .. count-1: the upper half of a product. Some are likelier than others by count / 2^64. */
static int64_t draw(random_stream *stream, int64_t count)
{
    return (int64_t)(((unsigned __int128)random_next(stream) * (uint64_t)count) >> 64);
}

interval bootstrap_mean(const double *values, const int64_t *counts, int strata)
{
    random_stream stream = random_stream_for(1979, "bootstrap", 0, 0);
    double *means = alloc_or_die(BOOTSTRAP_RESAMPLES, sizeof *means);
    interval found = {0};
    for (int resample = -1; resample < BOOTSTRAP_RESAMPLES; resample++) {
        const double *stratum = values;
        double mean = 0;
        for (int i = 0; i < strata; i++) {
            double sum = 0;
            for (int64_t k = 0; k < counts[i]; k++) /* before the first resample: as they are */
                sum += stratum[resample < 0 ? k : draw(&stream, counts[i])];
            mean += sum / (double)counts[i];
            stratum += counts[i];
        }
        mean /= strata;
        if (resample < 0)
            found.mean = mean;
        else
            means[resample] = mean;
    }
    qsort(means, BOOTSTRAP_RESAMPLES, sizeof *means, ascending);
    found.low = quantile(means, BOOTSTRAP_RESAMPLES, 0.025);
    found.high = quantile(means, BOOTSTRAP_RESAMPLES, 0.975);
    free(means);
    return found;
}
