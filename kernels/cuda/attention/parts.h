/* Keys split into parts, where few rows would leave most multiprocessors idle: how many parts, and where
 * their results lie until combine.h puts them together. */
#ifndef KERNELS_CUDA_ATTENTION_PARTS_H
#define KERNELS_CUDA_ATTENTION_PARTS_H
#include "kernels/cuda/attention/arguments.h"

#include <stddef.h>

static inline int64_t tiles_of(int64_t count, int64_t size)
{
    return (count + size - 1) / size;
}

/* Bytes that a part's rows take in the device's scratch. */
size_t part_bytes(const attention_arguments *, int head_dim);

/* Parts (call->splits) that give `blocks` blocks a work each, where call->tiles tiles of rows see tiles of
 * `keys` keys: at least 1, and none of so few tiles that combining it costs more than it gains, nor more
 * than the scratch holds. */
int choose_parts(const attention_arguments *, int head_dim, int keys, int64_t blocks);

/* Puts the results of call->splits parts at the beginning of the scratch. */
void place_parts(attention_arguments *, int head_dim, void *scratch);
#endif
