/* Byte-pair encoding of one word: start from its bytes or characters, and apply the merge of lowest
 * rank, leftmost first, until none applies. Short words scan their few pairs each time; long ones use
 * a heap, n log n in their length; and very long ones a queue for each rank, n log n too but nearly
 * linear, so that megabytes of one letter cost no more than other text. Words seen before come from a
 * cache. */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 40, HUGE_WORD = 1 << 16, JOIN_BITS = 1 << 20 };
static const uint32_t NO_RANK = UINT32_MAX;
static const uint64_t NO_PAIR = UINT64_MAX;

/* ---- The table of merges ---- */

static uint64_t mix(uint64_t key)
{
    key *= 0x9E3779B97F4A7C15u;
    return key ^ key >> 32;
}

static const merge_slot *find_merge(const bpe_model *model, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t at = mix(pair) & (model->slots - 1);
    while (model->merge[at].pair != pair && model->merge[at].pair != NO_PAIR)
        at = (at + 1) & (model->slots - 1);
    return &model->merge[at];
}

static void grow_merges(bpe_model *model)
{
    merge_slot *old = model->merge;
    size_t old_slots = model->slots;
    model->slots = old_slots ? old_slots * 2 : 1024;
    model->merge = alloc_or_die(model->slots, sizeof *model->merge);
    for (size_t i = 0; i < model->slots; i++)
        model->merge[i] = (merge_slot){NO_PAIR, NO_RANK, -1};
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].pair != NO_PAIR)
            *(merge_slot *)find_merge(model, (int32_t)(old[i].pair >> 32), (int32_t)old[i].pair) =
                old[i];
    free(old);
}

int bpe_add_merge(bpe_model *model, int32_t left, int32_t right, int32_t result, uint32_t rank)
{
    if ((model->merges + 1) * 2 > model->slots)
        grow_merges(model);
    merge_slot *slot = (merge_slot *)find_merge(model, left, right);
    if (slot->pair == NO_PAIR)
        model->merges++;
    if (rank >= model->ranks)
        model->ranks = rank + 1;
    /* A pair listed twice keeps its last rank, as in Hugging Face. */
    *slot = (merge_slot){(uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, result};
    return 0;
}

/* ---- Where words may be cut ---- */

/* A merge joins the last character of its left part to the first of its right part. Two characters
 * that no merge joins so always end up in different tokens, and the word can be cut between them:
 * without this, a SentencePiece-style model, which has no pre-tokenizer, would take the whole text
 * as one word. A hash into a bitmap may say "joins" too often, which only leaves a word longer. */
static size_t join_bit(uint32_t last, uint32_t first)
{
    return mix((uint64_t)last << 32 | first) >> 8 & (JOIN_BITS - 1);
}

static bool is_byte_token(const char *text, size_t bytes)
{
    return bytes == 6 && !memcmp(text, "<0x", 3) && text[5] == '>';
}

static void find_joins(bpe_model *model)
{
    model->may_join = alloc_or_die(JOIN_BITS / 64, sizeof *model->may_join);
    for (size_t i = 0; i < model->slots; i++) {
        if (model->merge[i].pair == NO_PAIR)
            continue;
        size_t left_bytes, right_bytes, at = 0;
        const char *left = vocabulary_text(&model->words, (int64_t)(model->merge[i].pair >> 32),
                                           &left_bytes);
        const char *right = vocabulary_text(&model->words, (int32_t)model->merge[i].pair,
                                            &right_bytes);
        if (!left_bytes || !right_bytes || is_byte_token(left, left_bytes) ||
            is_byte_token(right, right_bytes)) {
            model->cut = false; /* such a merge is not about the characters of its text */
            return;
        }
        size_t last = utf8_previous(left, left_bytes);
        size_t bit = join_bit(utf8_next(left, &last), utf8_next(right, &at));
        model->may_join[bit / 64] |= UINT64_C(1) << bit % 64;
    }
}

void bpe_finish(bpe_model *model, bool byte_level)
{
    if (!model->slots)
        grow_merges(model);
    model->huge_word = HUGE_WORD;
    model->byte_level = byte_level;
    bool all = true;
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        size_t bytes = 6;
        if (byte_level)
            bytes = utf8_put(byte_character((uint8_t)byte), text);
        else
            snprintf(text, sizeof text, "<0x%02X>", byte);
        model->byte_id[byte] = vocabulary_find(&model->words, text, bytes);
        all = all && model->byte_id[byte] >= 0;
    }
    model->cut = !byte_level && model->byte_fallback && all;
    if (model->cut)
        find_joins(model);
}

/* ---- The symbols that a word starts from ---- */

typedef struct {
    bpe_symbol *symbol;
    int32_t count;
    bool unknown; /* one is waiting to be written */
} symbol_list;

static void push_symbol(symbol_list *list, int32_t id)
{
    list->symbol[list->count++].id = id;
}

static void push_unknown(const bpe_model *model, symbol_list *list)
{
    if (model->unknown < 0)
        return; /* without an unknown token the character is dropped */
    if (list->unknown && !model->fuse_unknown)
        push_symbol(list, model->unknown);
    list->unknown = true;
}

static void push_known(const bpe_model *model, symbol_list *list, int32_t id)
{
    if (list->unknown)
        push_symbol(list, model->unknown);
    list->unknown = false;
    push_symbol(list, id);
}

/* At most one symbol for each byte. */
static int32_t start_symbols(const bpe_model *model, const char *word, size_t bytes,
                             bpe_symbol *symbol)
{
    symbol_list list = {.symbol = symbol};
    for (size_t at = 0; at < bytes;) {
        size_t begin = at;
        int32_t id;
        if (model->byte_level) {
            id = model->byte_id[(uint8_t)word[at++]];
        } else {
            utf8_next(word, &at);
            id = vocabulary_find(&model->words, word + begin, at - begin);
        }
        if (id >= 0) {
            push_known(model, &list, id);
            continue;
        }
        bool fallback = model->byte_fallback && !model->byte_level;
        for (size_t i = begin; fallback && i < at; i++)
            fallback = model->byte_id[(uint8_t)word[i]] >= 0;
        if (!fallback)
            push_unknown(model, &list);
        else /* an unknown that waits stays waiting, as in Hugging Face */
            for (size_t i = begin; i < at; i++)
                push_symbol(&list, model->byte_id[(uint8_t)word[i]]);
    }
    if (list.unknown)
        push_symbol(&list, model->unknown);
    return list.count;
}

/* ---- Merging ---- */

static void merge_short(const bpe_model *model, bpe_symbol *symbol, int32_t count, token_list *out)
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

static void merge_long(const bpe_model *model, encoder *e, int32_t count)
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
static void merge_huge(const bpe_model *model, bpe_symbol *symbol, int32_t count)
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

/* ---- Words ---- */

static int encode_word(const bpe_model *model, encoder *e, const char *word, size_t bytes)
{
    if (model->ignore_merges) {
        const char *text = word;
        size_t length = bytes;
        if (model->byte_level) {
            e->mapped.count = 0;
            text_buffer_reserve(&e->mapped, 2 * bytes);
            for (size_t i = 0; i < bytes; i++)
                e->mapped.count += utf8_put(byte_character((uint8_t)word[i]),
                                            e->mapped.bytes + e->mapped.count);
            text = e->mapped.bytes;
            length = e->mapped.count;
        }
        int32_t id = vocabulary_find(&model->words, text, length);
        if (id >= 0) {
            token_list_push(e->out, id);
            return 0;
        }
    }
    if (bytes <= SHORT_WORD) {
        bpe_symbol symbol[SHORT_WORD];
        merge_short(model, symbol, start_symbols(model, word, bytes, symbol), e->out);
        return 0;
    }
    if (bytes > INT32_MAX)
        return fail("a single word of %zu bytes is too long to tokenize", bytes);
    if (bytes > e->symbols) {
        e->symbols = bytes > 2 * e->symbols ? bytes : 2 * e->symbols;
        free(e->symbol);
        e->symbol = alloc_or_die(e->symbols, sizeof *e->symbol);
    }
    bpe_symbol *symbol = e->symbol;
    int32_t count = start_symbols(model, word, bytes, symbol);
    for (int32_t i = 0; i < count; i++) {
        symbol[i].previous = i - 1;
        symbol[i].next = i + 1 < count ? i + 1 : -1;
    }
    if ((size_t)count >= model->huge_word)
        merge_huge(model, symbol, count);
    else
        merge_long(model, e, count);
    for (int32_t i = 0; i >= 0 && count; i = symbol[i].next)
        token_list_push(e->out, symbol[i].id);
    return 0;
}

static int encode_cached(const bpe_model *model, encoder *e, const char *word, size_t bytes)
{
    if (bytes > sizeof e->cache->text)
        return encode_word(model, e, word, bytes);
    cached_word *cached = &e->cache[hash_bytes(word, bytes) & (CACHED_WORDS - 1)];
    token_list *out = e->out;
    if (cached->length == bytes && !memcmp(cached->text, word, bytes)) {
        for (int i = 0; i < cached->count; i++)
            token_list_push(out, cached->id[i]);
        return 0;
    }
    size_t before = out->count;
    if (encode_word(model, e, word, bytes))
        return -1;
    size_t count = out->count - before;
    if (count <= sizeof cached->id / sizeof *cached->id) {
        cached->length = (uint8_t)bytes;
        cached->count = (uint8_t)count;
        memcpy(cached->text, word, bytes);
        for (size_t i = 0; i < count; i++)
            cached->id[i] = out->ids[before + i];
    }
    return 0;
}

int bpe_encode(const bpe_model *model, encoder *e, const char *word, size_t bytes)
{
    if (!model->cut || model->ignore_merges)
        return encode_cached(model, e, word, bytes);
    size_t done = 0, at = 0;
    uint32_t last = bytes ? utf8_next(word, &at) : 0;
    while (at < bytes) {
        size_t begin = at;
        uint32_t character = utf8_next(word, &at);
        size_t bit = join_bit(last, character);
        if (!(model->may_join[bit / 64] >> bit % 64 & 1)) {
            if (encode_cached(model, e, word + done, begin - done))
                return -1;
            done = begin;
        }
        last = character;
    }
    return encode_cached(model, e, word + done, bytes - done);
}

void bpe_free(bpe_model *model)
{
    vocabulary_free(&model->words);
    free(model->merge);
    free(model->may_join);
    *model = (bpe_model){0};
}
