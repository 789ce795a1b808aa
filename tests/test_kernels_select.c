/* The cpu device's operations for compressors: scores of rows by the query and their pooling, weighing by
 * norm, and the choice of the best, against float64 or the definition, as in test_kernels.c. Choices and
 * pooled scores must be equal bit for bit; scores are sums of up to 80 products, 8 epsilons. */
#include "harness/error.h"
#include "tests/kernels_fixture.h"
#include "tests/reference_ops.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Test(kernels, score_query_and_pool)
{
    FOR_ALL_LANES for (int rows = 1; rows < 900; rows = rows * 3 + 1) {
        int heads = 6, kv_heads = 3, head_dim = 2 * (int)draw_between(1, 40);
        int query_rows = (int)draw_between(1, 50);
        float *q = random_values(query_rows * heads * head_dim, 1);
        float *kv = random_values((int64_t)rows * kv_heads * 2 * head_dim, 1);
        float *scores = poisoned(rows * kv_heads), *pooled = poisoned(rows * kv_heads);
        double *want = alloc_or_die((size_t)(rows * kv_heads), sizeof *want);
        double *weight = alloc_or_die((size_t)(rows * kv_heads), sizeof *weight);
        reference_score_query(want, weight, q, query_rows, kv, rows, heads, kv_heads, head_dim);
        dev->score_query(dev, scores, q, query_rows, kv, rows, heads, kv_heads, head_dim);
        expect_close(scores, want, weight, rows * kv_heads, 8, "score_query");
        dev->max_pool5(dev, pooled, scores, rows, kv_heads);
        for (int t = 0; t < rows; t++)
            for (int h = 0; h < kv_heads; h++) {
                float top = -INFINITY;
                for (int i = t - 2; i <= t + 2; i++)
                    if (i >= 0 && i < rows)
                        top = fmaxf(top, scores[i * kv_heads + h]);
                cr_assert_eq(pooled[t * kv_heads + h], top);
            }
        free(q);
        free(kv);
        free(scores);
        free(pooled);
        free(want);
        free(weight);
    }
}

/* Scores of both signs up to 200, whose exponentials float32 does not hold. Keys are NaN: only values
 * count. Every seventh row has none but zeros. */
Test(kernels, weigh_by_norm)
{
    FOR_ALL_LANES for (int rows = 1; rows < 2500; rows = rows * 3 + 1) {
        int kv_heads = (int)draw_between(1, 5), head_dim = 2 * (int)draw_between(1, 70);
        int64_t pairs = (int64_t)rows * kv_heads;
        float *kv = random_values(pairs * 2 * head_dim, 2);
        for (int64_t i = 0; i < pairs; i++)
            for (int e = 0; e < head_dim; e++) {
                kv[i * 2 * head_dim + e] = NAN;
                if (i / kv_heads % 7 == 6)
                    kv[(i * 2 + 1) * head_dim + e] = 0;
            }
        float *scores = random_values(pairs, rows % 2 ? 3 : 200);
        double *want = alloc_or_die((size_t)pairs, sizeof *want);
        double *weight = alloc_or_die((size_t)pairs, sizeof *weight);
        reference_weigh_by_norm(want, scores, kv, rows, kv_heads, head_dim);
        /* Half of the relative error of a sum of head_dim squares, and two roundings. */
        for (int64_t i = 0; i < pairs; i++)
            weight[i] = 2 + sqrt(head_dim) + fabs(scores[i]) + fabs(want[i]);
        dev->weigh_by_norm(dev, scores, kv, rows, kv_heads, head_dim);
        for (int64_t i = 0; i < pairs; i++)
            if (i / kv_heads % 7 == 6) {
                cr_assert_eq(scores[i], -INFINITY);
                scores[i] = 0, want[i] = 0;
            }
        expect_close(scores, want, weight, pairs, 1, "weigh_by_norm");
        free(kv);
        free(scores);
        free(want);
        free(weight);
    }
}

/* With many ties, both zeros, infinities and NaN (which count as the worst). */
Test(kernels, top_k)
{
    FOR_ALL_LANES for (int trial = 0; trial < 120; trial++) {
        int64_t rows = draw_between(1, trial % 10 ? 200 : 9000), k = draw_between(0, rows);
        int kv_heads = (int)draw_between(1, 4);
        float *scores = random_values(rows * kv_heads, 10);
        static const float special[] = {NAN, -NAN, INFINITY, -INFINITY, 0, -0.0f, 1, -1,
                                        FLT_MIN, -1e-42f};
        for (int64_t i = 0; i < rows * kv_heads; i++) {
            if (trial % 3 == 0)
                scores[i] = roundf(scores[i] / 3);
            if (trial % 2 == 0 && draw_between(0, 2) == 0)
                scores[i] = special[draw_between(0, 9)];
        }
        int32_t *index = alloc_or_die((size_t)(k * kv_heads), sizeof *index);
        int32_t *want = alloc_or_die((size_t)(k * kv_heads), sizeof *want);
        memset(index, 0xff, (size_t)(k * kv_heads) * sizeof *index);
        dev->top_k(dev, index, scores, rows, kv_heads, k);
        reference_top_k(want, scores, rows, kv_heads, k);
        for (int64_t i = 0; i < k * kv_heads; i++)
            cr_assert_eq(index[i], want[i], "trial %d: %d, not %d", trial, index[i], want[i]);
        free(scores);
        free(index);
        free(want);
    }
}
