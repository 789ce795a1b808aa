/* The scores of single samples, read back from the file beside a CSV of accuracy (NAME.samples.jsonl,
 * harness/records/records.h): what intervals are made of. Of a line only `row`, `sample` and `score`
 * are used, so a file that was stripped down to those serves as well. */
#ifndef HARNESS_REPORT_SAMPLES_H
#define HARNESS_REPORT_SAMPLES_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t row, number; /* the CSV's row, and which sample of its task */
    double score;        /* 0..1 */
} sample_score;

typedef struct {
    char *name;          /* of the file, without its folder */
    bool missing;        /* there is no such file */
    sample_score *items; /* by row, then number, each once: the file's last line of it counts, as
                          * lines before it are what a killed run left */
    int64_t count;
    int64_t broken;      /* lines passed over, since they are no sample: a torn one */
} sample_scores;

/* Those of the CSV at `path`. A file that is missing is no error. NULL with a sentence when it is
 * there and cannot be read. */
sample_scores *sample_scores_read(const char *path);
void sample_scores_free(sample_scores *);

/* The samples of a row, ascending; NULL when there are none. */
const sample_score *sample_scores_of(const sample_scores *, int64_t row, int64_t *count);
#endif
