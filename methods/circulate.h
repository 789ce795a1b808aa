/* Keys and values that travel round the ring of hosts, and the running result that each host folds
 * them into: what ring and zigzag share. */
#ifndef METHODS_CIRCULATE_H
#define METHODS_CIRCULATE_H
#include "methods/method.h"

typedef struct {
    void *received[2]; /* KV of `rows` tokens: one in hand, one on its way */
    float *acc, *lse;  /* running result of all rows */
} circulation;

/* Device bytes of a circulation over `rows` rows a host; fills *b where work is given. */
size_t circulation_bytes(const cell *, const device *, int64_t rows, void *work, circulation *b);

/* Sends the host's cached KV to the next host and receives from the one before, H - 1 times, and
 * calls visit() on what is in hand at each step 0 .. H - 1: after s steps the KV of host rank - s
 * (mod H). The transfer of step s + 1 is under way meanwhile. Ends with the result in x->out. */
int circulate(attend_context *,
              void (*visit)(attend_context *, circulation *, const void *kv, int step));

/* Folds the first `length` keys in hand into rows first_row .. of the running result, which begins
 * with step 0. causal_offset as in attn_segment. */
void circulation_fold(attend_context *, circulation *, const void *kv, int64_t length,
                      int64_t first_row, int64_t causal_offset, int step);
#endif
