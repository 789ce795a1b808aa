/* What compressors and greedy decoding choose by, on the cuda device: scores, pooling, the k best
 * rows, the gather of their keys and values, and argmax. Every choice is a total order and every sum
 * has a fixed order, so equal inputs give equal bits. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/math.cuh"

/* A key that orders like the score as an unsigned integer: NaN lowest, below -inf; -0 equals 0. */
__device__ __forceinline__ uint32_t order_key(float score)
{
    if (isnan(score))
        return 0;
    uint32_t bits = __float_as_uint(score + 0.0f); /* -0 becomes 0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* ---- Scores of the query compressor ---- */

/* mean [kv_heads, head_dim] of q over query rows and the heads of a group. A block per KV head; its
 * threads lie along head_dim, and in `blockDim.y` runs of (row, head) that are summed in order. */
__global__ void __launch_bounds__(1024) mean_query_kernel(float *mean, const bf16 *q,
                                                         int64_t query_rows, int heads, int group,
                                                         int head_dim)
{
    __shared__ float sums[32][33];
    int kv_head = blockIdx.y, e = blockIdx.x * 32 + threadIdx.x;
    int64_t vectors = query_rows * group;
    float sum = 0;
    if (e < head_dim) {
#pragma unroll 4
        for (int64_t i = threadIdx.y; i < vectors; i += 32) {
            int64_t row = i / group;
            int head = kv_head * group + (int)(i - row * group);
            sum += __bfloat162float(q[(row * heads + head) * head_dim + e]);
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && e < head_dim) {
        float total = 0;
        for (int i = 0; i < 32; i++)
            total += sums[i][threadIdx.x];
        mean[kv_head * head_dim + e] = vectors > 0 ? total / (float)vectors : 0;
    }
}

enum { SCORE_ROWS = 4 }; /* keys that a thread has in flight */

/* Chunks = head_dim / 8 threads, a power of two of at most 32, take a key. */
template <int Chunks>
__global__ void __launch_bounds__(256) score_kernel(float *scores, const float *mean,
                                                   const bf16 *kv, int64_t pairs, int kv_heads)
{
    constexpr int HEAD_DIM = 8 * Chunks, GROUPS = 256 / Chunks;
    int chunk = threadIdx.x % Chunks, group = threadIdx.x / Chunks;
    int64_t first = (int64_t)blockIdx.x * (GROUPS * SCORE_ROWS) + group;
    bf16x8 keys[SCORE_ROWS];
#pragma unroll
    for (int i = 0; i < SCORE_ROWS; i++) {
        int64_t pair = first + i * GROUPS;
        if (pair < pairs)
            keys[i] = load_packet(kv + pair * 2 * HEAD_DIM + 8 * chunk);
    }
#pragma unroll
    for (int i = 0; i < SCORE_ROWS; i++) {
        int64_t pair = first + i * GROUPS;
        float sum = 0;
        if (pair < pairs) {
            float key[8];
            unpack(keys[i], key);
            const float4 *m = (const float4 *)(mean + pair % kv_heads * HEAD_DIM + 8 * chunk);
            float4 low = __ldg(m), high = __ldg(m + 1);
            sum = key[0] * low.x + key[1] * low.y + key[2] * low.z + key[3] * low.w +
                  key[4] * high.x + key[5] * high.y + key[6] * high.z + key[7] * high.w;
        }
#pragma unroll
        for (int distance = Chunks / 2; distance > 0; distance /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        if (chunk == 0 && pair < pairs)
            scores[pair] = sum;
    }
}

/* Any head_dim: a warp takes a key. */
__global__ void __launch_bounds__(256) score_each_kernel(float *scores, const float *mean,
                                                        const bf16 *kv, int64_t pairs,
                                                        int kv_heads, int head_dim)
{
    int64_t pair = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    if (pair >= pairs)
        return;
    float sum = 0;
    for (int e = threadIdx.x % 32; e < head_dim; e += 32)
        sum += __bfloat162float(kv[pair * 2 * head_dim + e]) *
               mean[pair % kv_heads * head_dim + e];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        scores[pair] = sum;
}

extern "C" void cuda_score_query(device *d, float *scores, const void *q, int64_t query_rows,
                                 const void *kv, int64_t rows, int heads, int kv_heads,
                                 int head_dim)
{
    int64_t pairs = rows * kv_heads;
    if (pairs <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    float *mean = (float *)cuda_of(d)->scratch;
    mean_query_kernel<<<dim3(block_count(head_dim, 32), kv_heads), dim3(32, 32), 0, stream>>>(
        mean, (const bf16 *)q, query_rows, heads, heads / kv_heads, head_dim);
    cuda_launched("mean of the query");
    bool aligned = aligned_to(16, kv);
    if (aligned && head_dim == 64)
        score_kernel<8><<<block_count(pairs, 32 * SCORE_ROWS), 256, 0, stream>>>(
            scores, mean, (const bf16 *)kv, pairs, kv_heads);
    else if (aligned && head_dim == 128)
        score_kernel<16><<<block_count(pairs, 16 * SCORE_ROWS), 256, 0, stream>>>(
            scores, mean, (const bf16 *)kv, pairs, kv_heads);
    else
        score_each_kernel<<<block_count(pairs, 8), 256, 0, stream>>>(
            scores, mean, (const bf16 *)kv, pairs, kv_heads, head_dim);
    cuda_launched("score_query");
}

/* ---- Pooling ---- */

__global__ void __launch_bounds__(256) max_pool5_kernel(float *out, const float *in, int64_t rows,
                                                       int kv_heads)
{
    int64_t at = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int64_t count = rows * kv_heads;
    if (at >= count)
        return;
    int64_t row = at / kv_heads;
    int head = (int)(at - row * kv_heads);
    int64_t begin = row < 2 ? 0 : row - 2, end = row + 3 < rows ? row + 3 : rows;
    float top = in[begin * kv_heads + head];
    for (int64_t i = begin + 1; i < end; i++) {
        float x = in[i * kv_heads + head];
        top = x > top ? x : top;
    }
    out[at] = top;
}

extern "C" void cuda_max_pool5(device *d, float *out, const float *in, int64_t rows, int kv_heads)
{
    if (rows <= 0)
        return;
    max_pool5_kernel<<<block_count(rows * kv_heads, 256), 256, 0, cuda_of(d)->stream>>>(
        out, in, rows, kv_heads);
    cuda_launched("max_pool5");
}

/* ---- The k best rows ---- */

/* As on the cpu: the key of the k-th best row is found digit by digit (11, 11 and 10 bits) from
 * histograms; then rows with a greater key, and of those with an equal key the first `equal`, are
 * written in ascending order. Each head's rows are cut into tiles, one block each, so that the
 * position of a row is that of its tile plus its rank within. */
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
    int64_t count = work.rows * work.kv_heads;
    int64_t at = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (at >= count)
        return;
    int64_t row = at / work.kv_heads;
    work.keys[(at - row * work.kv_heads) * work.rows + row] = order_key(work.scores[at]);
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
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SELECT_STEPS; i++) {
        int64_t row = tile * SELECT_TILE + i * SELECT_THREADS + threadIdx.x;
        if (row < work.rows) {
            uint32_t key = key_at(work, head, row);
            if ((key & mask) == prefix)
                atomicAdd(&counts[key >> shift & (digits - 1)], 1u);
        }
    }
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
        select_keys_kernel<<<block_count(rows * kv_heads, 256), 256, 0, stream>>>(work);
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

/* ---- Gather ---- */

/* A thread takes one packet of a (row, head)'s key and value. */
template <class Packet>
__global__ void __launch_bounds__(256) gather_kernel(Packet *slab, const Packet *kv,
                                                    const int32_t *index, int64_t pairs,
                                                    int kv_heads, int packets)
{
    int64_t item = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int64_t pair = item / packets;
    if (pair >= pairs)
        return;
    int head = (int)(pair % kv_heads);
    int64_t from = ((int64_t)index[pair] * kv_heads + head) * packets;
    slab[item] = kv[from + (item - pair * packets)];
}

extern "C" void cuda_gather_kv(device *d, void *slab, const void *kv, const int32_t *index,
                               int64_t k, int kv_heads, int head_dim)
{
    int64_t pairs = k * kv_heads;
    if (pairs <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    if (head_dim % 4 == 0 && aligned_to(16, slab, kv)) {
        int packets = head_dim / 4;
        gather_kernel<<<block_count(pairs * packets, 256), 256, 0, stream>>>(
            (uint4 *)slab, (const uint4 *)kv, index, pairs, kv_heads, packets);
    } else {
        int packets = 2 * head_dim;
        gather_kernel<<<block_count(pairs * packets, 256), 256, 0, stream>>>(
            (uint16_t *)slab, (const uint16_t *)kv, index, pairs, kv_heads, packets);
    }
    cuda_launched("gather_kv");
}

/* ---- Argmax ---- */

enum { ARGMAX_THREADS = 512, ARGMAX_UNROLL = 4 };

/* Order of candidates: key of the value above, lower index first. All NaN leaves index 0. */
__device__ __forceinline__ uint64_t candidate(float value, uint32_t index)
{
    return (uint64_t)order_key(value) << 32 | (0xffffffffu - index);
}

__device__ __forceinline__ uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The largest over the block, in thread 0. */
__device__ __forceinline__ uint64_t block_largest(uint64_t best)
{
    __shared__ uint64_t bests[ARGMAX_THREADS / 32];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        best = larger(best, __shfl_xor_sync(0xffffffffu, best, distance));
    if (threadIdx.x % 32 == 0)
        bests[threadIdx.x / 32] = best;
    __syncthreads();
    for (int i = 0; threadIdx.x == 0 && i < ARGMAX_THREADS / 32; i++)
        best = larger(best, bests[i]);
    return best;
}

/* Block (part, row) looks at elements begin..end - 1 of its row. With one part it writes ids. */
__global__ void __launch_bounds__(ARGMAX_THREADS) argmax_kernel(int32_t *ids, uint64_t *candidates,
                                                               const float *logits, int vocab,
                                                               int parts, int part_length)
{
    int64_t row = blockIdx.x / (unsigned)parts;
    int part = (int)(blockIdx.x - row * parts);
    int begin = part * part_length;
    int end = vocab - begin < part_length ? vocab : begin + part_length;
    const float *in = logits + row * vocab;
    uint64_t best = 0;
    for (int64_t first = begin + (int)threadIdx.x; first < end;
         first += ARGMAX_THREADS * ARGMAX_UNROLL) {
        float values[ARGMAX_UNROLL];
#pragma unroll
        for (int i = 0; i < ARGMAX_UNROLL; i++)
            if (first + i * ARGMAX_THREADS < end)
                values[i] = in[first + i * ARGMAX_THREADS];
#pragma unroll
        for (int i = 0; i < ARGMAX_UNROLL; i++)
            if (first + i * ARGMAX_THREADS < end)
                best = larger(best, candidate(values[i], (uint32_t)(first + i * ARGMAX_THREADS)));
    }
    best = block_largest(best);
    if (threadIdx.x == 0) {
        if (parts == 1)
            ids[row] = (int32_t)(0xffffffffu - (uint32_t)best);
        else
            candidates[blockIdx.x] = best;
    }
}

__global__ void __launch_bounds__(ARGMAX_THREADS) argmax_parts_kernel(int32_t *ids,
                                                                     const uint64_t *candidates,
                                                                     int parts)
{
    int64_t row = blockIdx.x;
    uint64_t best = 0;
    for (int i = threadIdx.x; i < parts; i += ARGMAX_THREADS)
        best = larger(best, candidates[row * parts + i]);
    best = block_largest(best);
    if (threadIdx.x == 0)
        ids[row] = (int32_t)(0xffffffffu - (uint32_t)best);
}

extern "C" void cuda_argmax(device *d, int32_t *ids, const float *logits, int64_t rows, int vocab)
{
    if (rows <= 0)
        return;
    cuda_state *state = cuda_of(d);
    /* Few rows are cut into parts, so that all multiprocessors read. */
    int most = (vocab + 4 * ARGMAX_THREADS - 1) / (4 * ARGMAX_THREADS);
    int parts = (int)(2 * state->multiprocessors / rows);
    parts = parts < 1 ? 1 : parts > most ? most : parts;
    int part_length = (vocab + parts - 1) / parts;
    uint64_t *candidates = (uint64_t *)state->scratch;
    argmax_kernel<<<(unsigned)(rows * parts), ARGMAX_THREADS, 0, state->stream>>>(
        ids, candidates, logits, vocab, parts, part_length);
    cuda_launched("argmax");
    if (parts > 1) {
        argmax_parts_kernel<<<(unsigned)rows, ARGMAX_THREADS, 0, state->stream>>>(ids, candidates,
                                                                                 parts);
        cuda_launched("argmax of parts");
    }
}
