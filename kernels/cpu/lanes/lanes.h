/* The vector code of the cpu device: inner loops that are written once, in body.h and what it
 * includes, and compiled three times: for SSE2 (any x86-64, and through GCC's vectors any other
 * machine), AVX2 and AVX-512. The processor is asked once which it has. Single-threaded: callers
 * split the work. */
#ifndef KERNELS_CPU_LANES_H
#define KERNELS_CPU_LANES_H
#include <stdint.h>

enum {
    KEY_TILE = 64,    /* keys that attend() takes at once */
    MAX_VECTORS = 3,  /* vectors of query lanes that attend() takes at once */
    MAX_LANES = 48,   /* so many floats at most */
    SCRATCH_FLOATS = (KEY_TILE + 1) * MAX_LANES,
    FEW_ROWS_MAX = 8,  /* rows that few_rows() takes at once */
    FEW_LANES_MAX = 8, /* lanes of a group that attend_few() takes */
};

/* The running attention of one group of query lanes over one KV head: each lane is one (row, head)
 * of the queries, so that keys and values are read where they lie, nothing is summed across lanes
 * and one pass over K and V serves all heads of the group. */
typedef struct {
    int lanes; /* for attend() 1..MAX_VECTORS whole vectors, for attend_few() 1..FEW_LANES_MAX */
    int head_dim;
    int lane_stride, dim_stride; /* 1, lanes for attend(); head_dim, 1 for attend_few() */
    float *q;   /* [head_dim, lanes] through the strides, times scale * log2(e) */
    float *acc; /* the same shape: sum of 2^(score - top) * v */
    float *top; /* [lanes] largest score so far, or -inf */
    float *sum; /* [lanes] sum of 2^(score - top) */
} lane_group;

typedef struct {
    const char *name;
    int width; /* floats in a vector */

    /* Adds `keys` <= KEY_TILE keys and values, rows `stride` floats apart, to the group. Lane i
     * sees the first limit[i] of them; NULL: all lanes see all. scratch: SCRATCH_FLOATS. */
    void (*attend)(const lane_group *, const float *k, const float *v, int64_t stride, int keys,
                   const int32_t *limit, float *scratch);

    /* The same for a group so small (decode: one row) that its vectors would be nearly empty: here
     * the dimensions of one lane fill the vectors, and keys and values pass at memory bandwidth. */
    void (*attend_few)(const lane_group *, const float *k, const float *v, int64_t stride, int keys,
                       const int32_t *limit, float *scratch);

    /* c[i * ldc + j] (+)= a row i . w row j + bias[j], for i < m <= FEW_ROWS_MAX and j < n. */
    void (*few_rows)(float *c, int64_t ldc, const float *a, int64_t lda, const float *w,
                     const float *bias, int m, int64_t n, int64_t k, int add);

    /* The same for up to MAX_LANES rows of a in lanes [k, vectors * width], against the first k
     * elements of n rows of w that lie `stride` apart. */
    void (*many_rows)(float *c, int64_t ldc, const float *lanes, int vectors, int rows,
                      const float *w, int64_t stride, const float *bias, int64_t n, int64_t k,
                      int add);

    /* to[e * to_stride + i] = from[i * from_stride + e] * scale, for i < rows and e < columns. */
    void (*transpose)(float *to, int64_t to_stride, const float *from, int64_t from_stride,
                      int64_t rows, int64_t columns, float scale);

    void (*rmsnorm)(float *out, const float *x, const float *weight, int count, float epsilon);
    void (*swiglu)(float *out, const float *gate, const float *up, int64_t count);
    void (*silu)(float *x, int64_t count);
    /* (lo, hi) = (lo cos - hi sin, hi cos + lo sin), with table [half, 2] of cos, sin. */
    void (*rotate)(float *out, const float *in, const float *table, int half);
    /* From the bytes of a file, aligned or not. */
    void (*widen_bf16)(float *out, const char *in, int64_t count);
    void (*widen_f16)(float *out, const char *in, int64_t count);
    void (*random)(float *out, int64_t first, int64_t count, uint64_t seed, float bound);
    /* out = a * x + b * out */
    void (*blend)(float *out, float b, const float *x, float a, int count);
    float (*dot)(const float *a, const float *b, int count);
    float (*largest)(const float *x, int64_t count); /* NaN counts for nothing; -inf when none */
} cpu_lanes;

extern const cpu_lanes cpu_lanes_sse2, cpu_lanes_avx2, cpu_lanes_avx512;

/* The best that this processor runs; APBENCH_LANES=sse2|avx2|avx512 asks for a lesser one. */
const cpu_lanes *cpu_lanes_choose(void);
#endif
