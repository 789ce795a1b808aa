/* The transformer's layer in pieces, on rows of one host: projections, FFN and the head. Rows are
 * taken in chunks, so that the widest buffers (qkv, gate and up) stay small whatever the length. */
#ifndef HARNESS_LAYER_H
#define HARNESS_LAYER_H
#include "harness/model/model.h"
#include "methods/method.h"

/* Device buffers that do not live across a comm call: one set for all hosts of a process. */
typedef struct {
    void *norm;    /* [chunk, hidden] */
    void *qkv;     /* [chunk, (heads + 2 kv_heads) head_dim] */
    void *gate_up; /* [chunk, 2 ffn] */
    void *ffn;     /* [chunk, ffn] */
    float *rope;   /* [positions, head_dim / 2, 2]: cos, sin */
    int64_t positions;
} layer_scratch;

/* Carves the buffers; with a zone of base NULL it only counts. */
void layer_scratch_take(zone *, const model_shape *, const device *, int64_t positions,
                        layer_scratch *);

/* cos and sin [positions, head_dim / 2, 2] of positions 0 .. positions - 1 in host memory, from double
 * arithmetic, with Llama-3.1's scaling of the frequencies where the configuration has it. To be freed. */
float *rope_table(const model_config *, int64_t positions);

/* scratch->qkv = norm(x) Wqkv^T + bias for up to chunk_rows rows. */
void layer_project_qkv(const model *, int layer, const layer_scratch *, const float *x,
                       int64_t rows);
/* x += attended Wo^T. */
void layer_project_out(const model *, int layer, float *x, const void *attended, int64_t rows);
/* x += FFN(norm(x)). */
void layer_ffn(const model *, int layer, const layer_scratch *, float *x, int64_t rows);
/* logits [rows, vocab] of rows of x, through norm [rows, hidden] (activation type; scratch->norm for up
 * to chunk_rows rows). */
void layer_logits(const model *, void *norm, const float *x, int64_t rows, float *logits);
#endif
