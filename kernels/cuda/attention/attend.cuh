/* The kernel itself: a block's walk over its keys, and what comes before and after it. Its pieces
 * are in tile.cuh. */
#ifndef KERNELS_CUDA_ATTENTION_ATTEND_CUH
#define KERNELS_CUDA_ATTENTION_ATTEND_CUH
#include "kernels/cuda/attention/tile.cuh"

/* Starts from nothing, or from a partial result of the same rows (normalised, with its log-sum-exp):
 * that counts as one key of weight 1 whose score is the log-sum-exp and whose value is the output. */
template <class T>
__device__ __forceinline__ void begin_tile(tile<T> &t, const attention_arguments &call,
                                           const place &here, int first, int total)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int m = 0; m < T::RowTiles; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int packed = first + 16 * m + 8 * half + lane / 4;
            t.top[m][half] = -INFINITY;
            t.sum[m][half] = 0;
            const float *from = nullptr;
            if (call.fold && call.splits == 1 && packed < total) {
                row_place at = place_of_row<T>(call, here, packed);
                int64_t pair = (int64_t)at.row * call.heads + at.head;
                float lse = call.lse[pair];
                if (lse != -INFINITY) {
                    t.top[m][half] = lse / call.scale;
                    t.sum[m][half] = lane % 4 == 0; /* the four lanes' sums are added later */
                    from = call.acc + pair * T::HeadDim + 2 * (lane & 3);
                }
            }
#pragma unroll
            for (int n = 0; n < T::HeadDim / 8; n++) {
                float2 two = from ? *(const float2 *)(from + 8 * n) : make_float2(0, 0);
                t.out[m][n][2 * half] = two.x;
                t.out[m][n][2 * half + 1] = two.y;
            }
        }
}

/* Divides by the sums and writes the rows. `spare` is shared memory of this warp's rows, which nobody
 * else touches any more: bf16 rows go through it, so that they leave in 16-byte pieces. */
template <class T>
__device__ __forceinline__ void end_tile(tile<T> &t, const attention_arguments &call,
                                         const place &here, int first, int total,
                                         unsigned char *spare)
{
    int lane = threadIdx.x & 31;
    bool parts = call.splits > 1;
#pragma unroll
    for (int m = 0; m < T::RowTiles; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = t.sum[m][half];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            float share = sum == 0 ? 0 : 1 / sum;
            int in_warp = 16 * m + 8 * half + lane / 4, packed = first + in_warp;
            row_place at = place_of_row<T>(call, here, packed < total ? packed : total - 1);
            int64_t pair = (int64_t)at.row * call.heads + at.head;
            int64_t part = pair + (int64_t)here.split * call.rows * call.heads;
            float *acc = parts ? call.part_acc + part * T::HeadDim
                               : call.acc ? call.acc + pair * T::HeadDim : nullptr;
            float *lse = parts ? call.part_lse + part : call.lse ? call.lse + pair : nullptr;
            if (packed < total && lse && lane % 4 == 0)
                *lse = sum == 0 ? -INFINITY : t.top[m][half] * call.scale + logf(sum);
#pragma unroll
            for (int n = 0; n < T::HeadDim / 8; n++) {
                float low = t.out[m][n][2 * half] * share;
                float high = t.out[m][n][2 * half + 1] * share;
                if (!acc)
                    *(uint32_t *)(spare + in_warp * T::RowBytes + ((n ^ (in_warp & 7)) << 4) +
                                  4 * (lane & 3)) = pack_two(low, high);
                else if (packed < total)
                    *(float2 *)(acc + 8 * n + 2 * (lane & 3)) = make_float2(low, high);
            }
        }
    if (parts || call.acc)
        return;
    __syncwarp();
    constexpr int step = 32 / T::Chunks;
#pragma unroll
    for (int i = 0; i < 16 * T::RowTiles; i += step) {
        int in_warp = i + lane / T::Chunks, chunk = lane % T::Chunks, packed = first + in_warp;
        if (packed >= total)
            continue;
        row_place at = place_of_row<T>(call, here, packed);
        *(uint4 *)(call.out + at.row * call.out_row_stride + at.head * T::HeadDim + chunk * 8) =
            *(const uint4 *)(spare + in_warp * T::RowBytes + ((chunk ^ (in_warp & 7)) << 4));
    }
}

template <class T>
__global__ void __launch_bounds__(T::Threads, T::Blocks)
    attend(const __grid_constant__ attention_arguments call)
{
    extern __shared__ __align__(1024) unsigned char shared[];
    uint32_t base = shared_address(shared);
    int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    place here = place_of_block<T>(call);
    int total = T::Packed ? call.rows * call.group : call.rows;
    int first = here.tile * T::Rows, last = min(first + T::Rows, total) - 1;
    int warp_first = first + warp * 16 * T::RowTiles;

    walk<T::Keys> now;
    now.start(call, place_of_row<T>(call, here, first).row, place_of_row<T>(call, here, last).row);
    if constexpr (T::Packed)
        if (call.splits > 1) {
            int tiles = tiles_in_all<T::Keys>(call, now.first, now.last);
            int begin = (int)((int64_t)tiles * here.split / call.splits);
            int end = (int)((int64_t)tiles * (here.split + 1) / call.splits);
            now.keep(call, begin, end - begin);
        }
    if (now.over() && call.fold && call.splits == 1)
        return; /* nothing to fold in */

    uint32_t queries = base + T::QueriesAt, stages = base + T::KeysAt;
    uint32_t q_address = matrix_address<T>(queries, warp * 16 * T::RowTiles + (lane & 15), lane >> 4);
    uint32_t k_address = matrix_address<T>(stages, (lane & 7) + (lane >> 4) * 8, (lane >> 3) & 1);
    uint32_t v_address = matrix_address<T>(stages + T::TileBytes, lane & 15, lane >> 4);

    load_queries<T>(call, here, queries, first, total);
    if (!now.over())
        load_keys<T>(call, now, here.kv_head, stages);
    copy_commit();

    tile<T> t;
    begin_tile<T>(t, call, here, warp_first, total);
    uint32_t held[T::HoldQ ? T::RowTiles : 1][T::HeadDim / 16][4];
    copy_wait<0>();
    __syncthreads();
    if constexpr (T::HoldQ) {
#pragma unroll
        for (int m = 0; m < T::RowTiles; m++)
#pragma unroll
            for (int step = 0; step < T::HeadDim / 16; step++)
                load_matrices(held[m][step], (q_address + m * 16 * T::RowBytes) ^ (step << 5));
        __syncthreads(); /* the second stage may be filled */
    }
    bool idle = T::Packed && warp_first > last;

    float s[T::RowTiles][T::Keys / 8][4];
    uint32_t p[T::RowTiles][T::Keys / 16][4];
    int stage = 0; /* where tile `now` is */
    while (!now.over()) {
        walk<T::Keys> next = now;
        next.next(call);
        int other = T::StageBytes - stage;
        if (!next.over())
            load_keys<T>(call, next, here.kv_head, stages + other);
        copy_commit();
        if (!idle) {
            compute_scores<T>(s, held, q_address, k_address + stage);
            if (now.masked)
                mask_scores<T>(s, call, here, now, warp_first);
            soften<T>(s, p, t, call.scale_log2);
            add_values<T>(t, p, v_address + stage);
        }
        copy_wait<0>();
        __syncthreads(); /* the next tile is there, and all are done with this one */
        now = next;
        stage = other;
    }
    if constexpr (T::HoldQ)
        __syncthreads();
    if (!idle)
        end_tile<T>(t, call, here, warp_first, total, shared + warp * 16 * T::RowTiles * T::RowBytes);
}
#endif
