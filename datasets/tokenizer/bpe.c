/* Byte-pair encoding of one word: its bytes or characters become symbols, which merge.c merges. Here is
 * what that rests on: the table of merges, where a long word may be cut, the symbols that a word starts
 * from, and a cache of words seen before. */
#include "datasets/tokenizer/merge.h"

#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HUGE_WORD = 1 << 16, JOIN_BITS = 1 << 20 };

/* ---- The table of merges ---- */

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
    return mix_key((uint64_t)last << 32 | first) >> 8 & (JOIN_BITS - 1);
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
