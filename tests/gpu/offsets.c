/* Buffers of more than 2^31 elements (512K rows of 4096 are that many): every operation of the cuda
 * device once at such a size, checked on a few rows, the first, the last and those around 2^31 and
 * 2^32 among them. Inputs are made on the device from a seed; the same values of the rows looked at
 * are made here and given to the cpu device. A case is skipped where the GPU has not the memory free
 * (30 GB for the largest), and with --small. Tolerances are those of ops.c. */
#include "harness/error.h"
#include "kernels/hash.h"
#include "tests/gpu/support/pair.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 4096, HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, KV_ROW = 2 * KV_HEADS * HEAD_DIM };
enum { MANY = 600000, VERY_MANY = 1100000, SAMPLES = 12 };

static void *held[8];
static int held_count;

/* Whether the GPU has that much left; else the case is skipped. */
static bool room_for(double bytes)
{
    size_t free_bytes = 0, total_bytes = 0;
    gpu->memory(gpu, &free_bytes, &total_bytes);
    if (pair_small || bytes * 1.02 + 1e9 > (double)free_bytes) {
        pair_skip(pair_small ? "not with --small" : "it needs %.0f GB of the GPU, %.0f are free",
                  bytes * 1e-9 + 1, (double)free_bytes * 1e-9);
        return false;
    }
    return true;
}

static char *big(int64_t count, size_t size)
{
    char *memory = gpu->alloc(gpu, (size_t)count * size);
    if (!memory) {
        fprintf(stderr, "offsets: the GPU has no %lld x %zu bytes\n", (long long)count, size);
        exit(1);
    }
    held[held_count++] = memory;
    return memory;
}

/* Elements of `type` from a seed on the device: random_values() has the same on the host. */
static char *big_random(int64_t count, pair_type type, uint64_t seed, float bound)
{
    char *memory = big(count, type == PAIR_ACT ? 2 : 4);
    gpu->random(gpu, memory, type == PAIR_F32, count, seed, bound);
    return memory;
}

static void random_values(float *to, int64_t first, int64_t count, pair_type type, uint64_t seed,
                          float bound)
{
    for (int64_t i = 0; i < count; i++) {
        float x = hash_uniform(seed, (uint64_t)(first + i), bound);
        to[i] = type == PAIR_ACT ? round_to_bf16(x) : x;
    }
}

static void end(void)
{
    gpu->sync(gpu);
    while (held_count)
        gpu->free(gpu, held[--held_count]);
    pair_shape_end();
}

/* Rows to look at, of `rows` rows of `width` elements. */
static void choose_rows(int64_t *chosen, int64_t rows, int64_t width)
{
    int64_t line = ((int64_t)1 << 31) / width, far = ((int64_t)1 << 32) / width;
    int64_t wanted[SAMPLES] = {0,    1,       rows / 3, line - 1, line,    line + 1,
                               far - 1, far, far + 1,  rows - 3, rows - 2, rows - 1};
    for (int i = 0; i < SAMPLES; i++)
        chosen[i] = wanted[i] >= 0 && wanted[i] < rows ? wanted[i] : pair_between(0, rows - 1);
}

static const tolerance exact = {0}, rounded = {.relative = BF16_ROUNDING, .absolute = 1e-6};

static void test_random(void)
{
    int64_t count = 5000000000;
    if (!room_for((double)count * 2))
        return;
    pair_shape("%lld bf16 elements", (long long)count);
    char *x = big_random(count, PAIR_ACT, 3, 0.02f);
    int64_t chosen[SAMPLES];
    float want[1000];
    choose_rows(chosen, count / 1000, 1000);
    for (int i = 0; i < SAMPLES; i++) {
        random_values(want, chosen[i] * 1000, 1000, PAIR_ACT, 3, 0.02f);
        pair_close_to("x", x + chosen[i] * 2000, PAIR_ACT, want, 1000, 1000, exact);
    }
    end();
}

static void test_flat(void)
{
    int64_t count = 2500000000;
    if (!room_for((double)count * 8))
        return;
    pair_shape("%lld elements: from_f32, silu, copy", (long long)count);
    char *in = big_random(count, PAIR_F32, 4, 5), *out = big(count, 2), *copy = big(count, 2);
    int64_t chosen[SAMPLES];
    float want[1000];
    choose_rows(chosen, count / 1000, 1000);
    gpu->from_f32(gpu, out, (float *)in, count);
    gpu->copy(gpu, copy, out, (size_t)count * 2);
    gpu->silu(gpu, out, count);
    for (int i = 0; i < SAMPLES; i++) {
        random_values(want, chosen[i] * 1000, 1000, PAIR_ACT, 4, 5);
        pair_close_to("from_f32, copied", copy + chosen[i] * 2000, PAIR_ACT, want, 1000, 1000,
                      exact);
        cpu->silu(cpu, want, 1000);
        pair_close_to("silu", out + chosen[i] * 2000, PAIR_ACT, want, 1000, 1000,
                      (tolerance){.relative = BF16_ROUNDING + 0x1p-16});
    }
    end();
}

static void test_copy_rows(void)
{
    int64_t from_stride = 8200, to_stride = 4104, width = HIDDEN;
    if (!room_for((double)MANY * (double)(from_stride + to_stride) * 2))
        return;
    pair_shape("%d rows of %lld, strides %lld <- %lld", MANY, (long long)width,
               (long long)to_stride, (long long)from_stride);
    char *from = big_random(MANY * from_stride, PAIR_ACT, 5, 1), *to = big(MANY * to_stride, 2);
    int64_t chosen[SAMPLES];
    float want[HIDDEN];
    choose_rows(chosen, MANY, to_stride);
    gpu->copy_rows(gpu, to, (size_t)to_stride * 2, from, (size_t)from_stride * 2, (size_t)width * 2,
                   MANY);
    for (int i = 0; i < SAMPLES; i++) {
        random_values(want, chosen[i] * from_stride, width, PAIR_ACT, 5, 1);
        pair_close_to("to", to + chosen[i] * to_stride * 2, PAIR_ACT, want, width, width, exact);
    }
    end();
}

static void test_embed(void)
{
    if (!room_for((double)MANY * HIDDEN * 4))
        return;
    pair_shape("%d rows of %d", MANY, HIDDEN);
    pair table = pair_random(500 * HIDDEN, PAIR_ACT, 1), ids = pair_output(MANY, PAIR_I32);
    for (int64_t r = 0; r < MANY; r++)
        ids.cpu_ids[r] = (int32_t)pair_between(0, 499);
    gpu->upload(gpu, ids.gpu, ids.cpu_ids, (size_t)MANY * 4);
    char *x = big((int64_t)MANY * HIDDEN, 4);
    int64_t chosen[SAMPLES];
    float want[HIDDEN];
    choose_rows(chosen, MANY, HIDDEN);
    gpu->embed(gpu, (float *)x, ids.gpu, table.gpu, MANY, HIDDEN);
    for (int i = 0; i < SAMPLES; i++) {
        cpu->embed(cpu, want, &ids.cpu_ids[chosen[i]], table.cpu, 1, HIDDEN);
        pair_close_to("x", x + chosen[i] * HIDDEN * 4, PAIR_F32, want, HIDDEN, HIDDEN, exact);
    }
    end();
}

static void test_rmsnorm(void)
{
    if (!room_for((double)MANY * HIDDEN * 6))
        return;
    pair_shape("%d rows of %d", MANY, HIDDEN);
    char *x = big_random((int64_t)MANY * HIDDEN, PAIR_F32, 6, 3);
    char *out = big((int64_t)MANY * HIDDEN, 2);
    pair weight = pair_random(HIDDEN, PAIR_F32, 2);
    int64_t chosen[SAMPLES];
    float in[HIDDEN], want[HIDDEN];
    choose_rows(chosen, MANY, HIDDEN);
    gpu->rmsnorm(gpu, out, (float *)x, weight.gpu, MANY, HIDDEN, 1e-5f);
    for (int i = 0; i < SAMPLES; i++) {
        random_values(in, chosen[i] * HIDDEN, HIDDEN, PAIR_F32, 6, 3);
        cpu->rmsnorm(cpu, want, in, weight.cpu, 1, HIDDEN, 1e-5f);
        pair_close_to("out", out + chosen[i] * HIDDEN * 2, PAIR_ACT, want, HIDDEN, HIDDEN, rounded);
    }
    end();
}

static void test_rope(void)
{
    enum { ALL = (HEADS + 2 * KV_HEADS) * HEAD_DIM, Q_ROW = HEADS * HEAD_DIM, POSITIONS = 999 };
    if (!room_for((double)VERY_MANY * (2 * ALL * 2 + 4)))
        return;
    pair_shape("%d rows, heads %d/%d of %d", VERY_MANY, HEADS, KV_HEADS, HEAD_DIM);
    char *qkv = big_random((int64_t)VERY_MANY * ALL, PAIR_ACT, 7, 2);
    char *q = big((int64_t)VERY_MANY * Q_ROW, 2), *kv = big((int64_t)VERY_MANY * KV_ROW, 2);
    pair table = pair_random(POSITIONS * HEAD_DIM, PAIR_F32, 1);
    pair at = pair_output(VERY_MANY, PAIR_I32);
    for (int64_t r = 0; r < VERY_MANY; r++)
        at.cpu_ids[r] = (int32_t)(r * 7 % POSITIONS);
    gpu->upload(gpu, at.gpu, at.cpu_ids, (size_t)VERY_MANY * 4);
    int64_t chosen[3 * SAMPLES];
    float in[ALL], want_q[Q_ROW], want_kv[KV_ROW];
    choose_rows(chosen, VERY_MANY, ALL);
    choose_rows(chosen + SAMPLES, VERY_MANY, Q_ROW);
    choose_rows(chosen + 2 * SAMPLES, VERY_MANY, KV_ROW);
    gpu->rope(gpu, q, kv, qkv, at.gpu, table.gpu, VERY_MANY, HEADS, KV_HEADS, HEAD_DIM);
    for (int i = 0; i < 3 * SAMPLES; i++) {
        random_values(in, chosen[i] * ALL, ALL, PAIR_ACT, 7, 2);
        cpu->rope(cpu, want_q, want_kv, in, &at.cpu_ids[chosen[i]], table.cpu, 1, HEADS, KV_HEADS,
                  HEAD_DIM);
        pair_close_to("q", q + chosen[i] * Q_ROW * 2, PAIR_ACT, want_q, Q_ROW, HEAD_DIM, rounded);
        pair_close_to("kv", kv + chosen[i] * KV_ROW * 2, PAIR_ACT, want_kv, KV_ROW, HEAD_DIM,
                      rounded);
    }
    end();
}

static void test_swiglu(void)
{
    enum { FFN = 14336, ROWS = 160000 };
    if (!room_for((double)ROWS * FFN * 6))
        return;
    pair_shape("%d rows of %d", ROWS, FFN);
    char *gate_up = big_random((int64_t)ROWS * 2 * FFN, PAIR_ACT, 8, 6);
    char *out = big((int64_t)ROWS * FFN, 2);
    static float in[2 * FFN], want[FFN];
    int64_t chosen[2 * SAMPLES];
    choose_rows(chosen, ROWS, 2 * FFN);
    choose_rows(chosen + SAMPLES, ROWS, FFN);
    gpu->swiglu(gpu, out, gate_up, ROWS, FFN);
    for (int i = 0; i < 2 * SAMPLES; i++) {
        random_values(in, chosen[i] * 2 * FFN, 2 * FFN, PAIR_ACT, 8, 6);
        cpu->swiglu(cpu, want, in, 1, FFN);
        pair_close_to("out", out + chosen[i] * FFN * 2, PAIR_ACT, want, FFN, FFN,
                      (tolerance){.relative = BF16_ROUNDING + 0x1p-16, .absolute = 1e-30});
    }
    end();
}

static void test_gemm(void)
{
    enum { INNER = 64 };
    if (!room_for((double)MANY * (HIDDEN * 6 + INNER * 2)))
        return;
    pair_shape("m %d, n %d, k %d, bias, into bf16 and float32", MANY, HIDDEN, INNER);
    char *a = big_random((int64_t)MANY * INNER, PAIR_ACT, 9, 1);
    char *c = big((int64_t)MANY * HIDDEN, 2);
    char *sum = big_random((int64_t)MANY * HIDDEN, PAIR_F32, 10, 1);
    pair w = pair_random(HIDDEN * INNER, PAIR_ACT, 1), bias = pair_random(HIDDEN, PAIR_ACT, 1);
    int64_t chosen[SAMPLES];
    float in[INNER], want[HIDDEN];
    choose_rows(chosen, MANY, HIDDEN);
    gpu->gemm(gpu, GEMM_STORE, c, HIDDEN, a, INNER, w.gpu, bias.gpu, MANY, HIDDEN, INNER);
    gpu->gemm(gpu, GEMM_ADD_F32, sum, HIDDEN, a, INNER, w.gpu, bias.gpu, MANY, HIDDEN, INNER);
    for (int i = 0; i < SAMPLES; i++) {
        random_values(in, chosen[i] * INNER, INNER, PAIR_ACT, 9, 1);
        cpu->gemm(cpu, GEMM_STORE, want, HIDDEN, in, INNER, w.cpu, bias.cpu, 1, HIDDEN, INNER);
        pair_close_to("bf16", c + chosen[i] * HIDDEN * 2, PAIR_ACT, want, HIDDEN, HIDDEN,
                      (tolerance){.relative = BF16_ROUNDING, .absolute = 1e-4});
        random_values(want, chosen[i] * HIDDEN, HIDDEN, PAIR_F32, 10, 1);
        cpu->gemm(cpu, GEMM_ADD_F32, want, HIDDEN, in, INNER, w.cpu, bias.cpu, 1, HIDDEN, INNER);
        pair_close_to("float32", sum + chosen[i] * HIDDEN * 4, PAIR_F32, want, HIDDEN, HIDDEN,
                      (tolerance){.absolute = 1e-4});
    }
    end();
}

static void test_merge(void)
{
    int64_t pairs = (int64_t)MANY * HEADS, size = pairs * HEAD_DIM;
    if (!room_for((double)size * 6 + (double)pairs * 8))
        return;
    pair_shape("2 parts of %d rows", MANY);
    char *parts = big_random(2 * size, PAIR_ACT, 11, 2), *out = big(size, 2);
    char *lse = big_random(2 * pairs, PAIR_F32, 12, 4);
    int64_t chosen[SAMPLES];
    static float in[2 * HIDDEN], lse_in[2 * HEADS], want[HIDDEN];
    choose_rows(chosen, MANY, HIDDEN);
    gpu->merge(gpu, out, parts, (float *)lse, 2, MANY, HEADS, HEAD_DIM);
    for (int i = 0; i < SAMPLES; i++) {
        for (int p = 0; p < 2; p++) {
            random_values(in + p * HIDDEN, p * size + chosen[i] * HIDDEN, HIDDEN, PAIR_ACT, 11, 2);
            random_values(lse_in + p * HEADS, p * pairs + chosen[i] * HEADS, HEADS, PAIR_F32, 12,
                          4);
        }
        cpu->merge(cpu, want, in, lse_in, 2, 1, HEADS, HEAD_DIM);
        pair_close_to("out", out + chosen[i] * HIDDEN * 2, PAIR_ACT, want, HIDDEN, HEAD_DIM,
                      (tolerance){.relative = BF16_ROUNDING, .absolute = 1e-5});
    }
    end();
}

static void test_keys(void)
{
    int64_t size = (int64_t)VERY_MANY * KV_ROW, pairs = (int64_t)VERY_MANY * KV_HEADS;
    if (!room_for((double)size * 4 + (double)pairs * 12))
        return;
    pair_shape("%d rows of keys and values: score_query, weigh_by_norm, gather_kv", VERY_MANY);
    char *kv = big_random(size, PAIR_ACT, 13, 2), *slab = big(size, 2);
    char *scores = big(pairs, 4), *index = big(pairs, 4);
    char *weighed = big_random(pairs, PAIR_F32, 18, 5);
    pair q = pair_random(3 * HEADS * HEAD_DIM, PAIR_ACT, 2);
    int32_t *rows = alloc_or_die((size_t)pairs, sizeof *rows);
    for (int64_t i = 0; i < pairs; i++)
        rows[i] = (int32_t)pair_between(0, VERY_MANY - 1);
    rows[1] = VERY_MANY - 1;
    gpu->upload(gpu, index, rows, (size_t)pairs * 4);
    int64_t chosen[SAMPLES];
    float in[KV_ROW], want[KV_ROW];
    choose_rows(chosen, VERY_MANY, KV_ROW);
    gpu->score_query(gpu, (float *)scores, q.gpu, 3, kv, VERY_MANY, HEADS, KV_HEADS, HEAD_DIM);
    gpu->weigh_by_norm(gpu, (float *)weighed, kv, VERY_MANY, KV_HEADS, HEAD_DIM);
    gpu->gather_kv(gpu, slab, kv, (int32_t *)index, VERY_MANY, KV_HEADS, HEAD_DIM);
    for (int i = 0; i < SAMPLES; i++) {
        random_values(in, chosen[i] * KV_ROW, KV_ROW, PAIR_ACT, 13, 2);
        cpu->score_query(cpu, want, q.cpu, 3, in, 1, HEADS, KV_HEADS, HEAD_DIM);
        pair_close_to("scores", scores + chosen[i] * KV_HEADS * 4, PAIR_F32, want, KV_HEADS,
                      KV_HEADS, (tolerance){.absolute = 1e-4});
        random_values(want, chosen[i] * KV_HEADS, KV_HEADS, PAIR_F32, 18, 5);
        cpu->weigh_by_norm(cpu, want, in, 1, KV_HEADS, HEAD_DIM);
        pair_close_to("weighed", weighed + chosen[i] * KV_HEADS * 4, PAIR_F32, want, KV_HEADS,
                      KV_HEADS, (tolerance){.absolute = 1e-4});
        for (int h = 0; h < KV_HEADS; h++) {
            int64_t row = rows[chosen[i] * KV_HEADS + h], pair_length = 2 * HEAD_DIM;
            random_values(want + h * pair_length, row * KV_ROW + h * pair_length, pair_length,
                          PAIR_ACT, 13, 2);
        }
        pair_close_to("slab", slab + chosen[i] * KV_ROW * 2, PAIR_ACT, want, KV_ROW, KV_ROW, exact);
    }
    free(rows);
    end();
}

static void test_pool(void)
{
    int64_t rows = 270000000;
    if (!room_for((double)rows * KV_HEADS * 8))
        return;
    pair_shape("max_pool5 of %lld rows", (long long)rows);
    char *in = big_random(rows * KV_HEADS, PAIR_F32, 14, 1), *out = big(rows * KV_HEADS, 4);
    int64_t chosen[SAMPLES];
    float around[13 * KV_HEADS], want[13 * KV_HEADS];
    choose_rows(chosen, rows, KV_HEADS);
    gpu->max_pool5(gpu, (float *)out, (float *)in, rows, KV_HEADS);
    for (int i = 0; i < SAMPLES; i++) { /* rows 6 before to 6 behind; the middle has all it needs */
        int64_t first = chosen[i] - 6 < 0 ? 0 : chosen[i] - 6;
        int64_t count = rows - first < 13 ? rows - first : 13, skip = first ? 2 : 0;
        int64_t kept = first + count == rows ? count - skip : count - skip - 2;
        random_values(around, first * KV_HEADS, count * KV_HEADS, PAIR_F32, 14, 1);
        cpu->max_pool5(cpu, want, around, count, KV_HEADS);
        pair_close_to("out", out + (first + skip) * KV_HEADS * 4, PAIR_F32, want + skip * KV_HEADS,
                      kept * KV_HEADS, KV_HEADS, exact);
    }
    end();
}

static void test_argmax(void)
{
    enum { VOCAB = 128256, ROWS = 20000 };
    if (!room_for((double)ROWS * VOCAB * 4))
        return;
    pair_shape("%d rows of %d", ROWS, VOCAB);
    char *logits = big_random((int64_t)ROWS * VOCAB, PAIR_F32, 15, 9), *ids = big(ROWS, 4);
    static float row[VOCAB];
    int64_t chosen[SAMPLES];
    choose_rows(chosen, ROWS, VOCAB);
    gpu->argmax(gpu, (int32_t *)ids, (float *)logits, ROWS, VOCAB);
    for (int i = 0; i < SAMPLES; i++) {
        int32_t want, got;
        random_values(row, chosen[i] * VOCAB, VOCAB, PAIR_F32, 15, 9);
        cpu->argmax(cpu, &want, row, 1, VOCAB);
        gpu->download(gpu, &got, ids + chosen[i] * 4, 4);
        if (got != want)
            pair_wrong("row %lld: index %d, not %d", (long long)chosen[i], got, want);
    }
    end();
}

/* Queries and outputs beyond 2^31 elements, then keys that far apart. Row i sees the first segment
 * whole and of the second, from the row KEYS before the last on, one key more each. */
static void test_attention(void)
{
    enum { KEYS = 64, FIRST = MANY - KEYS };
    int64_t size = (int64_t)MANY * HIDDEN;
    if (!room_for((double)size * 8 + (double)MANY * HEADS * 4))
        return;
    pair_shape("%d rows, heads %d/%d of %d", MANY, HEADS, KV_HEADS, HEAD_DIM);
    char *q = big_random(size, PAIR_ACT, 16, 2), *out = big(size, 2), *acc = big(size, 4);
    char *lse = big((int64_t)MANY * HEADS, 4);
    pair kv = pair_random(2 * KEYS * KV_ROW, PAIR_ACT, 1);
    attn_segment on_cpu[2], on_gpu[2];
    for (int s = 0; s < 2; s++) {
        int64_t at = (int64_t)s * KEYS * KV_ROW;
        on_cpu[s] = (attn_segment){.k = kv.cpu + at, .v = kv.cpu + at + HEAD_DIM,
                                   .row_stride = KV_ROW, .head_stride = 2 * HEAD_DIM,
                                   .length = KEYS, .row_end = 1, .causal_offset = KEYS};
        on_gpu[s] = on_cpu[s];
        on_gpu[s].k = (char *)kv.gpu + at * 2, on_gpu[s].v = (char *)kv.gpu + (at + HEAD_DIM) * 2;
        on_gpu[s].row_end = MANY;
    }
    on_gpu[1].causal_offset = -FIRST;
    attn_call call = {.rows = MANY, .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM,
                      .scale = 0.0884f, .q = q, .q_row_stride = HIDDEN, .out = out,
                      .out_row_stride = HIDDEN, .segments = on_gpu, .segment_count = 2};
    gpu->attention(gpu, &call);
    call.out = NULL, call.acc = (float *)acc, call.lse = (float *)lse;
    gpu->attention(gpu, &call);
    int64_t chosen[SAMPLES];
    static float in[HIDDEN], want[HIDDEN], want_lse[HEADS];
    choose_rows(chosen, MANY, HIDDEN);
    for (int i = 0; i < SAMPLES; i++) {
        random_values(in, chosen[i] * HIDDEN, HIDDEN, PAIR_ACT, 16, 2);
        on_cpu[1].causal_offset = chosen[i] - FIRST;
        attn_call one = call;
        one.rows = 1, one.q = in, one.acc = want, one.lse = want_lse, one.segments = on_cpu;
        cpu->attention(cpu, &one);
        tolerance sums = {.relative = BF16_ROUNDING, .absolute = 0x1p-8};
        pair_close_to("out", out + chosen[i] * HIDDEN * 2, PAIR_ACT, want, HIDDEN, HIDDEN, sums);
        pair_close_to("acc", acc + chosen[i] * HIDDEN * 4, PAIR_F32, want, HIDDEN, HIDDEN, sums);
        pair_close_to("lse", lse + chosen[i] * HEADS * 4, PAIR_F32, want_lse, HEADS, HEADS,
                      (tolerance){.absolute = 1e-4});
    }
    end();
}

static void test_attention_keys(void)
{
    enum { KEYS = 2200, ROWS = 300, STRIDE = 1 << 20 };
    if (!room_for((double)KEYS * STRIDE * 2))
        return;
    const int64_t counts[] = {ROWS, 3};
    for (int i = 0; i < 2; i++) {
        int64_t rows = counts[i];
        pair_shape("%lld rows, %d keys that lie 2^20 elements apart", (long long)rows, KEYS);
        char *kv = big_random((int64_t)KEYS * STRIDE, PAIR_ACT, 17, 1);
        float *near = alloc_or_die((size_t)KEYS * KV_ROW, sizeof *near);
        for (int64_t j = 0; j < KEYS; j++)
            random_values(near + j * KV_ROW, j * STRIDE, KV_ROW, PAIR_ACT, 17, 1);
        pair q = pair_random(rows * HIDDEN, PAIR_ACT, 2), out = pair_output(q.count, PAIR_ACT);
        attn_segment segment = {.k = kv, .v = kv + HEAD_DIM * 2, .row_stride = STRIDE,
                                .head_stride = 2 * HEAD_DIM, .length = KEYS, .row_end = rows,
                                .causal_offset = KEYS - rows};
        attn_call call = {.rows = rows, .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM,
                          .scale = 0.0884f, .q = q.gpu, .q_row_stride = HIDDEN, .out = out.gpu,
                          .out_row_stride = HIDDEN, .segments = &segment, .segment_count = 1};
        gpu->attention(gpu, &call);
        segment.k = near, segment.v = near + HEAD_DIM, segment.row_stride = KV_ROW;
        call.q = q.cpu, call.out = out.cpu;
        cpu->attention(cpu, &call);
        pair_close("out", out, HIDDEN, (tolerance){.relative = BF16_ROUNDING, .absolute = 0x1p-8});
        free(near);
        end();
    }
}

static const pair_case cases[] = {
    {"offsets_random", test_random},       {"offsets_flat", test_flat},
    {"offsets_copy_rows", test_copy_rows}, {"offsets_embed", test_embed},
    {"offsets_rmsnorm", test_rmsnorm},     {"offsets_rope", test_rope},
    {"offsets_swiglu", test_swiglu},       {"offsets_gemm", test_gemm},
    {"offsets_merge", test_merge},         {"offsets_keys", test_keys},
    {"offsets_pool", test_pool},           {"offsets_argmax", test_argmax},
    {"offsets_attention", test_attention}, {"offsets_attention_keys", test_attention_keys},
};

int main(int argc, char **argv)
{
    return pair_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
