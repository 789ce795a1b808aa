/* The vector code for any x86-64, and any other machine with GCC's vectors. See lanes.h. */
#define WIDTH 4
#define BLOCK 4
#define LANES_NAME "sse2"
#define LANES_TABLE cpu_lanes_sse2
#include "kernels/cpu/lanes/body.h"
