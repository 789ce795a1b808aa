/* Which keys a query row sees in an attention call, and how many (query, key) pairs that makes: the
 * FLOPs that devices count are 4 x head_dim x heads for each pair, never those of whole tiles. */
#ifndef KERNELS_VISIBLE_H
#define KERNELS_VISIBLE_H
#include "kernels/device.h"

/* Keys of the segment that row sees: its first ones. */
int64_t visible_keys(const attn_segment *, int64_t row);
/* Sum of visible_keys() over rows begin..end-1 and all segments, in constant time. */
int64_t visible_pairs(const attn_call *, int64_t begin, int64_t end);
#endif
