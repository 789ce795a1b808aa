/* The instructions of sm_90a that the Hopper attention kernel is made of: barriers in shared memory
 * (mbarrier), bulk tensor copies (TMA), matrix products of a warpgroup (wgmma), register shares.
 * Facts from the PTX ISA (version 9.0, chapters 9.7.9, 9.7.13 and 9.7.15). */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_INSTRUCTIONS_CUH
#define KERNELS_CUDA_ATTENTION_HOPPER_INSTRUCTIONS_CUH
#include <cuda.h>
#include <stdint.h>

/* ---- Delays: a build for tests (make test-gpu-delays) in which the producer and each warp of the
 * consumers sleep now and then where they meet, so that orders come up that are rare otherwise ---- */

#ifdef ATTENTION_DELAYS
__device__ __forceinline__ void delay()
{
    unsigned together = __activemask();
    uint32_t dice = (uint32_t)clock64() * 0x9E3779B9u ^ (threadIdx.x / 32 + 1) * 0x85EBCA6Bu ^
                    blockIdx.x * 0xC2B2AE35u;
    dice ^= dice >> 15;
    dice *= 0x2C1B3C6Du;
    dice ^= dice >> 13;
    dice = __shfl_sync(together, dice, __ffs(together) - 1);
    if (dice % 8 == 0) /* nanoseconds; one in 512 long enough for all others to run into it */
        __nanosleep(dice >> 3 & 63 ? dice >> 9 & 4095 : 50000);
    __syncwarp(together);
}
#else
#define delay() ((void)0)
#endif

/* ---- Barriers. A fresh one passes a wait for parity 1 and blocks one for parity 0. ---- */

__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void barrier_init_done()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(uint32_t barrier)
{
    delay();
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* Arrives and adds bytes that have to land before the phase ends. */
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    delay();
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
    delay();
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "wait_%=:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra wait_%=;\n"
                 "}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
    delay();
}

/* A barrier of `threads` threads. */
__device__ __forceinline__ void named_sync(int id, int threads)
{
    delay();
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* ---- Copies of boxes of a tensor with coordinates (column, row, panel, head) ---- */

static constexpr uint64_t evict_first = 0x12F0000000000000ull, evict_last = 0x14F0000000000000ull;

__device__ __forceinline__ void tensor_load(uint32_t to, const CUtensorMap *map, uint32_t barrier,
                                            int row, int head, uint64_t policy)
{
    delay();
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".L2::cache_hint [%0], [%1, {%3, %4, %3, %5}], [%2], %6;" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(0), "r"(row), "r"(head), "l"(policy)
                 : "memory");
}

/* A box of one panel of (column, head of a group, row, panel, KV head). */
__device__ __forceinline__ void tensor_load_packed(uint32_t to, const CUtensorMap *map,
                                                   uint32_t barrier, int row, int panel, int kv_head,
                                                   uint64_t policy)
{
    delay();
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".L2::cache_hint [%0], [%1, {%3, %3, %4, %5, %6}], [%2], %7;" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(0), "r"(row), "r"(panel), "r"(kv_head), "l"(policy)
                 : "memory");
}

__device__ __forceinline__ void tensor_store(const CUtensorMap *map, uint32_t from, int row, int head)
{
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %2, %4}], [%1];"
                 ::"l"(map), "r"(from), "r"(0), "r"(row), "r"(head)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Until this thread's stores have read their shared memory. */
__device__ __forceinline__ void tensor_store_read()
{
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

/* Shared memory written by ordinary stores, before the copy engine reads it. */
__device__ __forceinline__ void fence_shared_for_copies()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void store_matrices(uint32_t address, uint32_t a, uint32_t b, uint32_t c,
                                               uint32_t d)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
                 "r"(a), "r"(b), "r"(c), "r"(d)
                 : "memory");
}

template <int Registers> __device__ __forceinline__ void registers_down()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

template <int Registers> __device__ __forceinline__ void registers_up()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

/* ---- Products of a warpgroup ---- */

/* Matrix in shared memory, 128-byte swizzle: panels of 64 columns, rows of 128 bytes, 8 rows to the
 * next group of rows; `leading` is the distance of panels where columns run along N. */
__device__ __forceinline__ uint64_t matrix_descriptor(uint32_t address, uint32_t leading)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)(leading >> 4) << 16 |
           (address & 0x3FFFF) >> 4;
}

__device__ __forceinline__ void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int Pending> __device__ __forceinline__ void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/* Keeps the compiler from moving uses of an accumulator across the wait or the fence. */
template <int Count> __device__ __forceinline__ void pin(float (&d)[Count])
{
#pragma unroll
    for (int i = 0; i < Count; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}

/* Keeps the assembler from moving a wait for products in front of the arithmetic that led to x: it
 * orders such waits only against accesses to memory. The store never happens, x is never negative. */
__device__ __forceinline__ void hold_back(float x, uint32_t address)
{
    asm volatile("{\n"
                 ".reg .pred never;\n"
                 "setp.lt.f32 never, %0, 0fBF800000;\n"
                 "@never st.shared.f32 [%1], %0;\n"
                 "}" ::"f"(x),
                 "r"(address)
                 : "memory");
}

#define D4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define D16(d, i) D4(d, i), D4(d, i + 4), D4(d, i + 8), D4(d, i + 12)
#define D32(d) D16(d, 0), D16(d, 16)
#define D64(d) D32(d), D16(d, 32), D16(d, 48)
#define D80(d) D64(d), D16(d, 64)
#define NAMES32                                                                                    \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"   \
    "%25,%26,%27,%28,%29,%30,%31"
#define NAMES64                                                                                    \
    NAMES32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,"    \
            "%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NAMES80 NAMES64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"

/* d [64, 128 or 160] = (accumulate ? d : 0) + a [64, 16] b [N, 16]^T, both in shared memory, columns
 * along k. */
__device__ __forceinline__ void multiply_shared(float (&d)[64], uint64_t a, uint64_t b,
                                                int accumulate)
{
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES64
                 "}, %64, %65, add, 1, 1, 0, 0;\n"
                 "}"
                 : D64(d)
                 : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void multiply_shared(float (&d)[80], uint64_t a, uint64_t b,
                                                int accumulate)
{
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %82, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n160k16.f32.bf16.bf16 {" NAMES80
                 "}, %80, %81, add, 1, 1, 0, 0;\n"
                 "}"
                 : D80(d)
                 : "l"(a), "l"(b), "r"(accumulate));
}

/* d [64, 128 or 64] += a [64, 16] in registers times b [16, N] in shared memory, columns along N. */
__device__ __forceinline__ void multiply_held(float (&d)[64], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES64
                 "}, {%64,%65,%66,%67}, %68, add, 1, 1, 1;\n"
                 "}"
                 : D64(d)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}

__device__ __forceinline__ void multiply_held(float (&d)[32], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES32
                 "}, {%32,%33,%34,%35}, %36, add, 1, 1, 1;\n"
                 "}"
                 : D32(d)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
#undef D4
#undef D16
#undef D32
#undef D64
#undef D80
#undef NAMES32
#undef NAMES64
#undef NAMES80
#endif
