/* Attention for Hopper: a persistent block of one producer warp and two or three consumer warpgroups
 * a multiprocessor. README.md beside this has the picture. The producer walks over work (a tile of
 * query rows of one head each, the longest first) and has the copy engine bring Q, K and V into
 * shared memory, two stages ahead at most; each consumer owns 64 rows and has the scores of the next
 * tile of keys and the values of the last one multiplied at once, its softmax beside the latter (the
 * scheme of FlashAttention-3, Shah et al. 2024, sections 3.1 and 3.2, without taking turns). */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_ATTEND_CUH
#define KERNELS_CUDA_ATTENTION_HOPPER_ATTEND_CUH
#include "kernels/cuda/attention/hopper/rows.cuh"

template <class T>
__device__ __forceinline__ void load_queries(const hopper_arguments &a, uint32_t to, uint32_t barrier,
                                             const work_place &here, int first)
{
    if constexpr (T::Packed) {
        barrier_expect(barrier, T::Panels * a.tile_rows * a.call.group * T::RowBytes);
#pragma unroll
        for (int panel = 0; panel < T::Panels; panel++)
            tensor_load_packed(to + panel * T::QueryPanel, &a.q, barrier, first, panel, here.kv_head,
                               evict_first);
    } else {
        barrier_expect(barrier, T::QueryBytes);
        tensor_load(to, &a.q, barrier, first, here.head, evict_first);
    }
}

template <class T>
__device__ __forceinline__ void produce(const hopper_arguments &a, uint32_t base,
                                        const barriers<T> &barrier, volatile int *work_slot)
{
    const attention_arguments &call = a.call;
    ring<T> k_ring, v_ring;
    uint32_t q_phase = 1;
    int work = blockIdx.x;
    while (true) {
        barrier_wait(barrier.q_empty(), q_phase);
        q_phase ^= 1;
        if (work >= a.works) {
            *work_slot = -1;
            barrier_arrive(barrier.q_full());
            if (atomicAdd(&a.turn[1], 1) == (int)gridDim.x - 1) /* the last: zero for the next call */
                a.turn[0] = a.turn[1] = 0;
            return;
        }
        int next_work = (int)gridDim.x + atomicAdd(&a.turn[0], 1);
        *work_slot = work;
        work_place here = place_of_work<T>(call, work);
        int first = here.tile * rows_of_tile<T>(a);
        int last = min(first + rows_of_tile<T>(a), call.rows) - 1;
        walk<T::Keys> at;
        start_walk<T>(at, call, here, first, last);
        /* K comes one tile before V: K0, Q, K1, V0, K2, V1, ... */
        walk<T::Keys> behind = at;
        bool begun = false;
        if (!at.over()) {
            barrier_wait(barrier.k_empty(k_ring.stage), k_ring.phase ^ 1);
            barrier_expect(barrier.k_full(k_ring.stage), T::TileBytes);
            tensor_load(base + T::KeysAt + k_ring.stage * T::TileBytes, &a.k[at.segment],
                        barrier.k_full(k_ring.stage), at.tile * T::Keys, here.kv_head, evict_last);
            k_ring.advance();
            at.next(call);
            begun = true;
        }
        load_queries<T>(a, base, barrier.q_full(), here, first);
        while (begun) {
            if (!at.over()) {
                barrier_wait(barrier.k_empty(k_ring.stage), k_ring.phase ^ 1);
                barrier_expect(barrier.k_full(k_ring.stage), T::TileBytes);
                tensor_load(base + T::KeysAt + k_ring.stage * T::TileBytes, &a.k[at.segment],
                            barrier.k_full(k_ring.stage), at.tile * T::Keys, here.kv_head,
                            evict_last);
                k_ring.advance();
                at.next(call);
            }
            barrier_wait(barrier.v_empty(v_ring.stage), v_ring.phase ^ 1);
            barrier_expect(barrier.v_full(v_ring.stage), T::TileBytes);
            tensor_load(base + T::ValuesAt + v_ring.stage * T::TileBytes, &a.v[behind.segment],
                        barrier.v_full(v_ring.stage), behind.tile * T::Keys, here.kv_head,
                        evict_last);
            v_ring.advance();
            behind.next(call);
            begun = !behind.over();
        }
        work = next_work;
    }
}

/* ---- A consumer ---- */

template <class T>
__device__ __forceinline__ void start_scores(float (&s)[T::Keys / 2], uint32_t q, uint32_t k)
{
    uint64_t a = matrix_descriptor(q, 0), b = matrix_descriptor(k, 0);
#pragma unroll
    for (int step = 0; step < T::HeadDim / 16; step++) {
        int panel = step / 4, within = step % 4;
        multiply_shared(s, a + ((panel * T::QueryPanel + within * 32) >> 4),
                        b + ((panel * T::KeyPanel + within * 32) >> 4), step > 0);
    }
    products_commit();
}

template <class T>
__device__ __forceinline__ void start_values(consumer<T> &c, uint32_t v)
{
    uint64_t b = matrix_descriptor(v, T::KeyPanel);
#pragma unroll
    for (int step = 0; step < T::Keys / 16; step++)
        multiply_held(c.out, c.p[step], b + ((step * 16 * T::RowBytes) >> 4));
    products_commit();
}

template <class T> __device__ __forceinline__ int query_row(const consumer_place &here, int half)
{
    if constexpr (T::Packed)
        return here.rows[half];
    return here.row + 8 * half;
}

template <class T>
__device__ __forceinline__ void mask(float (&s)[T::Keys / 2], const attention_arguments &call,
                                     const walk<T::Keys> &at, const consumer_place &here)
{
    int column = at.tile * T::Keys + 2 * (threadIdx.x & 3);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int limit = keys_seen(call.segments[at.segment], query_row<T>(here, half)) - column;
#pragma unroll
        for (int n = 0; n < T::Keys / 8; n++) {
            if (8 * n >= limit)
                s[4 * n + 2 * half] = -INFINITY;
            if (8 * n + 1 >= limit)
                s[4 * n + 2 * half + 1] = -INFINITY;
        }
    }
}

/* s becomes probabilities; returns what the output so far has to be multiplied with. Guarded: a row
 * may have seen no key yet. */
template <class T, bool Guarded>
__device__ __forceinline__ void soften(float (&s)[T::Keys / 2], consumer<T> &c, float scale_log2,
                                       float (&factor)[2])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = c.top[half];
#pragma unroll
        for (int n = 0; n < T::Keys / 8; n++)
            top = fmaxf(top, fmaxf(s[4 * n + 2 * half], s[4 * n + 2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        float shift = Guarded && top == -INFINITY ? 0 : top * scale_log2;
        factor[half] = exp2_fast(c.top[half] * scale_log2 - shift);
        c.top[half] = top;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < T::Keys / 8; n++)
#pragma unroll
            for (int i = 4 * n + 2 * half; i < 4 * n + 2 * half + 2; i++) {
                s[i] = exp2_fast(s[i] * scale_log2 - shift);
                sum += s[i];
            }
        c.sum[half] = c.sum[half] * factor[half] + sum;
    }
}

template <class T>
__device__ __forceinline__ void take_probabilities(const float (&s)[T::Keys / 2], consumer<T> &c)
{
#pragma unroll
    for (int step = 0; step < T::Keys / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            c.p[step][i] = pack_two(s[8 * step + 2 * i], s[8 * step + 2 * i + 1]);
}

template <class T> __device__ __forceinline__ void rescale(consumer<T> &c, const float (&factor)[2])
{
    /* After the first tiles a new maximum is rare. */
    if (__any_sync(0xffffffffu, factor[0] != 1 || factor[1] != 1)) {
#pragma unroll
        for (int i = 0; i < T::HeadDim / 2; i++)
            c.out[i] *= factor[i / 2 % 2];
    }
}

/* Scores of one tile beside the values of the tile before. */
template <class T, bool Masked>
__device__ __forceinline__ void next_tile(consumer<T> &c, const consumer_place &here,
                                          const attention_arguments &call,
                                          const walk<T::Keys> &at, const barriers<T> &barrier,
                                          ring<T> &k_ring, ring<T> &v_ring)
{
    float s[T::Keys / 2], factor[2];
    barrier_wait(barrier.k_full(k_ring.stage), k_ring.phase);
    pin(c.out);
    products_begin();
    start_scores<T>(s, here.q, here.keys + k_ring.stage * T::TileBytes);
    barrier_wait(barrier.v_full(v_ring.stage), v_ring.phase);
    products_begin();
    start_values<T>(c, here.values + v_ring.stage * T::TileBytes);
    products_wait<1>();
    pin(s);
    if (threadIdx.x % 128 == 0)
        barrier_arrive(barrier.k_empty(k_ring.stage));
    k_ring.advance();
    if constexpr (Masked)
        mask<T>(s, call, at, here);
    soften<T, Masked>(s, c, here.scale_log2, factor);
    hold_back(c.sum[0] + c.sum[1], here.keys);
    products_wait<0>();
    pin(c.out);
    if (threadIdx.x % 128 == 0)
        barrier_arrive(barrier.v_empty(v_ring.stage));
    v_ring.advance();
    take_probabilities<T>(s, c);
    rescale<T>(c, factor);
}

template <class T>
__device__ __forceinline__ void consume(const hopper_arguments &a, uint32_t base,
                                        const barriers<T> &barrier, const volatile int *work_slot)
{
    const attention_arguments &call = a.call;
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32 % 4;
    consumer_place here;
    here.group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0) - 1;
    here.q = base + here.group * 64 * T::RowBytes;
    here.keys = base + T::KeysAt;
    here.values = base + T::ValuesAt;
    here.scale_log2 = call.scale_log2;
    uint32_t spare = base + T::OutAt + here.group * T::OutBytes;
    ring<T> k_ring, v_ring;
    uint32_t q_phase = 0;
    consumer<T> c;
    while (true) {
        barrier_wait(barrier.q_full(), q_phase);
        q_phase ^= 1;
        int work = *work_slot;
        if (work < 0)
            break;
        work_place place = place_of_work<T>(call, work);
        int first = place.tile * rows_of_tile<T>(a);
        int last = min(first + rows_of_tile<T>(a), call.rows) - 1;
        here.row = first + 64 * here.group + 16 * warp + lane / 4;
        if constexpr (T::Packed)
            for (int half = 0; half < 2; half++)
                here.rows[half] = first + (here.row - first + 8 * half) / call.group;
        begin_rows<T>(c, call, here.row, place.head);
        walk<T::Keys> at;
        start_walk<T>(at, call, place, first, last);
        bool some = !at.over();
        if (some) {
            float s[T::Keys / 2], factor[2];
            barrier_wait(barrier.k_full(k_ring.stage), k_ring.phase);
            products_begin();
            start_scores<T>(s, here.q, here.keys + k_ring.stage * T::TileBytes);
            products_wait<0>();
            pin(s);
            if (threadIdx.x % 128 == 0)
                barrier_arrive(barrier.k_empty(k_ring.stage));
            k_ring.advance();
            if (at.masked)
                mask<T>(s, call, at, here);
            soften<T, true>(s, c, here.scale_log2, factor);
            take_probabilities<T>(s, c);
            rescale<T>(c, factor);
            at.next(call);
            while (!at.over() && at.masked) {
                next_tile<T, true>(c, here, call, at, barrier, k_ring, v_ring);
                at.next(call);
            }
            while (!at.over()) {
                next_tile<T, false>(c, here, call, at, barrier, k_ring, v_ring);
                at.next(call);
            }
        }
        __syncwarp(); /* each warp has read the work's number, also where there is nothing to do */
        if (lane == 0)
            barrier_arrive(barrier.q_empty());
        if (some) {
            barrier_wait(barrier.v_full(v_ring.stage), v_ring.phase);
            pin(c.out);
            products_begin();
            start_values<T>(c, here.values + v_ring.stage * T::TileBytes);
            products_wait<0>();
            pin(c.out);
            if (threadIdx.x % 128 == 0)
                barrier_arrive(barrier.v_empty(v_ring.stage));
            v_ring.advance();
        }
        if constexpr (T::Packed)
            end_part<T>(c, a, here, place);
        else if (some || !call.fold)
            end_rows<T>(c, a, here, first, place.head, spare);
    }
    if (threadIdx.x % 128 == 0)
        tensor_store_read();
}

template <class T>
__global__ void __launch_bounds__(T::Threads, 1)
    attend_hopper(const __grid_constant__ hopper_arguments a)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ unsigned char unaligned[];
    uint32_t base = (shared_address(unaligned) + 1023) & ~1023u;
    barriers<T> barrier = {base + T::BarriersAt};
    volatile int *work_slot =
        (volatile int *)(unaligned + (base - shared_address(unaligned)) + T::WorkAt);
    if (threadIdx.x == 0) {
        barrier_init(barrier.q_full(), 1);
        barrier_init(barrier.q_empty(), 4 * T::Consumers);
        for (int stage = 0; stage < T::Stages; stage++) {
            barrier_init(barrier.k_full(stage), 1);
            barrier_init(barrier.v_full(stage), 1);
            barrier_init(barrier.k_empty(stage), T::Consumers);
            barrier_init(barrier.v_empty(stage), T::Consumers);
        }
        barrier_init_done();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registers_down<T::ProducerRegisters>();
        if (threadIdx.x == 0)
            produce<T>(a, base, barrier, work_slot);
    } else {
        registers_up<T::ConsumerRegisters>();
        consume<T>(a, base, barrier, work_slot);
    }
#else
    __trap(); /* launched on Hopper alone: then the build has no sm_90a (GPU_CODE in the Makefile) */
#endif
}
#endif
