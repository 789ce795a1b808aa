/* Ranges on a profiler's time line (NVTX, domain "apbench"): named spans of the thread's time that
 * nest like calls. What they are called and where they lie is the business of timeline.h and the
 * sweep; this is the one place that knows NVTX. In a build without its header they are nothing, and
 * without a profiler attached a range costs a test of a pointer. */
#ifndef HARNESS_RANGES_H
#define HARNESS_RANGES_H
#include <stdint.h>

/* Opens a range inside those that are open on this thread. `name` is copied by whoever listens. */
void ranges_open(const char *name, int64_t payload);
void ranges_close(void); /* the innermost */

/* How many are open on this thread, and closing down to so many: after a failure. */
int ranges_depth(void);
void ranges_close_to(int depth);
#endif
