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
    int64_t size;
    char *a, *b, *c;
} gemm_work;

static void run_gemm(device *dev, void *argument)
{
    gemm_work *g = argument;
    dev->gemm(dev, GEMM_STORE, g->c, g->size, g->a, g->size, g->b, NULL, g->size, g->size, g->size);
}

double peak_gemm(device *dev)
{
    /* Large enough for the device's peak, small enough to take a second at most. */
    gemm_work g = {.size = dev->act_bytes == 4 ? 1536 : 8192};
    size_t bytes = (size_t)(g.size * g.size) * dev->act_bytes;
    char *memory = dev->alloc(dev, 3 * bytes);
    if (!memory)
        return 0;
    g.a = memory, g.b = memory + bytes, g.c = memory + 2 * bytes;
    dev->random(dev, memory, false, 2 * g.size * g.size, 1, 1);
    uint64_t counted = dev->flops;
    double seconds = median_seconds(dev, run_gemm, &g);
    dev->flops = counted;
    dev->free(dev, memory);
    return 2.0 * (double)g.size * (double)g.size * (double)g.size / seconds;
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
    copy_work c = {.bytes = (size_t)256 << 20};
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

double peak_attention(device *dev, int64_t rows, int heads, int kv_heads, int head_dim)
{
    size_t q_elements = (size_t)rows * heads * head_dim, kv_elements = (size_t)rows * kv_heads * head_dim;
    size_t act = dev->act_bytes;
    char *memory = dev->alloc(dev, (2 * q_elements + 2 * kv_elements) * act);
    if (!memory)
        return 0;
    dev->random(dev, memory, false, (int64_t)(q_elements + 2 * kv_elements), 1, 1);
    char *kv = memory + q_elements * act;
    attn_segment segment = {.k = kv,
                            .v = kv + (size_t)head_dim * act,
                            .row_stride = 2 * (int64_t)kv_heads * head_dim,
                            .head_stride = 2 * head_dim,
                            .length = rows,
                            .row_end = rows};
    attn_call call = {.rows = rows,
                      .heads = heads,
                      .kv_heads = kv_heads,
                      .head_dim = head_dim,
                      .scale = 1 / sqrtf((float)head_dim),
                      .q = memory,
                      .q_row_stride = (int64_t)heads * head_dim,
                      .out = kv + 2 * kv_elements * act,
                      .out_row_stride = (int64_t)heads * head_dim,
                      .segments = &segment,
                      .segment_count = 1};
    uint64_t counted = dev->flops;
    double seconds = median_seconds(dev, run_attention, &call);
    dev->flops = counted;
    dev->free(dev, memory);
    double pairs = (double)rows * ((double)rows + 1) / 2;
    return 4.0 * pairs * heads * head_dim / seconds;
}
