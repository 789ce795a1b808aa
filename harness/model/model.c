/* Opens a model on a device: the layout of its weights in device memory (one allocation a layer,
 * joint projections for q, k, v and for gate, up), filled from safetensors or with seeded values.
 * model_weight_bytes() computes the same layout without allocating. */
#include "harness/model/model.h"

#include "harness/error.h"
#include "harness/fnv.h"
#include "harness/model/names.h"
#include "harness/model/safetensors.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 256, MOST_RETAINING_WIDTH = 1 << 16, NAME_BYTES = 128 };

/* ---- Layout ---- */

/* The pieces of device memory that weights are cut from. Their numbers seed random values: append,
 * never reorder. */
typedef enum {
    ATTENTION_NORM, FFN_NORM, QKV, QKV_BIAS, O, GATE_UP, DOWN, RETAINING_FC1, RETAINING_FC2,
    EMBEDDING, LM_HEAD, FINAL_NORM,
    PIECES
} piece;

typedef struct {
    size_t bytes;          /* of the allocation */
    size_t offset[PIECES]; /* of those that belong to it */
} block_layout;

static void place(block_layout *layout, piece which, int64_t elements, size_t element_bytes)
{
    layout->offset[which] = layout->bytes;
    size_t bytes = (size_t)elements * element_bytes;
    layout->bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Rows of the joint projection of q, k and v. */
static int64_t qkv_rows(const model_shape *shape)
{
    return (int64_t)(shape->heads + 2 * shape->kv_heads) * shape->head_dim;
}

static block_layout layer_layout(const model_config *config, size_t act_bytes, int retaining_width)
{
    const model_shape *shape = &config->shape;
    int64_t hidden = shape->hidden, ffn = shape->ffn;
    block_layout layout = {0};
    place(&layout, ATTENTION_NORM, hidden, sizeof(float));
    place(&layout, FFN_NORM, hidden, sizeof(float));
    place(&layout, QKV, qkv_rows(shape) * hidden, act_bytes);
    place(&layout, QKV_BIAS, config->qkv_bias ? qkv_rows(shape) : 0, act_bytes);
    place(&layout, O, hidden * shape->heads * shape->head_dim, act_bytes);
    place(&layout, GATE_UP, 2 * ffn * hidden, act_bytes);
    place(&layout, DOWN, hidden * ffn, act_bytes);
    place(&layout, RETAINING_FC1, retaining_width * qkv_rows(shape), act_bytes);
    place(&layout, RETAINING_FC2, (int64_t)shape->kv_heads * retaining_width, act_bytes);
    return layout;
}

static block_layout outer_layout(const model_config *config, size_t act_bytes)
{
    int64_t hidden = config->shape.hidden, vocab = config->shape.vocab;
    block_layout layout = {0};
    place(&layout, EMBEDDING, vocab * hidden, act_bytes);
    place(&layout, LM_HEAD, config->tied ? 0 : vocab * hidden, act_bytes);
    place(&layout, FINAL_NORM, hidden, sizeof(float));
    return layout;
}

size_t model_weight_bytes(const model_config *config, int layers, size_t act_bytes,
                          int retaining_width)
{
    if (layers <= 0 || layers > config->shape.layers)
        layers = config->shape.layers;
    return outer_layout(config, act_bytes).bytes +
           (size_t)layers * layer_layout(config, act_bytes, retaining_width).bytes;
}

/* Allocates everything and points the model into it. */
static int allocate(model *m)
{
    device *dev = m->dev;
    const model_config *config = &m->config;
    m->weight_bytes =
        model_weight_bytes(config, m->layers, dev->act_bytes, m->retaining_width);
    size_t free_bytes, total_bytes;
    dev->memory(dev, &free_bytes, &total_bytes);
    bool fits = m->weight_bytes <= free_bytes; /* Linux would promise more and then kill us */

    block_layout outer = outer_layout(config, dev->act_bytes);
    char *base = fits ? dev->alloc(dev, outer.bytes) : NULL;
    if (base) {
        m->embedding = base + outer.offset[EMBEDDING];
        m->lm_head = config->tied ? m->embedding : base + outer.offset[LM_HEAD];
        m->final_norm = (float *)(base + outer.offset[FINAL_NORM]);
    }
    block_layout inner = layer_layout(config, dev->act_bytes, m->retaining_width);
    for (int i = 0; base && i < m->layers; i++) {
        base = dev->alloc(dev, inner.bytes);
        if (!base)
            break;
        layer_weights *w = &m->layer[i];
        w->attention_norm = (float *)(base + inner.offset[ATTENTION_NORM]);
        w->ffn_norm = (float *)(base + inner.offset[FFN_NORM]);
        w->qkv = base + inner.offset[QKV];
        w->qkv_bias = config->qkv_bias ? base + inner.offset[QKV_BIAS] : NULL;
        w->o = base + inner.offset[O];
        w->gate_up = base + inner.offset[GATE_UP];
        w->down = base + inner.offset[DOWN];
        w->retaining_fc1 = m->retaining_width ? base + inner.offset[RETAINING_FC1] : NULL;
        w->retaining_fc2 = m->retaining_width ? base + inner.offset[RETAINING_FC2] : NULL;
    }
    if (!base)
        return fail("out of memory: the weights of %s (%d layers) want %zu bytes of device %s, "
                    "where %zu of %zu are free", m->name, m->layers, m->weight_bytes, dev->name,
                    free_bytes, total_bytes);
    return 0;
}

/* ---- From files ---- */

/* Copies a tensor's values to `to`. Files need not align their data; devices may read by whole
 * elements, so data at odd addresses goes through a buffer. */
static void upload(device *dev, void *to, bool to_f32, const tensor *t, dtype type)
{
    size_t from_bytes = type == DTYPE_F32 ? 4 : 2, to_bytes = to_f32 ? 4 : dev->act_bytes;
    if ((uintptr_t)t->data % from_bytes == 0) {
        dev->upload_weights(dev, to, to_f32, t->data, type, t->elements);
        dev->sync(dev);
        return;
    }
    enum { CHUNK = 1 << 20 };
    void *aligned = alloc_or_die(CHUNK, from_bytes);
    for (int64_t done = 0; done < t->elements; done += CHUNK) {
        int64_t count = t->elements - done < CHUNK ? t->elements - done : CHUNK;
        memcpy(aligned, t->data + (size_t)done * from_bytes, (size_t)count * from_bytes);
        dev->upload_weights(dev, (char *)to + (size_t)done * to_bytes, to_f32, aligned, type,
                            count);
        dev->sync(dev);
    }
    free(aligned);
}

/* A matrix [rows, columns] in the activation type. */
static int load_matrix(model *m, const safetensors *set, const char *name, int64_t rows,
                       int64_t columns, void *to)
{
    dtype type;
    const tensor *t = safetensors_want(set, name, 2, rows, columns, &type);
    if (!t)
        return -1;
    upload(m->dev, to, false, t, type);
    return 0;
}

static int load_vector(model *m, const safetensors *set, const char *name, int64_t size,
                       bool to_f32, void *to)
{
    dtype type;
    const tensor *t = safetensors_want(set, name, 1, size, 0, &type);
    if (!t)
        return -1;
    upload(m->dev, to, to_f32, t, type);
    return 0;
}

/* Llama's "attention_bias" gives o_proj a bias as well (Qwen2's does not). The core has none, which
 * is right only where it is zero. */
static int refuse_output_bias(const safetensors *set, const char *name)
{
    const tensor *t = safetensors_find(set, name);
    for (uint64_t i = 0; t && i < t->end - t->begin; i++)
        if (t->data[i])
            return fail("%s: tensor %s is not zero; a bias of o_proj is not supported", t->path,
                        name);
    return 0;
}

static int load_layer(model *m, const safetensors *set, int i)
{
    const model_shape *shape = &m->config.shape;
    layer_weights *w = &m->layer[i];
    size_t act_bytes = m->dev->act_bytes;
    int64_t hidden = shape->hidden, ffn = shape->ffn;
    char name[NAME_BYTES];

    const char *const parts[] = {"q_proj", "k_proj", "v_proj"};
    int64_t row = 0;
    for (int part = 0; part < 3; part++) {
        int64_t rows = (int64_t)(part ? shape->kv_heads : shape->heads) * shape->head_dim;
        snprintf(name, sizeof name, "model.layers.%d.self_attn.%s.weight", i, parts[part]);
        if (load_matrix(m, set, name, rows, hidden,
                        (char *)w->qkv + (size_t)(row * hidden) * act_bytes))
            return -1;
        snprintf(name, sizeof name, "model.layers.%d.self_attn.%s.bias", i, parts[part]);
        if (w->qkv_bias) {
            if (load_vector(m, set, name, rows, false,
                            (char *)w->qkv_bias + (size_t)row * act_bytes))
                return -1;
        } else if (safetensors_find(set, name)) {
            return fail("%s: tensor %s is there, though config.json says that there are no biases",
                        safetensors_find(set, name)->path, name);
        }
        row += rows;
    }
    snprintf(name, sizeof name, "model.layers.%d.self_attn.o_proj.bias", i);
    if (refuse_output_bias(set, name))
        return -1;
    snprintf(name, sizeof name, "model.layers.%d.self_attn.o_proj.weight", i);
    if (load_matrix(m, set, name, hidden, (int64_t)shape->heads * shape->head_dim, w->o))
        return -1;
    snprintf(name, sizeof name, "model.layers.%d.mlp.gate_proj.weight", i);
    if (load_matrix(m, set, name, ffn, hidden, w->gate_up))
        return -1;
    snprintf(name, sizeof name, "model.layers.%d.mlp.up_proj.weight", i);
    if (load_matrix(m, set, name, ffn, hidden,
                    (char *)w->gate_up + (size_t)(ffn * hidden) * act_bytes))
        return -1;
    snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj.weight", i);
    if (load_matrix(m, set, name, hidden, ffn, w->down))
        return -1;
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", i);
    if (load_vector(m, set, name, hidden, true, w->attention_norm))
        return -1;
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", i);
    return load_vector(m, set, name, hidden, true, w->ffn_norm);
}

/* As Hugging Face has it, a tied model takes its embedding for lm_head even if the file has one. */
static int load_weights(model *m, const safetensors *set)
{
    int64_t hidden = m->config.shape.hidden, vocab = m->config.shape.vocab;
    if (load_matrix(m, set, "model.embed_tokens.weight", vocab, hidden, m->embedding) ||
        load_vector(m, set, "model.norm.weight", hidden, true, m->final_norm) ||
        (!m->config.tied && load_matrix(m, set, "lm_head.weight", vocab, hidden, m->lm_head)))
        return -1;
    for (int i = 0; i < m->layers; i++)
        if (load_layer(m, set, i))
            return -1;
    return 0;
}

/* ---- Retaining heads (Locret's layout) ---- */

static const char *retaining_name(char *name, int layer, int which)
{
    snprintf(name, NAME_BYTES, "model.layers.%d.self_attn.fc%d.weight", layer, which);
    return name;
}

/* The heads' width, from the first layer's fc1; refuses heads of layers that the model lacks. */
static int retaining_width(const model *m, const safetensors *set)
{
    char name[NAME_BYTES];
    const tensor *first = safetensors_find(set, retaining_name(name, 0, 1));
    int64_t count = safetensors_count(set);
    if (!first)
        return fail("%s: has no tensor %s",
                    count ? safetensors_at(set, 0)->path : "retaining heads", name);
    if (first->dimensions != 2 || first->shape[0] < 1 || first->shape[0] > MOST_RETAINING_WIDTH)
        return fail("%s: tensor %s: it is no matrix of 1 to %d rows", first->path, name,
                    MOST_RETAINING_WIDTH);
    const tensor *beyond = safetensors_find(set, retaining_name(name, m->config.shape.layers, 1));
    if (beyond)
        return fail("%s: tensor %s: the model has only %d layers", beyond->path, name,
                    m->config.shape.layers);
    return (int)first->shape[0];
}

static int load_retaining(model *m, const safetensors *set)
{
    char name[NAME_BYTES];
    const model_shape *shape = &m->config.shape;
    for (int i = 0; i < m->layers; i++)
        if (load_matrix(m, set, retaining_name(name, i, 1), m->retaining_width, qkv_rows(shape),
                        m->layer[i].retaining_fc1) ||
            load_matrix(m, set, retaining_name(name, i, 2), shape->kv_heads, m->retaining_width,
                        m->layer[i].retaining_fc2))
            return -1;
    return 0;
}

/* ---- Random ---- */

/* One seed a tensor, by SplitMix64's finaliser (Steele, Lea, Flood: Fast splittable pseudorandom
 * number generators, 2014) over seed, layer (-1 for what is outside of layers) and piece. */
static uint64_t tensor_seed(uint64_t seed, int layer, piece which)
{
    uint64_t x = seed + 0x9E3779B97F4A7C15u * ((uint64_t)(layer + 1) * PIECES + which + 1);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Values of the usual deviation 0.02 (initializer_range), or of 1/sqrt(columns) where that is more:
 * then small shapes, too, pass on activations of about the size that they are given. */
static void fill(model *m, void *to, int64_t rows, int64_t columns, uint64_t seed, int layer,
                 piece which)
{
    double deviation = fmax(0.02, which == EMBEDDING ? 0 : 1 / sqrt((double)columns));
    m->dev->random(m->dev, to, false, rows * columns, tensor_seed(seed, layer, which),
                   (float)(sqrt(3) * deviation));
}

static void fill_layer(model *m, int i, uint64_t seed)
{
    const model_shape *shape = &m->config.shape;
    layer_weights *w = &m->layer[i];
    int64_t hidden = shape->hidden, ffn = shape->ffn;
    fill(m, w->qkv, qkv_rows(shape), hidden, seed, i, QKV);
    if (w->qkv_bias) /* zero in a fresh model, but a bias that is there should be seen to work */
        m->dev->random(m->dev, w->qkv_bias, false, qkv_rows(shape), tensor_seed(seed, i, QKV_BIAS),
                       (float)(sqrt(3) * 0.02));
    fill(m, w->o, hidden, (int64_t)shape->heads * shape->head_dim, seed, i, O);
    fill(m, w->gate_up, 2 * ffn, hidden, seed, i, GATE_UP);
    fill(m, w->down, hidden, ffn, seed, i, DOWN);
}

static void fill_retaining(model *m, int i, uint64_t seed)
{
    const model_shape *shape = &m->config.shape;
    fill(m, m->layer[i].retaining_fc1, m->retaining_width, qkv_rows(shape), seed, i, RETAINING_FC1);
    fill(m, m->layer[i].retaining_fc2, shape->kv_heads, m->retaining_width, seed, i, RETAINING_FC2);
}

static void fill_weights(model *m, uint64_t seed)
{
    int64_t hidden = m->config.shape.hidden, vocab = m->config.shape.vocab;
    fill(m, m->embedding, vocab, hidden, seed, -1, EMBEDDING);
    if (!m->config.tied)
        fill(m, m->lm_head, vocab, hidden, seed, -1, LM_HEAD);
    float *ones = alloc_or_die((size_t)hidden, sizeof *ones);
    for (int64_t i = 0; i < hidden; i++)
        ones[i] = 1;
    size_t bytes = (size_t)hidden * sizeof *ones;
    m->dev->upload(m->dev, m->final_norm, ones, bytes);
    for (int i = 0; i < m->layers; i++) {
        m->dev->upload(m->dev, m->layer[i].attention_norm, ones, bytes);
        m->dev->upload(m->dev, m->layer[i].ffn_norm, ones, bytes);
        fill_layer(m, i, seed);
    }
    m->dev->sync(m->dev);
    free(ones);
}

/* ---- Opening ---- */

char *model_heads_path(const char *name, const char *directory, const char *given)
{
    if (given)
        return copy_text(given);
    if (!directory)
        return NULL;
    char *path = format_text("%s/retaining_heads.safetensors", directory);
    if (!access(path, F_OK) || errno != ENOENT)
        return path;
    free(path);
    return model_preset_heads(name);
}

static int open_tokenizer(model *m)
{
    char *path = format_text("%s/tokenizer.json", m->directory);
    int status = 0;
    if (!access(path, F_OK) || errno != ENOENT) {
        m->tokens = tokenizer_open(path);
        if (!m->tokens)
            status = -1;
        else if (tokenizer_vocab(m->tokens) > m->config.shape.vocab)
            status = fail("%s: has %d ids, but config.json's \"vocab_size\" is %d", path,
                          tokenizer_vocab(m->tokens), m->config.shape.vocab);
        else
            m->chat = chat_template_for(m->tokens);
    }
    free(path);
    return status;
}

int model_check_tokenizer(const model *m)
{
    if (m->tokens)
        return 0;
    if (m->directory)
        return fail("model %s cannot read text: %s/tokenizer.json is missing", m->name, m->directory);
    return model_check_reader(m->name);
}

/* Everything after the configuration is known; `files` and `heads` are NULL where random. */
static int open_weights(model *m, const safetensors *files, const safetensors *heads, uint64_t seed)
{
    if (heads) {
        m->retaining_width = retaining_width(m, heads);
        m->heads_hash = model_values_hash(FNV_START, heads, UINT64_MAX);
    } else if (m->random) {
        m->retaining_width = RANDOM_RETAINING_WIDTH;
    }
    if (m->retaining_width < 0)
        return -1;
    if (!m->dev)
        return 0; /* described, not loaded */
    if (allocate(m))
        return -1;
    if (files) {
        if (load_weights(m, files))
            return -1;
    } else {
        fill_weights(m, seed);
    }
    if (heads)
        return load_retaining(m, heads);
    for (int i = 0; m->retaining_width && i < m->layers; i++)
        fill_retaining(m, i, seed);
    m->dev->sync(m->dev);
    return 0;
}

model *model_open(const char *name, device *dev, int layers, uint64_t seed,
                  const char *retaining_heads)
{
    model_config config;
    char *directory;
    if (model_resolve(name, &config, &directory))
        return NULL;
    model *m = alloc_or_die(1, sizeof *m);
    m->name = model_name(name);
    m->directory = directory;
    m->config = config;
    m->dev = dev;
    m->random = !directory;
    m->layers = layers ? layers : config.shape.layers;
    int status = 0;
    if (m->layers < 1 || m->layers > config.shape.layers)
        status = fail("model %s: %d layers wanted, but it has %d", m->name, layers,
                      config.shape.layers);
    else if (dev && device_check_head_dim(dev, config.shape.head_dim))
        status = fail_within("model %s", m->name);
    if (status) {
        m->layers = 0;
        model_close(m);
        return NULL;
    }
    m->layer = alloc_or_die((size_t)m->layers, sizeof *m->layer);
    safetensors *files = NULL, *heads = NULL;
    char *heads_path = model_heads_path(name, directory, retaining_heads);
    if (directory && (open_tokenizer(m) || !(files = safetensors_open(directory))))
        status = -1;
    if (!status && heads_path && !(heads = safetensors_open(heads_path)))
        status = -1;
    if (!status) {
        m->origin = model_origin(name, directory, config.hash, files, retaining_heads);
        status = open_weights(m, files, heads, seed);
    }
    safetensors_close(files);
    safetensors_close(heads);
    free(heads_path);
    if (!status)
        return m;
    model_close(m);
    return NULL;
}

void model_close(model *m)
{
    if (!m)
        return;
    /* The first piece of each allocation is where it begins. */
    if (m->embedding)
        m->dev->free(m->dev, m->embedding);
    for (int i = 0; i < m->layers; i++)
        if (m->layer[i].attention_norm)
            m->dev->free(m->dev, m->layer[i].attention_norm);
    if (m->tokens)
        tokenizer_close(m->tokens);
    free(m->layer);
    free(m->name);
    free(m->directory);
    free(m->origin);
    free(m);
}
