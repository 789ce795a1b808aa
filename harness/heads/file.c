/* Files of retaining heads, in the published layout (safetensors, as Locret's checkpoints name their
 * tensors). See heads.h. */
#include "harness/heads/heads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/model/safetensors.h"
#include "harness/whole_file.h"

enum { NAME_BYTES = 64, MOST_WIDTH = 1 << 16 };

static const char *tensor_name(char *name, int layer, int which)
{
    snprintf(name, NAME_BYTES, "model.layers.%d.self_attn.fc%d.weight", layer, which);
    return name;
}

/* ---- bfloat16 ---- */

static uint16_t narrow(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16); /* values are finite */
}

static float widen(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

void heads_round(retaining_heads *h)
{
    for (int64_t i = 0; i < h->layers * heads_layer_size(h); i++)
        h->values[i] = widen(narrow(h->values[i]));
}

/* ---- Reading ---- */

static float half_value(uint16_t bits)
{
    _Float16 value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

static int read_matrix(const safetensors *set, int layer, int which, int64_t rows, int64_t columns,
                       float *values)
{
    char name[NAME_BYTES];
    dtype type;
    const tensor *t = safetensors_want(set, tensor_name(name, layer, which), 2, rows, columns, &type);
    if (!t)
        return -1;
    if (type == DTYPE_F32) {
        memcpy(values, t->data, (size_t)t->elements * sizeof *values);
        return 0;
    }
    for (int64_t i = 0; i < t->elements; i++) {
        uint16_t bits;
        memcpy(&bits, t->data + 2 * i, sizeof bits);
        values[i] = type == DTYPE_BF16 ? widen(bits) : half_value(bits);
    }
    return 0;
}

int heads_load(retaining_heads *h, const model_shape *shape, int layers, const char *path)
{
    *h = (retaining_heads){0};
    safetensors *set = safetensors_open(path);
    if (!set)
        return -1;
    char name[NAME_BYTES];
    const tensor *first = safetensors_find(set, tensor_name(name, 0, 1));
    int status = 0;
    if (!first)
        status = fail("%s: has no tensor %s", path, name);
    else if (first->dimensions != 2 || first->shape[0] < 1 || first->shape[0] > MOST_WIDTH)
        status = fail("%s: tensor %s: it is no matrix of 1 to %d rows", path, name, MOST_WIDTH);
    else
        heads_make(h, shape, layers, (int)first->shape[0]);
    for (int i = 0; i < layers && !status; i++)
        if (read_matrix(set, i, 1, h->width, h->inputs, heads_layer(h, i)) ||
            read_matrix(set, i, 2, h->kv_heads, h->width, heads_fc2(h, i)))
            status = -1;
    safetensors_close(set);
    if (status)
        heads_free(h);
    return status;
}

/* ---- Writing ---- */

/* The header: tensors in order, layer by layer, which is also the order of the values. */
static char *header_text(const retaining_heads *h, size_t *bytes)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, bytes);
    if (!out)
        return NULL;
    uint64_t at = 0;
    for (int i = 0; i < h->layers; i++)
        for (int which = 1; which <= 2; which++) {
            char name[NAME_BYTES];
            int rows = which == 1 ? h->width : h->kv_heads;
            int columns = which == 1 ? h->inputs : h->width;
            uint64_t end = at + 2 * (uint64_t)rows * (uint64_t)columns;
            fprintf(out, "%c\"%s\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],\"data_offsets\":[%llu,%llu]}",
                    at ? ',' : '{', tensor_name(name, i, which), rows, columns,
                    (unsigned long long)at, (unsigned long long)end);
            at = end;
        }
    fputc('}', out);
    while (ftello(out) % 8) /* so that the data lie at a multiple of 8 */
        fputc(' ', out);
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}

static void write_values(const retaining_heads *h, FILE *file)
{
    size_t bytes = 0;
    char *header = header_text(h, &bytes);
    int64_t count = header ? h->layers * heads_layer_size(h) : 0;
    for (int shift = 0; shift < 64 && header; shift += 8)
        fputc((int)((uint64_t)bytes >> shift & 255), file);
    if (header)
        fwrite(header, 1, bytes, file);
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits = narrow(h->values[i]);
        fputc(bits & 255, file);
        fputc(bits >> 8, file);
    }
    free(header);
}

int heads_save(const retaining_heads *h, const char *path)
{
    whole_file out;
    if (whole_file_open(&out, path))
        return -1;
    write_values(h, out.file);
    return whole_file_close(&out, 0);
}
