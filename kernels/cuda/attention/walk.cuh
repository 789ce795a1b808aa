/* Which tiles of keys a tile of query rows visits. Over all segments: first the tiles that need a
 * mask (a causal edge, the ragged end of a segment, rows outside the segment's range), then those
 * that all rows see whole; tiles that no row sees are not visited. Softmax does not care about the
 * order, so a segment change costs the inner loop nothing but other addresses. */
#ifndef KERNELS_CUDA_ATTENTION_WALK_CUH
#define KERNELS_CUDA_ATTENTION_WALK_CUH
#include "kernels/cuda/attention/arguments.h"

__device__ __forceinline__ int clamp_keys(const segment &s, int row)
{
    return max(0, min(s.length, row + s.offset + 1));
}

/* Keys of the segment that a row sees. */
__device__ __forceinline__ int keys_seen(const segment &s, int row)
{
    return row >= s.row_begin && row < s.row_end ? clamp_keys(s, row) : 0;
}

/* Tiles of Keys keys of one segment that rows first..last see: `some` by any row, of them the first
 * `whole` by all rows. */
struct seen {
    int some, whole;
};

template <int Keys>
__device__ __forceinline__ seen tiles_seen(const segment &s, int first, int last)
{
    int begin = max(first, s.row_begin), end = min(last, s.row_end - 1);
    if (begin > end)
        return {0, 0};
    int most = clamp_keys(s, end);
    int least = begin == first && end == last ? clamp_keys(s, first) : 0;
    return {(most + Keys - 1) / Keys, least / Keys};
}

template <int Keys> struct walk {
    int first, last; /* rows */
    int segment, tile, end;
    int left; /* tiles that may still be visited */
    bool masked;

    __device__ __forceinline__ bool over() const { return segment < 0; }

    /* Sets the range of the current segment and phase. */
    __device__ __forceinline__ void enter(const attention_arguments &call)
    {
        seen s = tiles_seen<Keys>(call.segments[segment], first, last);
        tile = masked ? s.whole : 0;
        end = masked ? s.some : s.whole;
    }

    /* To the first tile at or behind the current place. */
    __device__ __forceinline__ void settle(const attention_arguments &call)
    {
        while (tile >= end) {
            if (++segment == call.segment_count) {
                if (!masked) {
                    segment = -1;
                    return;
                }
                masked = false;
                segment = 0;
            }
            enter(call);
        }
    }

    __device__ __forceinline__ void start(const attention_arguments &call, int first_row,
                                          int last_row)
    {
        first = first_row;
        last = last_row;
        segment = 0;
        left = 0x7fffffff;
        masked = true;
        enter(call);
        settle(call);
    }

    __device__ __forceinline__ void next(const attention_arguments &call)
    {
        tile++;
        if (--left == 0)
            segment = -1;
        else
            settle(call);
    }

    /* Passes over `count` tiles; of the others the first `keep` are visited. */
    __device__ __forceinline__ void keep(const attention_arguments &call, int count, int most)
    {
        left = most;
        if (most <= 0)
            segment = -1;
        while (!over() && count > 0) {
            int step = min(count, end - tile);
            count -= step;
            tile += step;
            settle(call);
        }
    }
};

template <int Keys>
__device__ __forceinline__ int tiles_in_all(const attention_arguments &call, int first, int last)
{
    int tiles = 0;
    for (int i = 0; i < call.segment_count; i++)
        tiles += tiles_seen<Keys>(call.segments[i], first, last).some;
    return tiles;
}
#endif
