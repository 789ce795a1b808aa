/* Retaining heads among the weights: beside the model, in the repository for a preset, from a flag, and
 * those that do not fit the model. */
#include "harness/error.h"
#include "tests/weights_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(weights, .init = set_up_weights, .fini = tear_down_weights, .timeout = 60);

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
    checkpoint heads = small_checkpoint;
    heads.type = DTYPE_BF16;
    char *command = format_text("mkdir -p %s/models/smollm2 %s/results/heads", weights_directory,
                                weights_directory);
    cr_assert_eq(system(command), 0);
    free(command);
    char *place = format_text("%s/models/smollm2", weights_directory);
    write_checkpoint(place, &small_checkpoint);
    setenv("APBENCH_CACHE", weights_directory, 1);
    setenv("APBENCH_HOME", weights_directory, 1);
    model *m = open_or_assert("smollm2", 0, NULL);
    cr_expect_eq(m->retaining_width, 0);
    model_close(m);

    char *elsewhere = temporary_directory();
    heads.retaining_width = 12;
    write_checkpoint(elsewhere, &heads);
    command = format_text("cp %s/retaining_heads.safetensors %s/results/heads/smollm2.safetensors",
                          elsewhere, weights_directory);
    cr_assert_eq(system(command), 0);
    free(command);
    m = open_or_assert("smollm2", 0, NULL);
    expect_heads(m, &heads);
    cr_expect_str_eq(m->origin, "", "a preset is known by its name");
    uint64_t hash = m->heads_hash;
    cr_expect_neq(hash, 0);
    model_close(m);
    m = open_or_assert(place, 0, NULL); /* by its directory it is any model */
    cr_expect_eq(m->retaining_width, 0);
    model_close(m);
    m = model_open("smollm2", NULL, 0, 7, NULL); /* described alone */
    cr_assert(m, "%s", fail_text());
    cr_expect_eq(m->retaining_width, 12);
    cr_expect_eq(m->heads_hash, hash, "the same heads, not loaded");
    model_close(m);

    heads.retaining_width = 20;
    write_checkpoint(place, &heads);
    m = open_or_assert("smollm2", 0, NULL);
    expect_heads(m, &heads);
    cr_expect_neq(m->heads_hash, hash, "other heads");
    model_close(m);
    free(place);
    remove_directory(elsewhere);
}

Test(weights, retaining_heads_from_beside_the_model_and_from_a_flag)
{
    checkpoint heads = small_checkpoint;
    heads.retaining_width = 12;
    heads.type = DTYPE_BF16;
    write_checkpoint(weights_directory, &small_checkpoint);
    char *elsewhere = temporary_directory();
    write_checkpoint(elsewhere, &heads);
    char *file = format_text("%s/retaining_heads.safetensors", elsewhere);
    model *m = open_or_assert(weights_directory, 0, file);
    expect_heads(m, &heads);
    model_close(m);
    m = open_or_assert(weights_directory, 0, NULL);
    cr_expect(m->retaining_width == 0 && !m->layer[0].retaining_fc1);
    model_close(m);

    heads.retaining_width = 20;
    write_checkpoint(weights_directory, &heads);
    m = open_or_assert(weights_directory, 0, NULL);
    expect_model(m, &small_checkpoint);
    expect_heads(m, &heads);
    model_close(m);
    m = open_or_assert(weights_directory, 1, file); /* the flag wins */
    heads.retaining_width = 12;
    expect_heads(m, &heads);
    model_close(m);
    free(file);
    remove_directory(elsewhere);
}

Test(weights, retaining_heads_that_do_not_fit)
{
    write_checkpoint(weights_directory, &small_checkpoint);
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
        checkpoint heads = small_checkpoint;
        heads.retaining_width = 12;
        heads.left_out = faults[i].left_out;
        heads.misshaped = faults[i].misshaped;
        heads.mistyped = faults[i].mistyped;
        heads.shape.layers = faults[i].layers ? faults[i].layers : 2;
        heads.shape.kv_heads = faults[i].kv_heads ? faults[i].kv_heads : 2;
        write_checkpoint(weights_directory, &heads);
        model *m = model_open(weights_directory, weights_device, 0, 7, NULL);
        cr_expect_null(m);
        model_close(m);
        cr_expect(strstr(fail_text(), faults[i].sentence) &&
                      strstr(fail_text(), "retaining_heads.safetensors: "),
                  "%zu: %s", i, fail_text());
    }
}
