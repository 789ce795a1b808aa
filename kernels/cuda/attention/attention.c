/* Attention over segments of the cuda device: which kernel a call gets, and with what arguments.
 *
 * Many rows: a block takes a tile of rows of one head. Few rows (the query phase, decode) would leave
 * most multiprocessors idle: there the heads of a KV head's group are packed into the tile's rows,
 * so that keys are read once for all of them, and the keys are split into parts that are combined
 * in a second launch. On Hopper each way has two kernels. What is chosen depends on the shapes and the GPU alone, so equal shapes give
 * equal bits. */
#include "kernels/cuda/attention/combine.h"
#include "kernels/cuda/attention/hopper/launch.h"
#include "kernels/cuda/attention/parts.h"
#include "kernels/cuda/attention/sm80.h"
#include "kernels/cuda/cuda.h"
#include "kernels/visible.h"

#include <stdio.h>
#include <stdlib.h>

static const double log2_e = 1.4426950408889634;

/* Keys from which Hopper's packed kernel is worth its longer start. Measured on an H100 against sm_80's,
 * heads 32/8 of 128: 50 rows 0.90 of its rate over 2K keys, 1.80 over 16K, 2.4 over 128K; one row 0.80 over
 * 4K, 1.09 over 16K, 1.03 over 128K. */
enum { MANY_KEYS = 8 << 10 };

attention_choice cuda_attention_choice = ATTENTION_BEST;

enum { FAR = 1 << 30 }; /* an offset of that size sees all or nothing */

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static int64_t keys_of(const attn_call *call)
{
    int64_t keys = 0;
    for (int i = 0; i < call->segment_count; i++)
        keys += call->segments[i].length > 0 ? call->segments[i].length : 0;
    return keys;
}

/* Query heads that are worked on side by side: those of as many KV heads as the L2 cache holds, so
 * that keys come from memory once. Measured on an H100 with 32/8 heads of 128: 668 TFLOP/s at 32K with
 * all heads in one section, 707 with those of two KV heads; at 4K 526 with all, 372 with one. */
static int32_t section_of(const attn_call *call, size_t cache_bytes)
{
    size_t head = (size_t)keys_of(call) * 2 * (size_t)call->head_dim * 2 + 1;
    int kv_heads = (int)clamp((int64_t)(cache_bytes * 2 / 3 / head), 1, call->kv_heads);
    while (call->kv_heads % kv_heads)
        kv_heads--;
    return kv_heads * (call->heads / call->kv_heads);
}

static attention_arguments arguments_of(const cuda_state *state, const attn_call *call)
{
    if (call->segment_count > MOST_SEGMENTS || call->rows > INT32_MAX / 8) {
        fprintf(stderr, "apbench: device cuda: attention of %lld rows over %d segments: at most %d rows "
                "and %d segments fit a call\n", (long long)call->rows, call->segment_count,
                INT32_MAX / 8, MOST_SEGMENTS);
        exit(1);
    }
    attention_arguments a = {
        .q = call->q,
        .out = call->out,
        .acc = call->acc,
        .lse = call->lse,
        .q_row_stride = call->q_row_stride,
        .out_row_stride = call->out_row_stride,
        .scale = call->scale,
        .scale_log2 = (float)(call->scale * log2_e),
        .rows = (int32_t)call->rows,
        .heads = call->heads,
        .kv_heads = call->kv_heads,
        .group = call->heads / call->kv_heads,
        .splits = 1,
        .fold = call->fold,
        .segment_count = 1, /* an empty one when there is none */
    };
    int count = 0;
    for (int i = 0; i < call->segment_count; i++) {
        const attn_segment *from = &call->segments[i];
        if (from->length <= 0 || from->row_begin >= from->row_end)
            continue;
        int64_t begin = clamp(from->row_begin, -FAR / 2, call->rows);
        a.segments[count++] = (segment){
            .k = from->k,
            .v = from->v,
            .row_stride = from->row_stride,
            .head_stride = from->head_stride,
            .length = (int32_t)from->length,
            .row_begin = (int32_t)begin,
            .row_end = (int32_t)clamp(from->row_end, 0, call->rows),
            .offset = (int32_t)(clamp(from->causal_offset, -FAR, FAR) - begin),
        };
    }
    a.segment_count = count > 0 ? count : 1;
    a.section = section_of(call, state->cache_bytes);
    return a;
}

static const attention_shape *shape_for(int head_dim, bool packed)
{
    for (int i = 0; i < attention_shape_count; i++)
        if (attention_shapes[i].head_dim == head_dim && attention_shapes[i].packed == packed)
            return &attention_shapes[i];
    fprintf(stderr, "apbench: device cuda: attention with head_dim %d: there are kernels for 64 and "
            "128\n", head_dim);
    exit(1);
}

void cuda_attention(device *d, const attn_call *call)
{
    cuda_state *state = cuda_of(d);
    if (call->rows <= 0)
        return;
    d->flops += 4 * (uint64_t)call->head_dim * (uint64_t)visible_pairs(call, 0, call->rows) *
                (uint64_t)call->heads;
    attention_arguments a = arguments_of(state, call);
    const attention_shape *shape = shape_for(call->head_dim, false);
    attention_choice choice = cuda_attention_choice;
    a.tiles = (int32_t)tiles_of(call->rows, shape->rows);
    int64_t blocks = (int64_t)a.tiles * a.heads;
    bool few = blocks < state->multiprocessors;
    if (choice == ATTENTION_BEST)
        choice = !few ? ATTENTION_HOPPER : keys_of(call) >= MANY_KEYS ? ATTENTION_HOPPER_PACKED
                                                                     : ATTENTION_PACKED;
    if (choice == ATTENTION_HOPPER && hopper_takes(state, &a, call->head_dim)) {
        hopper_attention(state, &a, call->head_dim);
        return;
    }
    if (choice == ATTENTION_HOPPER_PACKED && hopper_takes_packed(state, &a, call->head_dim)) {
        hopper_attention_packed(state, &a, call->head_dim);
        return;
    }
    if (choice == ATTENTION_PACKED || (choice != ATTENTION_PORTABLE && few)) {
        shape = shape_for(call->head_dim, true);
        a.tiles = (int32_t)tiles_of(call->rows * a.group, shape->rows);
        a.splits = choose_parts(&a, call->head_dim, shape->keys,
                                (int64_t)state->multiprocessors * shape->blocks);
        blocks = (int64_t)a.tiles * a.kv_heads * a.splits;
    }
    if (a.splits > 1)
        place_parts(&a, call->head_dim, state->scratch);
    void *arguments[] = {&a};
    cuda_must(cudaFuncSetAttribute(shape->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   shape->shared_bytes), "attention");
    cuda_must(cudaLaunchKernel(shape->kernel, (dim3){(unsigned)blocks, 1, 1},
                               (dim3){(unsigned)shape->threads, 1, 1}, arguments,
                               (size_t)shape->shared_bytes, state->stream), "attention");
    if (a.splits > 1) {
        combine_parts(&a, call->head_dim, state->stream);
        cuda_launched("combining parts of attention");
    }
}
