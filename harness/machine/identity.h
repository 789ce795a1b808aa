/* Which machine and which libraries a row came from. */
#ifndef HARNESS_IDENTITY_H
#define HARNESS_IDENTITY_H

typedef struct {
    char machine[256];   /* processor, cores, memory */
    char libraries[256]; /* those that compute or move data, with versions */
} identity;
void identity_read(identity *);
/* The one-minute load average, so that a reader sees whether something else was running; NaN when
 * unknown. */
double machine_load(void);
#endif
