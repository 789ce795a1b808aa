/* Attention of the query phase and of decode, one code path for all methods: every host attends the
 * same few rows over the keys that it holds, and the partial results are merged exactly by their
 * log-sum-exps. */
#ifndef METHODS_QUERY_H
#define METHODS_QUERY_H
#include "methods/method.h"

/* Most hosts whose keys are attended at once. */
enum { MOST_KEYS_AT_ONCE = 32 };

/* Keys and values of one layer that a host holds. */
typedef struct {
    const void *kv; /* [cached, kv_heads, 2, head_dim] */
    int64_t cached; /* rows, on the owner with the new ones */
} query_keys;

typedef struct {
    const cell *cell;
    const plan *plan;
    device *dev;
    comm *comm;
    int64_t rows;         /* t: the query's tokens, or 1 */
    const void *q;        /* activation type [t, heads, head_dim], roped, the same on every host */
    query_keys own;       /* the owner has already appended the t rows' keys */
    const query_keys *all; /* [hosts], where they lie in one memory and this host attends for all of them;
                            * else NULL */
    void *out;            /* activation type [t, heads, head_dim], the same on every host */
    void *work;           /* query_work_bytes() */
} query_context;

size_t query_work_bytes(const cell *, const device *, int64_t rows);
int query_attend(query_context *);
#endif
