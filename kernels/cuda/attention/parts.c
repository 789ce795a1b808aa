/* Splitting keys into parts. See parts.h. */
#include "kernels/cuda/attention/parts.h"

#include "kernels/cuda/cuda.h"

/* A part of fewer tiles costs more to combine than it gains. */
enum { LEAST_TILES_OF_A_PART = 4 };

static size_t part_values(const attention_arguments *call, int head_dim)
{
    return (size_t)call->rows * (size_t)call->heads * (size_t)head_dim;
}

size_t part_bytes(const attention_arguments *call, int head_dim)
{
    return part_values(call, head_dim + 1) * sizeof(float); /* and the log-sum-exps */
}

int choose_parts(const attention_arguments *call, int head_dim, int keys, int64_t blocks)
{
    int64_t key_tiles = 0;
    for (int i = 0; i < call->segment_count; i++)
        key_tiles += tiles_of(call->segments[i].length, keys);
    int64_t parts = blocks / ((int64_t)call->tiles * call->kv_heads);
    int64_t room = (int64_t)(CUDA_SCRATCH / part_bytes(call, head_dim));
    int64_t most = key_tiles / LEAST_TILES_OF_A_PART;
    most = most < room ? most : room;
    parts = parts < most ? parts : most;
    return parts > 1 ? (int)parts : 1;
}

void place_parts(attention_arguments *call, int head_dim, void *scratch)
{
    call->part_acc = scratch;
    call->part_lse = call->part_acc + (size_t)call->splits * part_values(call, head_dim);
}
