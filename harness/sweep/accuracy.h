/* The accuracy sweep: runs tasks' samples under each method, scores the answers, and measures how
 * far the first token's distribution and the last layer's output are from exact attention's on the
 * same sample. */
#ifndef HARNESS_ACCURACY_H
#define HARNESS_ACCURACY_H
#include "datasets/task.h"
#include "harness/comm.h"
#include "harness/options.h"
#include "harness/machine/identity.h"
#include "harness/records/records.h"

typedef struct {
    device *dev;
    const comm_driver *driver;
    int most_hosts;
    size_t room; /* bytes that the device had free before anything was loaded */
    bool leader;
    bool apart; /* the processes are workers: each runs samples of its own, and all of a sample's hosts */
    int threads; /* CPU threads of the device, of all workers together */
    text_list models, methods;
    size_list hosts, lengths;
    const task **tasks;
    int task_count;
    int64_t samples;       /* a task and length */
    int64_t limit;         /* at most so many of them; 0 = all */
    const char *file;      /* official file instead of our own generator, with one task */
    const char *haystack;
    bool chat, fidelity;
    size_t exact_room;     /* host memory for the residual streams of a group's exact runs: those
                            * beyond are run again for each row */
    scorer_kind scorer;
    int64_t layers, seed;
    const char *retaining_heads;
    double timeout;        /* seconds a row; 0 = none */
    records *records;      /* NULL on processes that do not lead */
    identity id;
    int failed;
    int already; /* rows that the file had */
} accuracy_sweep;

/* Runs all cells that the records do not have yet. -1 when the sweep cannot go on; failed cells are
 * rows and are counted. */
int accuracy_run(accuracy_sweep *);

/* Prints instead what would run: rows with their samples, tokens and resolved options, and the sums.
 * No weights are loaded and no row is written or looked up. */
int accuracy_dry_run(accuracy_sweep *);
#endif
