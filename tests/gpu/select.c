/* Scores, pooling, the k best rows, gather and argmax of the cuda device against the cpu device. The
 * choices must be the same to the last index, whatever the scores: ties, both zeros, infinities and
 * NaN. */
#include "harness/error.h"
#include "tests/gpu/support/pair.h"

#include <math.h>
#include <stdlib.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof *(array)))

static void test_score_query(void)
{
    const struct {
        int heads, kv_heads, head_dim;
    } shapes[] = {{9, 3, 64}, {32, 8, 128}, {4, 4, 64}, {8, 1, 128}, {6, 2, 80}, {5, 5, 36}};
    for (int i = 0; i < 2 * COUNT_OF(shapes); i++) {
        int heads = shapes[i / 2].heads, kv_heads = shapes[i / 2].kv_heads;
        int head_dim = shapes[i / 2].head_dim;
        int64_t rows = pair_between(1, pair_small ? 40 : 3000);
        int64_t query_rows = i % 5 == 4 ? 0 : pair_between(1, pair_small ? 5 : 120);
        pair_shape("%lld query rows, %lld rows, heads %d/%d of %d", (long long)query_rows,
                   (long long)rows, heads, kv_heads, head_dim);
        pair_misalign(pair_between(0, 2) ? 0 : (int)pair_between(1, 7));
        pair q = pair_random(query_rows * heads * head_dim, PAIR_ACT, 2);
        pair kv = pair_random(rows * kv_heads * 2 * head_dim, PAIR_ACT, 2);
        pair scores = pair_output(rows * kv_heads, PAIR_F32);
        cpu->score_query(cpu, scores.cpu, q.cpu, query_rows, kv.cpu, rows, heads, kv_heads,
                         head_dim);
        gpu->score_query(gpu, scores.gpu, q.gpu, query_rows, kv.gpu, rows, heads, kv_heads,
                         head_dim);
        /* float32 throughout: head_dim products of at most 2 * 2, and a mean that is off by as many
         * epsilons as it has terms in a row (a 32nd of them). */
        double terms = head_dim + (double)query_rows * heads / kv_heads / 32 + 32;
        pair_close("scores", scores, rows * kv_heads, (tolerance){.absolute = terms * 4 * 0x1p-23});
        pair_shape_end();
    }
}

/* Scores of one of several characters. */
static float *some_scores(int64_t count, int character)
{
    static const float odd[] = {NAN, 0.0f, -0.0f, INFINITY, -INFINITY, 1.0f, -1.0f, 0x1p-149f};
    float *scores = alloc_or_die((size_t)count, sizeof *scores);
    for (int64_t i = 0; i < count; i++)
        switch (character) {
        case 0: /* all different, nearly */
            scores[i] = (float)(pair_uniform() - 0.5);
            break;
        case 1: /* many ties */
            scores[i] = (float)pair_between(-3, 3);
            break;
        case 2: /* one value */
            scores[i] = -0.25f;
            break;
        case 3: /* values that differ in the last bits only */
            scores[i] = 1.0f + (float)pair_between(0, 40) * 0x1p-23f;
            break;
        case 4: /* the odd ones */
            scores[i] = odd[pair_between(0, COUNT_OF(odd) - 1)];
            break;
        case 5: /* NaN alone, but for a few */
            scores[i] = pair_between(0, 50) ? NAN : -INFINITY;
            break;
        case 6: /* ascending */
            scores[i] = (float)i;
            break;
        default: /* of every size */
            scores[i] = ldexpf((float)(pair_uniform() - 0.5), (int)pair_between(-140, 127));
        }
    return scores;
}
enum { CHARACTERS = 8 };

static void test_max_pool5(void)
{
    for (int i = 0; i < 2 * CHARACTERS; i++) {
        int kv_heads = (int)pair_between(1, 9);
        int64_t rows = i < 7 ? i + 1 : pair_between(1, pair_small ? 99 : 5000);
        pair_shape("rows %lld, %d heads, scores of kind %d", (long long)rows, kv_heads,
                   i % CHARACTERS);
        float *scores = some_scores(rows * kv_heads, i % CHARACTERS);
        pair in = pair_given(scores, rows * kv_heads, PAIR_F32);
        pair out = pair_output(rows * kv_heads, PAIR_F32);
        cpu->max_pool5(cpu, out.cpu, in.cpu, rows, kv_heads);
        gpu->max_pool5(gpu, out.gpu, in.gpu, rows, kv_heads);
        pair_equal("out", out);
        free(scores);
        pair_shape_end();
    }
}

/* In place, so nothing can be poisoned but the keys; an untouched score is off by ln |v|. */
static void test_weigh_by_norm(void)
{
    const int dims[] = {128, 64, 80, 36, 256, 6};
    for (int i = 0; i < 4 * COUNT_OF(dims); i++) {
        int head_dim = dims[i % COUNT_OF(dims)], kv_heads = (int)pair_between(1, 9);
        int64_t rows = i < 7 ? i + 1 : pair_between(1, pair_small ? 99 : 5000);
        int64_t pairs = rows * kv_heads;
        pair_shape("%lld rows, %d heads of %d, scores of kind %d", (long long)rows, kv_heads, head_dim,
                   i % CHARACTERS);
        pair_misalign(pair_between(0, 2) ? 0 : (int)pair_between(1, 7));
        pair random = pair_random(pairs * 2 * head_dim, PAIR_ACT, 2);
        for (int64_t j = 0; j < pairs; j++)
            for (int e = 0; e < head_dim; e++) {
                random.cpu[j * 2 * head_dim + e] = NAN;
                if (j % 11 == 5) /* a norm of 0 */
                    random.cpu[(j * 2 + 1) * head_dim + e] = 0;
            }
        pair kv = pair_given(random.cpu, random.count, PAIR_ACT);
        float *values = some_scores(pairs, i % CHARACTERS);
        pair scores = pair_given(values, pairs, PAIR_F32);
        cpu->weigh_by_norm(cpu, scores.cpu, kv.cpu, rows, kv_heads, head_dim);
        gpu->weigh_by_norm(gpu, scores.gpu, kv.gpu, rows, kv_heads, head_dim);
        /* Squares are added up in another order: each device's sum is off by at most head_dim halves
         * of an epsilon, its logarithm by as much in absolute terms, halved; then the logarithm's own
         * rounding (of at most ln 32 = 3.5, by 2 units) and the last sum's. */
        pair_close("scores", scores, pairs,
                   (tolerance){.relative = 0x1p-23, .absolute = (head_dim / 2 + 16) * 0x1p-23});
        free(values);
        pair_shape_end();
    }
}

static void test_top_k(void)
{
    const int64_t sizes[] = {1, 2, 33, 255, 2047, 2048, 2049, 4096, 30000, 131072};
    for (int i = 0; i < 5 * CHARACTERS; i++) {
        int kv_heads = i % 4 == 3 ? (int)pair_between(1, 32) : (int)pair_between(1, 8);
        int64_t rows = sizes[i % (pair_small ? 7 : COUNT_OF(sizes))], k;
        if (i % 3 == 2)
            rows = pair_between(1, rows);
        switch (i % 5) {
        case 0:
            k = rows;
            break;
        case 1:
            k = 1;
            break;
        case 2:
            k = (rows + 7) / 8;
            break;
        default:
            k = pair_between(1, rows);
        }
        pair_shape("%lld of %lld rows, %d heads, scores of kind %d", (long long)k, (long long)rows,
                   kv_heads, i % CHARACTERS);
        float *values = some_scores(rows * kv_heads, i % CHARACTERS);
        pair scores = pair_given(values, rows * kv_heads, PAIR_F32);
        pair index = pair_output(k * kv_heads, PAIR_I32);
        cpu->top_k(cpu, index.cpu_ids, scores.cpu, rows, kv_heads, k);
        gpu->top_k(gpu, index.gpu, scores.gpu, rows, kv_heads, k);
        pair_equal("index", index);
        free(values);
        pair_shape_end();
    }
}

/* A million rows, and so many scores that their keys do not fit into scratch. */
static void test_top_k_long(void)
{
    if (pair_small) {
        pair_skip("not with --small");
        return;
    }
    const struct {
        int64_t rows, k;
        int kv_heads, character;
    } shapes[] = {{1 << 20, 4096, 8, 0}, {1 << 20, 1 << 17, 8, 1}, {(9 << 20) + 77, 70000, 8, 7}};
    for (int i = 0; i < COUNT_OF(shapes); i++) {
        int64_t rows = shapes[i].rows, k = shapes[i].k, kv_heads = shapes[i].kv_heads;
        pair_shape("%lld of %lld rows, %lld heads, scores of kind %d", (long long)k,
                   (long long)rows, (long long)kv_heads, shapes[i].character);
        float *values = some_scores(rows * kv_heads, shapes[i].character);
        pair scores = pair_given(values, rows * kv_heads, PAIR_F32);
        pair index = pair_output(k * kv_heads, PAIR_I32);
        cpu->top_k(cpu, index.cpu_ids, scores.cpu, rows, (int)kv_heads, k);
        gpu->top_k(gpu, index.gpu, scores.gpu, rows, (int)kv_heads, k);
        pair_equal("index", index);
        free(values);
        pair_shape_end();
    }
}

static void test_gather_kv(void)
{
    const int dims[] = {128, 64, 36, 2, 30};
    for (int i = 0; i < 3 * COUNT_OF(dims); i++) {
        int head_dim = dims[i % COUNT_OF(dims)], kv_heads = (int)pair_between(1, 9);
        int64_t rows = pair_between(1, pair_small ? 30 : 900), k = pair_between(1, rows);
        pair_shape("%lld of %lld rows, %d heads of %d", (long long)k, (long long)rows, kv_heads,
                   head_dim);
        pair_misalign(pair_between(0, 2) ? 0 : (int)pair_between(1, 7));
        pair kv = pair_random(rows * kv_heads * 2 * head_dim, PAIR_ACT, 1);
        pair index = pair_output(k * kv_heads, PAIR_I32);
        for (int64_t j = 0; j < index.count; j++)
            index.cpu_ids[j] = (int32_t)pair_between(0, rows - 1);
        gpu->upload(gpu, index.gpu, index.cpu_ids, (size_t)index.count * 4);
        pair slab = pair_output(k * kv_heads * 2 * head_dim, PAIR_ACT);
        cpu->gather_kv(cpu, slab.cpu, kv.cpu, index.cpu_ids, k, kv_heads, head_dim);
        gpu->gather_kv(gpu, slab.gpu, kv.gpu, index.gpu, k, kv_heads, head_dim);
        pair_equal("slab", slab);
        pair_shape_end();
    }
}

static void test_argmax(void)
{
    const int sizes[] = {128256, 49152, 1, 2, 33, 2048, 2049, 5000};
    for (int i = 0; i < 4 * CHARACTERS; i++) {
        int vocab = sizes[i / 4 % COUNT_OF(sizes)];
        int64_t rows = i % 3 == 0 ? 1 : pair_between(1, i % 3 == 1 ? 20 : pair_small ? 5 : 300);
        if (pair_small)
            vocab = vocab > 5000 ? vocab / 16 : vocab;
        pair_shape("rows %lld, vocab %d, logits of kind %d", (long long)rows, vocab,
                   i % CHARACTERS);
        pair_misalign(pair_between(0, 2) ? 0 : (int)pair_between(1, 7));
        float *values = some_scores(rows * vocab, i % CHARACTERS);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t e = 0; r % 5 == 4 && e < vocab; e++)
                values[r * vocab + e] = NAN; /* a row of nothing else */
        pair logits = pair_given(values, rows * vocab, PAIR_F32);
        pair ids = pair_output(rows, PAIR_I32);
        cpu->argmax(cpu, ids.cpu_ids, logits.cpu, rows, vocab);
        gpu->argmax(gpu, ids.gpu, logits.gpu, rows, vocab);
        pair_equal("ids", ids);
        free(values);
        pair_shape_end();
    }
}

static const pair_case cases[] = {
    {"score_query", test_score_query}, {"max_pool5", test_max_pool5},
    {"weigh_by_norm", test_weigh_by_norm}, {"top_k", test_top_k},
    {"top_k_long", test_top_k_long}, {"gather_kv", test_gather_kv}, {"argmax", test_argmax},
};

int main(int argc, char **argv)
{
    return pair_main(argc, argv, cases, COUNT_OF(cases));
}
