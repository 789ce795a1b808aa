/* Which texts are tokens. Texts by id and ids by text: one block of bytes, an entry for each id, and
 * an open-addressing hash table of ids, for the model's vocabulary and for the added tokens. And
 * added tokens (special ones and others) found in text as Hugging Face finds them: leftmost first,
 * then longest, each with its own rules about the words and spaces around it. */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/uchar.h>

/* ---- Texts and ids ---- */

static size_t find_slot(const vocabulary *v, const char *text, size_t bytes)
{
    size_t at = hash_bytes(text, bytes) & (v->slots - 1);
    while (v->slot[at] >= 0) {
        const vocabulary_entry *entry = &v->entry[v->slot[at]];
        if (entry->length == bytes && !memcmp(v->texts.bytes + entry->begin, text, bytes))
            break;
        at = (at + 1) & (v->slots - 1);
    }
    return at;
}

static void grow_slots(vocabulary *v)
{
    free(v->slot);
    v->slots = v->slots ? v->slots * 2 : 1024;
    v->slot = alloc_or_die(v->slots, sizeof *v->slot);
    memset(v->slot, -1, v->slots * sizeof *v->slot);
    for (int id = 0; id < v->count; id++)
        if (v->entry[id].present)
            v->slot[find_slot(v, v->texts.bytes + v->entry[id].begin, v->entry[id].length)] = id;
}

int vocabulary_add(vocabulary *v, const char *text, size_t bytes, int64_t id)
{
    if (id < 0 || id > LARGEST_ID)
        return fail("token \"%.60s\" has id %lld, not in 0..%d", text, (long long)id, LARGEST_ID);
    if (bytes > UINT32_MAX)
        return fail("token %lld is %zu bytes long", (long long)id, bytes);
    if (v->used * 2 >= v->slots)
        grow_slots(v);
    if (id < v->count && v->entry[id].present)
        return fail("tokens \"%.60s\" and \"%.*s\" share the id %lld", text,
                    (int)(v->entry[id].length < 60 ? v->entry[id].length : 60),
                    v->texts.bytes + v->entry[id].begin, (long long)id);
    size_t at = find_slot(v, text, bytes);
    if (v->slot[at] >= 0)
        return fail("token \"%.60s\" is there twice", text);
    if (id >= v->count) {
        int count = (int)id + 1 > v->count * 2 ? (int)id + 1 : v->count * 2;
        if (count < 1024)
            count = 1024;
        v->entry = realloc_or_die(v->entry, (size_t)count, sizeof *v->entry);
        memset(v->entry + v->count, 0, (size_t)(count - v->count) * sizeof *v->entry);
        v->count = count;
    }
    v->entry[id] = (vocabulary_entry){v->texts.count, (uint32_t)bytes, true};
    text_buffer_reserve(&v->texts, bytes + 1); /* even an empty text has a place */
    text_buffer_append(&v->texts, text, bytes);
    v->slot[at] = (int32_t)id;
    v->used++;
    return 0;
}

int32_t vocabulary_find(const vocabulary *v, const char *text, size_t bytes)
{
    return v->slots ? v->slot[find_slot(v, text, bytes)] : -1;
}

const char *vocabulary_text(const vocabulary *v, int64_t id, size_t *bytes)
{
    if (id < 0 || id >= v->count || !v->entry[id].present)
        return NULL;
    *bytes = v->entry[id].length;
    return v->texts.bytes + v->entry[id].begin;
}

void vocabulary_free(vocabulary *v)
{
    text_buffer_free(&v->texts);
    free(v->entry);
    free(v->slot);
    *v = (vocabulary){0};
}

/* ---- Added tokens in text ---- */

static size_t edge_slot(const added_trie *trie, uint64_t key)
{
    size_t at = (key * 0x9E3779B97F4A7C15u >> 20) & (trie->slots - 1);
    while (trie->edge[at] && trie->edge[at] != key)
        at = (at + 1) & (trie->slots - 1);
    return at;
}

static void grow_edges(added_trie *trie)
{
    added_trie old = *trie;
    trie->slots = old.slots ? old.slots * 2 : 256;
    trie->edge = alloc_or_die(trie->slots, sizeof *trie->edge);
    trie->target = alloc_or_die(trie->slots, sizeof *trie->target);
    for (size_t i = 0; i < old.slots; i++)
        if (old.edge[i]) {
            size_t at = edge_slot(trie, old.edge[i]);
            trie->edge[at] = old.edge[i];
            trie->target[at] = old.target[i];
        }
    free(old.edge);
    free(old.target);
}

static uint32_t new_node(added_trie *trie)
{
    trie->token = realloc_or_die(trie->token, (size_t)trie->nodes + 1, sizeof *trie->token);
    trie->token[trie->nodes] = -1;
    return trie->nodes++;
}

void added_trie_insert(added_trie *trie, const char *text, size_t bytes, int32_t token)
{
    if (!trie->nodes)
        new_node(trie);
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        if ((trie->edges + 1) * 2 > trie->slots)
            grow_edges(trie);
        uint64_t key = ((uint64_t)node << 8 | (uint8_t)text[i]) + 1;
        size_t at = edge_slot(trie, key);
        if (!trie->edge[at]) {
            trie->edge[at] = key;
            trie->target[at] = new_node(trie);
            trie->edges++;
        }
        node = trie->target[at];
    }
    trie->token[node] = token;
    trie->starts[(uint8_t)text[0]] = true;
}

/* The longest token that text begins with: its index and, in *length, its bytes; -1 when none. */
static int32_t longest_at(const added_trie *trie, const char *text, size_t bytes, size_t *length)
{
    int32_t best = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        size_t at = edge_slot(trie, ((uint64_t)node << 8 | (uint8_t)text[i]) + 1);
        if (!trie->edge[at])
            break;
        node = trie->target[at];
        if (trie->token[node] >= 0) {
            best = trie->token[node];
            *length = i + 1;
        }
    }
    return best;
}

/* \w of Rust's regex crate (Unicode Technical Standard 18, annex C). */
static bool is_word(uint32_t character)
{
    UChar32 c = (UChar32)character;
    return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
           (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK));
}

static bool word_before(const char *text, size_t at)
{
    if (at == 0)
        return false;
    at = utf8_previous(text, at);
    return is_word(utf8_next(text, &at));
}

static bool word_behind(const char *text, size_t bytes, size_t at)
{
    return at < bytes && is_word(utf8_next(text, &at));
}

bool added_find(const added_tokens *added, const added_trie *trie, const char *text, size_t bytes,
                size_t done, size_t *from, added_match *match)
{
    if (!trie->nodes)
        return false;
    size_t at = *from, length = 0;
    while (at < bytes) {
        int32_t index = -1;
        if (trie->starts[(uint8_t)text[at]])
            index = longest_at(trie, text + at, bytes - at, &length);
        if (index < 0) {
            at++;
            continue;
        }
        const added_token *token = &added->token[index];
        size_t begin = at, end = at + length;
        at = end;
        if (token->single_word && (word_before(text, begin) || word_behind(text, bytes, end)))
            continue;
        *from = at;
        if (token->lstrip) {
            while (begin > 0) {
                size_t before = utf8_previous(text, begin), next = before;
                if (!u_isUWhiteSpace((UChar32)utf8_next(text, &next)))
                    break;
                begin = before;
            }
            if (begin < done)
                begin = done; /* the token before took these spaces */
        }
        while (token->rstrip && end < bytes) {
            size_t next = end;
            if (!u_isUWhiteSpace((UChar32)utf8_next(text, &next)))
                break;
            end = next;
        }
        *match = (added_match){begin, end, token};
        return true;
    }
    *from = at;
    return false;
}

const added_token *added_by_id(const added_tokens *added, int64_t id)
{
    if (id < 0 || id >= added->ids || added->by_id[id] < 0)
        return NULL;
    return &added->token[added->by_id[id]];
}

static void trie_free(added_trie *trie)
{
    free(trie->edge);
    free(trie->target);
    free(trie->token);
}

void added_free(added_tokens *added)
{
    vocabulary_free(&added->words);
    for (int i = 0; i < added->count; i++)
        free(added->token[i].normal);
    free(added->token);
    free(added->by_id);
    trie_free(&added->raw);
    trie_free(&added->normalized);
    *added = (added_tokens){0};
}
