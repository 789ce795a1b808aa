/* What attention.c asks of the Hopper kernel. */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_LAUNCH_H
#define KERNELS_CUDA_ATTENTION_HOPPER_LAUNCH_H
#include "kernels/cuda/attention/arguments.h"
#include "kernels/cuda/cuda.h"

/* Whether it can serve the call: a Hopper GPU, at most MOST_MAPPED_SEGMENTS segments, addresses and
 * strides of whole 16 bytes. */
bool hopper_takes(const cuda_state *, const attention_arguments *, int head_dim);
void hopper_attention(cuda_state *, const attention_arguments *, int head_dim);
#endif
