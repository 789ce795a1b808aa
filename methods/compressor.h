/* Compressors: which l_p keys of its block a host passes on. Each gives every local row and
 * KV head a score; the best l_p rows of each KV head, outside the anchor, are selected. To
 * add one, add a row to the table in compressor.c and its name to COMPRESSOR_CHOICES. */
#ifndef METHODS_COMPRESSOR_H
#define METHODS_COMPRESSOR_H
#include "methods/method.h"

#define COMPRESSOR_CHOICES "retaining|random|query|recency|sink|norm"
enum { COMPRESSOR_RETAINING, COMPRESSOR_RANDOM, COMPRESSOR_QUERY, COMPRESSOR_RECENCY,
       COMPRESSOR_SINK, COMPRESSOR_NORM };

/* Device buffers of a selection, in attend_context.work. */
typedef struct {
    float *scores, *pooled; /* [scored rows, kv_heads] */
    int32_t *index;         /* [l_p, kv_heads]: rows counted from the first candidate */
    void *hidden;           /* [chunk rows, width]: inside of the retaining head */
} compressor_buffers;

/* What is to be chosen: `count` of `candidates` rows from first_candidate on, of all that have scores. */
typedef struct {
    int64_t scored_rows, first_candidate, candidates, count;
    bool pool; /* max-pool scores over five positions, of all scored rows */
} selection;

typedef struct {
    const char *name;
    bool carries_query; /* needs the query's rows behind the block on every host */
    /* Scores rows first_row .. + rows from the joint projection before RoPE, with the model's retaining
     * heads; NULL for those that need none. */
    void (*before_rope)(attend_context *, compressor_buffers *, const void *qkv, int64_t first_row,
                        int64_t rows);
    /* Fills the first `count` of buffers->index. */
    void (*select)(attend_context *, compressor_buffers *, const selection *);
} compressor;
extern const compressor compressors[];

/* Fills buffers->index: the last `recent` candidates always, before them the compressor's choice of the
 * others (Locret's stabilizers, for the blocks of APB). */
void compressor_select(attend_context *, const compressor *, compressor_buffers *, const selection *,
                       int64_t recent);

void compressor_take(zone *, const cell *, const device *, int64_t scored_rows, int64_t count,
                     compressor_buffers *);
/* FLOPs of the retaining head over `rows` rows in one layer. */
double retaining_flops(const cell *, int64_t rows);
#endif
