/* Weights: what a checkpoint holds arrives on the device unchanged and where
 * model.h says, for every type, single and in shards; the named shapes are the published ones; and
 * random weights are what their seed says. Values are compared exactly: checkpoints hold
 * multiples of 1/64 below 2, which float32, float16 and bfloat16 all represent. */
#include "harness/error.h"
#include "harness/model/model.h"
#include "tests/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static device *dev;
static char *directory;

static void set_up(void)
{
    dev = device_find("cpu");
    cr_assert(dev && !dev->open(dev, 2), "%s", fail_text());
    directory = temporary_directory();
}

static void tear_down(void)
{
    remove_directory(directory);
    dev->close(dev);
}

TestSuite(weights, .init = set_up, .fini = tear_down, .timeout = 60);

static const checkpoint small = {
    .model_type = "llama",
    .shape = {.layers = 2, .hidden = 24, .heads = 4, .kv_heads = 2, .head_dim = 8, .ffn = 40,
              .vocab = 50},
    .lm_head = true,
};

/* `rows` rows of `columns` values on the device, from `row` on, are those of the tensor. */
static void expect_tensor(const void *matrix, int64_t row, int64_t rows, int64_t columns,
                          const char *format, int layer)
{
    char name[128];
    snprintf(name, sizeof name, format, layer);
    int64_t count = rows * columns;
    float *values = alloc_or_die((size_t)count, sizeof *values);
    dev->download(dev, values, (const float *)matrix + row * columns,
                  (size_t)count * sizeof *values);
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; i++)
        wrong += values[i] != checkpoint_value(name, i);
    cr_expect(wrong == 0, "%s: %lld of %lld values are wrong", name, (long long)wrong,
              (long long)count);
    free(values);
}

static void expect_model(const model *m, const checkpoint *c)
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

static model *open_or_assert(const char *name, int layers, const char *heads)
{
    model *m = model_open(name, dev, layers, 7, heads);
    cr_assert(m, "%s", fail_text());
    return m;
}

Test(weights, every_type_single_and_sharded)
{
    for (int qwen2 = 0; qwen2 < 2; qwen2++) {
        for (dtype type = DTYPE_F32; type <= DTYPE_BF16; type++) {
            for (int shards = 0; shards < 4; shards++) {
                checkpoint c = small;
                c.type = type;
                c.shards = shards;
                c.model_type = qwen2 ? "qwen2" : "llama";
                char *place = format_text("%s/m%d%d%d", directory, qwen2, type, shards);
                char *command = format_text("mkdir %s", place);
                cr_assert_eq(system(command), 0);
                write_checkpoint(place, &c);
                model *m = open_or_assert(place, 0, NULL);
                expect_model(m, &c);
                cr_expect_eq(m->retaining_width, 0);
                cr_expect(!m->random && !m->tokens && m->layers == 2);
                model_close(m);
                free(command);
                free(place);
            }
        }
    }
}

Test(weights, data_at_odd_addresses)
{
    for (dtype type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        for (int over = 1; over < 4; over++) {
            checkpoint c = small;
            c.type = type;
            c.header_bytes_over_8 = over;
            write_checkpoint(directory, &c);
            model *m = open_or_assert(directory, 0, NULL);
            expect_model(m, &c);
            model_close(m);
        }
    }
}

Test(weights, tied_wins_over_a_head_in_the_file)
{
    for (int in_file = 0; in_file < 2; in_file++) {
        checkpoint c = small;
        c.tied = true;
        c.lm_head = in_file;
        write_checkpoint(directory, &c);
        model *m = open_or_assert(directory, 0, NULL);
        expect_model(m, &c);
        model_close(m);
    }
}

/* Hugging Face's Llama has a bias of o_proj as well; the core has none. */
Test(weights, biases_of_a_llama)
{
    checkpoint c = small;
    c.biases = true;
    for (dtype type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        c.type = type;
        write_checkpoint(directory, &c);
        model *m = open_or_assert(directory, 0, NULL);
        expect_model(m, &c);
        model_close(m);
    }
    c.output_bias = true;
    write_checkpoint(directory, &c);
    cr_expect_null(model_open(directory, dev, 0, 7, NULL));
    cr_expect(strstr(fail_text(), "model.layers.0.self_attn.o_proj.bias is not zero") &&
                  strstr(fail_text(), "model.safetensors: "),
              "%s", fail_text());
}

Test(weights, a_tokenizer_beside_the_weights)
{
    write_checkpoint(directory, &small); /* 50 ids */
    write_text(directory, "tokenizer.json",
               "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 49}, \"merges\": []}"
               "}");
    model *m = open_or_assert(directory, 0, NULL);
    cr_assert(m->tokens && m->chat);
    cr_expect_eq(tokenizer_vocab(m->tokens), 50);
    model_close(m);
    write_text(directory, "tokenizer.json",
               "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 50}, \"merges\": []}"
               "}");
    cr_expect_null(model_open(directory, dev, 0, 7, NULL));
    cr_expect(strstr(fail_text(), "tokenizer.json: has 51 ids, but config.json's"), "%s",
              fail_text());
    write_text(directory, "tokenizer.json", "{");
    cr_expect_null(model_open(directory, dev, 0, 7, NULL));
    cr_expect(strstr(fail_text(), "tokenizer.json"), "%s", fail_text());
}

Test(weights, first_layers_only)
{
    checkpoint c = small;
    c.left_out = "model.layers.1.mlp.up_proj.weight"; /* of a layer that is not asked for */
    write_checkpoint(directory, &c);
    model *m = open_or_assert(directory, 1, NULL);
    cr_expect_eq(m->layers, 1);
    expect_model(m, &c);
    cr_expect_eq(m->weight_bytes, model_weight_bytes(&m->config, 1, dev->act_bytes, 0));
    model_close(m);
    cr_expect_null(model_open(directory, dev, 3, 7, NULL));
    cr_expect(strstr(fail_text(), "3 layers wanted, but it has 2"), "%s", fail_text());
    cr_expect_null(model_open(directory, dev, -1, 7, NULL));
}

Test(weights, a_model_is_named_after_its_directory)
{
    write_checkpoint(directory, &small);
    const char *last = strrchr(directory, '/') + 1;
    const char *const spellings[] = {"%s", "%s/", "%s//", "%s/.", "%s/../%s"};
    for (int i = 0; i < 5; i++) {
        char path[512];
        snprintf(path, sizeof path, i == 4 ? "%s/../%s" : spellings[i], directory, last);
        model *m = open_or_assert(path, 0, NULL);
        cr_expect_str_eq(m->name, last);
        cr_expect_str_eq(m->directory, path);
        model_close(m);
    }
}

static void expect_heads(const model *m, const checkpoint *c)
{
    const model_shape *s = &c->shape;
    cr_assert_eq(m->retaining_width, c->retaining_width);
    for (int i = 0; i < m->layers; i++) {
        expect_tensor(m->layer[i].retaining_fc1, 0, m->retaining_width,
                      (s->heads + 2 * s->kv_heads) * s->head_dim,
                      "model.layers.%d.self_attn.fc1.weight", i);
        expect_tensor(m->layer[i].retaining_fc2, 0, s->kv_heads, m->retaining_width,
                      "model.layers.%d.self_attn.fc2.weight", i);
    }
}

/* The preset that lies under the cache has heads in the repository, where they are there: behind those
 * that lie beside the model and those that are given. */
Test(weights, retaining_heads_of_a_preset)
{
    checkpoint heads = small;
    heads.type = DTYPE_BF16;
    char *command = format_text("mkdir -p %s/models/smollm2 %s/results/heads", directory, directory);
    cr_assert_eq(system(command), 0);
    free(command);
    char *place = format_text("%s/models/smollm2", directory);
    write_checkpoint(place, &small);
    setenv("APBENCH_CACHE", directory, 1);
    setenv("APBENCH_HOME", directory, 1);
    model *m = open_or_assert("smollm2", 0, NULL);
    cr_expect_eq(m->retaining_width, 0);
    model_close(m);

    char *elsewhere = temporary_directory();
    heads.retaining_width = 12;
    write_checkpoint(elsewhere, &heads);
    command = format_text("cp %s/retaining_heads.safetensors %s/results/heads/smollm2.safetensors",
                          elsewhere, directory);
    cr_assert_eq(system(command), 0);
    free(command);
    m = open_or_assert("smollm2", 0, NULL);
    expect_heads(m, &heads);
    cr_expect_str_eq(m->origin, "", "a preset is known by its name");
    model_close(m);
    m = open_or_assert(place, 0, NULL); /* by its directory it is any model */
    cr_expect_eq(m->retaining_width, 0);
    model_close(m);
    m = model_open("smollm2", NULL, 0, 7, NULL); /* described alone */
    cr_assert(m, "%s", fail_text());
    cr_expect_eq(m->retaining_width, 12);
    model_close(m);

    heads.retaining_width = 20;
    write_checkpoint(place, &heads);
    m = open_or_assert("smollm2", 0, NULL);
    expect_heads(m, &heads);
    model_close(m);
    free(place);
    remove_directory(elsewhere);
}

Test(weights, retaining_heads_from_beside_the_model_and_from_a_flag)
{
    checkpoint heads = small;
    heads.retaining_width = 12;
    heads.type = DTYPE_BF16;
    write_checkpoint(directory, &small);
    char *elsewhere = temporary_directory();
    write_checkpoint(elsewhere, &heads);
    char *file = format_text("%s/retaining_heads.safetensors", elsewhere);
    model *m = open_or_assert(directory, 0, file);
    expect_heads(m, &heads);
    model_close(m);
    m = open_or_assert(directory, 0, NULL);
    cr_expect(m->retaining_width == 0 && !m->layer[0].retaining_fc1);
    model_close(m);

    heads.retaining_width = 20;
    write_checkpoint(directory, &heads);
    m = open_or_assert(directory, 0, NULL);
    expect_model(m, &small);
    expect_heads(m, &heads);
    model_close(m);
    m = open_or_assert(directory, 1, file); /* the flag wins */
    heads.retaining_width = 12;
    expect_heads(m, &heads);
    model_close(m);
    free(file);
    remove_directory(elsewhere);
}

Test(weights, retaining_heads_that_do_not_fit)
{
    write_checkpoint(directory, &small);
    static const struct {
        const char *left_out, *misshaped, *mistyped;
        int layers, kv_heads;
        const char *sentence;
    } faults[] = {
        {.left_out = "model.layers.0.self_attn.fc1.weight", .sentence = "has no tensor"},
        {.left_out = "model.layers.1.self_attn.fc1.weight", .sentence = "has no tensor"},
        {.left_out = "model.layers.1.self_attn.fc2.weight", .sentence = "has no tensor"},
        {.misshaped = "model.layers.1.self_attn.fc1.weight", .sentence = "its shape is [12, 65]"},
        {.misshaped = "model.layers.0.self_attn.fc2.weight", .sentence = "its shape is [2, 13]"},
        {.mistyped = "model.layers.0.self_attn.fc2.weight", .sentence = "its type is I32"},
        {.layers = 3, .sentence = "the model has only 2 layers"},
        {.kv_heads = 1, .sentence = "its shape is"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        checkpoint heads = small;
        heads.retaining_width = 12;
        heads.left_out = faults[i].left_out;
        heads.misshaped = faults[i].misshaped;
        heads.mistyped = faults[i].mistyped;
        heads.shape.layers = faults[i].layers ? faults[i].layers : 2;
        heads.shape.kv_heads = faults[i].kv_heads ? faults[i].kv_heads : 2;
        write_checkpoint(directory, &heads);
        model *m = model_open(directory, dev, 0, 7, NULL);
        cr_expect_null(m);
        model_close(m);
        cr_expect(strstr(fail_text(), faults[i].sentence) &&
                      strstr(fail_text(), "retaining_heads.safetensors: "),
                  "%zu: %s", i, fail_text());
    }
}

/* ---- Memory ---- */

static device limited; /* the cpu device with less memory */
static int allocations_left, allocations;
static size_t allocated_bytes, memory_left;

static void *alloc_limited(device *d, size_t bytes)
{
    if (allocations_left-- <= 0)
        return NULL;
    allocations++;
    allocated_bytes += bytes;
    return dev->alloc(d, bytes);
}

static void memory_limited(device *d, size_t *free_bytes, size_t *total_bytes)
{
    dev->memory(d, free_bytes, total_bytes);
    *free_bytes = memory_left;
}

Test(weights, memory_is_predicted_and_its_lack_is_a_sentence)
{
    write_checkpoint(directory, &small);
    limited = *dev;
    limited.alloc = alloc_limited;
    limited.memory = memory_limited;
    memory_left = SIZE_MAX;
    allocations_left = 100;
    model *m = model_open(directory, &limited, 0, 7, NULL);
    cr_assert(m, "%s", fail_text());
    cr_expect_eq(allocated_bytes, m->weight_bytes);
    cr_expect_eq(m->weight_bytes, model_weight_bytes(&m->config, 0, dev->act_bytes, 0));
    cr_expect_leq(allocations, m->layers + 1);
    size_t wanted = m->weight_bytes;
    model_close(m);

    for (int left = 0; left < 3; left++) {
        allocations_left = left;
        cr_expect_null(model_open(directory, &limited, 0, 7, NULL));
        char *bytes = format_text("want %zu bytes", wanted);
        cr_expect(!strncmp(fail_text(), "out of memory: ", 15) && strstr(fail_text(), bytes), "%s",
                  fail_text());
        free(bytes);
    }
    allocations_left = 100;
    memory_left = wanted - 1;
    cr_expect_null(model_open(directory, &limited, 0, 7, NULL));
    cr_expect(!strncmp(fail_text(), "out of memory: ", 15), "%s", fail_text());
    cr_expect_eq(allocations_left, 100); /* nothing was tried */
    cr_expect_null(model_open("yi-34b", &limited, 0, 7, NULL));
    cr_expect(!strncmp(fail_text(), "out of memory: ", 15), "%s", fail_text());
}

/* Parameters of the published models: 8.03, 14.77 and 34.39 billion, 2 bytes each, plus the
 * retaining heads of reference/methods.md section 4 (202, 353, 567 million) where there are any.
 * Norms are float32 here and pieces are rounded up to 256 bytes: below a thousandth. */
Test(weights, sizes_of_the_named_shapes)
{
    static const struct {
        const char *name;
        double parameters, heads;
    } published[] = {{"llama-3.1-8b", 8.030e9, 0.202e9},
                     {"llama-3-8b-1m", 8.030e9, 0.202e9},
                     {"qwen2.5-14b", 14.770e9, 0.353e9},
                     {"yi-34b", 34.389e9, 0.567e9}};
    for (int i = 0; i < 4; i++) {
        model_config config;
        char *place;
        cr_assert_eq(model_resolve(published[i].name, &config, &place), 0);
        cr_expect_null(place);
        double plain = (double)model_weight_bytes(&config, 0, 2, 0) / 2;
        double heads = (double)model_weight_bytes(&config, 0, 2, RANDOM_RETAINING_WIDTH) / 2;
        cr_expect(fabs(plain / published[i].parameters - 1) < 1e-3, "%s: %g parameters",
                  published[i].name, plain);
        cr_expect(fabs((heads - plain) / published[i].heads - 1) < 5e-3, "%s: %g in heads",
                  published[i].name, heads - plain);
    }
}

Test(weights, described_without_a_device)
{
    checkpoint heads = small;
    heads.retaining_width = 12;
    write_checkpoint(directory, &small);
    write_checkpoint(directory, &heads);
    model *m = model_open(directory, NULL, 1, 7, NULL);
    cr_assert(m, "%s", fail_text());
    cr_expect(m->layers == 1 && m->retaining_width == 12 && !m->embedding && !m->layer[0].qkv);
    model_close(m);
    m = model_open("yi-34b", NULL, 0, 7, NULL);
    cr_assert(m, "%s", fail_text());
    cr_expect(m->layers == 60 && m->retaining_width == 1024 && m->random);
    model_close(m);
}

/* ---- Random weights ---- */

static float *download(const void *from, int64_t count)
{
    float *values = alloc_or_die((size_t)count, sizeof *values);
    dev->download(dev, values, from, (size_t)count * sizeof *values);
    return values;
}

static bool same(const void *left, const void *right, int64_t count)
{
    float *a = download(left, count), *b = download(right, count);
    bool equal = !memcmp(a, b, (size_t)count * sizeof *a);
    free(a);
    free(b);
    return equal;
}

static double deviation(const void *matrix, int64_t count)
{
    float *values = download(matrix, count);
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)values[i] * values[i];
    free(values);
    return sqrt(sum / (double)count);
}

Test(weights, random_values_follow_the_seed)
{
    model *a = model_open("tiny", dev, 0, 1, NULL), *b = model_open("tiny", dev, 1, 1, NULL);
    model *c = model_open("tiny", dev, 0, 2, NULL);
    cr_assert(a && b && c, "%s", fail_text());
    cr_expect(a->random && !a->directory && !a->tokens);
    cr_expect_str_eq(a->name, "tiny");
    int64_t qkv = 128 * 64; /* (4 + 2 * 2) heads of 16, width 64 */
    cr_expect(same(a->layer[0].qkv, b->layer[0].qkv, qkv), "layers cut, other weights");
    cr_expect(same(a->lm_head, b->lm_head, 512 * 64));
    cr_expect(!same(a->layer[0].qkv, c->layer[0].qkv, qkv), "another seed, the same weights");
    cr_expect(!same(a->layer[0].qkv, a->layer[1].qkv, qkv), "two layers alike");
    cr_expect(!same(a->layer[0].qkv, a->layer[0].gate_up, qkv), "two tensors alike");
    cr_expect(!same(a->embedding, a->lm_head, 512 * 64));
    cr_assert_eq(a->retaining_width, 1024);
    cr_expect(!same(a->layer[0].retaining_fc1, a->layer[1].retaining_fc1, 1024 * 128));
    /* Uniform values have the deviation bound / sqrt(3); of so many, within 2 %. */
    cr_expect(fabs(deviation(a->layer[1].gate_up, 256 * 64) / 0.125 - 1) < 0.02);
    cr_expect(fabs(deviation(a->embedding, 512 * 64) / 0.02 - 1) < 0.02);
    float *norm = download(a->layer[1].ffn_norm, 64);
    for (int i = 0; i < 64; i++)
        cr_expect_eq(norm[i], 1);
    free(norm);
    model_close(a);
    model_close(b);
    model_close(c);
}

/* ---- Names ---- */

Test(weights, names_that_stand_for_nothing)
{
    model_config config;
    char *place;
    setenv("APBENCH_CACHE", directory, 1);
    cr_expect_eq(model_resolve("smollm2", &config, &place), -1);
    cr_expect(strstr(fail_text(), "make setup") && strstr(fail_text(), directory), "%s",
              fail_text());
    cr_expect_eq(model_resolve("no-such-model", &config, &place), -1);
    cr_expect(strstr(fail_text(), "no-such-model") && strstr(fail_text(), "llama-3.1-8b"), "%s",
              fail_text());
    cr_expect_eq(model_resolve(directory, &config, &place), -1); /* a directory without a model */
    cr_expect(strstr(fail_text(), "config.json"), "%s", fail_text());
    char *path = cache_directory();
    cr_expect_str_eq(path, directory);
    free(path);
    unsetenv("APBENCH_CACHE");
    setenv("XDG_CACHE_HOME", "/x", 1);
    path = cache_directory();
    cr_expect_str_eq(path, "/x/apbench");
    free(path);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/h", 1);
    path = cache_directory();
    cr_expect_str_eq(path, "/h/.cache/apbench");
    free(path);
}
