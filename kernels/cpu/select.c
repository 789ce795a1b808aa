/* What compressors and greedy decoding choose by: scores, pooling, the k best rows, the gather of
 * their keys and values, and argmax. All choices are total orders, so every host and every device
 * chooses alike. */
#include "harness/error.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cpu_score_query(device *d, float *scores, const void *q, int64_t query_rows, const void *kv,
                     int64_t rows, int heads, int kv_heads, int head_dim)
{
    cpu_state *state = cpu_begin(d);
    int group = heads / kv_heads;
    float *mean = alloc_or_die((size_t)kv_heads * (size_t)head_dim, sizeof *mean);
    for (int h = 0; h < kv_heads && query_rows > 0; h++)
        for (int e = 0; e < head_dim; e++) {
            double sum = 0;
            for (int64_t i = 0; i < query_rows; i++)
                for (int g = 0; g < group; g++)
                    sum += ((const float *)q)[(i * heads + h * group + g) * head_dim + e];
            mean[h * head_dim + e] = (float)(sum / (double)(query_rows * group));
        }
#pragma omp parallel for schedule(static) if (rows * kv_heads * head_dim >= CPU_PARALLEL_ELEMENTS)
    for (int64_t t = 0; t < rows; t++)
        for (int h = 0; h < kv_heads; h++) {
            const float *k = (const float *)kv + (t * kv_heads + h) * 2 * head_dim;
            scores[t * kv_heads + h] = state->lanes->dot(k, mean + h * head_dim, head_dim);
        }
    free(mean);
}

void cpu_weigh_by_norm(device *d, float *scores, const void *kv, int64_t rows, int kv_heads,
                       int head_dim)
{
    cpu_state *state = cpu_begin(d);
#pragma omp parallel for schedule(static) if (rows * kv_heads * head_dim >= CPU_PARALLEL_ELEMENTS)
    for (int64_t pair = 0; pair < rows * kv_heads; pair++) {
        const float *v = (const float *)kv + (2 * pair + 1) * head_dim;
        scores[pair] += 0.5f * logf(state->lanes->dot(v, v, head_dim));
    }
}

void cpu_max_pool5(device *d, float *out, const float *in, int64_t rows, int kv_heads)
{
    cpu_begin(d);
#pragma omp parallel for schedule(static) if (rows * kv_heads >= CPU_PARALLEL_ELEMENTS)
    for (int64_t t = 0; t < rows; t++) {
        int64_t begin = t < 2 ? 0 : t - 2, end = t + 3 < rows ? t + 3 : rows;
        for (int h = 0; h < kv_heads; h++) {
            float top = in[begin * kv_heads + h];
            for (int64_t i = begin + 1; i < end; i++)
                top = in[i * kv_heads + h] > top ? in[i * kv_heads + h] : top;
            out[t * kv_heads + h] = top;
        }
    }
}

/* A key that orders like the score as an unsigned integer: NaN lowest, below -inf; -0 equals 0. */
static uint32_t order_key(float score)
{
    if (isnan(score))
        return 0;
    score += 0.0f; /* -0 becomes 0 */
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The key of the k-th best row, found digit by digit (11, 11 and 10 bits), and how many rows with
 * exactly this key belong to the k best: O(n) whatever the values. 1 <= k <= rows. */
static uint32_t kth_key(const float *scores, int64_t rows, int stride, int64_t k, int64_t *equal)
{
    static const int shifts[] = {21, 10, 0}, bits[] = {11, 11, 10};
    uint32_t prefix = 0, mask = 0;
    for (int pass = 0; pass < 3; pass++) {
        int64_t counts[2048] = {0};
        uint32_t digits = (1u << bits[pass]) - 1;
        for (int64_t t = 0; t < rows; t++) {
            uint32_t key = order_key(scores[t * stride]);
            if ((key & mask) == prefix)
                counts[key >> shifts[pass] & digits]++;
        }
        uint32_t digit = digits;
        while (counts[digit] < k)
            k -= counts[digit--];
        prefix |= digit << shifts[pass];
        mask |= digits << shifts[pass];
    }
    *equal = k;
    return prefix;
}

void cpu_top_k(device *d, int32_t *index, const float *scores, int64_t rows, int kv_heads,
               int64_t k)
{
    cpu_begin(d);
    if (k <= 0)
        return;
#pragma omp parallel for schedule(static) if (rows * kv_heads >= CPU_PARALLEL_ELEMENTS)
    for (int h = 0; h < kv_heads; h++) {
        int64_t equal, found = 0;
        uint32_t least = kth_key(scores + h, rows, kv_heads, k, &equal);
        for (int64_t t = 0; t < rows && found < k; t++) {
            uint32_t key = order_key(scores[t * kv_heads + h]);
            if (key > least || (key == least && equal-- > 0))
                index[found++ * kv_heads + h] = (int32_t)t;
        }
    }
}

void cpu_gather_kv(device *d, void *slab, const void *kv, const int32_t *index, int64_t k,
                   int kv_heads, int head_dim)
{
    cpu_begin(d);
    int64_t pair = 2 * (int64_t)head_dim;
#pragma omp parallel for schedule(static) if (k * kv_heads * pair >= CPU_PARALLEL_ELEMENTS)
    for (int64_t i = 0; i < k; i++)
        for (int h = 0; h < kv_heads; h++)
            memcpy((float *)slab + (i * kv_heads + h) * pair,
                   (const float *)kv + ((int64_t)index[i * kv_heads + h] * kv_heads + h) * pair,
                   (size_t)pair * sizeof(float));
}

void cpu_argmax(device *d, int32_t *ids, const float *logits, int64_t rows, int vocab)
{
    cpu_state *state = cpu_begin(d);
#pragma omp parallel for schedule(static) if (rows > 1)
    for (int64_t i = 0; i < rows; i++) {
        const float *row = logits + i * vocab;
        float top = state->lanes->largest(row, vocab);
        int32_t id = 0;
        while (id < vocab && !(row[id] == top))
            id++;
        ids[i] = id < vocab ? id : 0; /* all NaN */
    }
}
