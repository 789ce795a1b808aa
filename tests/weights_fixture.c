/* See weights_fixture.h. */
#include "tests/weights_fixture.h"

#include "harness/error.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

device *weights_device;
char *weights_directory;

const checkpoint small_checkpoint = {
    .model_type = "llama",
    .shape = {.layers = 2, .hidden = 24, .heads = 4, .kv_heads = 2, .head_dim = 8, .ffn = 40,
              .vocab = 50},
    .lm_head = true,
};

void set_up_weights(void)
{
    weights_device = device_find("cpu");
    cr_assert(weights_device && !weights_device->open(weights_device, 2), "%s", fail_text());
    weights_directory = temporary_directory();
}

void tear_down_weights(void)
{
    remove_directory(weights_directory);
    weights_device->close(weights_device);
}

void expect_tensor(const void *matrix, int64_t row, int64_t rows, int64_t columns, const char *format,
                   int layer)
{
    char name[128];
    snprintf(name, sizeof name, format, layer);
    int64_t count = rows * columns;
    float *values = alloc_or_die((size_t)count, sizeof *values);
    weights_device->download(weights_device, values, (const float *)matrix + row * columns,
                  (size_t)count * sizeof *values);
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; i++)
        wrong += values[i] != checkpoint_value(name, i);
    cr_expect(wrong == 0, "%s: %lld of %lld values are wrong", name, (long long)wrong,
              (long long)count);
    free(values);
}

void expect_model(const model *m, const checkpoint *c)
{
    const model_shape *s = &c->shape;
    int64_t q_rows = s->heads * s->head_dim, kv_rows = s->kv_heads * s->head_dim;
    cr_assert(!memcmp(&m->config.shape, s, sizeof *s), "the shape differs");
    expect_tensor(m->embedding, 0, s->vocab, s->hidden, "model.embed_tokens.weight", 0);
    expect_tensor(m->final_norm, 0, 1, s->hidden, "model.norm.weight", 0);
    if (c->tied)
        cr_expect(m->lm_head == m->embedding);
    else
        expect_tensor(m->lm_head, 0, s->vocab, s->hidden, "lm_head.weight", 0);
    for (int i = 0; i < m->layers; i++) {
        const layer_weights *w = &m->layer[i];
#define LAYER "model.layers.%d."
        expect_tensor(w->attention_norm, 0, 1, s->hidden, LAYER "input_layernorm.weight", i);
        expect_tensor(w->ffn_norm, 0, 1, s->hidden, LAYER "post_attention_layernorm.weight", i);
        expect_tensor(w->qkv, 0, q_rows, s->hidden, LAYER "self_attn.q_proj.weight", i);
        expect_tensor(w->qkv, q_rows, kv_rows, s->hidden, LAYER "self_attn.k_proj.weight", i);
        expect_tensor(w->qkv, q_rows + kv_rows, kv_rows, s->hidden,
                      LAYER "self_attn.v_proj.weight", i);
        cr_assert_eq(w->qkv_bias != NULL, c->biases || !strcmp(c->model_type, "qwen2"));
        if (w->qkv_bias) {
            expect_tensor(w->qkv_bias, 0, q_rows, 1, LAYER "self_attn.q_proj.bias", i);
            expect_tensor(w->qkv_bias, q_rows, kv_rows, 1, LAYER "self_attn.k_proj.bias", i);
            expect_tensor(w->qkv_bias, q_rows + kv_rows, kv_rows, 1,
                          LAYER "self_attn.v_proj.bias", i);
        }
        expect_tensor(w->o, 0, s->hidden, q_rows, LAYER "self_attn.o_proj.weight", i);
        expect_tensor(w->gate_up, 0, s->ffn, s->hidden, LAYER "mlp.gate_proj.weight", i);
        expect_tensor(w->gate_up, s->ffn, s->ffn, s->hidden, LAYER "mlp.up_proj.weight", i);
        expect_tensor(w->down, 0, s->hidden, s->ffn, LAYER "mlp.down_proj.weight", i);
    }
}

model *open_or_assert(const char *name, int layers, const char *heads)
{
    model *m = model_open(name, weights_device, layers, 7, heads);
    cr_assert(m, "%s", fail_text());
    return m;
}
