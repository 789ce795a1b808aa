/* How models are told apart. See names.h. */
#include "harness/model/names.h"

#include "harness/error.h"
#include "harness/model/model.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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

char *model_origin(const char *name, const char *directory, const char *heads)
{
    bool preset = !directory;
    for (int i = 0; i < model_preset_count; i++)
        preset |= !strcmp(model_presets[i].name, name);
    char *full = preset ? NULL : realpath(directory, NULL), *full_heads = NULL;
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
    return heads_hash ? format_text("%s#%012llx", origin, (unsigned long long)(heads_hash >> 16))
                      : copy_text(origin);
}
