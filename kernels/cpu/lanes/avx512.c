/* The vector code for AVX-512. See lanes.h. */
#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c,avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")
#define WIDTH 16
#define BLOCK 8
#define LANES_NAME "avx512"
#define LANES_TABLE cpu_lanes_avx512
#include "kernels/cpu/lanes/body.h"
#endif
