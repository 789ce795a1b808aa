/* The parts of a call whose keys were split, put together: each part is a normalised output with its
 * log-sum-exp, so a part weighs exp(its log-sum-exp). With `fold` the running result is one part
 * more. One warp a row and head. */
#include "kernels/cuda/attention/combine.h"
#include "kernels/cuda/math.cuh"

static const float log2_e = 1.44269504f;

/* A lane weighs one part of 32, and loads of eight parts are under way at once: decode has some fifty
 * parts, and one after the other each costs two round trips to the L2 cache. Sums are in the order of
 * the parts. */
template <int HeadDim> __global__ void combine(const attention_arguments call)
{
    constexpr int each = HeadDim / 32; /* values of a lane */
    int64_t pairs = (int64_t)call.rows * call.heads;
    int64_t pair = (int64_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int lane = threadIdx.x & 31;
    if (pair >= pairs)
        return;
    float running = call.fold ? call.lse[pair] : -INFINITY, top = running;
    for (int split = lane; split < call.splits; split += 32)
        top = fmaxf(top, call.part_lse[split * pairs + pair]);
    top = warp_max(top);
    float sum = 0, out[each] = {};
    if (top != -INFINITY) {
        if (running != -INFINITY) {
            sum = exp2f((running - top) * log2_e);
#pragma unroll
            for (int i = 0; i < each; i++)
                out[i] = sum * call.acc[pair * HeadDim + lane * each + i];
        }
        for (int first = 0; first < call.splits; first += 32) {
            int count = min(32, call.splits - first);
            /* A part that saw no key weighs 0, and its output is 0. */
            float mine = lane < count ? call.part_lse[(first + lane) * pairs + pair] : -INFINITY;
            mine = exp2f((mine - top) * log2_e);
            const float *from = call.part_acc + (first * pairs + pair) * HeadDim + lane * each;
#pragma unroll 8
            for (int part = 0; part < count; part++) {
                float weight = __shfl_sync(0xffffffffu, mine, part);
                sum += weight;
#pragma unroll
                for (int i = 0; i < each; i++)
                    out[i] += weight * from[part * pairs * HeadDim + i];
            }
        }
#pragma unroll
        for (int i = 0; i < each; i++)
            out[i] /= sum;
    }
    if (call.lse && lane == 0)
        call.lse[pair] = top == -INFINITY ? top : top + logf(sum);
    int64_t row = pair / call.heads, head = pair % call.heads;
#pragma unroll
    for (int i = 0; i < each; i++) {
        int column = lane * each + i;
        if (call.acc)
            call.acc[pair * HeadDim + column] = out[i];
        else
            call.out[row * call.out_row_stride + head * HeadDim + column] = __float2bfloat16(out[i]);
    }
}

extern "C" void combine_parts(const attention_arguments *call, int head_dim, cudaStream_t stream)
{
    enum { WARPS = 8 };
    int64_t pairs = (int64_t)call->rows * call->heads;
    unsigned blocks = (unsigned)((pairs + WARPS - 1) / WARPS);
    if (head_dim == 64)
        combine<64><<<blocks, 32 * WARPS, 0, stream>>>(*call);
    else
        combine<128><<<blocks, 32 * WARPS, 0, stream>>>(*call);
}
