/* Launching the Hopper attention kernel: tensor maps for the copy engine, and the counter from which
 * its blocks take work. */
#include "kernels/cuda/attention/hopper/launch.h"

#include "kernels/cuda/attention/combine.h"
#include "kernels/cuda/attention/hopper/hopper.h"
#include "kernels/cuda/attention/parts.h"
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

typedef CUresult (*encode_function)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                    const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                    const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                    CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The driver's own function, so that the program starts where there is no driver. */
static encode_function find_encode(void)
{
    static encode_function found;
    if (!found) {
        void *entry = NULL;
        enum cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
        cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                            cudaEnableDefault, &result);
#else
        cudaError_t code =
            cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &result);
#endif
        cuda_must(code, "looking up cuTensorMapEncodeTiled");
        if (result != cudaDriverEntryPointSuccess) {
            fprintf(stderr, "apbench: device cuda: the driver has no cuTensorMapEncodeTiled\n");
            exit(1);
        }
        found = (encode_function)entry;
    }
    return found;
}

static void encode_tensor(CUtensorMap *map, const void *from, int rank, const cuuint64_t *sizes,
                          const cuuint64_t *strides, const cuuint32_t *box)
{
    cuuint32_t steps[5] = {1, 1, 1, 1, 1};
    CUresult code = find_encode()(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, (cuuint32_t)rank,
                                  (void *)from, sizes, strides, box, steps,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (code == CUDA_SUCCESS)
        return;
    fprintf(stderr, "apbench: device cuda: a tensor map of");
    for (int i = 0; i < rank; i++)
        fprintf(stderr, " %llu", (unsigned long long)sizes[i]);
    fprintf(stderr, " values, strides in bytes of");
    for (int i = 0; i < rank - 1; i++)
        fprintf(stderr, " %llu", (unsigned long long)strides[i]);
    fprintf(stderr, ": error %d\n", (int)code);
    exit(1);
}

/* Rows of heads x head_dim bf16 values as a tensor [heads, head_dim / 64, rows, 64]; a copy takes a box
 * of `box_rows` rows of one head, as panels of 64 columns. Rows past the end read as zeros and are
 * not written. Strides in elements. */
static void encode(CUtensorMap *map, const void *from, int head_dim, int64_t heads, int64_t rows,
                   int64_t row_stride, int64_t head_stride, int box_rows)
{
    uint32_t panels = (uint32_t)head_dim / 64;
    cuuint64_t sizes[4] = {64, (cuuint64_t)rows, panels, (cuuint64_t)heads};
    cuuint64_t strides[3] = {(cuuint64_t)row_stride * 2, 128, (cuuint64_t)head_stride * 2};
    cuuint32_t box[4] = {64, (cuuint32_t)box_rows, panels, 1};
    encode_tensor(map, from, 4, sizes, strides, box);
}

/* Queries whose rows are packed, as a tensor [kv_heads, head_dim / 64, rows, group, 64]; a copy takes a
 * panel of `box_rows` query rows with all heads of a group. */
static void encode_packed(CUtensorMap *map, const attention_arguments *call, int head_dim, int box_rows)
{
    cuuint64_t width = 2 * (cuuint64_t)head_dim, group = (cuuint64_t)call->group;
    cuuint64_t sizes[5] = {64, group, (cuuint64_t)call->rows, (cuuint64_t)head_dim / 64,
                           (cuuint64_t)call->kv_heads};
    cuuint64_t strides[4] = {width, (cuuint64_t)call->q_row_stride * 2, 128, group * width};
    cuuint32_t box[5] = {64, (cuuint32_t)group, (cuuint32_t)box_rows, 1, 1};
    encode_tensor(map, call->q, 5, sizes, strides, box);
}

static bool mappable(const void *pointer, int64_t row_stride, int64_t head_stride)
{
    return (uintptr_t)pointer % 16 == 0 && row_stride % 8 == 0 && head_stride % 8 == 0;
}

bool hopper_takes(const cuda_state *state, const attention_arguments *call, int head_dim)
{
    const hopper_shape *shape = hopper_shape_for(head_dim, false);
    if (!shape || state->capability != 90 || call->segment_count > MOST_MAPPED_SEGMENTS)
        return false;
    bool good = mappable(call->q, call->q_row_stride, head_dim) &&
                (!call->out || mappable(call->out, call->out_row_stride, head_dim));
    for (int i = 0; i < call->segment_count && good; i++) {
        const segment *s = &call->segments[i];
        good = s->length > 0 && mappable(s->k, s->row_stride, s->head_stride) &&
               mappable(s->v, s->row_stride, s->head_stride);
    }
    return good;
}

bool hopper_takes_packed(const cuda_state *state, const attention_arguments *call, int head_dim)
{
    return hopper_takes(state, call, head_dim) &&
           call->group <= hopper_shape_for(head_dim, true)->rows &&
           part_bytes(call, head_dim) <= CUDA_SCRATCH;
}

/* A block fills its multiprocessor and stays to the end: kernels of a transfer that come later find room
 * on those kept free, or wait for the whole call. */
static int most_blocks(const cuda_state *state)
{
    return state->multiprocessors - state->kept_free;
}

static void launch(cuda_state *state, hopper_arguments *a, const hopper_shape *shape)
{
    const attention_arguments *call = &a->call;
    for (int i = 0; i < call->segment_count; i++) {
        const segment *s = &call->segments[i];
        encode(&a->k[i], s->k, shape->head_dim, call->kv_heads, s->length, s->row_stride,
               s->head_stride, shape->keys);
        encode(&a->v[i], s->v, shape->head_dim, call->kv_heads, s->length, s->row_stride,
               s->head_stride, shape->keys);
    }
    int most = most_blocks(state), blocks = a->works < most ? a->works : most;
    void *arguments[] = {a};
    cuda_must(cudaFuncSetAttribute(shape->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   shape->shared_bytes), "attention");
    cuda_must(cudaLaunchKernel(shape->kernel, (dim3){(unsigned)blocks, 1, 1},
                               (dim3){(unsigned)shape->threads, 1, 1}, arguments,
                               (size_t)shape->shared_bytes, state->stream), "attention");
}

void hopper_attention(cuda_state *state, const attention_arguments *call, int head_dim)
{
    const hopper_shape *shape = hopper_shape_for(head_dim, false);
    hopper_arguments a = {.call = *call, .turn = state->turn};
    a.call.tiles = (int32_t)tiles_of(call->rows, shape->rows);
    a.works = a.call.tiles * call->heads;
    encode(&a.q, call->q, head_dim, call->heads, call->rows, call->q_row_stride, head_dim,
           shape->rows);
    if (call->out)
        encode(&a.out, call->out, head_dim, call->heads, call->rows, call->out_row_stride, head_dim,
               64);
    launch(state, &a, shape);
}

void hopper_attention_packed(cuda_state *state, const attention_arguments *call, int head_dim)
{
    const hopper_shape *shape = hopper_shape_for(head_dim, true);
    hopper_arguments a = {.call = *call, .turn = state->turn};
    a.tile_rows = shape->rows / call->group;
    a.call.tiles = (int32_t)tiles_of(call->rows, a.tile_rows);
    a.call.splits = choose_parts(&a.call, head_dim, shape->keys, most_blocks(state));
    a.works = a.call.tiles * call->kv_heads * a.call.splits;
    place_parts(&a.call, head_dim, state->scratch);
    encode_packed(&a.q, call, head_dim, a.tile_rows);
    launch(state, &a, shape);
    combine_parts(&a.call, head_dim, state->stream);
    cuda_launched("combining parts of attention");
}
