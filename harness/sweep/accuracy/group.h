/* What the files of the accuracy sweep share: a group is one model, length and task, whose samples are
 * made once and answered by all methods. Nobody else includes this; a sweep is started through
 * accuracy.h. */
#ifndef HARNESS_SWEEP_ACCURACY_GROUP_H
#define HARNESS_SWEEP_ACCURACY_GROUP_H
#include "harness/run/prompt.h"
#include "harness/run/run.h"
#include "harness/sweep/accuracy.h"
#include "harness/sweep/compare.h"

typedef struct {
    task_sample sample;
    prompt prompt;
    logits_trace exact; /* first token under flash; empty until needed */
    float *exact_rows;  /* residual stream under flash [document + query, hidden]; NULL until needed,
                         * and again when the group has no room to keep it */
} group_sample;

typedef struct {
    accuracy_sweep *sweep;
    const model *model;
    run_kept *kept; /* of the model's runs */
    const task *task;
    int64_t length;
    group_sample *samples;
    int64_t count;
    size_t exact_bytes; /* in exact_rows of all samples */
    char *broken;    /* "2 broken lines of FILE skipped: ...", NULL: none */
    double deadline; /* of the row in hand; 0 = none */
    const char *lacking; /* why the model has no weights, NULL when it has: all rows are `oom` */
} group;

/* How many samples a group shall have. */
int64_t group_samples_wanted(const accuracy_sweep *);
/* Makes or reads the samples and tokenises them. -1 with a sentence; what was made until then stays
 * until group_close(). */
int group_open(group *);
void group_close(group *);
#endif
