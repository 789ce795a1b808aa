/* The attention kernels for sm_80 and later, which attention.c chooses from. */
#ifndef KERNELS_CUDA_ATTENTION_SM80_H
#define KERNELS_CUDA_ATTENTION_SM80_H
#include "kernels/cuda/attention/arguments.h"

#include <cuda_runtime_api.h>
#ifdef __cplusplus
extern "C" {
#endif

/* A compiled shape of the kernel. */
typedef struct {
    int head_dim;
    int packed; /* rows are packed (query row, head) pairs, and keys may be split */
    int rows, keys, threads, shared_bytes, blocks;
    const void *kernel;
} attention_shape;

extern const attention_shape attention_shapes[];
extern const int attention_shape_count;
#ifdef __cplusplus
}
#endif
#endif
