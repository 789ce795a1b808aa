/* What an attention kernel is told: the call of kernels/device.h in the kernel's own terms, passed by
 * value. Rows, heads and keys are counted in 32 bits; addresses are 64-bit products of strides. */
#ifndef KERNELS_CUDA_ATTENTION_ARGUMENTS_H
#define KERNELS_CUDA_ATTENTION_ARGUMENTS_H
#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
typedef __nv_bfloat16 attention_value;
#else
typedef uint16_t attention_value; /* bf16, which C does not know */
#endif

enum { MOST_SEGMENTS = 60 }; /* kernel arguments have 4 KB */

/* attn_segment: row i of [row_begin, row_end) sees keys 0 .. min(length, i + offset + 1) - 1. Here
 * the offset counts from row 0: attn_segment.causal_offset - row_begin. */
typedef struct {
    const attention_value *k, *v;
    int64_t row_stride, head_stride; /* elements */
    int32_t length, row_begin, row_end, offset;
} segment;

typedef struct {
    const attention_value *q;
    attention_value *out; /* or NULL */
    float *acc, *lse;   /* or NULL */
    float *part_acc;    /* [splits, rows, heads, head_dim] when the keys are split, else NULL */
    float *part_lse;    /* [splits, rows, heads] */
    int64_t q_row_stride, out_row_stride;
    float scale, scale_log2; /* scale, scale * log2(e) */
    int32_t rows, heads, kv_heads, group;
    int32_t tiles;           /* of query rows (times the group's heads where they are packed) */
    int32_t section;         /* query heads that are worked on side by side */
    int32_t splits;          /* parts that the keys are split into */
    int32_t fold;
    int32_t segment_count;
    segment segments[MOST_SEGMENTS];
} attention_arguments;
#endif
