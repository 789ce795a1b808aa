/* How models are told apart. See names.h. */
#include "harness/model/names.h"

#include "harness/error.h"
#include "harness/fnv.h"
#include "harness/model/model.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* So many of each tensor tell a model's weights: they are gigabytes, and another training changes most
 * tensors all over. */
enum { HASHED_BYTES = 4096 };

char *model_name(const char *path)
{
    char *trimmed = copy_text(path), *real = NULL;
    size_t bytes = strlen(trimmed);
    while (bytes > 1 && trimmed[bytes - 1] == '/')
        trimmed[--bytes] = 0;
    const char *slash = strrchr(trimmed, '/');
    char *part = copy_text(slash ? slash + 1 : trimmed);
    if (!part[0] || !strcmp(part, ".") || !strcmp(part, "..")) {
        real = realpath(path, NULL);
        slash = real ? strrchr(real, '/') : NULL;
        if (slash && slash[1]) {
            free(part);
            part = copy_text(slash + 1);
        }
    }
    free(real);
    free(trimmed);
    return part;
}

/* FNV-1a over words of 64 bits. */
uint64_t model_values_hash(uint64_t hash, const safetensors *set, uint64_t most)
{
    for (int64_t i = 0; i < safetensors_count(set); i++) {
        const tensor *one = safetensors_at(set, i);
        uint64_t bytes = one->end - one->begin;
        bytes = bytes < most ? bytes : most;
        for (uint64_t at = 0; at < bytes; at += sizeof hash) {
            uint64_t word = 0;
            memcpy(&word, one->data + at, bytes - at < sizeof word ? bytes - at : sizeof word);
            hash = (hash ^ word) * FNV_PRIME;
            hash ^= hash >> 32;
        }
    }
    return hash;
}

/* `text`, which is freed, and behind it a part of the hash. */
static char *with_hash(char *text, uint64_t hash)
{
    char *longer = format_text("%s#%012llx", text, (unsigned long long)(hash >> 16));
    free(text);
    return longer;
}

char *model_origin(const char *name, const char *directory, uint64_t config_hash,
                   const safetensors *files, const char *heads)
{
    bool preset = !directory;
    for (int i = 0; i < model_preset_count; i++)
        preset |= !strcmp(model_presets[i].name, name);
    char *full = preset ? NULL : realpath(directory, NULL), *full_heads = NULL;
    if (full)
        full = with_hash(full, model_values_hash(config_hash, files, HASHED_BYTES));
    if (heads)
        full_heads = realpath(heads, NULL);
    char *text = format_text("%s%s%s", full ? full : "", full_heads ? "+" : "",
                             full_heads ? full_heads : "");
    free(full);
    free(full_heads);
    return text;
}

char *model_weights(const char *origin, uint64_t heads_hash)
{
    char *text = copy_text(origin);
    return heads_hash ? with_hash(text, heads_hash) : text;
}
