/* Weights: what a checkpoint holds arrives on the device unchanged and where model.h says, for every type,
 * single and in shards; the named shapes are the published ones; memory is predicted; and random weights
 * are what their seed says. Retaining heads are tested in test_weights_heads.c. */
#include "harness/error.h"
#include "tests/weights_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(weights, .init = set_up_weights, .fini = tear_down_weights, .timeout = 60);

Test(weights, every_type_single_and_sharded)
{
    for (int qwen2 = 0; qwen2 < 2; qwen2++) {
        for (dtype type = DTYPE_F32; type <= DTYPE_BF16; type++) {
            for (int shards = 0; shards < 4; shards++) {
                checkpoint c = small_checkpoint;
                c.type = type;
                c.shards = shards;
                c.model_type = qwen2 ? "qwen2" : "llama";
                char *place = format_text("%s/m%d%d%d", weights_directory, qwen2, type, shards);
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
            checkpoint c = small_checkpoint;
            c.type = type;
            c.header_bytes_over_8 = over;
            c.shape.vocab = over == 1 ? 45000 : 50; /* once over a million values in a matrix */
            write_checkpoint(weights_directory, &c);
            model *m = open_or_assert(weights_directory, 0, NULL);
            expect_model(m, &c);
            model_close(m);
        }
    }
}

Test(weights, tied_wins_over_a_head_in_the_file)
{
    for (int in_file = 0; in_file < 2; in_file++) {
        checkpoint c = small_checkpoint;
        c.tied = true;
        c.lm_head = in_file;
        write_checkpoint(weights_directory, &c);
        model *m = open_or_assert(weights_directory, 0, NULL);
        expect_model(m, &c);
        model_close(m);
    }
}

/* Hugging Face's Llama has a bias of o_proj as well; the core has none. */
Test(weights, biases_of_a_llama)
{
    checkpoint c = small_checkpoint;
    c.biases = true;
    for (dtype type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        c.type = type;
        write_checkpoint(weights_directory, &c);
        model *m = open_or_assert(weights_directory, 0, NULL);
        expect_model(m, &c);
        model_close(m);
    }
    c.output_bias = true;
    write_checkpoint(weights_directory, &c);
    cr_expect_null(model_open(weights_directory, weights_device, 0, 7, NULL));
    cr_expect(strstr(fail_text(), "model.layers.0.self_attn.o_proj.bias is not zero") &&
                  strstr(fail_text(), "model.safetensors: "),
              "%s", fail_text());
}

Test(weights, a_tokenizer_beside_the_weights)
{
    write_checkpoint(weights_directory, &small_checkpoint); /* 50 ids */
    write_text(weights_directory, "tokenizer.json",
               "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 49}, \"merges\": []}"
               "}");
    model *m = open_or_assert(weights_directory, 0, NULL);
    cr_assert(m->tokens && m->chat);
    cr_expect_eq(tokenizer_vocab(m->tokens), 50);
    model_close(m);
    write_text(weights_directory, "tokenizer.json",
               "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 50}, \"merges\": []}"
               "}");
    cr_expect_null(model_open(weights_directory, weights_device, 0, 7, NULL));
    cr_expect(strstr(fail_text(), "tokenizer.json: has 51 ids, but config.json's"), "%s",
              fail_text());
    write_text(weights_directory, "tokenizer.json", "{");
    cr_expect_null(model_open(weights_directory, weights_device, 0, 7, NULL));
    cr_expect(strstr(fail_text(), "tokenizer.json"), "%s", fail_text());
}

Test(weights, first_layers_only)
{
    checkpoint c = small_checkpoint;
    c.left_out = "model.layers.1.mlp.up_proj.weight"; /* of a layer that is not asked for */
    write_checkpoint(weights_directory, &c);
    model *m = open_or_assert(weights_directory, 1, NULL);
    cr_expect_eq(m->layers, 1);
    expect_model(m, &c);
    cr_expect_eq(m->weight_bytes, model_weight_bytes(&m->config, 1, weights_device->act_bytes, 0));
    model_close(m);
    cr_expect_null(model_open(weights_directory, weights_device, 3, 7, NULL));
    cr_expect(strstr(fail_text(), "3 layers wanted, but it has 2"), "%s", fail_text());
    cr_expect_null(model_open(weights_directory, weights_device, -1, 7, NULL));
}

Test(weights, a_model_is_named_after_its_directory)
{
    write_checkpoint(weights_directory, &small_checkpoint);
    const char *last = strrchr(weights_directory, '/') + 1;
    const char *const spellings[] = {"%s", "%s/", "%s//", "%s/.", "%s/../%s"};
    for (int i = 0; i < 5; i++) {
        char path[512];
        snprintf(path, sizeof path, i == 4 ? "%s/../%s" : spellings[i], weights_directory, last);
        model *m = open_or_assert(path, 0, NULL);
        cr_expect_str_eq(m->name, last);
        cr_expect_str_eq(m->directory, path);
        model_close(m);
    }
}

static char *origin_of(device *dev)
{
    model *m = model_open(weights_directory, dev, 1, 7, NULL);
    cr_assert(m, "%s", fail_text());
    char *origin = copy_text(m->origin);
    model_close(m);
    return origin;
}

/* Who the weights are: loaded or described, and as often as they are opened, the same until a value or
 * the configuration changes; its keys may move. */
Test(weights, other_weights_at_the_same_path_have_another_origin)
{
    write_checkpoint(weights_directory, &small_checkpoint);
    char *path = realpath(weights_directory, NULL), *file = format_text("%s/model.safetensors", path);
    char *first = origin_of(weights_device);
    cr_expect_eq(strlen(first), strlen(path) + 13);
    cr_expect(!strncmp(first, path, strlen(path)) && first[strlen(path)] == '#', "%s", first);
    cr_expect_str_eq(origin_of(NULL), first);

    size_t bytes;
    uint64_t header;
    uint8_t *content = read_file(file, &bytes);
    memcpy(&header, content, sizeof header);
    content[sizeof header + header] ^= 1;
    write_file(file, content, bytes);
    char *other = origin_of(NULL);
    cr_expect_str_neq(other, first, "another value");
    content[sizeof header + header] ^= 1;
    write_file(file, content, bytes);
    cr_expect_str_eq(origin_of(NULL), first);

    char *text = read_file(format_text("%s/config.json", path), &bytes);
    char *members = text + 1, *end = strrchr(text, '}');
    cr_assert(text[0] == '{' && end);
    *end = 0;
    write_text(weights_directory, "config.json", format_text("{\"revision\": 5, %s}", members));
    other = origin_of(NULL);
    cr_expect_str_neq(other, first, "another configuration");
    write_text(weights_directory, "config.json", format_text("{%s, \"revision\": 5}", members));
    cr_expect_str_eq(origin_of(NULL), other, "keys in another order");
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
    return weights_device->alloc(d, bytes);
}

static void memory_limited(device *d, size_t *free_bytes, size_t *total_bytes)
{
    weights_device->memory(d, free_bytes, total_bytes);
    *free_bytes = memory_left;
}

Test(weights, memory_is_predicted_and_its_lack_is_a_sentence)
{
    write_checkpoint(weights_directory, &small_checkpoint);
    limited = *weights_device;
    limited.alloc = alloc_limited;
    limited.memory = memory_limited;
    memory_left = SIZE_MAX;
    allocations_left = 100;
    model *m = model_open(weights_directory, &limited, 0, 7, NULL);
    cr_assert(m, "%s", fail_text());
    cr_expect_eq(allocated_bytes, m->weight_bytes);
    cr_expect_eq(m->weight_bytes, model_weight_bytes(&m->config, 0, weights_device->act_bytes, 0));
    cr_expect_leq(allocations, m->layers + 1);
    size_t wanted = m->weight_bytes;
    model_close(m);

    for (int left = 0; left < 3; left++) {
        allocations_left = left;
        cr_expect_null(model_open(weights_directory, &limited, 0, 7, NULL));
        char *bytes = format_text("want %zu bytes", wanted);
        cr_expect(!strncmp(fail_text(), "out of memory: ", 15) && strstr(fail_text(), bytes), "%s",
                  fail_text());
        free(bytes);
    }
    allocations_left = 100;
    memory_left = wanted - 1;
    cr_expect_null(model_open(weights_directory, &limited, 0, 7, NULL));
    cr_expect(!strncmp(fail_text(), "out of memory: ", 15), "%s", fail_text());
    cr_expect_eq(allocations_left, 100); /* nothing was tried */
    cr_expect_null(model_open("yi-34b", &limited, 0, 7, NULL));
    cr_expect(!strncmp(fail_text(), "out of memory: ", 15), "%s", fail_text());
}

/* Parameters of the published models: 8.03, 14.77 and 34.39 billion, 2 bytes each, plus the
 * retaining heads of the published size (202, 353, 567 million) where there are any.
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
    checkpoint heads = small_checkpoint;
    heads.retaining_width = 12;
    write_checkpoint(weights_directory, &small_checkpoint);
    write_checkpoint(weights_directory, &heads);
    model *m = model_open(weights_directory, NULL, 1, 7, NULL);
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
    weights_device->download(weights_device, values, from, (size_t)count * sizeof *values);
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
    model *a = model_open("tiny", weights_device, 0, 1, NULL);
    model *b = model_open("tiny", weights_device, 1, 1, NULL);
    model *c = model_open("tiny", weights_device, 0, 2, NULL);
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
    setenv("APBENCH_CACHE", weights_directory, 1);
    cr_expect_eq(model_resolve("smollm2", &config, &place), -1);
    cr_expect(strstr(fail_text(), "make setup") && strstr(fail_text(), weights_directory), "%s",
              fail_text());
    cr_expect_eq(model_resolve("no-such-model", &config, &place), -1);
    cr_expect(strstr(fail_text(), "no-such-model") && strstr(fail_text(), "llama-3.1-8b"), "%s",
              fail_text());
    cr_expect_eq(model_resolve(weights_directory, &config, &place), -1); /* a directory without a model */
    cr_expect(strstr(fail_text(), "config.json"), "%s", fail_text());
    char *path = cache_directory();
    cr_expect_str_eq(path, weights_directory);
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
