/* See kernels_fixture.h. */
#include "tests/kernels_fixture.h"

#include "harness/error.h"
#include "kernels/hash.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

device *dev;
const char *const all_lanes[3] = {"sse2", "avx2", "avx512"};
static uint64_t draws;

int open_with(const char *lanes, int threads)
{
    draws = 0;
    setenv("APBENCH_LANES", lanes, 1);
    dev = device_find("cpu");
    cr_assert_eq(dev->open(dev, threads), 0);
    return 1;
}

float draw(float bound)
{
    return hash_uniform(99, draws++, bound);
}

int64_t draw_between(int64_t low, int64_t high) /* both included */
{
    return low + (int64_t)(hash_bits(99, draws++) % (uint64_t)(high - low + 1));
}

float *random_values(int64_t count, float bound)
{
    float *values = alloc_or_die((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = draw(bound);
    return values;
}

float *poisoned(int64_t count)
{
    float *values = alloc_or_die((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = NAN;
    return values;
}

void expect_close(const float *got, const double *want, const double *weight, int64_t count,
                  double epsilons, const char *what)
{
    for (int64_t i = 0; i < count; i++) {
        double size = weight ? weight[i] : fabs(want[i]);
        cr_assert(fabs(got[i] - want[i]) <= epsilons * FLT_EPSILON * size + FLT_MIN,
                  "%s, element %lld: %.9g, not %.9g (epsilon x %.3g)", what, (long long)i, got[i],
                  want[i], fabs(got[i] - want[i]) / (FLT_EPSILON * size));
    }
}
