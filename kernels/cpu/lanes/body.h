/* The vector code, written once: sse2.c, avx2.c and avx512.c include this with WIDTH floats a
 * vector and BLOCK keys (or dimensions, or columns) in registers beside MAX_VECTORS vectors of
 * lanes, so that BLOCK * MAX_VECTORS sums and their operands just fill the registers. */
#include "kernels/cpu/lanes/lanes.h"
#include "kernels/hash.h"

#include "kernels/cpu/lanes/vectors.h"

#include "kernels/cpu/lanes/attention.h"
#include "kernels/cpu/lanes/products.h"
#include "kernels/cpu/lanes/rows.h"

const cpu_lanes LANES_TABLE = {
    .name = LANES_NAME,
    .width = WIDTH,
    .attend = attend,
    .attend_few = attend_few,
    .few_rows = few_rows,
    .many_rows = many_rows,
    .transpose = transpose,
    .rmsnorm = rmsnorm,
    .swiglu = swiglu,
    .silu = silu,
    .rotate = rotate,
    .widen_bf16 = widen_bf16,
    .widen_f16 = widen_f16,
    .random = random_lanes,
    .blend = blend,
    .dot = dot,
    .largest = largest,
};
