/* The cells of a sweep: models x lengths x hosts x methods multiplied out, each resolved and judged
 * before anything runs. What a method cannot run, or what does not fit, is known here. */
#ifndef HARNESS_CELLS_H
#define HARNESS_CELLS_H
#include "harness/run/prompt.h"
#include "harness/run/run.h"
#include "harness/options.h"

typedef enum { CELL_RUNS, CELL_UNSUPPORTED, CELL_OOM, CELL_TOO_BIG } cell_verdict;
extern const char *const cell_verdict_names[]; /* the CSV's status words; "ok" for CELL_RUNS */

typedef struct {
    int model;            /* index into models */
    const char *variant;  /* the method's options as given, "" when none */
    cell cell;            /* resolved, unless its method could not (CELL_UNSUPPORTED) */
    char options[256];    /* as the CSV has them */
    int64_t length;
    cell_verdict verdict;
    char reason[512];     /* behind any verdict but CELL_RUNS */
    run_memory memory;
    double flops_sum;     /* of one prefill, all hosts: what sim has to compute */
    double flops_largest; /* of the busiest host */
} sweep_cell;

/* Judges whether the device serves a resolved cell, and has room for it and for what its neighbours
 * take at the same time: sets verdict, reason, memory and FLOPs. room = bytes that the device had free
 * before anything was loaded; shared_device: one device simulates all hosts. */
void sweep_cell_judge(sweep_cell *, const model *described, const device *, size_t room,
                      bool shared_device, int64_t new_tokens);

typedef struct {
    text_list models, methods;
    size_list hosts, lengths;
    int64_t query, new_tokens;
    int64_t layers, seed;
    const char *retaining_heads;
} sweep_axes;

typedef struct sweep {
    model **models; /* described: no weights */
    int model_count;
    sweep_cell *cells;
    int count;
    int left_out; /* cells that want more hosts than the launch has: another launch's work */
} sweep;

/* Of axes that are good by themselves; -1 with a sentence when a model cannot be read.
 * most_hosts: of the launch; cells with more are left out and counted. */
int sweep_make(const sweep_axes *, const device *, size_t room, bool shared_device, int most_hosts,
               sweep *);
void sweep_free(sweep *);

/* Expected seconds of one repetition at this rate of FLOP/s. */
double sweep_cell_seconds(const sweep_cell *, double flops_per_second, bool shared_device);
#endif
