/* What attention.c asks of the Hopper kernel. */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_LAUNCH_H
#define KERNELS_CUDA_ATTENTION_HOPPER_LAUNCH_H
#include "kernels/cuda/attention/arguments.h"
#include "kernels/cuda/cuda.h"

/* Whether it can serve the call: a Hopper GPU, at most MOST_MAPPED_SEGMENTS segments, addresses and
 * strides of whole 16 bytes. */
bool hopper_takes(const cuda_state *, const attention_arguments *, int head_dim);
void hopper_attention(cuda_state *, const attention_arguments *, int head_dim);

/* Few rows: heads of a group packed into the rows of a tile, the keys in parts that are combined. It
 * needs room in the scratch for one part at least. */
bool hopper_takes_packed(const cuda_state *, const attention_arguments *, int head_dim);
void hopper_attention_packed(cuda_state *, const attention_arguments *, int head_dim);
#endif
