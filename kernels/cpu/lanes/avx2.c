/* The vector code for AVX2 and FMA. See lanes.h. */
#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c")
#define WIDTH 8
#define BLOCK 4
#define LANES_NAME "avx2"
#define LANES_TABLE cpu_lanes_avx2
#include "kernels/cpu/lanes/body.h"
#endif
