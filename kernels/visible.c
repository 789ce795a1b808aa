/* Counting visible keys. See visible.h. */
#include "kernels/visible.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t visible_keys(const attn_segment *segment, int64_t row)
{
    if (row < segment->row_begin || row >= segment->row_end)
        return 0;
    int64_t offset = least(segment->causal_offset, segment->length);
    return most(0, least(segment->length, row - segment->row_begin + offset + 1));
}

static int64_t segment_pairs(const attn_segment *segment, int64_t begin, int64_t end)
{
    begin = most(begin, segment->row_begin);
    end = least(end, segment->row_end);
    if (begin >= end || segment->length <= 0)
        return 0;
    int64_t offset = most(least(segment->causal_offset, segment->length),
                          segment->row_begin - end); /* the same counts, without overflow */
    int64_t first_some = most(begin, segment->row_begin - offset); /* sees its first key */
    int64_t first_all = most(begin, segment->row_begin + segment->length - 1 - offset);
    first_some = least(first_some, end);
    first_all = most(first_some, least(first_all, end));
    int64_t rising = first_all - first_some;
    int64_t first_count = first_some - segment->row_begin + offset + 1;
    return rising * first_count + rising * (rising - 1) / 2 + (end - first_all) * segment->length;
}

int64_t visible_pairs(const attn_call *call, int64_t begin, int64_t end)
{
    int64_t pairs = 0;
    for (int s = 0; s < call->segment_count; s++)
        pairs += segment_pairs(&call->segments[s], begin, end);
    return pairs;
}
