/* Attention over segments of the cuda device against the cpu device (float32, itself held against
 * float64 by test_attention): random segment lists, folds, few rows with long keys, the shapes of
 * the methods, sharp scores.
 *
 * Tolerance: the probabilities are rounded to bf16 before they multiply V, so an output may be off by
 * 2^-8 of the largest |v|, and by its own rounding where it is stored as bf16; over a whole call such
 * errors average, so its Frobenius error must stay below 2^-7. Log-sum-exps come from float32 sums:
 * a score of size m is off by a few 2^-22 m. Rows that see nothing: -inf and 0 exactly. Pointers are
 * 16-byte aligned and strides multiples of 8 elements, as all callers have them. */
#include "harness/error.h"
#include "kernels/cuda/cuda.h"
#include "tests/gpu/support/pair.h"

#include <math.h>
#include <stdlib.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof *(array)))

enum { SEGMENTS_MAX = 6 };

/* One call on both devices. */
typedef struct {
    attn_call cpu, gpu;
    attn_segment cpu_segments[SEGMENTS_MAX], gpu_segments[SEGMENTS_MAX];
    pair q, out, acc, lse;
    double score_size; /* about the largest |score| */
} both_calls;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Queries and an empty segment list. */
static void begin_call(both_calls *b, int64_t rows, int heads, int kv_heads, int head_dim,
                       int64_t stride, float size)
{
    *b = (both_calls){.score_size = size * sqrt((double)head_dim)};
    b->q = pair_random(rows * stride, PAIR_ACT, size);
    b->cpu = (attn_call){.rows = rows,
                         .heads = heads,
                         .kv_heads = kv_heads,
                         .head_dim = head_dim,
                         .scale = 1.0f / sqrtf((float)head_dim),
                         .q_row_stride = stride};
    b->gpu = b->cpu;
    b->cpu.q = b->q.cpu, b->cpu.segments = b->cpu_segments;
    b->gpu.q = b->q.gpu, b->gpu.segments = b->gpu_segments;
}

/* A segment of fresh keys and values: as the cache has them, or K and V apart with strides. */
static void add_segment(both_calls *b, int64_t length, int64_t row_begin, int64_t row_end,
                        int64_t causal_offset, bool as_cache)
{
    int head_dim = b->cpu.head_dim, kv_heads = b->cpu.kv_heads;
    attn_segment segment = {.length = length, .row_begin = row_begin, .row_end = row_end,
                            .causal_offset = causal_offset};
    attn_segment *to_cpu = &b->cpu_segments[b->cpu.segment_count++];
    attn_segment *to_gpu = &b->gpu_segments[b->gpu.segment_count++];
    segment.head_stride = as_cache ? 2 * head_dim : head_dim + 8 * pair_between(0, 2);
    segment.row_stride = segment.head_stride * kv_heads + (as_cache ? 0 : 8 * pair_between(0, 3));
    *to_cpu = *to_gpu = segment;
    if (length == 0 && pair_between(0, 1))
        return; /* no keys, no pointers */
    pair k = pair_random(length * segment.row_stride, PAIR_ACT, 1), v = k;
    if (!as_cache)
        v = pair_random(length * segment.row_stride, PAIR_ACT, 1);
    int shift = as_cache ? head_dim : 0;
    to_cpu->k = k.cpu, to_cpu->v = v.cpu + shift;
    to_gpu->k = k.gpu, to_gpu->v = (char *)v.gpu + (size_t)shift * gpu->act_bytes;
}

static void random_segments(both_calls *b, int count, int64_t length_max)
{
    int64_t rows = b->cpu.rows;
    for (int s = 0; s < count; s++) {
        int64_t length = pair_between(0, 9) ? pair_between(0, length_max) : 0;
        int64_t begin = pair_between(0, rows), end = pair_between(begin, rows);
        if (pair_between(0, 2) == 0)
            begin = 0, end = rows;
        int64_t offsets[] = {pair_between(-20, 20),
                             pair_between(-2 * rows - 3, length + 5),
                             length,
                             0,
                             INT64_MAX,
                             INT64_MIN,
                             length - 1};
        add_segment(b, length, begin, end, offsets[pair_between(0, COUNT_OF(offsets) - 1)],
                    pair_between(0, 1));
    }
}

static void into_out(both_calls *b, int64_t stride, bool with_lse)
{
    int64_t rows = b->cpu.rows;
    b->out = pair_output(rows * stride, PAIR_ACT);
    b->cpu.out = b->out.cpu, b->gpu.out = b->out.gpu;
    b->cpu.out_row_stride = b->gpu.out_row_stride = stride;
    if (with_lse) {
        b->lse = pair_output(rows * b->cpu.heads, PAIR_F32);
        b->cpu.lse = b->lse.cpu, b->gpu.lse = b->lse.gpu;
    }
}

static void into_acc(both_calls *b)
{
    int64_t pairs = b->cpu.rows * b->cpu.heads;
    b->acc = pair_output(pairs * b->cpu.head_dim, PAIR_F32);
    b->lse = pair_output(pairs, PAIR_F32);
    b->cpu.acc = b->acc.cpu, b->gpu.acc = b->acc.gpu;
    b->cpu.lse = b->lse.cpu, b->gpu.lse = b->lse.gpu;
}

static void run_both(both_calls *b)
{
    uint64_t cpu_before = cpu->flops, gpu_before = gpu->flops;
    cpu->attention(cpu, &b->cpu);
    gpu->attention(gpu, &b->gpu);
    if (gpu->flops - gpu_before != cpu->flops - cpu_before)
        pair_wrong("%llu operations were counted, not %llu",
                   (unsigned long long)(gpu->flops - gpu_before),
                   (unsigned long long)(cpu->flops - cpu_before));
}

/* Rows that see nothing: not nearly nothing. */
static void expect_empty_rows(const both_calls *b)
{
    int64_t pairs = b->cpu.rows * b->cpu.heads;
    int head_dim = b->cpu.head_dim;
    float *lse = alloc_or_die((size_t)pairs, sizeof *lse);
    float *acc = alloc_or_die((size_t)(pairs * head_dim), sizeof *acc);
    gpu->download(gpu, lse, b->lse.gpu, (size_t)pairs * 4);
    gpu->download(gpu, acc, b->acc.gpu, (size_t)(pairs * head_dim) * 4);
    for (int64_t i = 0; i < pairs; i++)
        for (int e = 0; b->lse.cpu[i] == -INFINITY && e < head_dim; e++)
            if (acc[i * head_dim + e] != 0)
                pair_wrong("row %lld head %d sees nothing, its element %d is %g",
                           (long long)(i / b->cpu.heads), (int)(i % b->cpu.heads), e,
                           acc[i * head_dim + e]);
    free(lse);
    free(acc);
}

/* `folds` partial results went before: the difference of two log-sum-exps is in their weights. */
static void expect_alike(const both_calls *b, int folds)
{
    tolerance sums = {.absolute = 0x1p-8 * (1 + folds)}, lse;
    double frobenius;
    lse = (tolerance){.relative = 0x1p-21,
                      .absolute = (1 + folds) * 0x1p-20 * (4 + b->score_size)};
    if (b->cpu.out) {
        sums.relative = BF16_ROUNDING;
        frobenius = pair_close("out", b->out, b->cpu.out_row_stride, sums);
    } else {
        frobenius = pair_close("acc", b->acc, (int64_t)b->cpu.heads * b->cpu.head_dim, sums);
        expect_empty_rows(b);
    }
    if (frobenius > 0x1p-7)
        pair_wrong("the Frobenius error of the whole is %.3g, above 2^-7", frobenius);
    if (b->cpu.lse)
        pair_close("lse", b->lse, b->cpu.heads, lse);
}

/* heads, kv_heads, head_dim: groups of 1 to 8. */
static void some_heads(int *heads, int *kv_heads, int *head_dim)
{
    *head_dim = pair_between(0, 1) ? 128 : 64;
    *kv_heads = (int)pair_between(1, pair_small ? 2 : 4);
    *heads = *kv_heads * (int)pair_between(1, 8);
}

static void test_random(void)
{
    for (int i = 0; i < (pair_small ? 6 : 60); i++) {
        int heads, kv_heads, head_dim, segments = (int)pair_between(0, SEGMENTS_MAX);
        some_heads(&heads, &kv_heads, &head_dim);
        int64_t rows = pair_between(1, pair_small ? 40 : 400), packed = heads * head_dim;
        int64_t q_stride = packed + 8 * pair_between(0, 3), out_stride = packed + 8 * pair_between(0, 3);
        pair_shape("rows %lld, heads %d/%d of %d, %d segments, %s", (long long)rows, heads,
                   kv_heads, head_dim, segments, i % 3 ? "out" : "acc");
        both_calls b;
        begin_call(&b, rows, heads, kv_heads, head_dim, q_stride, 2);
        random_segments(&b, segments, pair_small ? 100 : 700);
        if (i % 3)
            into_out(&b, out_stride, i % 3 == 1);
        else
            into_acc(&b);
        run_both(&b);
        expect_alike(&b, 0);
        pair_shape_end();
    }
}

/* The segments of a call in two, the second part folded in; one of them may be empty. */
static void test_fold(void)
{
    for (int i = 0; i < (pair_small ? 4 : 30); i++) {
        int heads, kv_heads, head_dim, segments = (int)pair_between(1, SEGMENTS_MAX);
        some_heads(&heads, &kv_heads, &head_dim);
        int64_t rows = i % 3 ? pair_between(1, pair_small ? 40 : 300) : pair_between(1, 4);
        int first = (int)pair_between(0, segments);
        pair_shape("rows %lld, heads %d/%d of %d, %d segments and %d folded in", (long long)rows,
                   heads, kv_heads, head_dim, first, segments - first);
        both_calls b;
        begin_call(&b, rows, heads, kv_heads, head_dim, (int64_t)heads * head_dim, 2);
        random_segments(&b, segments, pair_small ? 90 : 600);
        into_acc(&b);
        b.cpu.segment_count = b.gpu.segment_count = first;
        run_both(&b);
        expect_alike(&b, 0);
        b.cpu.segments += first, b.gpu.segments += first;
        b.cpu.segment_count = b.gpu.segment_count = segments - first;
        b.cpu.fold = b.gpu.fold = true;
        run_both(&b);
        expect_alike(&b, 1);
        pair_shape_end();
    }
}

/* Query phase and decode: few rows, keys long enough to be split. */
static void test_few_rows(void)
{
    const int64_t row_counts[] = {1, 2, 3, 8, 17, 50, 64};
    for (int i = 0; i < (pair_small ? 3 : 28); i++) {
        int heads, kv_heads, head_dim;
        some_heads(&heads, &kv_heads, &head_dim);
        if (i % 7 == 0)
            heads = 32, kv_heads = 8, head_dim = 128;
        if (i % 7 == 1)
            heads = 9, kv_heads = 3, head_dim = 64;
        int64_t rows = row_counts[i % COUNT_OF(row_counts)];
        int64_t keys = pair_between(1, pair_small ? 600 : 20000);
        pair_shape("rows %lld, heads %d/%d of %d, %lld keys and themselves", (long long)rows, heads,
                   kv_heads, head_dim, (long long)keys);
        both_calls b;
        begin_call(&b, rows, heads, kv_heads, head_dim, (int64_t)heads * head_dim, 2);
        add_segment(&b, keys, 0, rows, keys, true);
        add_segment(&b, rows, 0, rows, 0, true);
        if (i % 2)
            into_out(&b, (int64_t)heads * head_dim, true);
        else
            into_acc(&b);
        run_both(&b);
        expect_alike(&b, 0);
        pair_shape_end();
    }
}

/* What the methods ask for: FlashAttn, StarAttn, APB with its anchor, passed blocks and local rows. */
static void test_methods(void)
{
    const struct {
        int heads, kv_heads, head_dim;
        int64_t anchor, passed, local;
    } shapes[] = {{9, 3, 64, 0, 0, 1000},    {32, 8, 128, 0, 0, 1537},  {9, 3, 64, 130, 0, 515},
                  {9, 3, 64, 64, 192, 256},  {32, 8, 128, 256, 768, 1024}, {8, 8, 128, 33, 77, 301},
                  {32, 4, 64, 100, 1001, 999}};
    for (int i = 0; i < COUNT_OF(shapes); i++) {
        int heads = shapes[i].heads, kv_heads = shapes[i].kv_heads, head_dim = shapes[i].head_dim;
        int64_t part = pair_small ? 16 : 1, anchor = shapes[i].anchor / part;
        int64_t passed = shapes[i].passed / part, local = shapes[i].local / part;
        int64_t rows = anchor + local;
        pair_shape("heads %d/%d of %d, anchor %lld, passed %lld, local %lld", heads, kv_heads,
                   head_dim, (long long)anchor, (long long)passed, (long long)local);
        both_calls b;
        begin_call(&b, rows, heads, kv_heads, head_dim, (int64_t)heads * head_dim, 2);
        if (anchor) {
            add_segment(&b, anchor, 0, anchor, 0, true);
            add_segment(&b, anchor, anchor, rows, anchor, true);
        }
        if (passed)
            add_segment(&b, passed, anchor, rows, passed, true);
        add_segment(&b, local, anchor, rows, 0, true);
        into_out(&b, (int64_t)heads * head_dim, true);
        run_both(&b);
        expect_alike(&b, 0);
        pair_shape_end();
    }
}

/* Scores of up to a hundred: weights of 0 and 1, no overflow. Here one probability of nearly 1 is
 * rounded, so its tolerance is that of all. */
static void test_sharp(void)
{
    for (int i = 0; i < (pair_small ? 2 : 12); i++) {
        int heads, kv_heads, head_dim;
        some_heads(&heads, &kv_heads, &head_dim);
        int64_t rows = i % 2 ? pair_between(1, 8) : pair_between(60, pair_small ? 70 : 300);
        int64_t keys = pair_between(1, pair_small ? 100 : 2000);
        pair_shape("rows %lld, heads %d/%d of %d, %lld keys", (long long)rows, heads, kv_heads,
                   head_dim, (long long)keys);
        both_calls b;
        begin_call(&b, rows, heads, kv_heads, head_dim, (int64_t)heads * head_dim, 60);
        add_segment(&b, keys, 0, rows, least(keys, 30), true);
        add_segment(&b, keys, 0, rows, keys, false);
        into_acc(&b);
        run_both(&b);
        expect_alike(&b, 0);
        pair_shape_end();
    }
}

/* Every kernel there is, for all calls that it can serve, and the choice that is made without being
 * told. */
static void with(attention_choice choice, void (*test)(void))
{
    if ((choice == ATTENTION_HOPPER || choice == ATTENTION_HOPPER_PACKED) &&
        cuda_of(gpu)->capability != 90) {
        pair_skip("it needs compute capability 9.0");
        return;
    }
    cuda_attention_choice = choice;
    test();
    cuda_attention_choice = ATTENTION_BEST;
}

#define WITH_EACH(test)                                                                            \
    static void test##_best(void) { with(ATTENTION_BEST, test); }                                  \
    static void test##_portable(void) { with(ATTENTION_PORTABLE, test); }                          \
    static void test##_packed(void) { with(ATTENTION_PACKED, test); }                              \
    static void test##_hopper(void) { with(ATTENTION_HOPPER, test); }                              \
    static void test##_hopper_packed(void) { with(ATTENTION_HOPPER_PACKED, test); }
WITH_EACH(test_random)
WITH_EACH(test_fold)
WITH_EACH(test_few_rows)
WITH_EACH(test_methods)
WITH_EACH(test_sharp)

#define CASES(name, test)                                                                          \
    {name "_best", test##_best}, {name "_portable", test##_portable},                              \
    {name "_packed", test##_packed}, {name "_hopper", test##_hopper},                              \
    {name "_hopper_packed", test##_hopper_packed}
static const pair_case cases[] = {
    CASES("attention_random", test_random),     CASES("attention_fold", test_fold),
    CASES("attention_few_rows", test_few_rows), CASES("attention_methods", test_methods),
    CASES("attention_sharp", test_sharp),
};

int main(int argc, char **argv)
{
    return pair_main(argc, argv, cases, COUNT_OF(cases));
}
