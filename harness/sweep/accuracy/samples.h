/* The samples of one row: which are left to run, who runs them, and what they come to. Those that a
 * killed run has left on disk are not run again. Workers (sweep/workers.h) share the others out by
 * number, so that each keeps the exact run of its own samples for all methods; the hosts of a launch
 * run each sample together. Sums are in the order of samples, whoever ran them and when. */
#ifndef HARNESS_SWEEP_ACCURACY_SAMPLES_H
#define HARNESS_SWEEP_ACCURACY_SAMPLES_H
#include "harness/records/records.h"
#include "harness/sweep/accuracy/sample.h"
#include "harness/sweep/progress.h"

typedef struct {
    group *group;
    const char *method;  /* as the command names it */
    int hosts;
    const cell *resolved;
    const record *key;   /* the row, inputs filled in */
    const char *label;   /* "smollm2 apb, 4 hosts, niah_single_1 of 1K" */
    progress *progress;
    double expected;     /* of the row, in the progress's measure */
} row_samples;

/* Runs and records what is left of the row and adds it all up in *sum (leading process only).
 * ran: samples that were not there yet. wanted_bytes: one failed for want of device memory: how much;
 * else 0. All processes return alike, but for a leading one that cannot write, or that has lost its
 * workers (workers_lost()). */
int row_samples_run(const row_samples *, totals *sum, int64_t *ran, size_t *wanted_bytes);
#endif
