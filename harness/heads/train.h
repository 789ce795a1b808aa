/* Training of retaining heads over prompts, and how good heads are. As in Locret, a prompt is learned
 * by all layers at once, the model frozen. The loss is a sum over layers, clipping and AdamW go number by
 * number, so layers learn each for itself: on threads, while the model runs the next prompt
 * (observe/pipeline.h).
 *
 * FLOPs of a step with n rows (SmolLM2-135M, n = 1024, width 144): the model 2 x 106 M x n = 0.22 T
 * and its attention 0.04 T; heads forward and by their weights 4 x 4.2 M x n = 0.017 T; labels of r rows
 * 2 r n 576 x 30 layers = 0.003 T at r = 80. */
#ifndef HARNESS_HEADS_TRAIN_H
#define HARNESS_HEADS_TRAIN_H
#include "harness/heads/heads.h"
#include "harness/heads/learn.h"
#include "harness/heads/observe/observe.h"

typedef struct {
    int width;
    schedule schedule;
    int parts;          /* updates a prompt, each from every parts-th position; 1 in Locret */
    double smoothness;  /* of the loss, between neighbours of an update; 0.0025 in Locret */
    int64_t save_every; /* steps between states written */
    int64_t stop_after; /* leaves after so many steps of this call, state written; 0: never */
    double time_limit;  /* leaves alike after so many seconds of this call; 0: never. And at SIGINT
                         * and SIGTERM, but for a second one, which ends the program */
    int threads;        /* that learn, beside the model's */
    uint64_t seed;      /* of the first weights and of the order of prompts */
    const heads_layout *layout; /* where features come from; NULL: the whole prompt */
    const char *layout_text;    /* tells it from others; NULL with layout NULL */
    const char *out;    /* the heads; the state lies beside it as OUT.state until they are done */
} train_settings;

/* Trains, or goes on from OUT.state, where it was made with the same settings, prompts and model;
 * writes OUT and removes the state at the end. Resumed runs end in the same bits. heads (to be freed)
 * are as OUT holds them. Returns 0 done, 1 left early with its state written, -1 failed; 1 and -1
 * with a sentence. */
int heads_train(const model *, const heads_prompts *, const train_settings *, retaining_heads *);

/* Sums over prompts; means are sums / prompts. */
typedef struct {
    int layers, kv_heads;
    int64_t prompts, with_needles;
    double *overlap; /* [layers, kv_heads]: of the top 10 % by score and by label */
    double *recall, *label_recall; /* [layers, kv_heads], over prompts with needles: the share of needle
                                    * tokens in the top 10 % by score and by label, both max-pooled
                                    * over 5 positions as methods pool them */
} heads_measure;

/* Measures the heads on the prompts, in the layout (NULL: the whole prompt), with so many threads. */
int heads_evaluate(const model *, const heads_layout *, int threads, const heads_prompts *,
                   const retaining_heads *, heads_measure *);
double heads_mean(const heads_measure *, const double *sums, int64_t prompts);
void heads_measure_free(heads_measure *);
#endif
