/* One cell of a sweep under a profiler: `apbench speed --profile CELL`. */
#ifndef HARNESS_SWEEP_PROFILE_H
#define HARNESS_SWEEP_PROFILE_H
#include "harness/sweep/speed.h"

/* The cell that a number (as --dry-run lists them, from 1) or a part of a cell's name stands for; NULL
 * with a sentence when there is none, or several have it in their name. */
const sweep_cell *profile_find(const sweep *, const char *text);

/* -1 with a sentence when the cell cannot run. */
int profile_check(const sweep *, const sweep_cell *);

/* Runs the cell once to warm up, once untouched, and once instrumented inside the device's capture range
 * (cudaProfilerStart and Stop), every range waiting for the device's work in it; prints both times and
 * their difference. Writes no row. */
int profile_run(const speed_sweep *, const sweep_cell *);
#endif
