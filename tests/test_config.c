/* config.json and generation_config.json: the published ones are read as the named shapes; every
 * setting that the core could not honour, or that would make sizes overflow, is refused with one
 * sentence that names the file, the key and the value found; some thousand seeded random mutations
 * either are refused so or leave a configuration within limits. */
#include "harness/error.h"
#include "harness/model/model.h"
#include "tests/checkpoint.h"
#include "tests/mutate.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *directory;

static void set_up(void)
{
    directory = temporary_directory();
}

static void tear_down(void)
{
    remove_directory(directory);
}

TestSuite(config, .init = set_up, .fini = tear_down, .timeout = 120);

static const checkpoint tiny = {
    .model_type = "qwen2",
    .shape = {.layers = 1, .hidden = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .ffn = 6,
              .vocab = 10},
    .lm_head = true,
};

/* The published config.json files, cut to the keys that say something, read as the named shapes. */
static const struct {
    const char *preset, *config, *generation;
} published[] = {
    {"llama-3.1-8b",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,\"bos_token_id\":128000,"
     "\"eos_token_id\":[128001,128008,128009],\"hidden_act\":\"silu\",\"hidden_size\":4096,"
     "\"intermediate_size\":14336,\"max_position_embeddings\":131072,\"mlp_bias\":false,"
     "\"model_type\":\"llama\",\"num_attention_heads\":32,\"num_hidden_layers\":32,"
     "\"num_key_value_heads\":8,\"pretraining_tp\":1,\"rms_norm_eps\":1e-05,\"rope_scaling\":{"
     "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
     "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"},\"rope_theta\":500000.0,"
     "\"tie_word_embeddings\":false,\"vocab_size\":128256}",
     "{\"eos_token_id\":[128001,128008,128009],\"do_sample\":true}"},
    {"llama-3.1-8b", /* the same as transformers 5 writes it */
     "{\"eos_token_id\":[128001,128008,128009],\"hidden_size\":4096,\"head_dim\":128,"
     "\"intermediate_size\":14336,\"max_position_embeddings\":131072,"
     "\"model_type\":\"llama\",\"num_attention_heads\":32,\"num_hidden_layers\":32,"
     "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-05,\"rope_parameters\":{\"factor\":8.0,"
     "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"rope_theta\":500000.0,"
     "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"},"
     "\"tie_word_embeddings\":false,\"vocab_size\":128256}",
     NULL},
    {"qwen2.5-14b",
     "{\"architectures\":[\"Qwen2ForCausalLM\"],\"eos_token_id\":151645,\"hidden_act\":\"silu\","
     "\"hidden_size\":5120,\"intermediate_size\":13824,\"max_position_embeddings\":32768,"
     "\"max_window_layers\":70,\"model_type\":\"qwen2\",\"num_attention_heads\":40,"
     "\"num_hidden_layers\":48,\"num_key_value_heads\":8,\"rms_norm_eps\":1e-06,"
     "\"rope_theta\":1000000.0,\"sliding_window\":131072,\"tie_word_embeddings\":false,"
     "\"use_sliding_window\":false,\"vocab_size\":152064}",
     "{\"eos_token_id\":[151645,151643],\"pad_token_id\":151643}"},
    {"yi-34b",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"eos_token_id\":2,\"hidden_act\":\"silu\","
     "\"hidden_size\":7168,\"intermediate_size\":20480,\"max_position_embeddings\":200000,"
     "\"model_type\":\"llama\",\"num_attention_heads\":56,\"num_hidden_layers\":60,"
     "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-05,\"rope_scaling\":null,"
     "\"rope_theta\":5000000.0,\"tie_word_embeddings\":false,\"vocab_size\":64000}",
     "{\"eos_token_id\":2}"},
    {"llama-3-8b-1m",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"eos_token_id\":128001,\"hidden_size\":4096,"
     "\"intermediate_size\":14336,\"max_position_embeddings\":1048576,\"model_type\":\"llama\","
     "\"num_attention_heads\":32,\"num_hidden_layers\":32,\"num_key_value_heads\":8,"
     "\"rms_norm_eps\":1e-05,\"rope_scaling\":null,\"rope_theta\":3580165449.0,"
     "\"tie_word_embeddings\":false,\"vocab_size\":128256}",
     "{\"eos_token_id\":[128001,128009]}"},
};

Test(config, published_configurations_are_the_named_shapes)
{
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        model_config read, named;
        char *place, *generation = format_text("%s/generation_config.json", directory);
        remove(generation);
        write_text(directory, "config.json", published[i].config);
        if (published[i].generation)
            write_text(directory, "generation_config.json", published[i].generation);
        cr_assert_eq(model_config_read(directory, &read), 0, "%s", fail_text());
        cr_assert_eq(model_resolve(published[i].preset, &named, &place), 0);
        cr_expect(!memcmp(&read.shape, &named.shape, sizeof read.shape), "%zu: shape", i);
        cr_expect(read.rope_theta == named.rope_theta && read.rope_factor == named.rope_factor &&
                      read.rope_low_freq == named.rope_low_freq &&
                      read.rope_high_freq == named.rope_high_freq &&
                      read.rope_original_positions == named.rope_original_positions,
                  "%zu: RoPE", i);
        cr_expect(read.rms_epsilon == named.rms_epsilon && read.tied == named.tied &&
                      read.qkv_bias == named.qkv_bias &&
                      read.max_positions == named.max_positions,
                  "%zu: the rest", i);
        cr_expect(read.stop_count == named.stop_count &&
                      !memcmp(read.stop_ids, named.stop_ids, sizeof read.stop_ids),
                  "%zu: stop ids", i);
        free(generation);
    }
}

Test(config, defaults_of_a_short_configuration)
{
    write_text(directory, "config.json",
               "{\"model_type\":\"llama\",\"hidden_size\":96,\"intermediate_size\":7,"
               "\"num_hidden_layers\":1,\"num_attention_heads\":6,\"vocab_size\":11,"
               "\"head_dim\":null,\"rope_scaling\":{\"type\":\"default\"},\"eos_token_id\":null}");
    model_config c;
    cr_assert_eq(model_config_read(directory, &c), 0, "%s", fail_text());
    cr_expect(c.shape.kv_heads == 6 && c.shape.head_dim == 16 && c.rope_theta == 10000 &&
              c.rope_factor == 0 && c.rms_epsilon == 1e-6 && !c.tied && !c.qkv_bias &&
              c.max_positions == 2048 && c.stop_count == 0);
}

/* ---- Hostile ---- */

static void expect_refused(const char *file, const char *part, const char *what)
{
    model_config config;
    cr_expect_eq(model_config_read(directory, &config), -1, "%s was accepted", what);
    cr_expect(strstr(fail_text(), file) && strstr(fail_text(), part),
              "%s: \"%s\" should name %s and say: %s", what, fail_text(), file, part);
    cr_expect(!strpbrk(fail_text(), "\n\033"), "%s: control characters", what);
    fail("nothing");
}

#define LLAMA3(factor, low, high, positions)                                                    \
    "{\"rope_type\":\"llama3\",\"factor\":" factor ",\"low_freq_factor\":" low                     \
    ",\"high_freq_factor\":" high ",\"original_max_position_embeddings\":" positions "}"

/* One key of a good Llama configuration set to something else (null takes it away). */
static const struct {
    const char *key, *value, *sentence;
} settings[] = {
    {"model_type", "null", "has no \"model_type\""},
    {"model_type", "7", "is a whole number, where a text is wanted"},
    {"model_type", "\"mistral\"", "\"model_type\" is \"mistral\"; only"},
    {"model_type", "\"gemma3\\u001b\"", "\"gemma3?\"; only"},
    {"hidden_size", "null", "has no \"hidden_size\""},
    {"hidden_size", "0", "\"hidden_size\" is 0, outside of 1 to"},
    {"hidden_size", "-8", "\"hidden_size\" is -8, outside of 1 to"},
    {"hidden_size", "4294967304", "\"hidden_size\" is 4294967304, outside"},
    {"hidden_size", "9223372036854775807", "\"hidden_size\" is 9223372036854775807, outside"},
    {"hidden_size", "8.0", "\"hidden_size\" is a fraction, where a whole number is wanted"},
    {"hidden_size", "\"8\"", "\"hidden_size\" is a text, where a whole number is wanted"},
    {"hidden_size", "true", "\"hidden_size\" is true"},
    {"hidden_size", "[8]", "\"hidden_size\" is a list"},
    {"intermediate_size", "0", "\"intermediate_size\" is 0"},
    {"intermediate_size", "2000000000", "\"intermediate_size\" is 2000000000"},
    {"num_hidden_layers", "0", "\"num_hidden_layers\" is 0"},
    {"num_hidden_layers", "100000", "\"num_hidden_layers\" is 100000"},
    {"num_attention_heads", "0", "\"num_attention_heads\" is 0"},
    {"num_attention_heads", "3", "is 3, no multiple of \"num_key_value_heads\", which is 2"},
    {"num_key_value_heads", "0", "\"num_key_value_heads\" is 0"},
    {"num_key_value_heads", "3", "no multiple of \"num_key_value_heads\", which is 3"},
    {"num_key_value_heads", "8", "no multiple of \"num_key_value_heads\", which is 8"},
    {"head_dim", "0", "\"head_dim\" is 0"},
    {"head_dim", "7", "the head size is 7, but rotary embedding needs an even one"},
    {"head_dim", "1024", "\"head_dim\" is 1024"},
    {"vocab_size", "0", "\"vocab_size\" is 0"},
    {"vocab_size", "-1", "\"vocab_size\" is -1"},
    {"vocab_size", "1", "\"eos_token_id\" is 1, outside of the vocabulary of 1"},
    {"rms_norm_eps", "0", "\"rms_norm_eps\" is 0, outside"},
    {"rms_norm_eps", "-1e-5", "\"rms_norm_eps\" is -1e-05, outside"},
    {"rms_norm_eps", "\"1e-5\"", "\"rms_norm_eps\" is a text, where a number is wanted"},
    {"rope_theta", "0", "\"rope_theta\" is 0, outside"},
    {"rope_theta", "1e300", "\"rope_theta\" is 1e+300, outside"},
    {"rope_parameters", "{\"rope_theta\":-1}", "\"rope_theta\" is -1, outside"},
    {"rope_scaling", "8", "\"rope_scaling\" is no object"},
    {"rope_scaling", "{\"type\":\"linear\",\"factor\":2}", "of type \"linear\" is not supported"},
    {"rope_scaling", "{\"rope_type\":\"dynamic\"}", "of type \"dynamic\" is not supported"},
    {"rope_scaling", "{\"type\":\"yarn\",\"factor\":4.0}", "of type \"yarn\" is not supported"},
    {"rope_scaling", "{\"rope_type\":\"longrope\"}", "of type \"longrope\" is not supported"},
    {"rope_parameters", "{\"rope_type\":\"yarn\"}", "of type \"yarn\" is not supported"},
    {"rope_scaling", "{\"rope_type\":3}", "\"rope_type\" is a whole number"},
    {"rope_scaling", "{\"rope_type\":\"llama3\"}", "has no \"factor\""},
    {"rope_scaling", LLAMA3("0", "1", "4", "8192"), "\"factor\" is 0, outside"},
    {"rope_scaling", LLAMA3("8", "0", "4", "8192"), "\"low_freq_factor\" is 0, outside"},
    {"rope_scaling", LLAMA3("8", "4", "4", "8192"), "\"high_freq_factor\" is 4, not above"},
    {"rope_scaling", LLAMA3("8", "1", "4", "0"), "\"original_max_position_embeddings\" is 0"},
    {"partial_rotary_factor", "0.5", "\"partial_rotary_factor\" is 0.5"},
    {"max_position_embeddings", "0", "\"max_position_embeddings\" is 0"},
    {"max_position_embeddings", "4294967296", "\"max_position_embeddings\" is 4294967296"},
    {"tie_word_embeddings", "\"yes\"", "\"tie_word_embeddings\" is a text, where true or false"},
    {"tie_word_embeddings", "1", "\"tie_word_embeddings\" is a whole number"},
    {"attention_bias", "0", "\"attention_bias\" is a whole number"},
    {"mlp_bias", "true", "\"mlp_bias\" is true"},
    {"use_sliding_window", "true", "\"use_sliding_window\" is true"},
    {"layer_types", "[\"full_attention\",\"sliding_attention\"]", "holds sliding_attention"},
    {"layer_types", "[1]", "\"layer_types\" holds something else than text"},
    {"hidden_act", "\"gelu\"", "\"hidden_act\" is \"gelu\""},
    {"quantization_config", "{\"quant_method\":\"fp8\"}", "the weights are quantised (fp8)"},
    {"quantization_config", "{}", "the weights are quantised (method not named)"},
    {"eos_token_id", "-1", "\"eos_token_id\" is -1, outside of the vocabulary of 10"},
    {"eos_token_id", "10", "\"eos_token_id\" is 10, outside of the vocabulary of 10"},
    {"eos_token_id", "4294967297", "\"eos_token_id\" is 4294967297, outside"},
    {"eos_token_id", "\"</s>\"", "is neither a whole number nor a list"},
    {"eos_token_id", "[1,[2]]", "is neither a whole number nor a list"},
    {"eos_token_id", "[0,1,2,3,4,5,6,7,8]", "adds up to more than 8 ids"},
};

Test(config, settings)
{
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        json_t *root = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "model_type",
                                 "llama", "hidden_size", 8, "intermediate_size", 6,
                                 "num_hidden_layers", 1, "num_attention_heads", 4,
                                 "num_key_value_heads", 2, "head_dim", 4, "vocab_size", 10,
                                 "eos_token_id", 1);
        char *text = json_dumps(root, 0);
        model_config config;
        write_text(directory, "config.json", text);
        cr_assert_eq(model_config_read(directory, &config), 0, "%s", fail_text());
        free(text);

        json_t *value = json_loads(settings[i].value, JSON_DECODE_ANY, NULL);
        cr_assert(value, "%s", settings[i].value);
        json_object_set_new(root, settings[i].key, value);
        text = json_dumps(root, 0);
        write_text(directory, "config.json", text);
        expect_refused("/config.json", settings[i].sentence, text);
        free(text);
        json_decref(root);
    }
}

Test(config, stop_ids_of_generation)
{
    write_checkpoint(directory, &tiny);
    static const struct {
        const char *text, *sentence;
    } generations[] = {
        {"", "not valid JSON"},
        {"7", "not valid JSON"},
        {"{\"eos_token_id\": 99}", "\"eos_token_id\" is 99, outside of the vocabulary of 10"},
        {"{\"eos_token_id\": {}}", "neither a whole number nor a list"},
        {"{\"eos_token_id\": [2, 3, 4, 5, 6, 7, 8, 9]}", "more than 8 ids"},
    };
    for (size_t i = 0; i < sizeof generations / sizeof generations[0]; i++) {
        write_text(directory, "generation_config.json", generations[i].text);
        expect_refused("/generation_config.json", generations[i].sentence,
                             generations[i].text);
    }
    char *file = format_text("%s/generation_config.json", directory);
    unlink(file);
    cr_assert_eq(symlink("generation_config.json", file), 0);
    expect_refused("/generation_config.json", "symbolic links", "a symlink to itself");
    unlink(file);
    cr_assert_eq(mkfifo(file, 0600), 0);
    expect_refused("/generation_config.json", "a pipe or a device", "a pipe");
    free(file);
}

/* A configuration that is taken is one that the core can run: sizes within limits that agree. */
Test(config, mutated_configurations)
{
    checkpoint c = tiny;
    write_checkpoint(directory, &c);
    char *file = format_text("%s/config.json", directory);
    size_t length, refused = 0, taken = 0;
    char *whole = read_file(file, &length), *text = alloc_or_die(length + 64, 1);
    mutate_seed(20240102);
    for (int round = 0; round < 4000; round++) {
        memcpy(text, whole, length);
        write_file(file, text, mutate(text, length, length + 64));
        model_config config;
        if (model_config_read(directory, &config)) {
            refused++;
            cr_expect(strstr(fail_text(), file), "round %d: %s", round, fail_text());
            fail("nothing");
            continue;
        }
        taken++;
        const model_shape *s = &config.shape;
        cr_expect(s->layers > 0 && s->hidden > 0 && s->heads > 0 && s->kv_heads > 0 &&
                      s->heads % s->kv_heads == 0 && s->head_dim > 0 && s->head_dim % 2 == 0 &&
                      s->ffn > 0 && s->vocab > 0 && config.rope_theta >= 1 &&
                      config.rms_epsilon > 0 && config.max_positions > 0,
                  "round %d", round);
        cr_expect(model_weight_bytes(&config, 0, 4, 0) < (size_t)1 << 52, "round %d", round);
    }
    cr_expect(refused > 1000 && taken > 100, "%zu refused, %zu taken", refused, taken);
    free(text);
    free(whole);
    free(file);
}
