/* Measures the peaks of a device. See peaks.h. */
#include "harness/machine/peaks.h"

#include <math.h>
#include <stdlib.h>

enum { WARMUPS = 2, REPETITIONS = 7 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of work(argument) on the device. */
static double median_seconds(device *dev, void (*work)(device *, void *), void *argument)
{
    double seconds[REPETITIONS];
    for (int i = -WARMUPS; i < REPETITIONS; i++) {
        device_mark before = dev->mark(dev);
        work(dev, argument);
        device_mark after = dev->mark(dev);
        dev->sync(dev);
        if (i >= 0)
            seconds[i] = dev->between(dev, before, after);
    }
    dev->forget_marks(dev);
    qsort(seconds, REPETITIONS, sizeof *seconds, by_value);
    return seconds[REPETITIONS / 2];
}

typedef struct {
    gemm_mode mode;
    int64_t m, n, k;
    char *a, *w, *c;
} gemm_work;

static void run_gemm(device *dev, void *argument)
{
    gemm_work *g = argument;
    dev->gemm(dev, g->mode, g->c, g->n, g->a, g->k, g->w, NULL, g->m, g->n, g->k);
}

/* Products one behind another, queued for `seconds` (a single one takes `each`): seconds of one. */
static double sustained_seconds(device *dev, gemm_work *g, double each, double seconds)
{
    int count = each > 0 && seconds / each < 100000 ? (int)(seconds / each) + 1 : 100000;
    device_mark before = dev->mark(dev);
    for (int i = 0; i < count; i++)
        run_gemm(dev, g);
    device_mark after = dev->mark(dev);
    dev->sync(dev);
    double all = dev->between(dev, before, after);
    dev->forget_marks(dev);
    return all / count;
}

static gemm_rate measure_gemm(device *dev, gemm_mode mode, int64_t m, int64_t n, int64_t k,
                              double seconds)
{
    gemm_work g = {.mode = mode, .m = m, .n = n, .k = k};
    size_t act = dev->act_bytes, a = (size_t)(m * k) * act, w = (size_t)(n * k) * act;
    size_t c = (size_t)(m * n) * (mode == GEMM_STORE ? act : sizeof(float));
    a = (a + 255) & ~(size_t)255, w = (w + 255) & ~(size_t)255;
    char *memory = dev->alloc(dev, a + w + c);
    if (!memory)
        return (gemm_rate){0};
    g.a = memory, g.w = memory + a, g.c = memory + a + w;
    dev->random(dev, g.a, false, m * k, 1, 1);
    dev->random(dev, g.w, false, n * k, 2, 1);
    if (mode != GEMM_STORE) /* it is added to: memory as it comes could hold anything */
        dev->random(dev, g.c, true, m * n, 3, 1);
    uint64_t counted = dev->flops;
    double flops = 2.0 * (double)m * (double)n * (double)k;
    double single = median_seconds(dev, run_gemm, &g);
    gemm_rate rate = {.single = flops / single};
    if (seconds > 0)
        rate.sustained = flops / sustained_seconds(dev, &g, single, seconds);
    dev->flops = counted;
    dev->free(dev, memory);
    return rate;
}

/* Large enough for the device's peak, small enough to take a second at most. */
int64_t peak_gemm_size(const device *dev)
{
    return dev->act_bytes == 4 ? 1536 : 8192;
}

double peak_gemm(device *dev)
{
    int64_t size = peak_gemm_size(dev);
    return measure_gemm(dev, GEMM_STORE, size, size, size, 0).single;
}

gemm_rate peak_gemm_shape(device *dev, gemm_mode mode, int64_t m, int64_t n, int64_t k)
{
    return measure_gemm(dev, mode, m, n, k, 1);
}

typedef struct {
    char *from, *to;
    size_t bytes;
} copy_work;

static void run_copy(device *dev, void *argument)
{
    copy_work *c = argument;
    dev->copy(dev, c->to, c->from, c->bytes);
}

double peak_copy(device *dev)
{
    size_t free_bytes, total;
    dev->memory(dev, &free_bytes, &total);
    copy_work c = {.bytes = (size_t)(free_bytes >> 30 >= 8 ? 1024 : 256) << 20};
    c.from = dev->alloc(dev, 2 * c.bytes);
    if (!c.from)
        return 0;
    c.to = c.from + c.bytes;
    dev->random(dev, c.from, true, (int64_t)(c.bytes / sizeof(float)), 1, 1);
    double seconds = median_seconds(dev, run_copy, &c);
    dev->free(dev, c.from);
    return 2.0 * (double)c.bytes / seconds;
}

static void run_attention(device *dev, void *argument)
{
    dev->attention(dev, argument);
}

char *causal_attention(device *dev, int64_t rows, int heads, int kv_heads, int head_dim,
                       attn_segment *segment, attn_call *call)
{
    size_t q_elements = (size_t)rows * heads * head_dim, kv_elements = (size_t)rows * kv_heads * head_dim;
    size_t act = dev->act_bytes;
    char *memory = dev->alloc(dev, (2 * q_elements + 2 * kv_elements) * act);
    if (!memory)
        return NULL;
    dev->random(dev, memory, false, (int64_t)(q_elements + 2 * kv_elements), 1, 1);
    char *kv = memory + q_elements * act;
    *segment = (attn_segment){.k = kv,
                              .v = kv + (size_t)head_dim * act,
                              .row_stride = 2 * (int64_t)kv_heads * head_dim,
                              .head_stride = 2 * head_dim,
                              .length = rows,
                              .row_end = rows};
    *call = (attn_call){.rows = rows,
                        .heads = heads,
                        .kv_heads = kv_heads,
                        .head_dim = head_dim,
                        .scale = 1 / sqrtf((float)head_dim),
                        .q = memory,
                        .q_row_stride = (int64_t)heads * head_dim,
                        .out = kv + 2 * kv_elements * act,
                        .out_row_stride = (int64_t)heads * head_dim,
                        .segments = segment,
                        .segment_count = 1};
    return memory;
}

double peak_attention(device *dev, int64_t rows, int heads, int kv_heads, int head_dim)
{
    attn_segment segment;
    attn_call call;
    char *memory = causal_attention(dev, rows, heads, kv_heads, head_dim, &segment, &call);
    if (!memory)
        return 0;
    uint64_t counted = dev->flops;
    double seconds = median_seconds(dev, run_attention, &call);
    dev->flops = counted;
    dev->free(dev, memory);
    double pairs = (double)rows * ((double)rows + 1) / 2;
    return 4.0 * pairs * heads * head_dim / seconds;
}
