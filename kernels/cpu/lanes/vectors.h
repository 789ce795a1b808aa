/* Vectors of WIDTH floats in GCC's notation, and the few operations on them that C has no sign for.
 * No fast-math: -inf and NaN mean what they say. */
#include "kernels/cpu/lanes/lanes.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

typedef float vector __attribute__((vector_size(4 * WIDTH)));
typedef int32_t integers __attribute__((vector_size(4 * WIDTH)));
typedef float loose_vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t loose_integers __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vector load(const float *from)
{
    return *(const loose_vector *)from;
}

INLINE void store(float *to, vector x)
{
    *(loose_vector *)to = x;
}

INLINE vector splat(float x)
{
    return x - (vector){0}; /* x - 0, since x + 0 would turn -0 into 0 and cost an addition */
}

INLINE vector choose(integers mask, vector yes, vector no)
{
    return (vector)(((integers)yes & mask) | ((integers)no & ~mask));
}

/* a > b ? a : b in every lane: b where either is NaN, as maxps does. */
INLINE vector larger(vector a, vector b)
{
#if WIDTH == 16
    return _mm512_max_ps(a, b);
#elif WIDTH == 8
    return _mm256_max_ps(a, b);
#elif defined __x86_64__
    return _mm_max_ps(a, b);
#else
    return choose(a > b, a, b);
#endif
}

/* Sum over the lanes, in halves. */
INLINE float lane_sum(vector x)
{
#if WIDTH == 16
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
#elif WIDTH == 8
    __m256 eight = x;
#endif
#if WIDTH > 4
    typedef float half_vector __attribute__((vector_size(16)));
    half_vector four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#else
    vector four = x;
#endif
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* to[e * to_stride + i] (+)= from[i * from_stride + e] * scale for i < rows, e < columns, in blocks
 * of 4 x 4. The rows of `to` are finished one block after the other: their stride may be one that
 * lets only a few of them into the first cache. */
INLINE void transpose_block(float *to, int64_t to_stride, const float *from, int64_t from_stride,
                            int64_t rows, int64_t columns, float scale, const int add)
{
    typedef float four __attribute__((vector_size(16)));
    typedef float loose_four __attribute__((vector_size(16), aligned(4), may_alias));
    int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int64_t e = 0; e < whole_columns; e += 4)
        for (int64_t i = 0; i < whole_rows; i += 4) {
            const float *row = from + i * from_stride + e;
            four a = *(const loose_four *)row;
            four b = *(const loose_four *)(row + from_stride);
            four c = *(const loose_four *)(row + 2 * from_stride);
            four d = *(const loose_four *)(row + 3 * from_stride);
            four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
            four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            four turned[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                              __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                              __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                              __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                loose_four *out = (loose_four *)(to + (e + j) * to_stride + i);
                if (add)
                    *out += turned[j] * scale;
                else
                    *out = turned[j] * scale;
            }
        }
    for (int64_t e = 0; e < columns; e++)
        for (int64_t i = e < whole_columns ? whole_rows : 0; i < rows; i++) {
            float *out = to + e * to_stride + i;
            *out = from[i * from_stride + e] * scale + (add ? *out : 0);
        }
}

/* 2^(n + f), where `shifted` holds n + 127 in its low bits, n in -127..127 (-127 gives 0), and f is
 * in [-1/2, 1/2]. A polynomial of degree 6, its coefficients from a Remez exchange for relative
 * error with p(0) = 1 fixed (2.6e-9 before rounding). */
INLINE vector power_of_two(vector shifted, vector f)
{
    vector p = splat(0.000155946767f);
    p = p * f + 0.00134066438f;
    p = p * f + 0.00961769298f;
    p = p * f + 0.0555031055f;
    p = p * f + 0.240226528f;
    p = p * f + 0.693147215f;
    p = p * f + 1.0f;
    return p * (vector)((integers)shifted << 23);
}

/* Adding it leaves the nearest integer plus 127 in the low bits. */
static const float INTEGER_SHIFT = 0x1.8p23f + 127.0f;

/* 2^x for x <= 127, within 1 ulp; exactly 1 at 0, 0 below -126.5, NaN at NaN. */
INLINE vector exp2_lanes(vector x)
{
    x = larger(splat(-127.0f), x);
    vector shifted = x + INTEGER_SHIFT;
    return power_of_two(shifted, x - (shifted - INTEGER_SHIFT));
}

/* sum[j][v] = sum over e < count of rows[j][e] * lanes[e][v]: the product inside both attention and
 * gemm. Every element of the rows is read once for all lanes, and none is moved or packed. */
INLINE void multiply_rows(vector sum[BLOCK][MAX_VECTORS], const float *const rows[BLOCK],
                          const float *lanes, int64_t count, const int vectors)
{
#pragma GCC unroll 8
    for (int j = 0; j < BLOCK; j++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            sum[j][v] = (vector){0};
    for (int64_t e = 0; e < count; e++) {
        vector x[MAX_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            x[v] = load(lanes + (e * vectors + v) * WIDTH);
#pragma GCC unroll 8
        for (int j = 0; j < BLOCK; j++) {
            vector element = splat(rows[j][e]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                sum[j][v] += element * x[v];
        }
    }
}
