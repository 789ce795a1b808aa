/* A device for tests of links and clocks: ordinary memory, and a clock that only moves when told
 * to, so that times can be worked out by hand. */
#ifndef TESTS_CLOCK_DEVICE_H
#define TESTS_CLOCK_DEVICE_H
#include "kernels/device.h"

typedef struct {
    double now;          /* seconds: what mark() reads */
    double copy_seconds; /* every copy moves the clock by this */
    int allocations;     /* alive */
    size_t largest;      /* alloc() of more bytes fails; 0 = no limit */
} clock_state;

/* Ready to use; `state` must outlive it. */
device clock_device(clock_state *state);
#endif
