/* A device that computes nothing and touches nothing: it checks that every buffer of every call lies
 * whole inside one block that it gave out, and remembers which bytes a prefill's rows were written to.
 * Cells far larger than this machine's memory run on it in no time. */
#ifndef TESTS_EXTENT_DEVICE_H
#define TESTS_EXTENT_DEVICE_H
#include "kernels/device.h"

typedef struct {
    uintptr_t begin, end;
} extent;

typedef struct {
    extent *items;
    int count, capacity;
} extent_list;

typedef struct {
    extent_list blocks; /* given out and not taken back */
    int calls, outside; /* buffers that were checked; that lay outside */
    char first_outside[256];
    size_t refuse_from; /* alloc() of so many bytes or more gives nothing; 0 = all are given */
    /* Of the prefill: Q and KV as rope writes them, the residual stream as norms read it and as the FFN's
     * last product writes it. Calls over `few_rows` rows, or one, are the query phase's. */
    int64_t few_rows;
    bool one_host; /* its anchors have no query, so that few rows are the query phase's */
    extent_list q, kv, normed, residual;
    int ffn; /* the model's: which product that is */
} extent_state;

device extent_device(extent_state *);
/* Bytes of the union of the ranges, and of how many runs without a gap it consists. */
size_t extent_union(extent_list *, int *runs);
void extent_free(extent_state *);
#endif
