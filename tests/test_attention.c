/* Attention over segments of the cpu device against float64: random segment lists, folds, splits of
 * the keys, masks at their edges, and the same bits from run to run; for each of the three
 * compilations of the vector code that this processor runs.
 *
 * Tolerance: a score's rounding error is a few float32 epsilons of m = scale * sum |q_e k_e|, and
 * moves a weight by that much relatively; sums add a few epsilons more. So an output may be off by
 * (16 + 4 m) epsilon * max |v|, a log-sum-exp by (8 + 4 m + |lse|) epsilon; each fold of a partial
 * result adds one such log-sum-exp error to the weights. */
#include "harness/error.h"
#include "kernels/device.h"
#include "tests/reference_ops.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static device *dev;

static void open_with(const char *lanes, int threads)
{
    setenv("APBENCH_LANES", lanes, 1);
    dev = device_find("cpu");
    cr_assert_eq(dev->open(dev, threads), 0);
}

static uint64_t random_state;

static double uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53;
}

static int64_t between(int64_t low, int64_t high) /* both included */
{
    return low + (int64_t)(uniform() * (double)(high - low + 1));
}

static float *random_values(int64_t count, float size)
{
    float *values = alloc_or_die((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = size * (float)(uniform() + uniform() + uniform() - 1.5);
    return values;
}

static float *poisoned(int64_t count)
{
    float *values = alloc_or_die((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = NAN;
    return values;
}

enum { SEGMENTS_MAX = 6 };

/* A random call: queries, segments with strides of their own, everything freed by drop(). */
typedef struct {
    attn_call call;
    attn_segment segments[SEGMENTS_MAX];
    float *q, *k[SEGMENTS_MAX], *v[SEGMENTS_MAX];
    float v_size;
} random_call;

static void draw(random_call *r, int64_t rows, int heads, int kv_heads, int head_dim, int segments,
                 int64_t length_max, float size)
{
    int64_t stride = heads * head_dim + between(0, 9);
    r->q = random_values(rows * stride + 1, size);
    r->call = (attn_call){.rows = rows,
                          .heads = heads,
                          .kv_heads = kv_heads,
                          .head_dim = head_dim,
                          .scale = 1.0f / sqrtf((float)head_dim),
                          .q = r->q,
                          .q_row_stride = stride,
                          .segments = r->segments,
                          .segment_count = segments};
    for (int s = 0; s < segments; s++) {
        int64_t length = between(0, 9) ? between(0, length_max) : 0;
        int64_t head_stride = head_dim * between(1, 2) + between(0, 3);
        int64_t row_stride = head_stride * kv_heads + between(0, 5);
        int64_t begin = between(0, rows), end = between(begin, rows);
        if (between(0, 2) == 0)
            begin = 0, end = rows;
        int64_t offsets[] = {between(-20, 20), between(-2 * rows - 3, length + 5), length, 0,
                             INT64_MAX,        INT64_MIN,                          length - 1};
        r->k[s] = random_values(length * row_stride + 1, 1.0f);
        r->v[s] = random_values(length * row_stride + 1, 1.0f);
        r->segments[s] = (attn_segment){.k = r->k[s],
                                        .v = r->v[s],
                                        .row_stride = row_stride,
                                        .head_stride = head_stride,
                                        .length = length,
                                        .row_begin = begin,
                                        .row_end = end,
                                        .causal_offset = offsets[between(0, 6)]};
    }
    r->v_size = 1.5f;
}

static void drop(random_call *r)
{
    free(r->q);
    for (int s = 0; s < r->call.segment_count; s++) {
        free(r->k[s]);
        free(r->v[s]);
    }
}

/* out and lse (or NULL) of the call against float64; `folds` partial results went before. */
static void expect(const random_call *r, const float *out, int64_t stride, const float *lse,
                   int folds, const char *what)
{
    const attn_call *call = &r->call;
    int64_t pairs = call->rows * call->heads;
    double *wanted = alloc_or_die((size_t)(pairs * call->head_dim), sizeof *wanted);
    double *wanted_lse = alloc_or_die((size_t)pairs, sizeof *wanted_lse);
    double *size = alloc_or_die((size_t)pairs, sizeof *size);
    reference_attention(wanted, wanted_lse, size, call);
    for (int64_t i = 0; i < pairs; i++) {
        int64_t row = i / call->heads, head = i % call->heads;
        double lse_error = (8 + 4 * size[i] + fabs(wanted_lse[i])) * FLT_EPSILON;
        double error = (16 + 4 * size[i]) * FLT_EPSILON * r->v_size;
        if (wanted_lse[i] == -INFINITY)
            lse_error = error = 0;
        lse_error *= 1 + folds;
        error += folds * lse_error * r->v_size;
        for (int e = 0; e < call->head_dim; e++) {
            double got = out[row * stride + head * call->head_dim + e];
            double want = wanted[i * call->head_dim + e];
            cr_assert(fabs(got - want) <= error,
                      "%s: row %d head %d element %d is %.9g, not %.9g (tolerance %.2g)", what,
                      (int)row, (int)head, e, got, want, error);
        }
        if (lse && wanted_lse[i] == -INFINITY)
            cr_assert(lse[i] == -INFINITY, "%s: row %d sees nothing, its lse is %g", what, (int)row,
                      lse[i]);
        else if (lse)
            cr_assert(fabs(lse[i] - wanted_lse[i]) <= lse_error,
                      "%s: lse of row %d head %d is %.9g, not %.9g (tolerance %.2g)", what,
                      (int)row, (int)head, lse[i], wanted_lse[i], lse_error);
    }
    free(wanted);
    free(wanted_lse);
    free(size);
}

/* Runs the call into a strided, poisoned output and checks it, the gaps and the FLOP count. */
static void check(random_call *r, const char *what)
{
    attn_call *call = &r->call;
    int64_t packed = call->heads * call->head_dim, stride = packed + between(0, 3);
    float *out = poisoned(call->rows * stride + 1), *lse = poisoned(call->rows * call->heads + 1);
    call->out = out;
    call->out_row_stride = stride;
    call->lse = between(0, 3) ? lse : NULL;
    dev->flops = 0;
    dev->attention(dev, call);
    dev->sync(dev);
    expect(r, out, stride, call->lse, 0, what);
    for (int64_t i = 0; i < call->rows * stride; i++)
        cr_assert(i % stride < packed || isnan(out[i]), "%s: wrote between rows", what);
    uint64_t pairs = 0;
    for (int s = 0; s < call->segment_count; s++)
        for (int64_t row = r->segments[s].row_begin; row < r->segments[s].row_end; row++)
            for (int64_t key = 0; key < r->segments[s].length; key++)
                pairs += key - (row - r->segments[s].row_begin) <= r->segments[s].causal_offset;
    cr_assert_eq(dev->flops, pairs * 4 * (uint64_t)packed, "%s: %lu flops for %lu pairs", what,
                 (unsigned long)dev->flops, (unsigned long)pairs);
    free(out);
    free(lse);
}

static const char *const all_lanes[] = {"sse2", "avx2", "avx512"};

Test(attention, random_segment_lists)
{
    for (int l = 0; l < 3; l++)
        for (int threads = 1; threads <= 3; threads += 2) {
            open_with(all_lanes[l], threads);
            random_state = 1;
            for (int trial = 0; trial < 120; trial++) {
                int kv_heads = (int)between(1, 3), group = (int)between(1, 4);
                int head_dim = trial % 4 ? 2 * (int)between(1, 40) : 64;
                random_call r;
                draw(&r, between(1, 90), kv_heads * group, kv_heads, head_dim,
                     (int)between(0, SEGMENTS_MAX), 90, 2.0f);
                char what[100];
                snprintf(what, sizeof what, "%s, %d threads, trial %d", all_lanes[l], threads,
                         trial);
                check(&r, what);
                drop(&r);
            }
            dev->close(dev);
        }
}

Test(attention, every_head_size)
{
    for (int l = 0; l < 3; l++) {
        open_with(all_lanes[l], 2);
        random_state = 2;
        for (int head_dim = 2; head_dim <= 256; head_dim += 2) {
            random_call r; /* the second so few rows that they take another path */
            draw(&r, 21, 4, 2, head_dim, 2, 70, 2.0f);
            check(&r, "head size");
            drop(&r);
            draw(&r, 2, 8, 2 + head_dim % 4, head_dim, 2, 150, 2.0f);
            check(&r, "head size, few rows");
            drop(&r);
        }
        dev->close(dev);
    }
}

/* Few rows over many keys: the keys are split over the threads, here unevenly over segments. */
Test(attention, few_rows_split_over_keys)
{
    for (int l = 0; l < 3; l++)
        for (int rows = 1; rows <= 50; rows = rows * 3 + 2) {
            open_with(all_lanes[l], 4);
            random_state = (uint64_t)rows;
            random_call r;
            draw(&r, rows, 9, 3, 64, 4, 3000, 3.0f);
            for (int s = 0; s < 4; s++) {
                r.segments[s].row_begin = 0;
                r.segments[s].row_end = rows;
            }
            r.segments[1].causal_offset = INT64_MAX;
            check(&r, "split keys");
            drop(&r);
            dev->close(dev);
        }
}

Test(attention, long_causal)
{
    for (int l = 0; l < 3; l++) {
        open_with(all_lanes[l], 2);
        random_state = 3;
        random_call r;
        draw(&r, 700, 6, 2, 32, 1, 700, 2.0f);
        free(r.k[0]);
        free(r.v[0]);
        r.k[0] = random_values(700 * 64, 1.0f);
        r.v[0] = random_values(700 * 64, 1.0f);
        r.segments[0] = (attn_segment){r.k[0], r.v[0], 64, 32, 700, 0, 700, 0};
        check(&r, "causal");
        drop(&r);
        dev->close(dev);
    }
}

/* Folding the segments in one by one gives what one call over all of them gives. */
Test(attention, fold_chains)
{
    for (int l = 0; l < 3; l++) {
        open_with(all_lanes[l], 2);
        random_state = 4;
        for (int trial = 0; trial < 60; trial++) {
            int rows = trial % 3 ? (int)between(1, 70) : 1;
            random_call r;
            draw(&r, rows, 6, 2, 2 * (int)between(1, 40), 5, trial % 3 ? 80 : 1500, 3.0f);
            int64_t pairs = r.call.rows * r.call.heads;
            float *acc = poisoned(pairs * r.call.head_dim), *lse = poisoned(pairs);
            for (int s = 0; s < 5; s++) {
                attn_call part = r.call;
                part.acc = acc;
                part.lse = lse;
                part.fold = s > 0;
                part.segments = &r.segments[s];
                part.segment_count = 1;
                dev->attention(dev, &part);
            }
            float *out = poisoned(pairs * r.call.head_dim);
            dev->from_f32(dev, out, acc, pairs * r.call.head_dim);
            expect(&r, out, r.call.heads * r.call.head_dim, lse, 5, "fold");
            free(acc);
            free(lse);
            free(out);
            drop(&r);
        }
        dev->close(dev);
    }
}

/* Scores of several hundred: exp alone would overflow. */
Test(attention, large_scores)
{
    for (int l = 0; l < 3; l++) {
        open_with(all_lanes[l], 2);
        random_state = 5;
        for (int trial = 0; trial < 20; trial++) {
            random_call r;
            draw(&r, 40, 4, 2, 64, 3, 90, 400.0f);
            check(&r, "large scores");
            drop(&r);
        }
        dev->close(dev);
    }
}

/* NaN in a key must be seen in the output of the rows that see it, and of no others. */
Test(attention, nan_is_not_hidden)
{
    for (int l = 0; l < 3; l++) {
        open_with(all_lanes[l], 2);
        random_state = 6;
        random_call r;
        draw(&r, 60, 3, 1, 16, 1, 60, 1.0f);
        free(r.k[0]);
        free(r.v[0]);
        r.k[0] = random_values(60 * 16, 1.0f);
        r.v[0] = random_values(60 * 16, 1.0f);
        r.k[0][30 * 16 + 5] = NAN;
        r.segments[0] = (attn_segment){r.k[0], r.v[0], 16, 16, 60, 0, 60, 0};
        float *out = random_values(60 * 48, 1.0f);
        r.call.out = out;
        r.call.out_row_stride = 48;
        dev->attention(dev, &r.call);
        for (int i = 0; i < 60 * 48; i++)
            cr_assert_eq(!!isnan(out[i]), i / 48 >= 30, "%s: element %d of row %d is %g",
                         all_lanes[l], i % 48, i / 48, out[i]);
        free(out);
        drop(&r);
        dev->close(dev);
    }
}

Test(attention, same_bits_every_time)
{
    open_with("avx512", 4);
    random_state = 7;
    for (int rows = 1; rows <= 400; rows = rows * 7 + 3) {
        random_call r;
        draw(&r, rows, 9, 3, 64, 4, 1200, 2.0f);
        int64_t count = r.call.rows * 9 * 64;
        float *first = poisoned(count), *again = poisoned(count);
        r.call.out_row_stride = 9 * 64;
        r.call.out = first;
        dev->attention(dev, &r.call);
        for (int trial = 0; trial < 10; trial++) {
            r.call.out = again;
            dev->attention(dev, &r.call);
            cr_assert_eq(memcmp(first, again, (size_t)count * sizeof *first), 0);
        }
        free(first);
        free(again);
        drop(&r);
    }
    dev->close(dev);
}
