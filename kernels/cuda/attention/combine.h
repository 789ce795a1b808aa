/* Putting split keys together again. */
#ifndef KERNELS_CUDA_ATTENTION_COMBINE_H
#define KERNELS_CUDA_ATTENTION_COMBINE_H
#include "kernels/cuda/attention/arguments.h"

#include <cuda_runtime_api.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Merges call->splits parts into out or acc and lse. head_dim 64 or 128. */
void combine_parts(const attention_arguments *call, int head_dim, cudaStream_t stream);
#ifdef __cplusplus
}
#endif
#endif
