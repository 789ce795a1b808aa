/* One sample of an accuracy row: it is run and scored, which gives a line of NAME.samples.jsonl, and
 * from that line alone come its numbers: whoever ran it, and whether in this run or in one that was
 * killed. */
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
    json_t *line;        /* its line; NULL on hosts of a launch that do not lead it */
    size_t wanted_bytes; /* it failed for want of device memory: how much; else 0 */
} sample_result;

/* The cell of one sample. resolved: the options of the row, so that all its samples have the same;
 * NULL to resolve them on this one. -1 with the reason when the method cannot run it. */
int sample_cell(const group *, const char *method_text, int hosts, const group_sample *,
                const cell *resolved, cell *);

/* Runs sample `index` of the group under a method, and before that under flash where that is still to
 * be compared with, and scores the answer. The line is to be freed with sample_result_free(). All hosts
 * of a launch return alike. */
int sample_run(group *, const char *method_text, int hosts, const cell *resolved, int64_t index,
               sample_result *);
void sample_result_free(sample_result *);

/* In a launch the leading process alone scores and writes: what became of that, all must know. */
int sample_leader_did(const group *, int status);

/* A sample's own totals. */
void totals_of_line(const json_t *line, totals *);
void totals_add(totals *row, const totals *sample);

/* Whether the line is of this sample: the same document, query and answers, as they may have changed in
 * a file. */
bool sample_is_of_line(const group_sample *, const json_t *line);
#endif
