/* config.json of a Hugging Face directory, and the stop ids of its generation_config.json. What the
 * core would compute otherwise than Hugging Face does (another architecture, another kind of RoPE
 * scaling, sliding windows, quantised weights) is refused by name rather than passed over. Keys and
 * defaults are those of transformers' LlamaConfig and Qwen2Config; Yi's checkpoints are "llama". */
#include "harness/error.h"
#include "harness/fnv.h"
#include "harness/model/json_file.h"
#include "harness/model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Limits far above any published model. Together they keep every product below 2^51: one matrix
 * has at most 2 * 2^20 * 2^17 elements of 4 bytes, a model at most 2^10 layers. */
enum {
    MOST_LAYERS = 1 << 10,
    MOST_HIDDEN = 1 << 17,
    MOST_HEADS = 1 << 10,
    MOST_HEAD_DIM = 256,
    MOST_FFN = 1 << 20,
    MOST_VOCAB = 1 << 22,
    MOST_POSITIONS = 1 << 30,
    MOST_CONFIG_BYTES = 4 << 20,
};

static int read_size(const char *path, const json_t *root, const char *key, bool required, int most,
                     int *value)
{
    int64_t number = *value;
    if (json_integer_member(path, root, key, required, 1, most, &number))
        return -1;
    *value = (int)number;
    return 0;
}

static int read_shape(const char *path, const json_t *root, model_shape *shape)
{
    if (read_size(path, root, "num_hidden_layers", true, MOST_LAYERS, &shape->layers) ||
        read_size(path, root, "hidden_size", true, MOST_HIDDEN, &shape->hidden) ||
        read_size(path, root, "num_attention_heads", true, MOST_HEADS, &shape->heads) ||
        read_size(path, root, "intermediate_size", true, MOST_FFN, &shape->ffn) ||
        read_size(path, root, "vocab_size", true, MOST_VOCAB, &shape->vocab))
        return -1;
    shape->kv_heads = shape->heads;
    if (read_size(path, root, "num_key_value_heads", false, MOST_HEADS, &shape->kv_heads))
        return -1;
    if (shape->heads % shape->kv_heads)
        return fail("%s: \"num_attention_heads\" is %d, no multiple of \"num_key_value_heads\", "
                    "which is %d", path, shape->heads, shape->kv_heads);
    shape->head_dim = 0;
    if (read_size(path, root, "head_dim", false, MOST_HEAD_DIM, &shape->head_dim))
        return -1;
    if (!shape->head_dim) {
        shape->head_dim = shape->hidden / shape->heads;
        if (shape->hidden % shape->heads || shape->head_dim > MOST_HEAD_DIM)
            return fail("%s: \"hidden_size\" of %d over %d heads gives no head size of 2 to %d",
                        path, shape->hidden, shape->heads, MOST_HEAD_DIM);
    }
    if (shape->head_dim % 2)
        return fail("%s: the head size is %d, but rotary embedding needs an even one", path,
                    shape->head_dim);
    return 0;
}

/* rope_theta and scaling lie at the top level and in "rope_scaling"; from transformers 5 on all of
 * it lies in "rope_parameters". */
static int read_rope(const char *path, const json_t *root, model_config *config)
{
    const json_t *scaling = NULL;
    config->rope_theta = 10000;
    if (json_number_member(path, root, "rope_theta", false, 1, 1e15, &config->rope_theta))
        return -1;
    const char *const places[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const json_t *found = json_object_get(root, places[i]);
        if (!found || json_is_null(found))
            continue;
        if (!json_is_object(found))
            return fail("%s: \"%s\" is no object", path, places[i]);
        if (json_number_member(path, found, "rope_theta", false, 1, 1e15, &config->rope_theta))
            return -1;
        scaling = found;
    }
    double rotary = 1;
    if (json_number_member(path, root, "partial_rotary_factor", false, 0, 1, &rotary) ||
        (scaling &&
         json_number_member(path, scaling, "partial_rotary_factor", false, 0, 1, &rotary)))
        return -1;
    if (rotary != 1)
        return fail("%s: \"partial_rotary_factor\" is %g; only whole heads are rotated here", path,
                    rotary);
    if (!scaling)
        return 0;
    const char *kind = "default";
    if (json_text_member(path, scaling, "type", false, &kind) ||
        json_text_member(path, scaling, "rope_type", false, &kind))
        return -1;
    if (!strcmp(kind, "default"))
        return 0;
    char printable[PRINTABLE_BYTES];
    if (strcmp(kind, "llama3"))
        return fail("%s: RoPE scaling of type \"%s\" is not supported, only \"llama3\" and none",
                    path, printable_name(printable, kind));
    if (json_number_member(path, scaling, "factor", true, 1, 1e6, &config->rope_factor) ||
        json_number_member(path, scaling, "low_freq_factor", true, 1e-6, 1e6,
                           &config->rope_low_freq) ||
        json_number_member(path, scaling, "high_freq_factor", true, 1e-6, 1e6,
                           &config->rope_high_freq) ||
        json_number_member(path, scaling, "original_max_position_embeddings", true, 1,
                           MOST_POSITIONS, &config->rope_original_positions))
        return -1;
    if (config->rope_high_freq <= config->rope_low_freq)
        return fail("%s: \"high_freq_factor\" is %g, not above \"low_freq_factor\", which is %g",
                    path, config->rope_high_freq, config->rope_low_freq);
    return 0;
}

static int add_stop_id(const char *path, const json_t *value, model_config *config)
{
    if (!json_is_integer(value))
        return fail("%s: \"eos_token_id\" is neither a whole number nor a list of them", path);
    int64_t id = json_integer_value(value);
    if (id < 0 || id >= config->shape.vocab)
        return fail("%s: \"eos_token_id\" is %lld, outside of the vocabulary of %d", path,
                    (long long)id, config->shape.vocab);
    for (int i = 0; i < config->stop_count; i++)
        if (config->stop_ids[i] == id)
            return 0;
    int room = sizeof config->stop_ids / sizeof config->stop_ids[0];
    if (config->stop_count == room)
        return fail("%s: \"eos_token_id\" adds up to more than %d ids", path, room);
    config->stop_ids[config->stop_count++] = (int32_t)id;
    return 0;
}

static int read_stop_ids(const char *path, const json_t *root, model_config *config)
{
    const json_t *value = json_object_get(root, "eos_token_id");
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_array(value))
        return add_stop_id(path, value, config);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (add_stop_id(path, json_array_get(value, i), config))
            return -1;
    return 0;
}

/* Everything that would make Hugging Face compute something else than the core does. */
static int refuse_variants(const char *path, const json_t *root)
{
    const char *activation = "silu";
    char printable[PRINTABLE_BYTES];
    bool mlp_bias = false, window = false;
    if (json_text_member(path, root, "hidden_act", false, &activation) ||
        json_flag_member(path, root, "mlp_bias", &mlp_bias) ||
        json_flag_member(path, root, "use_sliding_window", &window))
        return -1;
    if (strcmp(activation, "silu"))
        return fail("%s: \"hidden_act\" is \"%s\"; only \"silu\" is supported", path,
                    printable_name(printable, activation));
    if (mlp_bias)
        return fail("%s: \"mlp_bias\" is true, which is not supported", path);
    if (window)
        return fail("%s: \"use_sliding_window\" is true, which is not supported", path);
    const json_t *layer_types = json_object_get(root, "layer_types");
    for (size_t i = 0; i < json_array_size(layer_types); i++) {
        const char *kind = json_string_value(json_array_get(layer_types, i));
        if (!kind || strcmp(kind, "full_attention"))
            return fail("%s: \"layer_types\" holds %s; only \"full_attention\" is supported", path,
                        kind ? printable_name(printable, kind) : "something else than text");
    }
    const json_t *quantised = json_object_get(root, "quantization_config");
    if (quantised && !json_is_null(quantised)) {
        const char *method = json_string_value(json_object_get(quantised, "quant_method"));
        return fail("%s: the weights are quantised (%s), which is not supported", path,
                    method ? printable_name(printable, method) : "method not named");
    }
    return 0;
}

static int read_config(const char *path, const json_t *root, model_config *config)
{
    const char *kind = NULL;
    char printable[PRINTABLE_BYTES];
    if (json_text_member(path, root, "model_type", true, &kind))
        return -1;
    bool qwen2 = !strcmp(kind, "qwen2");
    if (!qwen2 && strcmp(kind, "llama"))
        return fail("%s: \"model_type\" is \"%s\"; only \"llama\" and \"qwen2\" are supported",
                    path, printable_name(printable, kind));
    config->rms_epsilon = 1e-6;
    config->max_positions = qwen2 ? 32768 : 2048;
    config->qkv_bias = qwen2;
    if (refuse_variants(path, root) || read_shape(path, root, &config->shape) ||
        read_rope(path, root, config) ||
        json_number_member(path, root, "rms_norm_eps", false, 1e-30, 1, &config->rms_epsilon) ||
        json_integer_member(path, root, "max_position_embeddings", false, 1, MOST_POSITIONS,
                            &config->max_positions) ||
        json_flag_member(path, root, "tie_word_embeddings", &config->tied) ||
        (!qwen2 && json_flag_member(path, root, "attention_bias", &config->qkv_bias)))
        return -1;
    return read_stop_ids(path, root, config);
}

/* As the keys stand, whatever their order. */
static uint64_t hash_of(uint64_t hash, const json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    hash = text ? fnv1a(hash, text, strlen(text)) : hash;
    free(text);
    return hash;
}

int model_config_read(const char *directory, model_config *config)
{
    memset(config, 0, sizeof *config);
    char *path = format_text("%s/config.json", directory);
    json_t *root = read_json_file(path, MOST_CONFIG_BYTES);
    int status = root ? read_config(path, root, config) : -1;
    config->hash = hash_of(FNV_START, root);
    json_decref(root);
    free(path);
    if (status)
        return -1;
    path = format_text("%s/generation_config.json", directory);
    if (!access(path, F_OK) || errno != ENOENT) {
        root = read_json_file(path, MOST_CONFIG_BYTES);
        status = root ? read_stop_ids(path, root, config) : -1;
        config->hash = hash_of(config->hash, root);
        json_decref(root);
    }
    free(path);
    return status;
}
