/* Fuzzes safetensors: an input that begins with `{` is the index of a directory with two sound shards,
 * any other a file of its own. Of what is taken every tensor's bytes must be there. */
#include "harness/error.h"
#include "harness/model/safetensors.h"
#include "tests/fuzz/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_shard(const char *name, const char *header, size_t data_bytes)
{
    char shard[512] = {0};
    size_t length = strlen(header);
    shard[0] = (char)length;
    memcpy(shard + 8, header, length);
    free(scratch_file(name, shard, 8 + length + data_bytes));
}

static void look_at(const safetensors *set)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < safetensors_count(set); i++) {
        const tensor *t = safetensors_at(set, i);
        dtype type;
        MUST(t->begin <= t->end);
        MUST(safetensors_find(set, t->name));
        for (uint64_t at = 0; at < t->end - t->begin; at++)
            sum += t->data[at];
        if (safetensors_want(set, t->name, 2, 3, 2, &type)) {
            MUST(t->elements == 6);
            MUST(t->end - t->begin == (type == DTYPE_F32 ? 24 : 12));
        }
        safetensors_want(set, t->name, 1, t->elements, 0, &type);
    }
    MUST(sum <= UINT64_MAX / 2); /* the bytes were read */
    MUST(!safetensors_find(set, "no such tensor"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static bool ready;
    if (!ready) {
        write_shard("a.safetensors",
                    "{\"t\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]}}", 24);
        write_shard("b.safetensors",
                    "{\"u\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4);
        ready = true;
    }
    bool index = bytes && data[0] == '{';
    char *path = scratch_file(index ? "model.safetensors.index.json" : "one.safetensors", data, bytes);
    safetensors *set = safetensors_open(index ? scratch_folder() : path);
    if (set)
        look_at(set);
    else
        MUST(*fail_text());
    safetensors_close(set);
    free(path);
    return 0;
}
