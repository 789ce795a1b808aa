/* Applying merges to the symbols of one word. Short words scan their few pairs each time; long ones use a
 * heap, n log n in their length; and very long ones a queue for each rank, n log n too but nearly linear,
 * so that megabytes of one letter cost no more than other text. */
#include "datasets/tokenizer/merge.h"

#include "harness/error.h"

#include <stdlib.h>

/* ---- Scanning ---- */

void merge_short(const bpe_model *model, bpe_symbol *symbol, int32_t count, token_list *out)
{
    const merge_slot *merge[SHORT_WORD];
    for (int32_t i = 0; i + 1 < count; i++)
        merge[i] = find_merge(model, symbol[i].id, symbol[i + 1].id);
    while (count > 1) {
        int32_t best = 0;
        for (int32_t i = 1; i + 1 < count; i++)
            if (merge[i]->rank < merge[best]->rank)
                best = i;
        if (merge[best]->rank == NO_RANK)
            break;
        symbol[best].id = merge[best]->result;
        count--;
        for (int32_t i = best + 1; i < count; i++) {
            symbol[i].id = symbol[i + 1].id;
            merge[i - 1] = merge[i];
        }
        if (best > 0)
            merge[best - 1] = find_merge(model, symbol[best - 1].id, symbol[best].id);
        if (best + 1 < count)
            merge[best] = find_merge(model, symbol[best].id, symbol[best + 1].id);
    }
    for (int32_t i = 0; i < count; i++)
        token_list_push(out, symbol[i].id);
}

/* ---- A heap ---- */

static void sift_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t moving = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= moving)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

static void heap_push(encoder *e, uint64_t entry)
{
    if (e->heap_count == e->heap_capacity) {
        e->heap_capacity = e->heap_capacity ? e->heap_capacity * 2 : 256;
        e->heap = realloc_or_die(e->heap, e->heap_capacity, sizeof *e->heap);
    }
    size_t at = e->heap_count++;
    while (at > 0 && e->heap[(at - 1) / 2] > entry) {
        e->heap[at] = e->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    e->heap[at] = entry;
}

static uint64_t heap_pop(encoder *e)
{
    uint64_t top = e->heap[0];
    e->heap[0] = e->heap[--e->heap_count];
    if (e->heap_count)
        sift_down(e->heap, e->heap_count, 0);
    return top;
}

/* Looks up the merge of a symbol with the next one; its rank, or NO_RANK. */
static uint32_t look_up(const bpe_model *model, bpe_symbol *symbol, int32_t at)
{
    bpe_symbol *left = &symbol[at];
    left->rank = NO_RANK;
    if (left->next >= 0) {
        const merge_slot *merge = find_merge(model, left->id, symbol[left->next].id);
        left->rank = merge->rank;
        left->result = merge->result;
    }
    return left->rank;
}

static void look_up_and_push(const bpe_model *model, encoder *e, int32_t at)
{
    uint32_t rank = look_up(model, e->symbol, at);
    if (rank != NO_RANK)
        heap_push(e, (uint64_t)rank << 32 | (uint32_t)at);
}

/* Merges a symbol with the next one. */
static void merge_at(bpe_symbol *symbol, int32_t at, int32_t result)
{
    bpe_symbol *left = &symbol[at], *right = &symbol[left->next];
    right->rank = NO_RANK;
    right->id = -1;
    left->id = result;
    left->next = right->next;
    if (left->next >= 0)
        symbol[left->next].previous = at;
}

void merge_long(const bpe_model *model, encoder *e, int32_t count)
{
    bpe_symbol *symbol = e->symbol;
    e->heap_count = 0;
    for (int32_t i = 0; i < count; i++)
        look_up_and_push(model, e, i);
    while (e->heap_count) {
        uint64_t top = heap_pop(e);
        int32_t at = (int32_t)(uint32_t)top;
        bpe_symbol *left = &symbol[at];
        if (left->rank != (uint32_t)(top >> 32))
            continue; /* merged away, or its neighbour has changed since */
        merge_at(symbol, at, left->result);
        if (left->previous >= 0)
            look_up_and_push(model, e, left->previous);
        look_up_and_push(model, e, at);
    }
}

/* ---- A queue for each rank ---- */

/* Which ranks have places waiting: bits, with a bit over every 64 of them in the level above. */
enum { SET_LEVELS = 6 }; /* 2^36 ranks */
typedef struct {
    uint64_t *level[SET_LEVELS];
    int levels;
} rank_set;

static void rank_set_open(rank_set *set, size_t ranks)
{
    for (set->levels = 0; !set->levels || ranks > 1; set->levels++) {
        ranks = (ranks + 63) / 64;
        set->level[set->levels] = alloc_or_die(ranks, sizeof **set->level);
    }
}

static void rank_set_add(rank_set *set, size_t rank)
{
    for (int l = 0; l < set->levels; l++, rank /= 64)
        set->level[l][rank / 64] |= UINT64_C(1) << rank % 64;
}

static void rank_set_remove(rank_set *set, size_t rank)
{
    for (int l = 0; l < set->levels; l++, rank /= 64)
        if (set->level[l][rank / 64] &= ~(UINT64_C(1) << rank % 64))
            break;
}

static bool rank_set_first(const rank_set *set, size_t *rank)
{
    size_t first = 0;
    if (!set->level[set->levels - 1][0])
        return false;
    for (int l = set->levels - 1; l >= 0; l--)
        first = first * 64 + (size_t)__builtin_ctzll(set->level[l][first]);
    *rank = first;
    return true;
}

/* Places that wait for one rank's merge, the leftmost to come out first: those that came in order, and
 * a heap of those that did not. */
typedef struct {
    int32_t *place, *late;
    size_t first, count, capacity, late_count, late_capacity;
} rank_queue;

static void queue_push(rank_queue *queue, int32_t at)
{
    if (queue->first == queue->count || queue->place[queue->count - 1] <= at) {
        if (queue->first == queue->count)
            queue->first = queue->count = 0;
        if (queue->count == queue->capacity) {
            queue->capacity = queue->capacity ? queue->capacity * 2 : 16;
            queue->place = realloc_or_die(queue->place, queue->capacity, sizeof *queue->place);
        }
        queue->place[queue->count++] = at;
        return;
    }
    if (queue->late_count == queue->late_capacity) {
        queue->late_capacity = queue->late_capacity ? queue->late_capacity * 2 : 16;
        queue->late = realloc_or_die(queue->late, queue->late_capacity, sizeof *queue->late);
    }
    size_t hole = queue->late_count++;
    for (; hole > 0 && queue->late[(hole - 1) / 2] > at; hole = (hole - 1) / 2)
        queue->late[hole] = queue->late[(hole - 1) / 2];
    queue->late[hole] = at;
}

static int32_t pop_late(rank_queue *queue)
{
    int32_t *late = queue->late, top = late[0], moving = late[--queue->late_count];
    size_t hole = 0, count = queue->late_count;
    for (size_t child; (child = 2 * hole + 1) < count; hole = child) {
        child += child + 1 < count && late[child + 1] < late[child];
        if (late[child] >= moving)
            break;
        late[hole] = late[child];
    }
    late[hole] = moving;
    return top;
}

/* The leftmost place; frees what the queue has once it is empty. */
static int32_t queue_pop(rank_queue *queue)
{
    bool ordered = queue->first < queue->count &&
                   (!queue->late_count || queue->place[queue->first] <= queue->late[0]);
    int32_t at = ordered ? queue->place[queue->first++] : pop_late(queue);
    if (queue->first == queue->count && !queue->late_count) {
        free(queue->place);
        free(queue->late);
        *queue = (rank_queue){0};
    }
    return at;
}

static void wait_for_merge(const bpe_model *model, rank_queue *queues, rank_set *waiting,
                           bpe_symbol *symbol, int32_t at)
{
    uint32_t rank = look_up(model, symbol, at);
    if (rank == NO_RANK)
        return;
    queue_push(&queues[rank], at);
    rank_set_add(waiting, rank);
}

/* The same in the same order, with a queue for each rank in place of one heap, whose every step misses
 * the cache when a word has millions of symbols: a rank's places mostly come in order, and are gone
 * through in order. A word of 20 MB of random letters takes 3 s so, and 25 s with the heap. */
void merge_huge(const bpe_model *model, bpe_symbol *symbol, int32_t count)
{
    rank_queue *queues = alloc_or_die(model->ranks, sizeof *queues);
    rank_set waiting = {0};
    rank_set_open(&waiting, model->ranks);
    for (int32_t i = 0; i < count; i++)
        wait_for_merge(model, queues, &waiting, symbol, i);
    for (size_t rank; rank_set_first(&waiting, &rank);) {
        rank_queue *queue = &queues[rank];
        int32_t at = queue_pop(queue);
        if (!queue->count && !queue->late_count)
            rank_set_remove(&waiting, rank);
        if (symbol[at].rank != rank)
            continue; /* merged away, or its neighbour has changed since */
        merge_at(symbol, at, symbol[at].result);
        if (symbol[at].previous >= 0)
            wait_for_merge(model, queues, &waiting, symbol, symbol[at].previous);
        wait_for_merge(model, queues, &waiting, symbol, at);
    }
    for (int l = 0; l < waiting.levels; l++)
        free(waiting.level[l]);
    free(queues);
}
