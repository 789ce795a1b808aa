/* The k best rows of each KV head by score. As on the cpu, the key of the k-th best row is found digit
 * by digit (11, 11 and 10 bits) from histograms; then rows with a greater key, and of those with an
 * equal key the first `rank`, are written in ascending order. Each head's rows are cut into tiles, one
 * block each, so that the position of a row is that of its tile plus its rank within. Counts are
 * integers, so the order in which blocks add them changes nothing. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/math.cuh"

enum {
    SELECT_THREADS = 256,
    SELECT_STEPS = 8,                              /* rows that a lane looks at */
    SELECT_TILE = SELECT_THREADS * SELECT_STEPS,   /* a warp takes 32 * SELECT_STEPS rows */
    SELECT_WARPS = SELECT_THREADS / 32,
    SELECT_DIGITS = 2048,
    SELECT_PASSES = 3,
};

/* What is known of the k-th best key of a head: its upper bits, and its rank among the rows that
 * share them. After the last pass: the key itself, and how many of its rows are taken. */
struct select_state {
    uint32_t prefix, rank;
};

struct select_tile {
    uint32_t greater, equal; /* rows of the tile; after the scan: of the tiles before it */
};

/* All of it lies in the scratch of the device. */
struct select_work {
    const float *scores;
    uint32_t *keys; /* [kv_heads, rows], or NULL where they did not fit */
    uint32_t *histograms; /* [passes, kv_heads, digits] */
    select_state *states; /* [passes, kv_heads] */
    select_tile *tiles;   /* [kv_heads, tile_count] */
    int64_t rows, tile_count;
    int kv_heads;
    uint32_t k;
};

__device__ __forceinline__ uint32_t key_at(const select_work &work, int head, int64_t row)
{
    if (work.keys)
        return work.keys[head * work.rows + row];
    return order_key(work.scores[row * work.kv_heads + head]);
}

/* Keys head by head, so that the passes over a head read them coalesced. */
__global__ void __launch_bounds__(256) select_keys_kernel(select_work work)
{
    int64_t row = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (row >= work.rows)
        return;
    const float *scores = work.scores + row * work.kv_heads;
    for (int head = 0; head < work.kv_heads; head += 8) {
        float values[8]; /* all loads before the first store, which might alias */
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (head + i < work.kv_heads)
                values[i] = scores[head + i];
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (head + i < work.kv_heads)
                work.keys[(head + i) * work.rows + row] = order_key(values[i]);
    }
}

__device__ __forceinline__ int digit_shift(int pass)
{
    return pass == 0 ? 21 : pass == 1 ? 10 : 0;
}

__device__ __forceinline__ uint32_t digit_count(int pass)
{
    return pass == 2 ? 1024 : 2048;
}

/* Counts the digits of one pass among the keys that share the prefix. */
__global__ void __launch_bounds__(SELECT_THREADS) select_count_kernel(select_work work, int pass)
{
    __shared__ uint32_t counts[SELECT_DIGITS];
    int head = (int)(blockIdx.x / work.tile_count);
    int64_t tile = blockIdx.x - head * work.tile_count;
    int shift = digit_shift(pass);
    uint32_t digits = digit_count(pass);
    uint32_t prefix = pass ? work.states[(pass - 1) * work.kv_heads + head].prefix : 0;
    uint32_t mask = pass ? ~0u << digit_shift(pass - 1) : 0;
    for (int i = threadIdx.x; i < SELECT_DIGITS; i += SELECT_THREADS)
        counts[i] = 0;
    uint32_t keys[SELECT_STEPS];
    int64_t first_row = tile * SELECT_TILE + threadIdx.x;
#pragma unroll
    for (int i = 0; i < SELECT_STEPS; i++)
        if (first_row + i * SELECT_THREADS < work.rows)
            keys[i] = key_at(work, head, first_row + i * SELECT_THREADS);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SELECT_STEPS; i++)
        if (first_row + i * SELECT_THREADS < work.rows && (keys[i] & mask) == prefix)
            atomicAdd(&counts[keys[i] >> shift & (digits - 1)], 1u);
    __syncthreads();
    uint32_t *total = work.histograms + ((int64_t)pass * work.kv_heads + head) * SELECT_DIGITS;
    for (int i = threadIdx.x; i < SELECT_DIGITS; i += SELECT_THREADS)
        if (counts[i])
            atomicAdd(&total[i], counts[i]);
}

/* Sum over the threads before this one; *total is the sum over all 32 * Warps. */
template <int Warps>
__device__ __forceinline__ uint32_t scan_before(uint32_t x, uint32_t *total)
{
    __shared__ uint32_t sums[Warps];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t sum = x;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        uint32_t other = __shfl_up_sync(0xffffffffu, sum, distance);
        if (lane >= distance)
            sum += other;
    }
    __syncthreads(); /* the call before has read its sums */
    if (lane == 31)
        sums[warp] = sum;
    __syncthreads();
    uint32_t before = 0, all = 0;
    for (int i = 0; i < Warps; i++) {
        before += i < warp ? sums[i] : 0;
        all += sums[i];
    }
    *total = all;
    return before + sum - x;
}

/* A block per head finds the digit in which the rank falls, from the highest down. */
__global__ void __launch_bounds__(1024) select_digit_kernel(select_work work, int pass)
{
    int head = blockIdx.x;
    select_state state = {0, work.k};
    if (pass)
        state = work.states[(pass - 1) * work.kv_heads + head];
    const uint32_t *counts =
        work.histograms + ((int64_t)pass * work.kv_heads + head) * SELECT_DIGITS;
    uint32_t high = SELECT_DIGITS - 1 - 2 * threadIdx.x; /* this thread's digits: high, high - 1 */
    uint32_t first = counts[high], second = counts[high - 1], total;
    uint32_t before = scan_before<32>(first + second, &total);
    for (int i = 0; i < 2; i++) {
        uint32_t count = i ? second : first;
        if (before < state.rank && state.rank <= before + count)
            work.states[pass * work.kv_heads + head] = {
                state.prefix | (high - i) << digit_shift(pass), state.rank - before};
        before += count;
    }
}

/* For each step of a warp's 32 * SELECT_STEPS consecutive rows, which lanes hold a greater or equal
 * key. */
struct select_masks {
    uint32_t greater[SELECT_STEPS], equal[SELECT_STEPS];
};

__device__ __forceinline__ select_masks compare_keys(const select_work &work, int head,
                                                     int64_t first_row, uint32_t least)
{
    uint32_t keys[SELECT_STEPS];
    select_masks masks;
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < SELECT_STEPS; i++) {
        int64_t row = first_row + i * 32 + lane;
        keys[i] = row < work.rows ? key_at(work, head, row) : 0;
    }
#pragma unroll
    for (int i = 0; i < SELECT_STEPS; i++) {
        bool real = first_row + i * 32 + lane < work.rows;
        masks.greater[i] = __ballot_sync(0xffffffffu, real && keys[i] > least);
        masks.equal[i] = __ballot_sync(0xffffffffu, real && keys[i] == least);
    }
    return masks;
}

__device__ __forceinline__ select_tile count_masks(const select_masks &masks)
{
    select_tile counts = {0, 0};
#pragma unroll
    for (int i = 0; i < SELECT_STEPS; i++) {
        counts.greater += __popc(masks.greater[i]);
        counts.equal += __popc(masks.equal[i]);
    }
    return counts;
}

__device__ __forceinline__ int64_t warp_rows_begin(int64_t tile)
{
    return tile * SELECT_TILE + threadIdx.x / 32 * (32 * SELECT_STEPS);
}

__global__ void __launch_bounds__(SELECT_THREADS) select_measure_kernel(select_work work)
{
    __shared__ select_tile counts[SELECT_WARPS];
    int head = (int)(blockIdx.x / work.tile_count);
    int64_t tile = blockIdx.x - head * work.tile_count;
    uint32_t least = work.states[(SELECT_PASSES - 1) * work.kv_heads + head].prefix;
    select_tile mine = count_masks(compare_keys(work, head, warp_rows_begin(tile), least));
    if (threadIdx.x % 32 == 0)
        counts[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        select_tile sum = {0, 0};
        for (int i = 0; i < SELECT_WARPS; i++) {
            sum.greater += counts[i].greater;
            sum.equal += counts[i].equal;
        }
        work.tiles[blockIdx.x] = sum;
    }
}

/* A block per head: counts of tiles into counts of all tiles before. */
__global__ void __launch_bounds__(1024) select_scan_kernel(select_work work)
{
    select_tile *tiles = work.tiles + blockIdx.x * work.tile_count, before = {0, 0};
    for (int64_t begin = 0; begin < work.tile_count; begin += 1024) {
        int64_t tile = begin + threadIdx.x;
        select_tile mine = {0, 0};
        if (tile < work.tile_count)
            mine = tiles[tile];
        uint32_t greater, equal;
        mine.greater = scan_before<32>(mine.greater, &greater) + before.greater;
        mine.equal = scan_before<32>(mine.equal, &equal) + before.equal;
        if (tile < work.tile_count)
            tiles[tile] = mine;
        before.greater += greater;
        before.equal += equal;
    }
}

__global__ void __launch_bounds__(SELECT_THREADS) select_write_kernel(select_work work,
                                                                     int32_t *index)
{
    __shared__ select_tile counts[SELECT_WARPS];
    int head = (int)(blockIdx.x / work.tile_count), lane = threadIdx.x % 32;
    int64_t tile = blockIdx.x - head * work.tile_count, first_row = warp_rows_begin(tile);
    select_state state = work.states[(SELECT_PASSES - 1) * work.kv_heads + head];
    select_masks masks = compare_keys(work, head, first_row, state.prefix);
    if (lane == 0)
        counts[threadIdx.x / 32] = count_masks(masks);
    __syncthreads();
    select_tile before = work.tiles[blockIdx.x];
    for (int i = 0; i < (int)threadIdx.x / 32; i++) {
        before.greater += counts[i].greater;
        before.equal += counts[i].equal;
    }
    uint32_t lower = (1u << lane) - 1;
#pragma unroll
    for (int i = 0; i < SELECT_STEPS; i++) {
        uint32_t greater = before.greater + __popc(masks.greater[i] & lower);
        uint32_t equal = before.equal + __popc(masks.equal[i] & lower);
        bool taken = masks.greater[i] >> lane & 1 ||
                     (masks.equal[i] >> lane & 1 && equal < state.rank);
        int64_t place = (int64_t)greater + (equal < state.rank ? equal : state.rank);
        if (taken)
            index[place * work.kv_heads + head] = (int32_t)(first_row + i * 32 + lane);
        before.greater += __popc(masks.greater[i]);
        before.equal += __popc(masks.equal[i]);
    }
}

/* Lays the work out in scratch; what cannot be there ends the program: 256 MiB hold the tiles of
 * 2^31 rows of 20 heads. */
static select_work lay_out_select(cuda_state *state, const float *scores, int64_t rows,
                                  int kv_heads, int64_t k)
{
    select_work work = {};
    work.scores = scores;
    work.rows = rows;
    work.kv_heads = kv_heads;
    work.k = (uint32_t)k;
    work.tile_count = (rows + SELECT_TILE - 1) / SELECT_TILE;
    char *at = (char *)state->scratch;
    work.histograms = (uint32_t *)at;
    at += sizeof(uint32_t) * SELECT_PASSES * SELECT_DIGITS * kv_heads;
    work.states = (select_state *)at;
    at += sizeof(select_state) * SELECT_PASSES * kv_heads;
    work.tiles = (select_tile *)at;
    at += sizeof(select_tile) * (size_t)work.tile_count * kv_heads;
    size_t left = CUDA_SCRATCH - (size_t)(at - (char *)state->scratch);
    if ((size_t)(at - (char *)state->scratch) > CUDA_SCRATCH)
        cuda_must(cudaErrorInvalidValue, "top_k of so many rows and heads");
    if (sizeof(uint32_t) * (size_t)(rows * kv_heads) <= left)
        work.keys = (uint32_t *)at;
    return work;
}

extern "C" void cuda_top_k(device *d, int32_t *index, const float *scores, int64_t rows,
                           int kv_heads, int64_t k)
{
    if (k <= 0 || kv_heads <= 0)
        return;
    cuda_state *state = cuda_of(d);
    cudaStream_t stream = state->stream;
    select_work work = lay_out_select(state, scores, rows, kv_heads, k);
    unsigned tiles = (unsigned)(work.tile_count * kv_heads), heads = (unsigned)kv_heads;
    cuda_must(cudaMemsetAsync(work.histograms, 0,
                              sizeof(uint32_t) * SELECT_PASSES * SELECT_DIGITS * kv_heads, stream),
              "top_k: clearing histograms");
    if (work.keys) {
        select_keys_kernel<<<block_count(rows, 256), 256, 0, stream>>>(work);
        cuda_launched("top_k: keys");
    }
    for (int pass = 0; pass < SELECT_PASSES; pass++) {
        select_count_kernel<<<tiles, SELECT_THREADS, 0, stream>>>(work, pass);
        cuda_launched("top_k: count");
        select_digit_kernel<<<heads, 1024, 0, stream>>>(work, pass);
        cuda_launched("top_k: digit");
    }
    select_measure_kernel<<<tiles, SELECT_THREADS, 0, stream>>>(work);
    cuda_launched("top_k: measure");
    select_scan_kernel<<<heads, 1024, 0, stream>>>(work);
    cuda_launched("top_k: scan");
    select_write_kernel<<<tiles, SELECT_THREADS, 0, stream>>>(work, index);
    cuda_launched("top_k: write");
}
