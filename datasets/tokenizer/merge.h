/* The merges of a byte-pair model, looked up by pair, and three ways to apply them to one word: the merge
 * of lowest rank, leftmost first, until none applies. bpe.c makes the words' first symbols and picks the
 * way by their number; what comes out is the same. */
#ifndef DATASETS_TOKENIZER_MERGE_H
#define DATASETS_TOKENIZER_MERGE_H
#include "datasets/tokenizer/parts.h"

enum { SHORT_WORD = 40 };
static const uint32_t NO_RANK = UINT32_MAX;
static const uint64_t NO_PAIR = UINT64_MAX;

static inline uint64_t mix_key(uint64_t key)
{
    key *= 0x9E3779B97F4A7C15u;
    return key ^ key >> 32;
}

/* The pair's slot, or the empty one where it would stand. */
static inline const merge_slot *find_merge(const bpe_model *model, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t at = mix_key(pair) & (model->slots - 1);
    while (model->merge[at].pair != pair && model->merge[at].pair != NO_PAIR)
        at = (at + 1) & (model->slots - 1);
    return &model->merge[at];
}

/* Of up to SHORT_WORD symbols, ids alone: appends what is left. */
void merge_short(const bpe_model *, bpe_symbol *, int32_t count, token_list *out);
/* Of `count` linked symbols in e->symbol, with a heap; leaves linked what is left. */
void merge_long(const bpe_model *, encoder *e, int32_t count);
/* The same with a queue for each rank. */
void merge_huge(const bpe_model *, bpe_symbol *, int32_t count);
#endif
