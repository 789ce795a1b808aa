/* What the frozen model shows to retaining heads: for every layer the features (queries, keys and
 * values before RoPE) and the labels of a prompt's positions. The model runs on its device under exact
 * attention, through a method that is `flash` and looks on; features and labels come to the host. */
#ifndef HARNESS_HEADS_OBSERVE_H
#define HARNESS_HEADS_OBSERVE_H
#include "harness/heads/prompts.h"

/* Positions beyond are run but not shown (Locret trains on the first 10240). */
enum { MOST_SHOWN = 10240 };

/* One layer of one prompt; valid during the call. */
typedef struct {
    int layer;
    int64_t positions;
    const float *features; /* [positions, (heads + 2 kv_heads) head_dim] */
    const float *labels;   /* [positions, kv_heads] */
} shown_layer;

/* Runs the prompt and calls on_layer for layers 0, 1, ... in order. -1 with a sentence. */
int observe_prompt(const model *, const heads_prompt *,
                   void (*on_layer)(void *argument, const shown_layer *), void *argument);
#endif
