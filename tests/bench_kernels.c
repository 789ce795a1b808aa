/* How fast the cpu device's operations are on the default model's shapes (SmolLM2-135M: hidden 576,
 * 9/3 heads of 64, ffn 1536, vocab 49152), against the GEMM peak and the copy bandwidth of the same
 * run. Not a test. build/tests/bench_kernels [threads [processor]], or `make bench-kernels`. The
 * best of several runs counts, since other jobs only ever make a run slower; with `processor` the clock
 * is the process's own processor time, for one thread on a machine that is busy otherwise. */
#include "harness/error.h"
#include "kernels/device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static device *dev;
static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec time;
    clock_gettime(clock_used, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

typedef struct {
    void (*run)(const void *);
    const void *with;
} job;

/* Seconds of the best run, over about a third of a second. */
static double best_time(job j)
{
    double best = 1e30, total = 0;
    for (int runs = 0; runs < 3 || (total < 0.3 && runs < 2000); runs++) {
        double from = now();
        j.run(j.with);
        dev->sync(dev);
        double seconds = now() - from;
        total += seconds;
        if (seconds < best)
            best = seconds;
    }
    return best;
}

static float *values(int64_t count)
{
    float *memory = dev->alloc(dev, (size_t)count * sizeof *memory);
    if (!memory) {
        fprintf(stderr, "bench_kernels: no memory for %lld floats\n", (long long)count);
        exit(1);
    }
    dev->random(dev, memory, true, count, (uint64_t)count, 1.0f);
    return memory;
}

typedef struct {
    gemm_mode mode;
    float *a, *w, *c, *bias;
    int64_t m, n, k;
} product;

static void run_product(const void *with)
{
    const product *p = with;
    dev->gemm(dev, p->mode, p->c, p->n, p->a, p->k, p->w, p->bias, p->m, p->n, p->k);
}

static double time_product(int64_t m, int64_t n, int64_t k, gemm_mode mode, bool bias)
{
    product p = {mode, values(m * k), values(n * k), values(m * n), NULL, m, n, k};
    if (bias)
        p.bias = values(n);
    double seconds = best_time((job){run_product, &p});
    dev->free(dev, p.a);
    dev->free(dev, p.w);
    dev->free(dev, p.c);
    if (p.bias)
        dev->free(dev, p.bias);
    return seconds;
}

static double gemm_peak(void)
{
    double best = 0;
    for (int64_t size = 1024; size <= 2048; size += 512) {
        double rate = 2e-9 * (double)(size * size * size) /
                      time_product(size, size, size, GEMM_STORE, false);
        best = rate > best ? rate : best;
    }
    return best;
}

static void run_attention(const void *with)
{
    dev->attention(dev, with);
}

/* Causal attention of `rows` new rows behind `before` keys. Prints one line. */
static void bench_attention(int64_t rows, int64_t before, int heads, int kv_heads, int head_dim,
                            double peak)
{
    int64_t keys = before + rows, stride = (int64_t)kv_heads * 2 * head_dim;
    float *q = values(rows * heads * head_dim), *kv = values(keys * stride);
    float *out = values(rows * heads * head_dim);
    attn_segment segment = {kv, kv + head_dim, stride, 2 * head_dim, keys, 0, rows, before};
    attn_call call = {.rows = rows,
                      .heads = heads,
                      .kv_heads = kv_heads,
                      .head_dim = head_dim,
                      .scale = 1.0f / sqrtf((float)head_dim),
                      .q = q,
                      .q_row_stride = heads * head_dim,
                      .out = out,
                      .out_row_stride = heads * head_dim,
                      .segments = &segment,
                      .segment_count = 1};
    dev->flops = 0;
    dev->attention(dev, &call);
    double flops = (double)dev->flops;
    double seconds = best_time((job){run_attention, &call});
    printf("attention rows %5lld keys %6lld heads %2d/%d of %3d: %9.3f ms %7.1f GFLOP/s, %3.0f %% "
           "of the GEMM peak, %5.1f GB/s of keys and values\n",
           (long long)rows, (long long)keys, heads, kv_heads, head_dim, 1e3 * seconds,
           1e-9 * flops / seconds, 1e-7 * flops / seconds / peak,
           4e-9 * (double)(keys * stride) / seconds);
    dev->free(dev, q);
    dev->free(dev, kv);
    dev->free(dev, out);
}

enum {
    ROWS = 2048, HIDDEN = 576, HEADS = 9, KV_HEADS = 3, HEAD_DIM = 64, FFN = 1536, VOCAB = 49152,
};

static float *x, *y, *table;
static int32_t *ids;
static float *scores;

static void run_copy(const void *with)
{
    (void)with;
    dev->copy(dev, y, x, (size_t)ROWS * 2 * FFN * 4);
}
static void run_rmsnorm(const void *with)
{
    (void)with;
    dev->rmsnorm(dev, y, x, table, ROWS, HIDDEN, 1e-5f);
}
static void run_rope(const void *with)
{
    (void)with;
    dev->rope(dev, y, y + ROWS * HIDDEN, x, ids, table, ROWS, HEADS, KV_HEADS, HEAD_DIM);
}
static void run_swiglu(const void *with)
{
    (void)with;
    dev->swiglu(dev, y, x, ROWS, FFN);
}
static void run_embed(const void *with)
{
    (void)with;
    dev->embed(dev, y, ids, table, ROWS, HIDDEN);
}
static void run_random(const void *with)
{
    (void)with;
    dev->random(dev, y, true, ROWS * FFN, 1, 1.0f);
}
static void run_widen(const void *with)
{
    const dtype *type = with;
    dev->upload_weights(dev, y, false, x, *type, ROWS * FFN);
}
static void run_top_k(const void *with)
{
    (void)with;
    dev->top_k(dev, ids, scores, 100000, KV_HEADS, 4096);
}
static void run_argmax(const void *with)
{
    (void)with;
    dev->argmax(dev, ids, x, 1, VOCAB);
}

static double copy_rate;

static void report(const char *name, void (*run)(const void *), const void *with, double bytes)
{
    double seconds = best_time((job){run, with}), rate = 1e-9 * bytes / seconds;
    if (copy_rate == 0)
        copy_rate = rate;
    printf("%-28s %8.3f ms %7.1f GB/s, %3.0f %% of copy\n", name, 1e3 * seconds, rate,
           100 * rate / copy_rate);
}

static void bench_elementwise(void)
{
    x = values(ROWS * 2 * FFN);
    y = values(ROWS * 2 * FFN);
    table = values((int64_t)ROWS * HIDDEN);
    scores = values(100000 * KV_HEADS);
    ids = alloc_or_die(4096 * KV_HEADS, sizeof *ids);
    for (int i = 0; i < ROWS; i++)
        ids[i] = i * 7 % ROWS;
    const dtype f16 = DTYPE_F16, bf16 = DTYPE_BF16;
    double row = 4.0 * ROWS;
    report("copy 24 MB", run_copy, NULL, row * 4 * FFN);
    report("rmsnorm", run_rmsnorm, NULL, row * 2 * HIDDEN);
    report("rope", run_rope, NULL, row * 2 * (HEADS + 2 * KV_HEADS) * HEAD_DIM);
    report("swiglu", run_swiglu, NULL, row * 3 * FFN);
    report("embed", run_embed, NULL, row * 2 * HIDDEN);
    report("random (bytes written)", run_random, NULL, row * FFN);
    report("weights from f16", run_widen, &f16, row * FFN * 1.5);
    report("weights from bf16", run_widen, &bf16, row * FFN * 1.5);
    report("top 4096 of 100000", run_top_k, NULL, 4.0 * 100000 * KV_HEADS);
    report("argmax of one row", run_argmax, NULL, 4.0 * VOCAB);
    dev->free(dev, x);
    dev->free(dev, y);
    dev->free(dev, table);
    dev->free(dev, scores);
    free(ids);
}

int main(int count, char **arguments)
{
    device_prepare(arguments);
    dev = device_find("cpu");
    if (count > 2)
        clock_used = CLOCK_PROCESS_CPUTIME_ID;
    if (dev->open(dev, count > 1 ? atoi(arguments[1]) : 0))
        return 1;
    double peak = gemm_peak();
    printf("GEMM peak (dnnl_sgemm, square): %.1f GFLOP/s\n", peak);
    for (int64_t keys = 1024; keys <= 4096; keys *= 2)
        bench_attention(keys, 0, HEADS, KV_HEADS, HEAD_DIM, peak);
    bench_attention(2048, 0, 32, 8, 128, peak);
    bench_attention(512, 2048, HEADS, KV_HEADS, HEAD_DIM, peak);
    bench_attention(50, 2048, HEADS, KV_HEADS, HEAD_DIM, peak);
    bench_attention(1, 2048, HEADS, KV_HEADS, HEAD_DIM, peak);
    bench_attention(1, 32768, HEADS, KV_HEADS, HEAD_DIM, peak);
    bench_attention(1, 32768, 32, 8, 128, peak);
    printf("GEMM peak again: %.1f GFLOP/s\n", gemm_peak());

    static const struct {
        const char *name;
        int n, k;
        gemm_mode mode;
    } shapes[] = {{"qkv", (HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN, GEMM_STORE},
                  {"o_proj", HIDDEN, HIDDEN, GEMM_ADD_F32},
                  {"gate_up", 2 * FFN, HIDDEN, GEMM_STORE},
                  {"down", HIDDEN, FFN, GEMM_ADD_F32},
                  {"logits", VOCAB, HIDDEN, GEMM_STORE_F32}};
    static const int rows[] = {1, 2, 4, 8, 9, 16, 24, 32, 50, 64, 128, 512, 2048};
    for (int s = 0; s < 5; s++)
        for (int r = 0; r < 13; r++) {
            int64_t m = rows[r], n = shapes[s].n, k = shapes[s].k;
            if (n == VOCAB && m > 50)
                continue;
            double seconds = time_product(m, n, k, shapes[s].mode, false);
            double rate = 2e-9 * (double)(m * n * k) / seconds;
            printf("gemm %-8s %5lld x %5lld x %5lld: %9.3f ms %7.1f GFLOP/s, %3.0f %% of peak, "
                   "weights %5.1f GB/s\n",
                   shapes[s].name, (long long)m, (long long)n, (long long)k, 1e3 * seconds,
                   rate, 100 * rate / peak, 4e-9 * (double)(n * k) / seconds);
        }
    bench_elementwise();
    dev->close(dev);
    return 0;
}
