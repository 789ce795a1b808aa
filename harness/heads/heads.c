/* Making, filling, forward and backward of retaining heads. See heads.h; files are in file.c. */
#include "harness/heads/heads.h"

#include <dnnl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "kernels/hash.h"

void heads_make(retaining_heads *h, const model_shape *s, int layers, int width)
{
    *h = (retaining_heads){.layers = layers,
                           .inputs = (s->heads + 2 * s->kv_heads) * s->head_dim,
                           .width = width,
                           .kv_heads = s->kv_heads};
    h->values = alloc_or_die((size_t)layers * (size_t)heads_layer_size(h), sizeof *h->values);
}

void heads_free(retaining_heads *h)
{
    free(h->values);
    *h = (retaining_heads){0};
}

int64_t heads_layer_size(const retaining_heads *h)
{
    return (int64_t)h->width * (h->inputs + h->kv_heads);
}

float *heads_layer(const retaining_heads *h, int layer)
{
    return h->values + layer * heads_layer_size(h);
}

float *heads_fc2(const retaining_heads *h, int layer)
{
    return heads_layer(h, layer) + (int64_t)h->width * h->inputs;
}

/* Uniform in (0, 1), never 0. */
static double uniform(uint64_t seed, uint64_t i)
{
    return ((double)(hash_bits(seed, i) >> 11) + 0.5) * 0x1p-53;
}

void heads_fill(retaining_heads *h, uint64_t seed)
{
    int64_t count = h->layers * heads_layer_size(h);
    for (int64_t i = 0; i < count; i++) { /* Box and Muller */
        double radius = sqrt(-2 * log(uniform(seed, 2 * (uint64_t)i)));
        h->values[i] = (float)(0.02 * radius * cos(2 * M_PI * uniform(seed, 2 * (uint64_t)i + 1)));
    }
}

/* ---- Forward and backward ---- */

void heads_work_free(heads_work *w)
{
    free(w->before);
    free(w->gate);
    free(w->after);
    free(w->scratch);
    *w = (heads_work){0};
}

static void make_room(heads_work *w, int64_t rows, int width)
{
    if (rows <= w->rows)
        return;
    size_t count = (size_t)rows * (size_t)width;
    w->before = realloc_or_die(w->before, count, sizeof(float));
    w->gate = realloc_or_die(w->gate, count, sizeof(float));
    w->after = realloc_or_die(w->after, count, sizeof(float));
    w->scratch = realloc_or_die(w->scratch, count, sizeof(float));
    w->rows = rows;
}

/* c [m, n] = a b, row-major; a transposed where ta is 'T', b where tb is. */
static void product(char ta, char tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                    const float *b, int64_t ldb, float *c)
{
    dnnl_status_t status = dnnl_sgemm(ta, tb, m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, n);
    if (status != dnnl_success) { /* only by a programmer's mistake */
        fprintf(stderr, "apbench: dnnl_sgemm refused a product of %lld x %lld x %lld (status %d)\n",
                (long long)m, (long long)n, (long long)k, (int)status);
        abort();
    }
}

/* 1 / (1 + exp(-x)) to some 2e-7, in operations that compilers turn into vectors: exp(-x) = 2^n e^r with
 * |r| <= log(2) / 2, by the series to the 6th power. expf() took a fifth of a step's time. */
static inline float sigmoid(float x)
{
    float y = -x;
    y = y < 87 ? y : 87; /* NaN too: what must not be converted */
    y = y > -87 ? y : -87;
    float turns = y * 1.44269504f;
    int32_t n = (int32_t)(turns + (turns < 0 ? -0.5f : 0.5f));
    float r = y - (float)n * 0.693145752f - (float)n * 1.42860677e-6f; /* log 2 in two parts */
    float e = 1 + r * (1 + r * (0.5f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r / 720)))));
    union {
        int32_t bits;
        float value;
    } power = {.bits = (n + 127) << 23};
    return 1 / (1 + e * power.value);
}

void heads_forward(const retaining_heads *h, int layer, const float *features, int64_t stride,
                   int64_t rows, heads_work *w, float *scores)
{
    make_room(w, rows, h->width);
    product('N', 'T', rows, h->width, h->inputs, features, stride, heads_layer(h, layer),
            h->inputs, w->before);
    const float *restrict before = w->before;
    float *restrict gate = w->gate, *restrict after = w->after;
    for (int64_t i = 0; i < rows * h->width; i++) {
        gate[i] = sigmoid(before[i]);
        after[i] = before[i] * gate[i];
    }
    product('N', 'T', rows, h->kv_heads, h->width, w->after, h->width, heads_fc2(h, layer), h->width,
            scores);
}

void heads_backward(const retaining_heads *h, int layer, const float *features, int64_t stride,
                    int64_t rows, heads_work *w, const float *score_gradient, float *gradient)
{
    int64_t width = h->width;
    product('T', 'N', h->kv_heads, width, rows, score_gradient, h->kv_heads, w->after, width,
            gradient + width * h->inputs);
    product('N', 'N', rows, width, h->kv_heads, score_gradient, h->kv_heads, heads_fc2(h, layer),
            width, w->scratch);
    const float *restrict before = w->before, *restrict gate = w->gate;
    float *restrict scratch = w->scratch;
    for (int64_t i = 0; i < rows * width; i++) /* SiLU's slope */
        scratch[i] *= gate[i] * (1 + before[i] * (1 - gate[i]));
    product('T', 'N', width, h->inputs, rows, w->scratch, width, features, stride, gradient);
}
