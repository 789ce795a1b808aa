/* Logits of every position of a text under exact attention on one host: the residual stream of all rows
 * is kept in host memory, and logits are made from it some rows at a time, since all of them would be
 * positions x vocabulary floats. */
#ifndef HARNESS_RUN_POSITIONS_H
#define HARNESS_RUN_POSITIONS_H
#include "harness/model/model.h"

typedef struct {
    const model *model;
    int64_t count;     /* positions */
    float *residual;   /* [count - 1, hidden]: all but the last, host memory */
    float *last;       /* [vocab]: logits of the last, which the query phase made */
    int64_t most_rows; /* of a call of positions_logits */
    void *norm;        /* device: [most_rows, hidden] activation type */
    float *x, *logits; /* device: [most_rows, hidden], [most_rows, vocab] */
} positions;

/* Runs ids [count], count >= 2, through the model on its device. */
int positions_open(const model *, const int32_t *ids, int64_t count, positions *);
/* Logits of positions first .. first + rows - 1 into host memory [rows, vocab]; rows <= most_rows. */
void positions_logits(positions *, int64_t first, int64_t rows, float *logits);
void positions_close(positions *);
#endif
