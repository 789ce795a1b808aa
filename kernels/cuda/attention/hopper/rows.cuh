/* A consumer's rows in registers: how they begin (nothing, or a running result), and how they leave: as
 * bf16 through the copy engine, as float32 rows of a running result, or as parts for combine_parts(). */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_ROWS_CUH
#define KERNELS_CUDA_ATTENTION_HOPPER_ROWS_CUH
#include "kernels/cuda/attention/hopper/work.cuh"
#include "kernels/cuda/attention/mma.cuh"

template <class T> struct consumer {
    float out[T::HeadDim / 2]; /* element 4 j + i: column 8 j + 2 (lane % 4) + i % 2, row + 8 (i / 2) */
    float top[2], sum[2];
    uint32_t p[T::Keys / 16][4];
};

/* What all tiles of a work need to know. */
struct consumer_place {
    int group;         /* which consumer */
    int row;           /* this thread's first query row; the other is 8 below */
    int rows[2];       /* packed: its two query rows */
    uint32_t q;        /* this consumer's queries */
    uint32_t keys, values;
    float scale_log2;
};

template <class T>
__device__ __forceinline__ void begin_rows(consumer<T> &c, const attention_arguments &call,
                                           int row, int head)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        c.top[half] = -INFINITY;
        c.sum[half] = 0;
        const float *from = nullptr;
        if (!T::Packed && call.fold && row + 8 * half < call.rows) {
            int64_t pair = (int64_t)(row + 8 * half) * call.heads + head;
            float lse = call.lse[pair];
            if (lse != -INFINITY) {
                c.top[half] = lse / call.scale;
                c.sum[half] = lane % 4 == 0;
                from = call.acc + pair * T::HeadDim + 2 * (lane & 3);
            }
        }
#pragma unroll
        for (int n = 0; n < T::HeadDim / 8; n++) {
            float2 two = from ? *(const float2 *)(from + 8 * n) : make_float2(0, 0);
            c.out[4 * n + 2 * half] = two.x;
            c.out[4 * n + 2 * half + 1] = two.y;
        }
    }
}

/* A part of the keys: float32 rows with their log-sum-exps, for combine_parts(). */
template <class T>
__device__ __forceinline__ void end_part(consumer<T> &c, const hopper_arguments &a,
                                         const consumer_place &here, const work_place &place)
{
    const attention_arguments &call = a.call;
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32 % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = c.sum[half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        float share = sum == 0 ? 0 : 1 / sum;
        int packed = 64 * here.group + 16 * warp + lane / 4 + 8 * half;
        if (packed >= a.tile_rows * call.group || here.rows[half] >= call.rows)
            continue;
        int64_t part = ((int64_t)place.split * call.rows + here.rows[half]) * call.heads + place.head +
                       packed % call.group;
        if (lane % 4 == 0)
            call.part_lse[part] = sum == 0 ? -INFINITY : c.top[half] * call.scale + logf(sum);
        float *acc = call.part_acc + part * T::HeadDim + 2 * (lane & 3);
#pragma unroll
        for (int n = 0; n < T::HeadDim / 8; n++)
            *(float2 *)(acc + 8 * n) = make_float2(c.out[4 * n + 2 * half] * share,
                                                   c.out[4 * n + 2 * half + 1] * share);
    }
}

/* Divides by the sums and writes the rows: bf16 through shared memory and the copy engine, float32
 * straight from registers. */
template <class T>
__device__ __forceinline__ void end_rows(consumer<T> &c, const hopper_arguments &a,
                                         const consumer_place &here, int first, int head,
                                         uint32_t spare)
{
    const attention_arguments &call = a.call;
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32 % 4;
    float share[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = c.sum[half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        share[half] = sum == 0 ? 0 : 1 / sum;
        int row = here.row + 8 * half;
        int64_t pair = (int64_t)row * call.heads + head;
        if (call.lse && lane % 4 == 0 && row < call.rows)
            call.lse[pair] = sum == 0 ? -INFINITY : c.top[half] * call.scale + logf(sum);
        if (call.acc && row < call.rows) {
            float *acc = call.acc + pair * T::HeadDim + 2 * (lane & 3);
#pragma unroll
            for (int n = 0; n < T::HeadDim / 8; n++)
                *(float2 *)(acc + 8 * n) = make_float2(c.out[4 * n + 2 * half] * share[half],
                                                       c.out[4 * n + 2 * half + 1] * share[half]);
        }
    }
    if (call.acc)
        return;
    if (threadIdx.x % 128 == 0)
        tensor_store_read(); /* the rows before have left `spare` */
    named_sync(1 + here.group, 128);
    int row = warp * 16 + (lane & 15);
#pragma unroll
    for (int n = 0; n < T::HeadDim / 8; n += 2) {
        uint32_t packed[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            packed[i] = pack_two(c.out[4 * n + 2 * i] * share[i % 2],
                                 c.out[4 * n + 2 * i + 1] * share[i % 2]);
        int chunk = n % 8 + lane / 16;
        store_matrices(spare + n / 8 * T::OutPanel + row * T::RowBytes +
                           ((chunk ^ (row & 7)) << 4),
                       packed[0], packed[1], packed[2], packed[3]);
    }
    fence_shared_for_copies();
    named_sync(1 + here.group, 128);
    if (threadIdx.x % 128 == 0)
        tensor_store(&a.out, spare, first + 64 * here.group, head);
}
#endif
