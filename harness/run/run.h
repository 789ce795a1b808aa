/* Runs a cell: the document's prefill under a method on every host, the query phase over the
 * distributed KV, and greedy decoding. The same body runs under every device and every kind of link.
 *
 * Memory is planned before it is taken: each host has a zone (KV cache, residual stream, queries and
 * outputs, the method's exchange buffers), and what does not live across a comm call is one scratch
 * area, shared by all virtual hosts of a process. All of it is one block of device memory a cell. */
#ifndef HARNESS_RUN_H
#define HARNESS_RUN_H
#include "harness/comm/replay.h"
#include "harness/model/model.h"
#include "methods/method.h"

/* Device bytes of a cell. A real host needs weights + shared + zone_largest; a process that
 * simulates all hosts needs weights + shared + zone_sum. */
typedef struct {
    size_t weights, shared, zone_largest, zone_sum;
} run_memory;
void run_memory_plan(const model_config *, int layers, const cell *, const device *,
                     int64_t new_tokens, run_memory *);

/* Everything about a prompt's split and a model that cell fields come from. */
void cell_from_model(cell *, const model_config *, const model *loaded_or_null);

/* What a caller of many runs of one model keeps from one to the next; zeroed before the first. Each run
 * would otherwise take device memory anew, which waits for the device, and compute the rotations. */
typedef struct {
    device *dev;
    void *arena;
    size_t arena_bytes;
    float *rope; /* rope_table() of */
    int64_t rope_positions;
} run_kept;
void run_kept_free(run_kept *);

typedef struct {
    const model *model;
    const cell *cell; /* resolved; document and query are the lengths of the ids below */
    const comm_driver *driver;
    const int32_t *document, *query;
    const int32_t *anchor_query; /* cell->query_in_anchor ids, or NULL: the query's first ones */
    int64_t new_tokens;      /* generated at most; >= 1 (the first token ends the prefill) */
    const int32_t *stop_ids; /* generation ends with one of them */
    int stop_count;
    double deadline;         /* monotonic seconds after which the run fails; 0 = none */
    bool parts;              /* instrumented: record the parts of each layer */
    bool synchronised;       /* under a profiler: each range waits for the device's work in it */
    /* Times are not wanted. Virtual hosts then leave no marks for their clock, and the query phase and
     * decode run on the query's owner alone, which attends the keys of all hosts in one call: what it
     * gets differs from the merge of their parts by rounding. On real links nothing changes. */
    bool untimed;
    /* Called on one host after each token with its logits [vocab] in host memory; may be NULL. */
    void (*on_token)(void *argument, int step, int32_t id, const float *logits);
    /* Called on each host after the document's last layer with the residual stream of the plan's rows,
     * x [plan->rows, hidden] on the device; and after the query phase's with the query's rows,
     * x [cell->query, hidden], alike on all hosts (untimed virtual hosts: on the owner alone). Either may
     * be NULL. All real hosts of the cell make the call, so it may reduce over them. It may wait for the
     * device: the hosts' clocks stand still, but wall_s runs on. -1 with a sentence ends the run. */
    int (*on_rows)(void *argument, comm *, const plan *, const float *x);
    int (*on_query_rows)(void *argument, comm *, const float *x);
    void *argument;
    run_kept *kept; /* NULL: nothing is kept */
} run_request;

typedef struct {
    int32_t *ids; /* generated, a stop id not among them; to be freed with run_result_free */
    int64_t count;
    bool stopped;         /* by a stop id */
    timeline *timelines;  /* [hosts]; in a process that is one real host only its own is filled */
    int hosts;
    /* Of this process, from the first host's start to the end: the wall clock's seconds; the device's
     * on hosts' own work, all hosts together; on copies that a link would have moved (on real links:
     * in transfers); and the CPU's until everything was queued, less waiting for tokens. What is
     * neither charged nor transfers is the harness's own overhead. */
    double wall_s, charged_s, transfers_s, enqueue_s;
    size_t wanted_bytes;  /* after a failure for want of device memory: how much; else 0 */
    double *host_flops, *host_bytes_sent; /* [hosts], prefill of the document; own hosts only */
    double flops, bytes_sent; /* up to the first token (query phase too), of the host with the most */
    host_times *measured; /* [hosts] on links that are real; NULL where they are projected */
    size_t peak_bytes;    /* of the largest real host */
} run_result;

/* 0, or -1 with a sentence (of the first host that failed). */
int run_cell(const run_request *, run_result *);
void run_result_free(run_result *);

#endif
