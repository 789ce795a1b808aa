/* Pieces of a transformer layer over a device. See layer.h. */
#include "harness/run/layer.h"

#include <math.h>
#include <stdlib.h>

#include "harness/error.h"

static int64_t qkv_width(const model_shape *s)
{
    return (int64_t)(s->heads + 2 * s->kv_heads) * s->head_dim;
}

void layer_scratch_take(zone *z, const model_shape *s, const device *dev, int64_t positions,
                        layer_scratch *scratch)
{
    size_t chunk = (size_t)dev->chunk_rows * dev->act_bytes;
    scratch->norm = zone_take(z, chunk * (size_t)s->hidden);
    scratch->qkv = zone_take(z, chunk * (size_t)qkv_width(s));
    scratch->gate_up = zone_take(z, chunk * 2 * (size_t)s->ffn);
    scratch->ffn = zone_take(z, chunk * (size_t)s->ffn);
    scratch->rope = zone_take(z, (size_t)positions * (size_t)s->head_dim * sizeof(float));
    scratch->positions = positions;
}

/* Llama-3.1's rule (Hugging Face's rope_type "llama3"): wavelengths beyond the original context over
 * low_freq are stretched by factor, those below it over high_freq stay, between them it blends. */
static double scaled_frequency(const model_config *c, double frequency)
{
    if (c->rope_factor == 0)
        return frequency;
    double wavelength = 2 * M_PI / frequency, original = c->rope_original_positions;
    if (wavelength < original / c->rope_high_freq)
        return frequency;
    if (wavelength > original / c->rope_low_freq)
        return frequency / c->rope_factor;
    double smooth =
        (original / wavelength - c->rope_low_freq) / (c->rope_high_freq - c->rope_low_freq);
    return (1 - smooth) * frequency / c->rope_factor + smooth * frequency;
}

float *rope_table(const model_config *c, int64_t positions)
{
    int half = c->shape.head_dim / 2;
    float *table = alloc_or_die((size_t)positions * (size_t)half * 2, sizeof *table);
    double *frequency = alloc_or_die((size_t)half, sizeof *frequency);
    for (int i = 0; i < half; i++)
        frequency[i] = scaled_frequency(c, pow(c->rope_theta, -2.0 * i / c->shape.head_dim));
#pragma omp parallel for
    for (int64_t p = 0; p < positions; p++)
        for (int i = 0; i < half; i++) {
            table[(p * half + i) * 2] = (float)cos((double)p * frequency[i]);
            table[(p * half + i) * 2 + 1] = (float)sin((double)p * frequency[i]);
        }
    free(frequency);
    return table;
}

void layer_project_qkv(const model *m, int layer, const layer_scratch *scratch, const float *x,
                       int64_t rows)
{
    const model_shape *s = &m->config.shape;
    const layer_weights *w = &m->layer[layer];
    device *dev = m->dev;
    dev->rmsnorm(dev, scratch->norm, x, w->attention_norm, rows, s->hidden,
                 (float)m->config.rms_epsilon);
    dev->gemm(dev, GEMM_STORE, scratch->qkv, qkv_width(s), scratch->norm, s->hidden, w->qkv,
              w->qkv_bias, rows, qkv_width(s), s->hidden);
}

void layer_project_out(const model *m, int layer, float *x, const void *attended, int64_t rows)
{
    const model_shape *s = &m->config.shape;
    int64_t width = (int64_t)s->heads * s->head_dim;
    m->dev->gemm(m->dev, GEMM_ADD_F32, x, s->hidden, attended, width, m->layer[layer].o, NULL, rows,
                 s->hidden, width);
}

void layer_ffn(const model *m, int layer, const layer_scratch *scratch, float *x, int64_t rows)
{
    const model_shape *s = &m->config.shape;
    const layer_weights *w = &m->layer[layer];
    device *dev = m->dev;
    for (int64_t first = 0; first < rows; first += dev->chunk_rows) {
        int64_t count = rows - first < dev->chunk_rows ? rows - first : dev->chunk_rows;
        float *chunk = x + first * s->hidden;
        dev->rmsnorm(dev, scratch->norm, chunk, w->ffn_norm, count, s->hidden,
                     (float)m->config.rms_epsilon);
        dev->gemm(dev, GEMM_STORE, scratch->gate_up, 2 * (int64_t)s->ffn, scratch->norm, s->hidden,
                  w->gate_up, NULL, count, 2 * (int64_t)s->ffn, s->hidden);
        dev->swiglu(dev, scratch->ffn, scratch->gate_up, count, s->ffn);
        dev->gemm(dev, GEMM_ADD_F32, chunk, s->hidden, scratch->ffn, s->ffn, w->down, NULL, count,
                  s->hidden, s->ffn);
    }
}

void layer_logits(const model *m, void *norm, const float *x, int64_t rows, float *logits)
{
    const model_shape *s = &m->config.shape;
    device *dev = m->dev;
    dev->rmsnorm(dev, norm, x, m->final_norm, rows, s->hidden, (float)m->config.rms_epsilon);
    dev->gemm(dev, GEMM_STORE_F32, logits, s->vocab, norm, s->hidden, m->lm_head, NULL, rows,
              s->vocab, s->hidden);
}
