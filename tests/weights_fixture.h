/* What the tests of weights stand on: the cpu device, a scratch directory for checkpoints, a small one, and
 * whether what it holds is on the device where model.h says. Values are compared exactly: checkpoints hold
 * multiples of 1/64 below 2, which float32, float16 and bfloat16 all represent. */
#ifndef TESTS_WEIGHTS_FIXTURE_H
#define TESTS_WEIGHTS_FIXTURE_H
#include "tests/checkpoint.h"

extern device *weights_device;
extern char *weights_directory;
extern const checkpoint small_checkpoint; /* a Llama of two layers */

void set_up_weights(void);
void tear_down_weights(void);

/* `rows` rows of `columns` values on the device, from `row` on, are those of the tensor. */
void expect_tensor(const void *matrix, int64_t row, int64_t rows, int64_t columns, const char *format,
                   int layer);
void expect_model(const model *, const checkpoint *);
/* With random weights, where there are any, of seed 7. */
model *open_or_assert(const char *name, int layers, const char *heads);
#endif
