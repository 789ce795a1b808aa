/* Tiny checkpoints for tests. See checkpoint.h. */
#include "tests/checkpoint.h"

#include "harness/error.h"
#include "harness/fnv.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    abort();
}

char *temporary_directory(void)
{
    const char *place = getenv("TMPDIR");
    char *path = format_text("%s/apbench-test-XXXXXX", place && place[0] ? place : "/tmp");
    must(mkdtemp(path), path);
    return path;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status, (void)kind, (void)where;
    return remove(path);
}

void remove_directory(char *directory)
{
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(directory);
}

void write_file(const char *path, const void *bytes, size_t count)
{
    remove(path); /* ext4 writes a file that replaces its own contents to the disk at once: slow */
    FILE *file = fopen(path, "wb");
    must(file, path);
    must(fwrite(bytes, 1, count, file) == count, path);
    must(!fclose(file), path);
}

void write_text(const char *directory, const char *name, const char *text)
{
    char *path = format_text("%s/%s", directory, name);
    write_file(path, text, strlen(text));
    free(path);
}

void *read_file(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    must(file, path);
    must(!fseek(file, 0, SEEK_END), path);
    *count = (size_t)ftell(file);
    rewind(file);
    char *bytes = alloc_or_die(*count + 1, 1);
    must(fread(bytes, 1, *count, file) == *count, path);
    fclose(file);
    return bytes;
}

float checkpoint_value(const char *name, int64_t index)
{
    uint64_t hash = fnv1a((uint64_t)index * 0x9E3779B97F4A7C15u, name, strlen(name));
    hash ^= hash >> 29;
    return (float)((int)(hash % 256) - 128) / 64;
}

static size_t put_value(uint8_t *to, dtype type, float value)
{
    if (type == DTYPE_F32) {
        memcpy(to, &value, 4);
        return 4;
    }
    if (type == DTYPE_F16) {
        _Float16 half = (_Float16)value;
        memcpy(to, &half, 2);
        return 2;
    }
    uint32_t bits;
    memcpy(&bits, &value, 4);
    to[0] = (uint8_t)(bits >> 16);
    to[1] = (uint8_t)(bits >> 24);
    return 2;
}

/* ---- Files ---- */

typedef struct {
    char *header;
    uint8_t *data;
    size_t bytes;
} safetensors_text;

static void put_tensor(safetensors_text *file, const checkpoint *c, const char *name, int64_t rows,
                       int64_t columns)
{
    bool wrong_type = c->mistyped && !strcmp(name, c->mistyped);
    if (c->misshaped && !strcmp(name, c->misshaped))
        *(columns ? &columns : &rows) += 1;
    bool bias = strstr(name, "o_proj.bias");
    int64_t count = rows * (columns ? columns : 1);
    file->data = realloc_or_die(file->data, file->bytes + (size_t)count * 4, 1);
    size_t begin = file->bytes;
    for (int64_t i = 0; i < count; i++)
        file->bytes += put_value(file->data + file->bytes, wrong_type ? DTYPE_F32 : c->type,
                                 bias ? c->output_bias && i == count - 1 : checkpoint_value(name, i));
    const char *const types[] = {"F32", "F16", "BF16"};
    char *shape = columns ? format_text("%lld,%lld", (long long)rows, (long long)columns)
                          : format_text("%lld", (long long)rows);
    char *longer = format_text(
        "%s%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
        file->header ? file->header : "{\"__metadata__\":{\"format\":\"pt\"}", ",", name,
        wrong_type ? "I32" : types[c->type], shape, begin, file->bytes);
    free(shape);
    free(file->header);
    file->header = longer;
}

static void finish_file(safetensors_text *file, const checkpoint *c, const char *path)
{
    char *header = format_text("%s}", file->header ? file->header : "{\"__metadata__\":{}");
    size_t length = strlen(header);
    size_t padded = (length + 7) / 8 * 8 + (size_t)c->header_bytes_over_8;
    uint8_t *whole = alloc_or_die(8 + padded + file->bytes, 1);
    for (int i = 0; i < 8; i++)
        whole[i] = (uint8_t)((uint64_t)padded >> 8 * i);
    memset(whole + 8, ' ', padded);
    memcpy(whole + 8, header, length);
    if (file->bytes)
        memcpy(whole + 8 + padded, file->data, file->bytes);
    write_file(path, whole, 8 + padded + file->bytes);
    free(whole);
    free(header);
    free(file->header);
    free(file->data);
    *file = (safetensors_text){0};
}

/* ---- The model's tensors ---- */

typedef struct {
    char *name;
    int64_t rows, columns; /* columns 0: a vector */
} tensor_size;

typedef struct {
    const checkpoint *c;
    int count;
    tensor_size sizes[CHECKPOINT_MOST_TENSORS];
} tensor_sizes;

static void list(tensor_sizes *all, char *name, int64_t rows, int64_t columns)
{
    must(all->count < CHECKPOINT_MOST_TENSORS, "too many tensors");
    all->sizes[all->count++] = (tensor_size){name, rows, columns};
}

static void list_tensors(tensor_sizes *all, const checkpoint *c)
{
    const model_shape *s = &c->shape;
    int64_t q_rows = (int64_t)s->heads * s->head_dim, kv_rows = (int64_t)s->kv_heads * s->head_dim;
    *all = (tensor_sizes){.c = c};
    if (c->retaining_width) {
        for (int i = 0; i < s->layers; i++) {
            const char *prefix = "model.layers.%d.self_attn.fc%d.weight";
            list(all, format_text(prefix, i, 1), c->retaining_width, q_rows + 2 * kv_rows);
            list(all, format_text(prefix, i, 2), s->kv_heads, c->retaining_width);
        }
        list(all, copy_text("model.norm.weight"), 3, 0); /* passed over */
        return;
    }
    list(all, copy_text("model.embed_tokens.weight"), s->vocab, s->hidden);
    for (int i = 0; i < s->layers; i++) {
        static const char *const parts[] = {"q", "k", "v"};
        for (int part = 0; part < 3; part++) {
            const char *prefix = "model.layers.%d.self_attn.%s_proj.%s";
            int64_t rows = part ? kv_rows : q_rows;
            list(all, format_text(prefix, i, parts[part], "weight"), rows, s->hidden);
            if (c->biases || !strcmp(c->model_type, "qwen2"))
                list(all, format_text(prefix, i, parts[part], "bias"), rows, 0);
        }
        list(all, format_text("model.layers.%d.self_attn.o_proj.weight", i), s->hidden, q_rows);
        if (c->biases)
            list(all, format_text("model.layers.%d.self_attn.o_proj.bias", i), s->hidden, 0);
        list(all, format_text("model.layers.%d.mlp.gate_proj.weight", i), s->ffn, s->hidden);
        list(all, format_text("model.layers.%d.mlp.up_proj.weight", i), s->ffn, s->hidden);
        list(all, format_text("model.layers.%d.mlp.down_proj.weight", i), s->hidden, s->ffn);
        list(all, format_text("model.layers.%d.input_layernorm.weight", i), s->hidden, 0);
        list(all, format_text("model.layers.%d.post_attention_layernorm.weight", i), s->hidden, 0);
    }
    list(all, copy_text("model.norm.weight"), s->hidden, 0);
    if (c->lm_head)
        list(all, copy_text("lm_head.weight"), s->vocab, s->hidden);
}

int checkpoint_names(const checkpoint *c, char *names[CHECKPOINT_MOST_TENSORS])
{
    tensor_sizes all;
    list_tensors(&all, c);
    for (int i = 0; i < all.count; i++)
        names[i] = all.sizes[i].name;
    return all.count;
}

static void write_config(const char *directory, const checkpoint *c)
{
    const model_shape *s = &c->shape;
    char *text = format_text(
        "{\"model_type\": \"%s\", \"hidden_size\": %d, \"intermediate_size\": %d,\n"
        " \"num_hidden_layers\": %d, \"num_attention_heads\": %d, \"num_key_value_heads\": %d,\n"
        " \"head_dim\": %d, \"vocab_size\": %d, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0,\n"
        " \"tie_word_embeddings\": %s, \"max_position_embeddings\": 4096, \"eos_token_id\": 1%s}\n",
        c->model_type, s->hidden, s->ffn, s->layers, s->heads, s->kv_heads, s->head_dim, s->vocab,
        c->tied ? "true" : "false", c->biases ? ", \"attention_bias\": true" : "");
    write_text(directory, "config.json", text);
    free(text);
}

void write_checkpoint(const char *directory, const checkpoint *c)
{
    tensor_sizes all;
    list_tensors(&all, c);
    safetensors_text file = {0};
    char *map = copy_text("");
    int files = c->shards ? c->shards : 1;
    for (int f = 0; f < files; f++) {
        char *name = c->shards ? format_text("model-%05d-of-%05d.safetensors", f + 1, files)
                               : copy_text(c->retaining_width ? "retaining_heads.safetensors"
                                                              : "model.safetensors");
        for (int i = 0; i < all.count; i++) { /* dealt out in turn, so that layers are torn apart */
            if (i % files != f || (c->left_out && !strcmp(c->left_out, all.sizes[i].name)))
                continue;
            put_tensor(&file, c, all.sizes[i].name, all.sizes[i].rows, all.sizes[i].columns);
            char *longer = format_text("%s%s\"%s\": \"%s\"", map, map[0] ? ",\n" : "",
                                       all.sizes[i].name, name);
            free(map);
            map = longer;
        }
        char *path = format_text("%s/%s", directory, name);
        finish_file(&file, c, path);
        free(path);
        free(name);
    }
    if (c->shards) {
        char *index = format_text("{\"metadata\": {\"total_size\": 1}, \"weight_map\": {%s}}", map);
        write_text(directory, "model.safetensors.index.json", index);
        free(index);
    }
    if (!c->retaining_width)
        write_config(directory, c);
    free(map);
    for (int i = 0; i < all.count; i++)
        free(all.sizes[i].name);
}
