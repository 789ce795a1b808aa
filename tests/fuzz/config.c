/* Fuzzes config.json; behind a NUL byte follows generation_config.json, if there is one. What is taken
 * must keep the promises that the model's sizes are computed by. */
#include "harness/error.h"
#include "harness/model/model.h"
#include "tests/fuzz/scratch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *second = bytes ? memchr(data, 0, bytes) : NULL;
    size_t first_bytes = second ? (size_t)(second - data) : bytes;
    char *config_path = scratch_file("config.json", data, first_bytes);
    char *generation_path = format_text("%s/generation_config.json", scratch_folder());
    unlink(generation_path);
    if (second)
        free(scratch_file("generation_config.json", second + 1, bytes - first_bytes - 1));
    model_config config;
    if (model_config_read(scratch_folder(), &config) == 0) {
        const model_shape *s = &config.shape;
        MUST(s->layers > 0 && s->hidden > 0 && s->heads > 0 && s->ffn > 0 && s->vocab > 0);
        MUST(s->kv_heads > 0 && s->heads % s->kv_heads == 0);
        MUST(s->head_dim > 0 && s->head_dim % 2 == 0);
        MUST(config.rope_theta >= 1 && config.rms_epsilon > 0);
        MUST(config.stop_count >= 0 && config.stop_count <= 8);
        for (int i = 0; i < config.stop_count; i++)
            MUST(config.stop_ids[i] >= 0);
        MUST(config.max_positions > 0);
    } else {
        MUST(*fail_text());
    }
    free(config_path);
    free(generation_path);
    return 0;
}
