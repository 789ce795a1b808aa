/* What the files of a run share: the state of one host and of all hosts of a process. Nobody else
 * includes this; a run is started through run.h. */
#ifndef HARNESS_RUN_HOST_H
#define HARNESS_RUN_HOST_H
#include "harness/run/layer.h"
#include "harness/run/run.h"

/* What a virtual host holds after the prefill: a KV cache of `cached` rows in each layer. */
typedef struct {
    const char *kv;
    size_t layer_bytes;
    int64_t cached;
} held_keys;

/* What all hosts of this process share. */
typedef struct {
    const run_request *request;
    run_result *result;
    layer_scratch scratch;
    char *arena; /* the one block of device memory: what is shared, then the zones. Freed when all
                  * transfers are over, which a failed host does not know */
    size_t arena_bytes;
    size_t *zone_at; /* [hosts]: where in the arena */
    int tokens_taken; /* by the first host of the process that came */
    bool ended;       /* the last of them was the last one */
    /* Virtual hosts whose times are not wanted: what each holds after the prefill, [hosts]; else NULL. */
    held_keys *keys;
    double started, stopped; /* monotonic seconds: first PHASE_START, everything done */
    double blocked;          /* seconds in which this process waited for tokens */
} runner;

/* One host's zone. Rows of q, out and x are the plan's; the query phase has its own few rows. */
typedef struct {
    runner *run;
    comm *links;
    device *dev;
    const cell *cell;
    const model *model;
    plan plan;
    int64_t capacity; /* rows of the KV cache in each layer */
    int64_t cached;   /* rows in use */

    char *kv; /* [layers, capacity, kv_heads, 2, head_dim] */
    void *extra, *q, *out, *work;
    float *x;
    int32_t *ids, *positions; /* [rows] */

    int64_t few;     /* most rows of the query phase: query tokens, or 1 */
    float *few_x;    /* [few, hidden] */
    char *few_qkv;   /* q [few, heads, head_dim], then kv [few, kv_heads, 2, head_dim] */
    void *few_out;   /* [few, heads, head_dim] */
    void *few_work;
    int32_t *few_ids, *few_positions; /* [query + new tokens] */
    float *logits;  /* [vocab] */
    int32_t *token; /* right behind the logits: one copy carries both */
} host;

/* This layer's part of the KV cache. */
char *host_layer_kv(const host *, int layer);

/* -1 with a sentence when the run's deadline has passed. Real hosts agree on it, so that all leave
 * the run at the same place and the launch lives on. */
int host_check_time(const host *, int layer);

/* Writes the ids and positions of the plan's rows to the device. */
void host_upload_rows(host *);

/* The document through all layers: leaves the KV cache, and the residual stream in x. */
int host_prefill(host *);

/* Takes `rows` tokens at few_ids through the model, rows first_new.. after the document, and leaves
 * the last row's logits and the best id. Where the runner has all hosts' keys, one host does it. */
int host_few_rows(host *, int64_t rows, int64_t first_new);
#endif
