/* One sample of an accuracy row, in two steps: it is run and scored, which gives a value that is whole
 * in itself, and that value is recorded. Where several processes share a row's samples, each runs its
 * own and the leading one records them all, in order. */
#ifndef HARNESS_SWEEP_ACCURACY_SAMPLE_H
#define HARNESS_SWEEP_ACCURACY_SAMPLE_H
#include <jansson.h>

#include "harness/sweep/accuracy/fidelity.h"
#include "harness/sweep/accuracy/group.h"
#include "methods/method.h"

/* What samples add up to: those of a row, or one alone. */
typedef struct {
    double score, kl, seconds;
    int64_t done, nulls, compared, same_first, raised; /* raised: unscorable answers, counted 0 */
    double errors[ERROR_PLACES]; /* of the `compared` samples, as kl is */
} totals;

/* What came of one sample. */
typedef struct {
    json_t *line;        /* its line of NAME.samples.jsonl; NULL on processes that do not lead */
    totals sum;          /* its own part of the row's */
    size_t wanted_bytes; /* it failed for want of device memory: how much; else 0 */
} sample_result;

/* The cell of one sample. resolved: the options of the row, so that all its samples have the same;
 * NULL to resolve them on this one. -1 with the reason when the method cannot run it. */
int sample_cell(const group *, const char *method_text, int hosts, const group_sample *,
                const cell *resolved, cell *);

/* Runs sample `index` of the group under a method, and before that under flash where that is still to
 * be compared with, and scores the answer. The leading process's result carries the line and the
 * totals, to be freed with sample_result_free(); all processes return alike. */
int sample_run(group *, const char *method_text, int hosts, const cell *resolved, int64_t index,
               sample_result *);
/* Writes the result's line for the row that the next records_append() commits, and adds its totals to
 * the row's. Nothing on processes that do not lead. */
int sample_record(const group *, const sample_result *, totals *row);
void sample_result_free(sample_result *);
#endif
