/* What the tests of the cpu device's operations stand on: the device in each of the three compilations of
 * its vector code, with one thread and with several; drawn inputs, outputs poisoned by NaN before, and
 * comparison with float64.
 *
 * Tolerances are in float32 epsilons (1.2e-7), of the sum of the absolute values of what was added. What
 * only moves values or compares them must be equal bit for bit. */
#ifndef TESTS_KERNELS_FIXTURE_H
#define TESTS_KERNELS_FIXTURE_H
#include "kernels/device.h"

extern device *dev;
extern const char *const all_lanes[3];

/* The test's body once for every compilation of the vector code, with 1 and 3 threads. */
#define FOR_ALL_LANES                                                                              \
    for (int each = 0; each < 6 && open_with(all_lanes[each / 2], each % 2 ? 3 : 1);               \
         dev->close(dev), each++)

/* Opens the device, and begins the draws anew; 1. */
int open_with(const char *lanes, int threads);

float draw(float bound);                          /* within [-bound, bound) */
int64_t draw_between(int64_t low, int64_t high);  /* both included */
float *random_values(int64_t count, float bound); /* to be freed */
float *poisoned(int64_t count);                   /* NaN; to be freed */

/* |got - want| may be `epsilons` of weight, or of |want| without weights. */
void expect_close(const float *got, const double *want, const double *weight, int64_t count,
                  double epsilons, const char *what);
#endif
