/* What the frozen model shows to retaining heads: for every layer the features (queries, keys and
 * values before RoPE) and the labels of a prompt's positions. The model runs on its device through
 * copies of methods that look on.
 *
 * Labels always come from exact attention over the whole prompt. Features come from the same run, or,
 * with a layout, from a second run of document and query under the method in which the heads will be
 * used: there a block's rows have seen an anchor and what was passed on in place of what is before them,
 * and their queries, keys and values differ. Every row of the document is in one host's block; copies of
 * it in anchors are not shown.
 *
 * The run leaves what it saw as the device had it, since turning it into features and labels is the
 * dearer part and can be done beside the next run, layer by layer (pipeline.h). */
#ifndef HARNESS_HEADS_OBSERVE_H
#define HARNESS_HEADS_OBSERVE_H
#include "harness/heads/prompts.h"
#include "harness/run/run.h"
#include "methods/method.h"

/* Positions beyond are run but not shown (Locret trains on the first 10240). */
enum { MOST_SHOWN = 10240 };

/* The method that features come from: its options and hosts; a cell without a prompt. */
typedef struct {
    cell cell;
} heads_layout;

/* text: "apb:compressor=query". A method that is exact has the rows of the exact run, whatever its
 * hosts. -1 with a sentence. */
int heads_layout_parse(const char *text, int hosts, uint64_t seed, heads_layout *);
/* The layout's cell for a prompt: 0, or -1 with the reason why the method cannot run it. */
int heads_layout_cell(const heads_layout *, const model *, const heads_prompt *, cell *);

/* One prompt's run, all layers: [layers] of each, activation type. The memory is kept from prompt to
 * prompt. SmolLM2-135M: 115 KB a position in bfloat16 (features 58, keys and values 23 of them). */
typedef struct {
    const heads_prompt *prompt; /* the caller's */
    model_shape shape;          /* its layers are those that ran */
    size_t act_bytes;
    int64_t positions, label_rows;
    char *features; /* [layers, positions, heads + 2 kv_heads, head_dim] */
    char *q;        /* [layers, label_rows, heads, head_dim], roped */
    char *kv;       /* [layers, positions, kv_heads, 2, head_dim], roped */
    int32_t *block; /* [positions]: whose block a position is in; all 0 without a layout */
    int blocks;
    /* What is passed on, in runs before which the caller sets notes_passing. */
    bool notes_passing;
    uint8_t *candidate; /* [positions]: whether its keys could be passed on */
    uint8_t *passed;    /* [layers, positions, kv_heads]: whether they were */
    int64_t passing;    /* keys that a block passes on, in each KV head; 0: nothing is passed */
    size_t room[6];
    device *dev;   /* whose host memory all this is; NULL: nothing yet */
    run_kept kept; /* from prompt to prompt */
} observation;
void observation_free(observation *);

/* Runs the prompt and calls on_layer for each layer when it is complete: of an exact run and of most
 * layouts in order. layout NULL: features of the exact run. -1 with a sentence. */
int observe_prompt(const model *, const heads_layout *, const heads_prompt *, observation *,
                   void (*on_layer)(void *argument, int layer), void *argument);

/* One layer in float32, as heads learn it. */
typedef struct {
    int layer;
    int64_t positions;
    const float *features; /* [positions, (heads + 2 kv_heads) head_dim] */
    const float *labels;   /* [positions, kv_heads] */
    const observation *whole;
    const uint8_t *passed; /* of this layer, where it is noted */
} shown_layer;

typedef struct {
    float *features, *labels, *q, *kv;
    size_t room[4];
} shown_buffers;
void shown_buffers_free(shown_buffers *);

/* The layer of an observation; it lies in the buffers or the observation. One thread's work. */
void observation_show(const observation *, int layer, shown_buffers *, shown_layer *);
#endif
