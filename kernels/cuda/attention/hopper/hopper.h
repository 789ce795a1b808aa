/* The attention kernel for Hopper (sm_90a): its arguments, and what attention.c asks about it. */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_HOPPER_H
#define KERNELS_CUDA_ATTENTION_HOPPER_HOPPER_H
#include "kernels/cuda/attention/arguments.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#ifdef __cplusplus
extern "C" {
#endif

enum { MOST_MAPPED_SEGMENTS = 12 };

/* Tensor maps tell the copy engine where rows lie: [heads, head_dim / 64, rows, 64] each. */
typedef struct {
    CUtensorMap q, out;
    CUtensorMap k[MOST_MAPPED_SEGMENTS], v[MOST_MAPPED_SEGMENTS];
    attention_arguments call;
    int32_t works;      /* tiles x heads; packed: tiles x KV heads x parts of the keys */
    int32_t *turn; /* [2] in device memory, 0 before and after: works taken, by who is free, beyond each
                    * block's first; blocks that found none left */
    int32_t tile_rows;  /* packed: query rows of a tile; q is [kv_heads, head_dim / 64, rows, group, 64] */
} hopper_arguments;

/* A compiled shape of the kernel. */
typedef struct {
    int head_dim, packed, rows, keys, threads, shared_bytes;
    const void *kernel;
} hopper_shape;
const hopper_shape *hopper_shape_for(int head_dim, int packed);
#ifdef __cplusplus
}
#endif
#endif
