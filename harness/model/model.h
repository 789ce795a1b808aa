/* A transformer's configuration and weights: Llama-3.x, Qwen2.5 and Yi checkpoints in Hugging Face
 * layout, and the same shapes with seeded random weights, which need no files. run.h runs them. */
#ifndef HARNESS_MODEL_H
#define HARNESS_MODEL_H
#include "datasets/tokenizer/tokenizer.h"
#include "kernels/device.h"
#include "kernels/shape.h"

typedef struct {
    model_shape shape;
    double rope_theta;
    /* Llama-3.1's rope scaling ("rope_type": "llama3"); factor 0 = none. */
    double rope_factor, rope_low_freq, rope_high_freq, rope_original_positions;
    double rms_epsilon;
    bool tied;     /* lm_head = embedding */
    bool qkv_bias; /* Qwen2 */
    int64_t max_positions;
    int32_t stop_ids[8]; /* from config.json and generation_config.json */
    int stop_count;
    /* Tokens of the family's chat head, for random weights, which have no tokenizer; APB puts the
     * query behind it (reference code: 16 for Llama, 24 for Qwen, 0 for Yi). */
    int head_tokens;
    uint64_t hash; /* of what was read; 0 where nothing was */
} model_config;

/* Device pointers; matrices [out, in] in the activation type, norms float32. */
typedef struct {
    float *attention_norm, *ffn_norm; /* [hidden] */
    void *qkv;                        /* [(heads + 2 kv_heads) head_dim, hidden]: q, k, v rows */
    void *qkv_bias;                   /* [(heads + 2 kv_heads) head_dim] or NULL */
    void *o;                          /* [hidden, heads head_dim] */
    void *gate_up;                    /* [2 ffn, hidden]: gate rows, then up rows */
    void *down;                       /* [hidden, ffn] */
    void *retaining_fc1;              /* [width, (heads + 2 kv_heads) head_dim] or NULL */
    void *retaining_fc2;              /* [kv_heads, width] */
} layer_weights;

typedef struct {
    char *name;      /* as the CSV has it: the preset's name or the directory's last part */
    char *directory; /* NULL for random weights */
    model_config config;
    int layers; /* how many are used: config.shape.layers unless --layers cut it */
    bool random;
    device *dev;
    void *embedding;   /* [vocab, hidden] */
    void *lm_head;     /* [vocab, hidden]; == embedding when tied */
    float *final_norm; /* [hidden] */
    layer_weights *layer;
    char *origin;        /* who the weights are: names.h */
    int retaining_width; /* hidden width of the retaining heads; 0 = none loaded */
    uint64_t heads_hash; /* of their file's values; 0 = none, or random ones */
    tokenizer *tokens;   /* NULL for random weights */
    const chat_template *chat;
    size_t weight_bytes;
} model;

/* Reads DIR/config.json (and generation_config.json's stop ids). */
int model_config_read(const char *directory, model_config *);

/* The named shapes with random weights (`apbench list models`), and `smollm2`, the directory that
 * set-up made under the cache. */
typedef struct {
    const char *name, *summary;
    model_config config; /* config.shape.layers == 0: a directory under the cache */
    const char *heads;   /* its retaining heads, a file of the repository that may not be there; or NULL */
} model_preset;
extern const model_preset model_presets[];
extern const int model_preset_count;

/* The file of the preset's own retaining heads, to be freed; NULL when `name` is no preset or there
 * is no such file. */
char *model_preset_heads(const char *name);

/* The retaining heads that model_open() loads (see there), to be freed; NULL when there are none.
 * name, directory: as model_resolve() has them. */
char *model_heads_path(const char *name, const char *directory_or_null, const char *given_or_null);

/* -1 with a sentence when a name stands for no model. What a path (with a slash) is comes out when it
 * is read. */
int model_check_name(const char *name);
/* The same where the model must read text: random weights have no tokenizer. */
int model_check_reader(const char *name);

/* What a name stands for, without loading weights: fills config and tells the directory (NULL for
 * random weights; to be freed). name: a preset or a directory. */
int model_resolve(const char *name, model_config *, char **directory);

/* Opens a model on a device, or only describes it where the device is NULL: configuration,
 * tokenizer and width of the retaining heads, but no weights. layers 0 = all. retaining_heads: a
 * safetensors file (or directory) in Locret's layout, or NULL for DIR/retaining_heads.safetensors
 * if it exists, else the preset's own if it exists; random weights get random heads of width 1024. NULL with a sentence in fail_text()
 * on failure; it begins with "out of memory" when the device has not enough for the weights. A
 * device whose attention does not serve the model's head size is refused. */
model *model_open(const char *name, device *, int layers, uint64_t seed,
                  const char *retaining_heads);
void model_close(model *);

/* 0, or -1 with the sentence that says why the model has no tokenizer, so that it cannot read text. */
int model_check_tokenizer(const model *);

/* Width of the retaining heads that random weights get: the published heads' (Locret, APB). */
enum { RANDOM_RETAINING_WIDTH = 1024 };

/* Device bytes that model_open() will take, for predicting `oom`: layers 0 = all; retaining_width
 * is RANDOM_RETAINING_WIDTH for random weights, 0 where no heads are loaded. */
size_t model_weight_bytes(const model_config *, int layers, size_t act_bytes, int retaining_width);

/* $APBENCH_CACHE, else $XDG_CACHE_HOME/apbench, else ~/.cache/apbench; to be freed. */
char *cache_directory(void);
#endif
