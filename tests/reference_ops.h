/* The operations of kernels/device.h in float64, written from their definitions in the header and
 * as plainly as possible: what a device's results are held against. Inputs are the float32 values
 * that the device sees; outputs are packed. `weight` outputs are what the tolerance scales with:
 * the same sums over absolute values, so that cancellation is not held against the device. */
#ifndef TESTS_REFERENCE_OPS_H
#define TESTS_REFERENCE_OPS_H
#include "kernels/device.h"

/* c [m, n] = a w^T + bias (+ before, [m, n] with stride ldc, or NULL); weight [m, n]. */
void reference_gemm(double *c, double *weight, const float *before, int64_t ldc, const float *a,
                    int64_t lda, const float *w, const float *bias, int64_t m, int64_t n,
                    int64_t k);

/* Of all segments of the call at once, whatever out, acc and fold say. out [rows, heads, head_dim],
 * lse [rows, heads]; magnitude [rows, heads] = the largest scale * sum |q_e k_e| of a visible key.
 * Returns the number of visible (row, key) pairs. */
int64_t reference_attention(double *out, double *lse, double *magnitude, const attn_call *call);

void reference_merge(double *out, const float *parts_out, const float *lse, int parts, int64_t rows,
                     int heads, int head_dim);
void reference_rmsnorm(double *out, const float *x, const float *weight, int64_t rows, int hidden,
                       double epsilon);
void reference_rope(double *q, double *kv, const float *qkv, const int32_t *positions,
                    const float *table, int64_t rows, int heads, int kv_heads, int head_dim);
double reference_silu(double x);
void reference_score_query(double *scores, double *weight, const float *q, int64_t query_rows,
                           const float *kv, int64_t rows, int heads, int kv_heads, int head_dim);
/* scores [rows, kv_heads] = ln(exp(before) |v|). */
void reference_weigh_by_norm(double *scores, const float *before, const float *kv, int64_t rows,
                             int kv_heads, int head_dim);
/* By sorting all rows. */
void reference_top_k(int32_t *index, const float *scores, int64_t rows, int kv_heads, int64_t k);
/* Of half-precision and bfloat16 bits, by their definition. */
double reference_f16(uint16_t bits);
double reference_bf16(uint16_t bits);
#endif
