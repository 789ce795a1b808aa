/* Which machine and which libraries a row came from. */
#ifndef HARNESS_IDENTITY_H
#define HARNESS_IDENTITY_H

#include "kernels/device.h"

typedef struct {
    char machine[256];   /* processor, cores, memory */
    char gpu[128], driver[64]; /* "" where the device has none */
    char libraries[384]; /* those that compute or move data, with versions */
} identity;
/* The device is open. */
void identity_read(identity *, device *);
/* The one-minute load average, so that a reader sees whether something else was running; NaN when
 * unknown. */
double machine_load(void);
#endif
