/* What a model's name stands for: a named shape with random weights, the default model's directory
 * under the cache, or any directory. The configurations are the published ones (config.json and
 * generation_config.json) of the models that the paper measures. */
#include "harness/error.h"
#include "harness/model/model.h"
#include "harness/program_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const model_preset model_presets[] = {
    {
        .name = "smollm2",
        .summary = "SmolLM2-135M-Instruct, pretrained, the default (made by `make setup`)",
        .heads = "results/heads/smollm2.safetensors",
    },
    {
        /* meta-llama/Llama-3.1-8B-Instruct */
        .name = "llama-3.1-8b",
        .summary = "shape of Llama-3.1-8B-Instruct, random weights",
        .config = {
            .shape = {.layers = 32, .hidden = 4096, .heads = 32, .kv_heads = 8, .head_dim = 128,
                      .ffn = 14336, .vocab = 128256},
            .rope_theta = 500000, .rope_factor = 8, .rope_low_freq = 1, .rope_high_freq = 4,
            .rope_original_positions = 8192, .rms_epsilon = 1e-5, .max_positions = 131072,
            .stop_ids = {128001, 128008, 128009}, .stop_count = 3, .head_tokens = 16,
        },
    },
    {
        /* Qwen/Qwen2.5-14B-Instruct */
        .name = "qwen2.5-14b",
        .summary = "shape of Qwen2.5-14B-Instruct, random weights",
        .config = {
            .shape = {.layers = 48, .hidden = 5120, .heads = 40, .kv_heads = 8, .head_dim = 128,
                      .ffn = 13824, .vocab = 152064},
            .rope_theta = 1e6, .rms_epsilon = 1e-6, .qkv_bias = true, .max_positions = 32768,
            .stop_ids = {151645, 151643}, .stop_count = 2, .head_tokens = 24,
        },
    },
    {
        /* 01-ai/Yi-34B-200K */
        .name = "yi-34b",
        .summary = "shape of Yi-34B-200K, random weights",
        .config = {
            .shape = {.layers = 60, .hidden = 7168, .heads = 56, .kv_heads = 8, .head_dim = 128,
                      .ffn = 20480, .vocab = 64000},
            .rope_theta = 5e6, .rms_epsilon = 1e-5, .max_positions = 200000,
            .stop_ids = {2}, .stop_count = 1,
        },
    },
    {
        /* gradientai/Llama-3-8B-Instruct-Gradient-1048k */
        .name = "llama-3-8b-1m",
        .summary = "shape of Llama-3-8B-Instruct-Gradient-1048k, random weights",
        .config = {
            .shape = {.layers = 32, .hidden = 4096, .heads = 32, .kv_heads = 8, .head_dim = 128,
                      .ffn = 14336, .vocab = 128256},
            .rope_theta = 3580165449, .rms_epsilon = 1e-5, .max_positions = 1048576,
            .stop_ids = {128001, 128009}, .stop_count = 2, .head_tokens = 16,
        },
    },
    {
        .name = "small",
        .summary = "4 layers of width 512, 8/4 heads of 64, random weights, for trying out a GPU",
        .config = {
            .shape = {.layers = 4, .hidden = 512, .heads = 8, .kv_heads = 4, .head_dim = 64,
                      .ffn = 1024, .vocab = 4096},
            .rope_theta = 10000, .rms_epsilon = 1e-5, .max_positions = 131072,
        },
    },
    {
        .name = "tiny",
        .summary = "2 layers of width 64, random weights, for trying things out",
        .config = {
            .shape = {.layers = 2, .hidden = 64, .heads = 4, .kv_heads = 2, .head_dim = 16,
                      .ffn = 128, .vocab = 512},
            .rope_theta = 10000, .rms_epsilon = 1e-5, .max_positions = 131072,
        },
    },
};
const int model_preset_count = sizeof model_presets / sizeof model_presets[0];

char *cache_directory(void)
{
    const char *place = getenv("APBENCH_CACHE");
    if (place && place[0])
        return copy_text(place);
    place = getenv("XDG_CACHE_HOME");
    if (place && place[0])
        return format_text("%s/apbench", place);
    place = getenv("HOME");
    return format_text("%s/.cache/apbench", place && place[0] ? place : ".");
}

static bool is_directory(const char *path)
{
    struct stat found;
    return !stat(path, &found) && S_ISDIR(found.st_mode);
}

/* "smollm2, llama-3.1-8b, ..." */
static char *preset_names(void)
{
    char *names = copy_text(model_presets[0].name);
    for (int i = 1; i < model_preset_count; i++) {
        char *longer = format_text("%s, %s", names, model_presets[i].name);
        free(names);
        names = longer;
    }
    return names;
}

static const model_preset *find_preset(const char *name)
{
    for (int i = 0; i < model_preset_count; i++)
        if (!strcmp(name, model_presets[i].name))
            return &model_presets[i];
    return NULL;
}

char *model_preset_heads(const char *name)
{
    const model_preset *preset = find_preset(name);
    return preset && preset->heads ? program_file(preset->heads) : NULL;
}

static int fail_unknown(const char *name)
{
    char *names = preset_names();
    fail("model %s: neither a directory nor one of %s", name, names);
    free(names);
    return -1;
}

int model_check_name(const char *name)
{
    return find_preset(name) || strchr(name, '/') || is_directory(name) ? 0 : fail_unknown(name);
}

int model_check_reader(const char *name)
{
    const model_preset *preset = find_preset(name);
    if (!preset)
        return model_check_name(name);
    if (preset->config.shape.layers)
        return fail("model %s has random weights and no tokenizer, so it cannot read text; `speed` "
                    "and `check` take it", name);
    return 0;
}

int model_resolve(const char *name, model_config *config, char **directory)
{
    *directory = NULL;
    const model_preset *preset = find_preset(name);
    if (preset && preset->config.shape.layers) {
        *config = preset->config;
        return 0;
    }
    if (preset) {
        char *cache = cache_directory();
        *directory = format_text("%s/models/%s", cache, name);
        free(cache);
        if (!is_directory(*directory))
            fail("model %s: its directory %s is missing; run `make setup` to make it", name,
                 *directory);
        else if (!model_config_read(*directory, config))
            return 0;
    } else if (is_directory(name)) {
        *directory = copy_text(name);
        if (!model_config_read(name, config))
            return 0;
    } else {
        fail_unknown(name);
    }
    free(*directory);
    *directory = NULL;
    return -1;
}
