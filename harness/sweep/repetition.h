/* One repetition of a cell, and what a cell's repetitions measured: the times of every host over every
 * link, and where the process's time went. The sweep turns them into rows; a profile shows them. */
#ifndef HARNESS_SWEEP_REPETITION_H
#define HARNESS_SWEEP_REPETITION_H
#include "harness/comm/link.h"
#include "harness/run/prompt.h"
#include "harness/run/run.h"

typedef struct {
    double wall_s, charged_s, transfers_s, enqueue_s; /* as in run_result */
} repetition_account;

typedef struct {
    int links, hosts;
    int64_t repetitions;          /* at least one; those of a sweep: warm-up, timed, one instrumented */
    host_times *times;            /* [repetitions, links, hosts] */
    repetition_account *accounts; /* [repetitions] */
    double flops, bytes_sent;
    size_t peak_bytes;
    size_t wanted_bytes; /* the failure was want of device memory: how much; else 0 */
} cell_times;

void cell_times_take(cell_times *); /* the arrays, for the counts that are set */
void cell_times_free(cell_times *);
host_times *cell_times_at(const cell_times *, int64_t repetition, int link);

typedef struct {
    const model *model;
    const cell *cell;
    const comm_driver *driver;
    const prompt *prompt;
    const link_model *links; /* for projected runs */
    int64_t new_tokens;
    double deadline;         /* monotonic seconds; 0 = none */
} repetition_setting;

/* Runs repetition number `index` under a range "repetition (KIND)" and fills its times. kind: "warmup",
 * "timed" or "instrumented"; the last records parts. synchronised: see run_request. */
int repetition_run(const repetition_setting *, int64_t index, const char *kind, bool synchronised,
                   cell_times *);

/* Of the slowest host, over one link. */
void repetition_slowest(const cell_times *, int64_t repetition, int link, host_times *slowest);
/* Share of the wall clock that was neither a host's work nor a transfer. */
double repetition_overhead(const repetition_account *);
#endif
