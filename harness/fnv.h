/* FNV-1a, 64 bits (Fowler, Noll and Vo): keys of rows on disk, of launches and of tables in memory. Not
 * for what an opponent chooses. Start with FNV_START; a hash may be gone on with. */
#ifndef HARNESS_FNV_H
#define HARNESS_FNV_H
#include <stddef.h>
#include <stdint.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static inline uint64_t fnv1a(uint64_t hash, const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * FNV_PRIME;
    return hash;
}
#endif
