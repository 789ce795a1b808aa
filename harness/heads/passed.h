/* What a method's hosts really pass on, layer by layer: whether the keys that later rows look at most, and
 * the tokens of answers, are among the keys that a block's compressor chose. It holds for any compressor,
 * so that one sees where information is lost. Only blocks that some host reads count (all but the last),
 * and of these only keys that could be passed: what lies in the anchor is with every host anyway. */
#ifndef HARNESS_HEADS_PASSED_H
#define HARNESS_HEADS_PASSED_H
#include "harness/heads/observe/observe.h"

/* Shares, by layer and KV head. The best are what choosing by the labels themselves would reach, pooled
 * over five positions as methods pool scores. */
enum {
    PASSED_LABELS, PASSED_LABELS_BEST,   /* of a block's l_p largest labels, mean over blocks */
    PASSED_NEEDLES, PASSED_NEEDLES_BEST, /* of the tokens of answers */
    PASSED_SHARES
};

typedef struct {
    int layers, kv_heads;
    int64_t prompts, with_needles; /* those with tokens of answers among keys that could be passed */
    double *sums[PASSED_SHARES];   /* [layers, kv_heads], over prompts, or prompts with needles */
    double *any_head;              /* [layers]: of the tokens of answers, passed in some KV head */
    double chance;                 /* over prompts: l_p of how many keys of a block */
    int64_t passing;               /* l_p of the last prompt */
    int64_t needle_tokens, in_anchor, in_last_block; /* where the tokens of answers are; counts */
} passed_measure;

/* -1 with a sentence; also when the layout's method passes nothing on. */
int heads_measure_passed(const model *, const heads_layout *, int threads, const heads_prompts *,
                         passed_measure *);
void passed_measure_free(passed_measure *);
#endif
