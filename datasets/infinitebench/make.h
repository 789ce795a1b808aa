/* Synthetic rows of InfiniteBench, as its scripts of 2024-06-13 make them, at any size. `size` counts
 * what grows; k is the number of the row, which decides depth or kind, so that any run of rows is
 * spread evenly over them. Each gives a new row {id, context, input, answer, options, generator}. */
#ifndef DATASETS_INFINITEBENCH_MAKE_H
#define DATASETS_INFINITEBENCH_MAKE_H
#include "datasets/random.h"
#include <jansson.h>

/* size: noise blocks. Number k's key lies behind block j of 59 evenly spread ones (0 .. size). */
json_t *make_passkey(int64_t size, int64_t k, random_stream *);
json_t *make_number_string(int64_t size, int64_t k, random_stream *);
/* size: pairs. The one asked for is one of 500 evenly spread places. */
json_t *make_kv_retrieval(int64_t size, int64_t k, random_stream *);
/* size: numbers. k % 7: (second, third) largest, (second, third) smallest, median. */
json_t *make_math_find(int64_t size, int64_t k, random_stream *);
/* size: operands. */
json_t *make_math_calc(int64_t size, int64_t k, random_stream *);
/* size: functions, in 2 + 2 (k % 5) layers of equally many (what is left over is left out). */
json_t *make_code_run(int64_t size, int64_t k, random_stream *);
#endif
