/* How near the cuda device's kernels come to the copy rate of the same GPU in the same run, on the
 * shapes of Llama-3.1-8B (hidden 4096, ffn 14336, 32/8 heads of 128, vocab 128256), and how fast its
 * products are when they last for a second. Not a test of results; but a kernel that moves 256 MB or
 * more and stays below 85 % of the copy rate is marked `slow`, and the exit status is then 1.
 *
 *     build/tests/gpu/bandwidth [WORD]      only lines whose name holds the word
 *
 * Times are medians of 20 runs between marks. Bytes are counted once each: inputs read, outputs
 * written. */
#include "harness/error.h"
#include "kernels/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 4096, FFN = 14336, HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, VOCAB = 128256 };
enum { RUNS = 20, WARMUPS = 3 };

static device *gpu;
static const char *word = "";
static double copy_rate; /* bytes a second */
static int slow;

/* Memory that every line uses as it likes. */
static const size_t BLOCK = (size_t)5 << 29; /* 2.5 GiB */
static char *from, *to, *other;
static int32_t *ids; /* 1M of them: random rows of a table of VOCAB, or positions */
static int64_t rows;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_seconds(void (*run)(void))
{
    device_mark before[RUNS], after[RUNS];
    double seconds[RUNS];
    for (int i = 0; i < WARMUPS; i++)
        run();
    for (int i = 0; i < RUNS; i++) {
        before[i] = gpu->mark(gpu);
        run();
        after[i] = gpu->mark(gpu);
    }
    gpu->sync(gpu);
    for (int i = 0; i < RUNS; i++)
        seconds[i] = gpu->between(gpu, before[i], after[i]);
    gpu->forget_marks(gpu);
    qsort(seconds, RUNS, sizeof *seconds, by_value);
    return (seconds[RUNS / 2 - 1] + seconds[RUNS / 2]) / 2;
}

/* One line. `judged`: it is an element-wise kernel that the 85 % are asked of. */
static void line(const char *name, void (*run)(void), double bytes, bool judged)
{
    if (!strstr(name, word))
        return;
    double seconds = median_seconds(run), rate = bytes / seconds;
    bool below = judged && bytes >= 256e6 && rate < 0.85 * copy_rate;
    slow += below;
    printf("%-38s %8.1f MB %10.1f us %8.1f GB/s %6.1f %% of copy%s\n", name, bytes * 1e-6,
           seconds * 1e6, rate * 1e-9, 100 * rate / copy_rate, below ? "  slow" : "");
    fflush(stdout);
}

/* ---- What is run ---- */

static void copy(void) { gpu->copy(gpu, to, from, (size_t)1 << 30); }
static void embed(void) { gpu->embed(gpu, (float *)to, ids, from, rows, HIDDEN); }
static void rmsnorm(void)
{
    gpu->rmsnorm(gpu, to, (float *)from, (float *)other, rows, HIDDEN, 1e-5f);
}
static void rmsnorm_small(void)
{
    gpu->rmsnorm(gpu, to, (float *)from, (float *)other, rows, 576, 1e-5f);
}
static void rmsnorm_large(void)
{
    gpu->rmsnorm(gpu, to, (float *)from, (float *)other, rows, 8192, 1e-5f);
}
static void rope(void)
{
    gpu->rope(gpu, to, to + BLOCK / 2, from, ids, (float *)other, rows, HEADS, KV_HEADS, HEAD_DIM);
}
static void rope_small(void)
{
    gpu->rope(gpu, to, to + BLOCK / 2, from, ids, (float *)other, rows, 9, 3, 64);
}
static void swiglu(void) { gpu->swiglu(gpu, to, from, rows, FFN); }
static void swiglu_small(void) { gpu->swiglu(gpu, to, from, rows, 1536); }
static void silu(void) { gpu->silu(gpu, to, rows * HIDDEN); }
static void from_f32(void) { gpu->from_f32(gpu, to, (float *)from, rows * HIDDEN); }
static void copy_rows(void) { gpu->copy_rows(gpu, to, 4096, from, 12288, 4096, rows); }
static void copy_rows_short(void) { gpu->copy_rows(gpu, to, 512, from, 256, 256, rows); }
static void random_act(void) { gpu->random(gpu, to, false, (int64_t)1 << 30, 7, 0.02f); }
static void random_f32(void) { gpu->random(gpu, to, true, (int64_t)1 << 29, 7, 0.02f); }
static void merge(void)
{
    gpu->merge(gpu, to, from, (float *)other, 8, rows, HEADS, HEAD_DIM);
}
static void score_query(void)
{
    gpu->score_query(gpu, (float *)to, other, 50, from, rows, HEADS, KV_HEADS, HEAD_DIM);
}
static void score_mean_alone(void)
{
    gpu->score_query(gpu, (float *)to, other, 50, from, 1, HEADS, KV_HEADS, HEAD_DIM);
}
static void weigh_by_norm(void)
{
    gpu->weigh_by_norm(gpu, (float *)to, from, rows, KV_HEADS, HEAD_DIM);
}
static void max_pool5(void) { gpu->max_pool5(gpu, (float *)to, (float *)from, rows, KV_HEADS); }
static int64_t best;
static void top_k(void)
{
    gpu->top_k(gpu, (int32_t *)to, (float *)from, rows, KV_HEADS, best);
}
static void gather_kv(void) { gpu->gather_kv(gpu, to, from, ids, rows, KV_HEADS, HEAD_DIM); }
static void argmax(void) { gpu->argmax(gpu, (int32_t *)to, (float *)from, rows, VOCAB); }

/* ---- Products ---- */

static struct {
    gemm_mode mode;
    int64_t m, n, k;
} product;

static void multiply(void)
{
    gpu->gemm(gpu, product.mode, to, product.n, from, product.k, other, NULL, product.m, product.n,
              product.k);
}

/* TFLOP/s of single products, and over a second of them without a pause (the clock falls then). */
static void product_line(const char *name, gemm_mode mode, int64_t m, int64_t n, int64_t k)
{
    if (!strstr(name, word))
        return;
    product.mode = mode, product.m = m, product.n = n, product.k = k;
    double flops = 2.0 * (double)m * (double)n * (double)k, burst = median_seconds(multiply);
    int runs = (int)(1 / burst) + 1;
    device_mark begin = gpu->mark(gpu);
    for (int i = 0; i < runs; i++)
        multiply();
    device_mark end = gpu->mark(gpu);
    gpu->sync(gpu);
    double second = gpu->between(gpu, begin, end) / runs;
    gpu->forget_marks(gpu);
    printf("%-38s %8.1f us %7.1f TFLOP/s, over %d in a row %7.1f TFLOP/s\n", name, burst * 1e6,
           flops / burst * 1e-12, runs, flops / second * 1e-12);
    fflush(stdout);
}

/* Weights from the host's memory: a rate of the bus, not of the device. */
static void upload_line(const char *name, dtype type, bool to_f32, size_t size)
{
    if (!strstr(name, word))
        return;
    int64_t count = (int64_t)1 << 28;
    unsigned char *file = alloc_or_die((size_t)count, size);
    memset(file, 0x3c, (size_t)count * size);
    device_mark begin = gpu->mark(gpu);
    gpu->upload_weights(gpu, to, to_f32, file, type, count);
    device_mark end = gpu->mark(gpu);
    gpu->sync(gpu);
    double seconds = gpu->between(gpu, begin, end);
    gpu->forget_marks(gpu);
    free(file);
    printf("%-38s %8.1f MB %10.1f us %8.1f GB/s from pageable memory\n", name,
           (double)count * (double)size * 1e-6, seconds * 1e6,
           (double)count * (double)size / seconds * 1e-9);
}

/* ids = rows of a table in random order, or 0, 1, 2, ... as positions. */
static void fill_ids(int64_t count, int64_t below, bool random)
{
    int32_t *host = alloc_or_die((size_t)count, sizeof *host);
    uint64_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        host[i] = (int32_t)(random ? (int64_t)(state >> 33) % below : i % below);
    }
    gpu->upload(gpu, ids, host, (size_t)count * 4);
    gpu->sync(gpu);
    free(host);
}

static void element_wise(void)
{
    rows = 32768;
    fill_ids(rows, VOCAB, true);
    line("embed, 32768 rows", embed, (double)rows * HIDDEN * 6, true);
    line("rmsnorm, 32768 rows of 4096", rmsnorm, (double)rows * HIDDEN * 6, true);
    rows = 16384;
    line("rmsnorm, 16384 rows of 4096", rmsnorm, (double)rows * HIDDEN * 6, true);
    line("rmsnorm, 16384 rows of 8192", rmsnorm_large, (double)rows * 8192 * 6, true);
    rows = 131072;
    line("rmsnorm, 131072 rows of 576", rmsnorm_small, (double)rows * 576 * 6, true);
    fill_ids(131072, 131072, false);
    rows = 65536;
    double heads = HEADS + 2 * KV_HEADS;
    line("rope, 65536 rows, 32/8 heads of 128", rope,
         (double)rows * (heads * HEAD_DIM * 4 + HEAD_DIM * 4), true);
    rows = 16384;
    line("rope, 16384 rows, 32/8 heads of 128", rope,
         (double)rows * (heads * HEAD_DIM * 4 + HEAD_DIM * 4), true);
    rows = 131072;
    line("rope, 131072 rows, 9/3 heads of 64", rope_small, (double)rows * (15 * 64 * 4 + 64 * 4),
         true);
    rows = 16384;
    line("swiglu, 16384 rows of 14336", swiglu, (double)rows * FFN * 6, true);
    rows = 131072;
    line("swiglu, 131072 rows of 1536", swiglu_small, (double)rows * 1536 * 6, true);
    rows = 65536;
    line("silu, 65536 rows of 4096", silu, (double)rows * HIDDEN * 4, true);
    line("from_f32, 65536 rows of 4096", from_f32, (double)rows * HIDDEN * 6, true);
    line("copy_rows, 65536 of 4096 bytes", copy_rows, (double)rows * 4096 * 2, true);
    rows = 1 << 20;
    line("copy_rows, 1M of 256 bytes", copy_rows_short, (double)rows * 256 * 2, true);
    rows = 16384;
    line("merge, 8 parts of 16384 rows", merge,
         (double)rows * HEADS * (9 * HEAD_DIM * 2 + 8 * 4), true);
    line("random, 1G elements to bf16", random_act, (double)((int64_t)2 << 30), false);
    line("random, 512M elements to float32", random_f32, (double)((int64_t)2 << 30), false);
}

static void choices(void)
{
    rows = 262144;
    line("score_query, 262144 rows", score_query, (double)rows * KV_HEADS * HEAD_DIM * 2, true);
    line("score_query, its mean alone", score_mean_alone, 50.0 * HEADS * HEAD_DIM * 2, false);
    line("weigh_by_norm, 262144 rows", weigh_by_norm, (double)rows * KV_HEADS * (HEAD_DIM * 2 + 8),
         true);
    rows = 131072;
    line("max_pool5, 131072 rows", max_pool5, (double)rows * KV_HEADS * 8, false);
    fill_ids(65536 * KV_HEADS, 262144, false);
    rows = 65536;
    line("gather_kv, 65536 rows", gather_kv, (double)rows * KV_HEADS * HEAD_DIM * 8, true);
    const int64_t sizes[][2] = {{16384, 2048}, {131072, 4096}, {131072, 16384}, {1 << 20, 8192}};
    for (int i = 0; i < 4; i++) {
        char name[64];
        rows = sizes[i][0], best = sizes[i][1];
        snprintf(name, sizeof name, "top_k, %lld of %lld rows, 8 heads", (long long)best,
                 (long long)rows);
        line(name, top_k, (double)rows * KV_HEADS * 4, false);
    }
    const int64_t counts[] = {1, 50, 4096};
    for (int i = 0; i < 3; i++) {
        char name[64];
        rows = counts[i];
        snprintf(name, sizeof name, "argmax, %lld rows of 128256", (long long)rows);
        line(name, argmax, (double)rows * VOCAB * 4, true);
    }
}

int main(int argc, char **argv)
{
    device_prepare(argv);
    word = argc > 1 ? argv[1] : "";
    gpu = device_find("cuda");
    if (!gpu || gpu->open(gpu, 0)) {
        printf("skip bandwidth: %s\n", fail_text());
        return 77;
    }
    from = gpu->alloc(gpu, BLOCK), to = gpu->alloc(gpu, BLOCK), other = gpu->alloc(gpu, BLOCK);
    ids = gpu->alloc(gpu, (size_t)4 << 20);
    if (!from || !to || !other || !ids) {
        fprintf(stderr, "bandwidth: the GPU has no %zu bytes free\n", 3 * BLOCK);
        return 1;
    }
    printf("%s\n", gpu->title);
    gpu->random(gpu, from, true, (int64_t)(BLOCK / 4), 1, 1);
    gpu->random(gpu, to, true, (int64_t)(BLOCK / 4), 2, 1);
    gpu->random(gpu, other, true, (int64_t)(BLOCK / 4), 3, 1);
    copy_rate = (double)((int64_t)2 << 30) / median_seconds(copy);
    printf("%-38s %8.1f MB %19.1f GB/s\n", "copy of 1 GiB", 2147.5, copy_rate * 1e-9);
    element_wise();
    choices();
    upload_line("upload_weights, float32 to bf16", DTYPE_F32, false, 4);
    upload_line("upload_weights, bf16 as it is", DTYPE_BF16, false, 2);
    gpu->random(gpu, from, false, (int64_t)(BLOCK / 2), 1, 1);
    gpu->random(gpu, other, false, (int64_t)(BLOCK / 2), 3, 0.02f);
    gpu->random(gpu, to, true, (int64_t)(BLOCK / 4), 2, 1);
    product_line("qkv, 16384 x 6144 x 4096", GEMM_STORE, 16384, 6144, 4096);
    product_line("o_proj, 16384 x 4096 x 4096", GEMM_ADD_F32, 16384, 4096, 4096);
    product_line("gate_up, 16384 x 28672 x 4096", GEMM_STORE, 16384, 28672, 4096);
    product_line("down, 16384 x 4096 x 14336", GEMM_ADD_F32, 16384, 4096, 14336);
    product_line("logits of a row, 1 x 128256 x 4096", GEMM_STORE_F32, 1, VOCAB, 4096);
    if (slow)
        printf("%d kernels are below 85 %% of the copy rate\n", slow);
    gpu->close(gpu);
    return slow > 0;
}
