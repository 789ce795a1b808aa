/* The inner loops of the cpu device, written once in GCC's vectors. lanes_sse2.c, lanes_avx2.c and
 * lanes_avx512.c compile this with WIDTH floats a vector and BLOCK keys (or dimensions) in
 * registers beside MAX_VECTORS vectors of lanes: BLOCK * MAX_VECTORS sums plus their operands just
 * fill the processor's registers. No fast-math: -inf and NaN mean what they say. */
#include "kernels/cpu/lanes.h"
#include "kernels/hash.h"

#include <math.h>
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
 * gemm. Every element of the rows is read once for all lanes, and none is moved or packed before. */
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

/* Scores of the keys in rows[], the first of them key number `first` of the tile, into s. The
 * largest go to `top` in memory: in registers they would push operands of the sums out. */
INLINE void score_block(float *s, const float *q, const float *const rows[BLOCK], int head_dim,
                        float *top, const int32_t *limit, int first, const int vectors)
{
    vector sum[BLOCK][MAX_VECTORS];
    multiply_rows(sum, rows, q, head_dim, vectors);
    if (limit)
#pragma GCC unroll 8
        for (int j = 0; j < BLOCK; j++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) {
                integers seen = *(const loose_integers *)(limit + v * WIDTH) > first + j;
                sum[j][v] = choose(seen, sum[j][v], splat(-INFINITY));
            }
#pragma GCC unroll 8
    for (int j = 0; j < BLOCK; j++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            store(s + (j * vectors + v) * WIDTH, sum[j][v]);
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) {
        vector most = larger(larger(sum[0][v], sum[1][v]), larger(sum[2][v], sum[3][v]));
        if (BLOCK == 8)
            most = larger(most, larger(larger(sum[BLOCK - 4][v], sum[BLOCK - 3][v]),
                                       larger(sum[BLOCK - 2][v], sum[BLOCK - 1][v])));
        store(top + v * WIDTH, larger(most, load(top + v * WIDTH)));
    }
}

/* acc[e] = acc[e] * scale + sum over keys of weight[j] * v[j][e], for `dims` <= BLOCK dimensions. */
INLINE void value_block(float *acc, const float *weights, const float *v, int64_t stride, int keys,
                        const vector *scale, const int dims, const int vectors)
{
    vector sum[BLOCK][MAX_VECTORS];
#pragma GCC unroll 8
    for (int e = 0; e < dims; e++)
#pragma GCC unroll 3
        for (int i = 0; i < vectors; i++)
            sum[e][i] = load(acc + (e * vectors + i) * WIDTH) * scale[i];
    for (int j = 0; j < keys; j++) {
        vector weight[MAX_VECTORS];
#pragma GCC unroll 3
        for (int i = 0; i < vectors; i++)
            weight[i] = load(weights + (j * vectors + i) * WIDTH);
#pragma GCC unroll 8
        for (int e = 0; e < dims; e++) {
            vector value = splat(v[e]);
#pragma GCC unroll 3
            for (int i = 0; i < vectors; i++)
                sum[e][i] += value * weight[i];
        }
        v += stride;
    }
#pragma GCC unroll 8
    for (int e = 0; e < dims; e++)
#pragma GCC unroll 3
        for (int i = 0; i < vectors; i++)
            store(acc + (e * vectors + i) * WIDTH, sum[e][i]);
}

INLINE void attend_vectors(const lane_group *group, const float *k, const float *v, int64_t stride,
                           int keys, const int32_t *limit, float *scratch, const int vectors)
{
    vector scale[MAX_VECTORS], sum[MAX_VECTORS], base[MAX_VECTORS];
    float *tops = scratch + KEY_TILE * MAX_LANES;
    for (int i = 0; i < vectors; i++)
        store(tops + i * WIDTH, load(group->top + i * WIDTH));
    for (int first = 0; first < keys; first += BLOCK) {
        const float *rows[BLOCK];
        int count = keys - first < BLOCK ? keys - first : BLOCK;
        for (int j = 0; j < BLOCK; j++) /* the last block repeats the last key */
            rows[j] = k + (first + (j < count ? j : count - 1)) * stride;
        score_block(scratch + first * vectors * WIDTH, group->q, rows, group->head_dim, tops, limit,
                    first, vectors);
    }
    for (int i = 0; i < vectors; i++) {
        /* A lane that has seen nothing keeps -inf; any finite base gives its scores weight 0. */
        vector top = load(tops + i * WIDTH);
        base[i] = choose(top == splat(-INFINITY), splat(0), top);
        scale[i] = exp2_lanes(load(group->top + i * WIDTH) - base[i]);
        sum[i] = load(group->sum + i * WIDTH) * scale[i];
        store(group->top + i * WIDTH, top);
    }
    for (int j = 0; j < keys; j++)
        for (int i = 0; i < vectors; i++) {
            float *score = scratch + (j * vectors + i) * WIDTH;
            vector weight = exp2_lanes(load(score) - base[i]);
            sum[i] += weight;
            store(score, weight);
        }
    for (int i = 0; i < vectors; i++)
        store(group->sum + i * WIDTH, sum[i]);
    int e = 0;
    for (; e + BLOCK <= group->head_dim; e += BLOCK)
        value_block(group->acc + e * vectors * WIDTH, scratch, v + e, stride, keys, scale, BLOCK,
                    vectors);
    for (; e < group->head_dim; e += 2)
        value_block(group->acc + e * vectors * WIDTH, scratch, v + e, stride, keys, scale, 2,
                    vectors);
}

static void attend(const lane_group *group, const float *k, const float *v, int64_t stride,
                   int keys, const int32_t *limit, float *scratch)
{
    switch (group->vectors) {
    case 1:
        attend_vectors(group, k, v, stride, keys, limit, scratch, 1);
        break;
    case 2:
        attend_vectors(group, k, v, stride, keys, limit, scratch, 2);
        break;
    default:
        attend_vectors(group, k, v, stride, keys, limit, scratch, 3);
    }
}

/* m rows of a against `columns` rows of w, every element of w read once. */
INLINE void few_rows_block(float *c, int64_t ldc, const float *a, int64_t lda, const float *w,
                           const float *bias, int64_t k, int add, const int m, const int columns)
{
    vector sum[FEW_ROWS_MAX][4];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            sum[i][j] = (vector){0};
    int64_t e = 0;
    for (; e + WIDTH <= k; e += WIDTH) {
        vector weight[4];
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            weight[j] = load(w + j * k + e);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++) {
            vector x = load(a + i * lda + e);
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++)
                sum[i][j] += x * weight[j];
        }
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < columns; j++) {
            float total = lane_sum(sum[i][j]);
            for (int64_t t = e; t < k; t++)
                total += a[i * lda + t] * w[j * k + t];
            if (bias)
                total += bias[j];
            c[i * ldc + j] = add ? c[i * ldc + j] + total : total;
        }
}

INLINE void few_rows_columns(float *c, int64_t ldc, const float *a, int64_t lda, const float *w,
                             const float *bias, int64_t n, int64_t k, int add, const int m,
                             const int columns)
{
    int64_t j = 0;
    for (; j + columns <= n; j += columns)
        few_rows_block(c + j, ldc, a, lda, w + j * k, bias ? bias + j : 0, k, add, m, columns);
    for (; j < n; j++)
        few_rows_block(c + j, ldc, a, lda, w + j * k, bias ? bias + j : 0, k, add, m, 1);
}

static void few_rows(float *c, int64_t ldc, const float *a, int64_t lda, const float *w,
                     const float *bias, int m, int64_t n, int64_t k, int add)
{
    const int registers = WIDTH == 16 ? 24 : 9; /* for sums */
    switch (m) {
#define CASE(ROWS, COLUMNS)                                                                        \
    case ROWS:                                                                                     \
        few_rows_columns(c, ldc, a, lda, w, bias, n, k, add, ROWS, COLUMNS);                       \
        break;
        CASE(1, 4)
        CASE(2, 4)
        CASE(3, registers > 9 ? 4 : 3)
        CASE(4, registers > 9 ? 4 : 2)
        CASE(5, registers > 9 ? 3 : 1)
        CASE(6, registers > 9 ? 3 : 1)
        CASE(7, registers > 9 ? 3 : 1)
        CASE(8, registers > 9 ? 3 : 1)
#undef CASE
    }
}

INLINE void many_rows_vectors(float *c, int64_t ldc, const float *lanes, int rows, const float *w,
                              int64_t stride, const float *bias, int64_t n, int64_t k, int add,
                              const int vectors)
{
    for (int64_t column = 0; column < n; column += BLOCK) {
        const float *block[BLOCK];
        int count = n - column < BLOCK ? (int)(n - column) : BLOCK;
        for (int j = 0; j < BLOCK; j++) /* the last block repeats the last column */
            block[j] = w + (column + (j < count ? j : count - 1)) * stride;
        vector sum[BLOCK][MAX_VECTORS];
        multiply_rows(sum, block, lanes, k, vectors);
        float results[BLOCK][MAX_LANES];
#pragma GCC unroll 8
        for (int j = 0; j < BLOCK; j++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                store(results[j] + v * WIDTH, sum[j][v] + (bias ? bias[column + j % count] : 0));
        for (int i = 0; i < rows; i++) {
            float *to = c + i * ldc + column;
            for (int j = 0; j < count; j++)
                to[j] = add ? to[j] + results[j][i] : results[j][i];
        }
    }
}

static void many_rows(float *c, int64_t ldc, const float *lanes, int vectors, int rows,
                      const float *w, int64_t stride, const float *bias, int64_t n, int64_t k,
                      int add)
{
    switch (vectors) {
    case 1:
        many_rows_vectors(c, ldc, lanes, rows, w, stride, bias, n, k, add, 1);
        break;
    case 2:
        many_rows_vectors(c, ldc, lanes, rows, w, stride, bias, n, k, add, 2);
        break;
    default:
        many_rows_vectors(c, ldc, lanes, rows, w, stride, bias, n, k, add, 3);
    }
}

static float dot(const float *a, const float *b, int count)
{
    vector sum = {0};
    int i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        sum += load(a + i) * load(b + i);
    float total = lane_sum(sum);
    for (; i < count; i++)
        total += a[i] * b[i];
    return total;
}

static void rmsnorm(float *out, const float *x, const float *weight, int count, float epsilon)
{
    vector sums[4] = {{0}, {0}, {0}, {0}};
    int i = 0;
    for (; i + 4 * WIDTH <= count; i += 4 * WIDTH)
        for (int j = 0; j < 4; j++) {
            vector part = load(x + i + j * WIDTH);
            sums[j] += part * part;
        }
    float squares = lane_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; i < count; i++)
        squares += x[i] * x[i];
    float scale = 1.0f / sqrtf(squares / (float)count + epsilon);
    for (i = 0; i < count; i++)
        out[i] = x[i] * scale * weight[i];
}

/* x * e^x / (1 + e^x). The exponent is cut off at 87.3, from where on the quotient is 1, and at -88,
 * where it is 0; it is reduced with ln 2 in two parts, of which the first has so few bits that its
 * products with n are exact. */
INLINE vector silu_lanes(vector x)
{
    vector exponent = larger(splat(-88.0f), -larger(splat(-87.3f), -x));
    vector shifted = exponent * 1.44269504088896341f + INTEGER_SHIFT;
    vector n = shifted - INTEGER_SHIFT;
    vector rest = (exponent - n * 0.693359375f) - n * -2.12194440e-4f;
    vector power = power_of_two(shifted, rest * 1.44269504088896341f);
    return x * (power / (1.0f + power));
}

static void silu(float *x, int64_t count)
{
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        store(x + i, silu_lanes(load(x + i)));
    if (i < count) {
        float rest[WIDTH] = {0};
        memcpy(rest, x + i, (size_t)(count - i) * sizeof *x);
        store(rest, silu_lanes(load(rest)));
        memcpy(x + i, rest, (size_t)(count - i) * sizeof *x);
    }
}

static void swiglu(float *out, const float *gate, const float *up, int64_t count)
{
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        store(out + i, silu_lanes(load(gate + i)) * load(up + i));
    if (i < count) {
        float rest[WIDTH] = {0};
        memcpy(rest, gate + i, (size_t)(count - i) * sizeof *gate);
        store(rest, silu_lanes(load(rest)));
        for (int64_t j = i; j < count; j++)
            out[j] = rest[j - i] * up[j];
    }
}

static void rotate(float *out, const float *in, const float *table, int half)
{
    for (int i = 0; i < half; i++) {
        float lo = in[i], hi = in[i + half], cosine = table[2 * i], sine = table[2 * i + 1];
        out[i] = lo * cosine - hi * sine;
        out[i + half] = hi * cosine + lo * sine;
    }
}

static void widen_bf16(float *out, const char *in, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* Half precision by integer arithmetic: exponent and mantissa moved into float32's place are too
 * small by 2^112 (also where they are subnormal); infinities and NaN get the full exponent. */
static void widen_f16(float *out, const char *in, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        uint32_t magnitude = half & 0x7fffu;
        uint32_t moved = magnitude << 13;
        float value;
        memcpy(&value, &moved, sizeof value);
        value *= 0x1p112f;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        bits = magnitude >= 0x7c00u ? moved | 0x7f800000u : bits;
        bits |= (uint32_t)(half & 0x8000u) << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

static void random_lanes(float *out, int64_t first, int64_t count, uint64_t seed, float bound)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = hash_uniform(seed, (uint64_t)(first + i), bound);
}

static void blend(float *out, float b, const float *x, float a, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = a * x[i] + b * out[i];
}

static float largest(const float *x, int64_t count)
{
    vector best[4];
    for (int j = 0; j < 4; j++)
        best[j] = splat(-INFINITY);
    int64_t i = 0;
    for (; i + 4 * WIDTH <= count; i += 4 * WIDTH)
        for (int j = 0; j < 4; j++)
            best[j] = larger(load(x + i + j * WIDTH), best[j]);
    best[0] = larger(larger(best[0], best[1]), larger(best[2], best[3]));
    float top = -INFINITY;
    for (int j = 0; j < WIDTH; j++)
        top = best[0][j] > top ? best[0][j] : top;
    for (; i < count; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

const cpu_lanes LANES_TABLE = {
    .name = LANES_NAME,
    .width = WIDTH,
    .attend = attend,
    .few_rows = few_rows,
    .many_rows = many_rows,
    .rmsnorm = rmsnorm,
    .swiglu = swiglu,
    .silu = silu,
    .rotate = rotate,
    .widen_bf16 = widen_bf16,
    .widen_f16 = widen_f16,
    .random = random_lanes,
    .blend = blend,
    .dot = dot,
    .largest = largest,
};
