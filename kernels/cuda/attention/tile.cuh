/* The attention kernel for sm_80 and later: one thread block takes a tile of query rows of one head
 * and walks over tiles of keys with an online softmax (Milakov and Gimelshein 2018; the shape is that
 * of FlashAttention-2, Dao 2023): scores stay in registers, K and V come through two stages of shared
 * memory while the tile before is worked on.
 *
 * Shared rows of head_dim values are cut into 16-byte chunks, and chunk c of row r lies at place
 * c ^ (r % 8), so that the eight rows of a matrix load lie in different banks.
 *
 * A thread holds, of each 16 x 8 block of an accumulator, columns 2 (lane % 4) and the next of rows
 * lane / 4 and lane / 4 + 8: the layout of mma m16n8k16, which is also that of its first operand, so
 * scores turn into probabilities and multiply V without leaving their registers. */
#ifndef KERNELS_CUDA_ATTENTION_TILE_CUH
#define KERNELS_CUDA_ATTENTION_TILE_CUH
#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/walk.cuh"

/* HoldQ: the queries stay in registers, and their shared memory serves a stage of K and V.
 * Packed: rows are (query row, head of the group) pairs of one KV head, and keys may be split. */
template <int HeadDim_, int RowTiles_, int Warps_, int Keys_, bool HoldQ_, bool Packed_,
          int Blocks_>
struct shape {
    static constexpr int HeadDim = HeadDim_, RowTiles = RowTiles_, Warps = Warps_, Keys = Keys_;
    static constexpr bool HoldQ = HoldQ_, Packed = Packed_;
    static constexpr int Blocks = Blocks_; /* on a multiprocessor at least */
    static constexpr int Threads = 32 * Warps, Rows = 16 * RowTiles * Warps;
    static constexpr int RowBytes = 2 * HeadDim, Chunks = HeadDim / 8;
    static constexpr int TileBytes = Keys * RowBytes, StageBytes = 2 * TileBytes;
    static constexpr int QueryBytes = Rows * RowBytes;
    static constexpr int KeysAt = HoldQ ? 0 : QueryBytes; /* in shared memory */
    static constexpr int QueriesAt = HoldQ ? StageBytes : 0;
    static constexpr int SharedBytes = KeysAt + 2 * StageBytes;
    static_assert(!HoldQ || QueryBytes <= StageBytes, "the queries fit the second stage");
};

template <class T> struct tile {
    float out[T::RowTiles][T::HeadDim / 8][4];
    float top[T::RowTiles][2]; /* largest score of the row so far, before scaling */
    float sum[T::RowTiles][2]; /* this thread's share of the row's sum */
};

/* `valid` rows from `from` to shared memory, the others of Count as zeros. */
template <class T, int Count>
__device__ __forceinline__ void load_rows(uint32_t to, const __nv_bfloat16 *from, int64_t stride,
                                          int valid)
{
    constexpr int step = T::Threads / T::Chunks;
    static_assert(step % 8 == 0 && Count % step == 0, "a thread keeps its chunk");
    int row = threadIdx.x / T::Chunks, chunk = threadIdx.x % T::Chunks;
    to += row * T::RowBytes + ((chunk ^ (row & 7)) << 4);
    from += row * stride + chunk * 8;
#pragma unroll
    for (int i = 0; i < Count / step; i++)
        copy_16(to + i * step * T::RowBytes, from + i * step * stride, row + i * step < valid);
}

/* A tile of K, and V behind it. */
template <class T>
__device__ __forceinline__ void load_keys(const attention_arguments &call, const walk<T::Keys> &at,
                                          int kv_head, uint32_t to)
{
    const segment &s = call.segments[at.segment];
    int first = at.tile * T::Keys, valid = s.length - first;
    int64_t skip = kv_head * s.head_stride + first * s.row_stride;
    load_rows<T, T::Keys>(to, s.k + skip, s.row_stride, valid);
    load_rows<T, T::Keys>(to + T::TileBytes, s.v + skip, s.row_stride, valid);
}

/* Address of a thread's row and chunk for matrix loads; the chunk pair `step` of a row is
 * reached by ^ (step << 5), since a pair is 32 bytes and the low bit is the lane's. */
template <class T>
__device__ __forceinline__ uint32_t matrix_address(uint32_t base, int row, int chunk)
{
    return base + row * T::RowBytes + ((chunk ^ (row & 7)) << 4);
}

/* s = q k^T for this warp's rows and a tile of keys. */
template <class T>
__device__ __forceinline__ void
compute_scores(float (&s)[T::RowTiles][T::Keys / 8][4],
               const uint32_t (&held)[T::HoldQ ? T::RowTiles : 1][T::HeadDim / 16][4],
               uint32_t q_address, uint32_t k_address)
{
#pragma unroll
    for (int m = 0; m < T::RowTiles; m++)
#pragma unroll
        for (int n = 0; n < T::Keys / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[m][n][i] = 0;
#pragma unroll
    for (int step = 0; step < T::HeadDim / 16; step++) {
        uint32_t a[T::RowTiles][4];
#pragma unroll
        for (int m = 0; m < T::RowTiles; m++) {
            if constexpr (T::HoldQ) {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    a[m][i] = held[m][step][i];
            } else {
                load_matrices(a[m], (q_address + m * 16 * T::RowBytes) ^ (step << 5));
            }
        }
#pragma unroll
        for (int n = 0; n < T::Keys / 16; n++) {
            uint32_t b[4];
            load_matrices(b, (k_address + n * 16 * T::RowBytes) ^ (step << 5));
#pragma unroll
            for (int m = 0; m < T::RowTiles; m++) {
                multiply(s[m][2 * n], a[m], b[0], b[1]);
                multiply(s[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* Scores into probabilities (packed as the first operand of the product with V), and the running
 * maximum, sum and output to the new maximum. */
template <class T>
__device__ __forceinline__ void soften(float (&s)[T::RowTiles][T::Keys / 8][4],
                                       uint32_t (&p)[T::RowTiles][T::Keys / 16][4], tile<T> &t,
                                       float scale_log2)
{
#pragma unroll
    for (int m = 0; m < T::RowTiles; m++) {
        float factor[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = t.top[m][half];
#pragma unroll
            for (int n = 0; n < T::Keys / 8; n++)
                top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
            /* A row that has seen no key yet: exp2(-inf - 0) is 0, where -inf - -inf is not. */
            float shift = top == -INFINITY ? 0 : top * scale_log2;
            factor[half] = exp2_fast(t.top[m][half] * scale_log2 - shift);
            t.top[m][half] = top;
            float sum = 0;
#pragma unroll
            for (int n = 0; n < T::Keys / 8; n++) {
                float low = exp2_fast(s[m][n][2 * half] * scale_log2 - shift);
                float high = exp2_fast(s[m][n][2 * half + 1] * scale_log2 - shift);
                sum += low + high;
                p[m][n / 2][2 * (n & 1) + half] = pack_two(low, high);
            }
            t.sum[m][half] = t.sum[m][half] * factor[half] + sum;
        }
        /* After the first tiles a new maximum is rare. */
        if (__any_sync(0xffffffffu, factor[0] != 1 || factor[1] != 1)) {
#pragma unroll
            for (int n = 0; n < T::HeadDim / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    t.out[m][n][i] *= factor[i / 2];
        }
    }
}

/* out += p v for a tile of keys. */
template <class T>
__device__ __forceinline__ void add_values(tile<T> &t,
                                           const uint32_t (&p)[T::RowTiles][T::Keys / 16][4],
                                           uint32_t v_address)
{
#pragma unroll
    for (int step = 0; step < T::Keys / 16; step++)
#pragma unroll
        for (int n = 0; n < T::HeadDim / 16; n++) {
            uint32_t b[4];
            load_matrices_transposed(b, (v_address + step * 16 * T::RowBytes) ^ (n << 5));
#pragma unroll
            for (int m = 0; m < T::RowTiles; m++) {
                multiply(t.out[m][2 * n], p[m][step], b[0], b[1]);
                multiply(t.out[m][2 * n + 1], p[m][step], b[2], b[3]);
            }
        }
}

/* ---- Where a block works ---- */

/* A block's share: tile of rows (or packed rows), head, part of the keys. Blocks start in this
 * order: the tiles with most keys first, the heads of a section side by side. */
struct place {
    int tile, head, kv_head, split;
};

template <class T> __device__ __forceinline__ place place_of_block(const attention_arguments &call)
{
    int block = blockIdx.x;
    if constexpr (T::Packed) {
        int rest = block / call.splits, kv_head = rest % call.kv_heads;
        return {call.tiles - 1 - rest / call.kv_heads, kv_head * call.group, kv_head,
                block % call.splits};
    }
    int section = block / (call.tiles * call.section);
    int within = block - section * call.tiles * call.section;
    int head = section * call.section + within % call.section;
    return {call.tiles - 1 - within / call.section, head, head / call.group, 0};
}

/* Row and head of a (packed) row of the tile. */
struct row_place {
    int row, head;
};

template <class T>
__device__ __forceinline__ row_place place_of_row(const attention_arguments &call,
                                                  const place &here, int packed)
{
    if constexpr (T::Packed)
        return {packed / call.group, here.head + packed % call.group};
    return {packed, here.head};
}

/* -inf where the row does not see the key; `first` is the warp's first (packed) row. */
template <class T>
__device__ __forceinline__ void mask_scores(float (&s)[T::RowTiles][T::Keys / 8][4],
                                            const attention_arguments &call, const place &here,
                                            const walk<T::Keys> &at, int first)
{
    const segment &keys = call.segments[at.segment];
    int lane = threadIdx.x & 31, column = at.tile * T::Keys + 2 * (lane & 3);
#pragma unroll
    for (int m = 0; m < T::RowTiles; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = place_of_row<T>(call, here, first + 16 * m + 8 * half + lane / 4).row;
            int limit = keys_seen(keys, row) - column;
#pragma unroll
            for (int n = 0; n < T::Keys / 8; n++) {
                if (8 * n >= limit)
                    s[m][n][2 * half] = -INFINITY;
                if (8 * n + 1 >= limit)
                    s[m][n][2 * half + 1] = -INFINITY;
            }
        }
}

template <class T>
__device__ __forceinline__ void load_queries(const attention_arguments &call, const place &here,
                                             uint32_t to, int first, int total)
{
    if constexpr (!T::Packed) {
        load_rows<T, T::Rows>(to, call.q + first * call.q_row_stride + here.head * T::HeadDim,
                              call.q_row_stride, total - first);
        return;
    }
    constexpr int step = T::Threads / T::Chunks;
    int row = threadIdx.x / T::Chunks, chunk = threadIdx.x % T::Chunks;
    to += row * T::RowBytes + ((chunk ^ (row & 7)) << 4);
    for (int i = 0; i < T::Rows; i += step) {
        int packed = first + row + i;
        bool valid = packed < total;
        row_place at = place_of_row<T>(call, here, valid ? packed : first);
        copy_16(to + i * T::RowBytes,
                call.q + at.row * call.q_row_stride + at.head * T::HeadDim + chunk * 8, valid);
    }
}
#endif
