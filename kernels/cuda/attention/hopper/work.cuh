/* What a block of the Hopper kernel works on: the kernel's shape, its shared memory and barriers, and the
 * places that works have: a tile of query rows of a head, or packed rows of a KV head and a part of
 * the keys. */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_WORK_CUH
#define KERNELS_CUDA_ATTENTION_HOPPER_WORK_CUH
#include "kernels/cuda/attention/hopper/hopper.h"
#include "kernels/cuda/attention/hopper/instructions.cuh"
#include "kernels/cuda/attention/walk.cuh"

/* Packed: rows are (query row, head of the group) pairs of one KV head, a.tile_rows query rows in a tile,
 * and keys are split into parts that are combined later. Rows of a tile that belong to no query row
 * compute with whatever lies there; no row's result depends on another's. */
template <int HeadDim_, int Consumers_, int Keys_, bool Packed_> struct hopper {
    static constexpr int HeadDim = HeadDim_, Consumers = Consumers_, Keys = Keys_, Stages = 2;
    static constexpr bool Packed = Packed_;
    static constexpr int Rows = 64 * Consumers, Threads = 128 * (Consumers + 1);
    static constexpr int Panels = HeadDim / 64, RowBytes = 128; /* of a panel */
    static constexpr int QueryPanel = Rows * RowBytes, KeyPanel = Keys * RowBytes;
    static constexpr int QueryBytes = Panels * QueryPanel, TileBytes = Panels * KeyPanel;
    static constexpr int OutPanel = 64 * RowBytes, OutBytes = Panels * OutPanel; /* a consumer */
    static constexpr int ProducerRegisters = Consumers == 2 ? 40 : 32;
    static constexpr int ConsumerRegisters = Consumers == 2 ? 232 : 160;
    /* Shared memory: queries, keys, values, outputs, then barriers and the work's number. */
    static constexpr int KeysAt = QueryBytes, ValuesAt = KeysAt + Stages * TileBytes;
    static constexpr int OutAt = ValuesAt + Stages * TileBytes;
    static constexpr int BarriersAt = OutAt + Consumers * OutBytes;
    static constexpr int WorkAt = BarriersAt + 8 * (2 + 4 * Stages);
    static constexpr int SharedBytes = WorkAt + 16 + 1024; /* it begins at a multiple of 1024 */
};

/* Addresses of barriers: full ones wait for the copy engine, empty ones for the consumers. */
template <class T> struct barriers {
    uint32_t base;
    __device__ __forceinline__ uint32_t q_full() const { return base; }
    __device__ __forceinline__ uint32_t q_empty() const { return base + 8; }
    __device__ __forceinline__ uint32_t k_full(int stage) const { return base + 16 + 8 * stage; }
    __device__ __forceinline__ uint32_t k_empty(int stage) const
    {
        return base + 16 + 8 * (T::Stages + stage);
    }
    __device__ __forceinline__ uint32_t v_full(int stage) const
    {
        return base + 16 + 8 * (2 * T::Stages + stage);
    }
    __device__ __forceinline__ uint32_t v_empty(int stage) const
    {
        return base + 16 + 8 * (3 * T::Stages + stage);
    }
};

/* A place in a ring of stages; the phase flips with each turn. */
template <class T> struct ring {
    int stage = 0;
    uint32_t phase = 0;
    __device__ __forceinline__ void advance()
    {
        if (++stage == T::Stages) {
            stage = 0;
            phase ^= 1;
        }
    }
};

struct work_place {
    int tile, head, kv_head, split;
};

template <class T>
__device__ __forceinline__ work_place place_of_work(const attention_arguments &call, int work)
{
    if constexpr (T::Packed) { /* tiles that read the same keys side by side */
        int rest = work / call.tiles, kv_head = rest % call.kv_heads;
        return {work % call.tiles, kv_head * call.group, kv_head, rest / call.kv_heads};
    }
    int in_section = call.tiles * call.section;
    int section = work / in_section, within = work - section * in_section;
    int head = section * call.section + within % call.section;
    return {call.tiles - 1 - within / call.section, head, head / call.group, 0};
}

/* Query rows of a tile. */
template <class T> __device__ __forceinline__ int rows_of_tile(const hopper_arguments &a)
{
    return T::Packed ? a.tile_rows : T::Rows;
}

/* The tiles of keys of a work. */
template <class T>
__device__ __forceinline__ void start_walk(walk<T::Keys> &at, const attention_arguments &call,
                                           const work_place &here, int first, int last)
{
    at.start(call, first, last);
    if constexpr (T::Packed) {
        int tiles = tiles_in_all<T::Keys>(call, first, last);
        int begin = (int)((int64_t)tiles * here.split / call.splits);
        int end = (int)((int64_t)tiles * (here.split + 1) / call.splits);
        at.keep(call, begin, end - begin);
    }
}
#endif
