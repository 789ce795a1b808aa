/* Seeded random values that are the same on every device, whatever the order in which they are
 * made: element i of a tensor depends on (seed, i) alone.
 *
 * The hash is the output number i + 1 of SplitMix64 (Steele, Lea, Flood: Fast splittable
 * pseudorandom number generators, OOPSLA 2014) started at `seed`. Its upper 24 bits, less 2^23, are
 * an integer that float32 holds exactly; one multiplication by bound * 2^-23 makes it uniform in
 * [-bound, bound). So there is exactly one rounding, and no device can differ. */
#ifndef KERNELS_HASH_H
#define KERNELS_HASH_H
#include <stdint.h>

#ifdef __CUDACC__
#define HASH_FUNCTION static __host__ __device__ inline
#else
#define HASH_FUNCTION static inline
#endif

HASH_FUNCTION uint64_t hash_bits(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Uniform in [-bound, bound). */
HASH_FUNCTION float hash_uniform(uint64_t seed, uint64_t i, float bound)
{
    int32_t centred = (int32_t)(hash_bits(seed, i) >> 40) - (1 << 23);
    return (float)centred * (bound * 0x1p-23f);
}
#endif
