/* Prompts of all commands: benchmark samples, a user's text, random ids. See prompt.h. */
#include "harness/run/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "kernels/hash.h"

/* Where the head of a template that is not the model's may end, and the rest of its last line. */
enum { MOST_HEAD = 64, MOST_ROLE = 3 };

enum { MOST_TOKENS = 1 << 26 }; /* of a random prompt; sixty-four times what the paper runs */

/* Newlines at the end of a token's text; *others: what else it has. */
static size_t newlines_of(const model *m, int32_t id, size_t *others)
{
    char *text = tokenizer_decode(m->tokens, &id, 1, false, others);
    size_t newlines = 0;
    for (; *others && text[*others - 1] == '\n'; --*others)
        newlines++;
    free(text);
    return newlines;
}

/* The front of ids that open with a special token: through the last one that stands near, and what its
 * line says of the turn ("user"). A begin-of-text alone is one too. */
static int64_t other_head_tokens(const model *m, const int32_t *ids, int64_t count)
{
    int64_t end = 0;
    if (!count || !tokenizer_is_special(m->tokens, ids[0]))
        return 0;
    for (int64_t i = 0; i < count && i < MOST_HEAD; i++)
        if (tokenizer_is_special(m->tokens, ids[i]))
            end = i + 1;
    size_t others;
    for (int64_t i = end; i < count && i < end + MOST_ROLE; i++)
        if (newlines_of(m, ids[i], &others)) {
            do
                i++;
            while (i < count && newlines_of(m, ids[i], &others) && !others);
            return i;
        }
    return end;
}

/* Tokens of the chat head with which the ids begin, 0 when they have none. */
static int64_t head_tokens(const model *m, const int32_t *ids, int64_t count)
{
    token_list head = {0};
    int64_t tokens = 0;
    if (m->chat && *m->chat->head &&
        !tokenizer_encode(m->tokens, m->chat->head, strlen(m->chat->head), false, &head) &&
        (int64_t)head.count <= count && !memcmp(head.ids, ids, head.count * sizeof *ids))
        tokens = (int64_t)head.count;
    else
        tokens = other_head_tokens(m, ids, count);
    token_list_free(&head);
    return tokens;
}

static void find_places(const model *m, prompt *p)
{
    p->head_tokens = m->tokens ? head_tokens(m, p->ids, p->document) : m->config.head_tokens;
    p->query_in_anchor = p->query;
    int32_t end = m->chat && *m->chat->end_of_turn ? tokenizer_id(m->tokens, m->chat->end_of_turn)
                                                   : -1;
    for (int64_t i = 0; i < p->query && end >= 0; i++)
        if (p->ids[p->document + i] == end) {
            p->query_in_anchor = i;
            break;
        }
}

int prompt_encode_front(const model *m, const char *text, size_t bytes, token_list *ids)
{
    size_t at = ids->count, count;
    const int32_t *prefix = tokenizer_prefix(m->tokens, &count);
    for (size_t i = 0; i < count; i++)
        token_list_push(ids, prefix[i]);
    if (tokenizer_encode(m->tokens, text, bytes, false, ids))
        return -1;
    size_t found = ids->count - at;
    if (!count || found < 2 * count)
        return 0;
    int32_t *front = ids->ids + at;
    if (!memcmp(front, front + count, count * sizeof *front)) {
        memmove(front, front + count, (found - count) * sizeof *front);
        ids->count -= count;
    }
    return 0;
}

int prompt_from_parts(const model *m, const char *document, size_t document_bytes,
                      const char *query, size_t query_bytes, prompt *p)
{
    token_list ids = {0};
    *p = (prompt){0};
    if (model_check_tokenizer(m))
        return -1;
    if (prompt_encode_front(m, document, document_bytes, &ids))
        goto failed;
    p->document = (int64_t)ids.count;
    if (tokenizer_encode(m->tokens, query, query_bytes, false, &ids))
        goto failed;
    p->query = (int64_t)ids.count - p->document;
    p->ids = ids.ids;
    if (p->document < 1 || p->query < 1) {
        fail("a prompt needs a document and a query, got %lld and %lld tokens",
             (long long)p->document, (long long)p->query);
        goto failed;
    }
    find_places(m, p);
    return 0;
failed:
    token_list_free(&ids);
    *p = (prompt){0};
    return -1;
}

int prompt_set_anchor_query(const model *m, const char *text, size_t bytes, prompt *p)
{
    token_list ids = {0};
    if (model_check_tokenizer(m))
        return -1;
    if (tokenizer_encode(m->tokens, text, bytes, false, &ids)) {
        token_list_free(&ids);
        return -1;
    }
    free(p->anchor_query);
    p->anchor_query = ids.ids;
    p->query_in_anchor = (int64_t)ids.count;
    return 0;
}

int prompt_from_text(const model *m, const char *text, size_t bytes, bool chat, int64_t query_tokens,
                     prompt *p)
{
    *p = (prompt){0};
    if (model_check_tokenizer(m))
        return -1;
    token_list ids = {0};
    int status = 0;
    if (chat) {
        /* In one piece: merges may cross the template's borders, as in Hugging Face's template. */
        size_t head = strlen(m->chat->head), tail = strlen(m->chat->tail);
        char *whole = alloc_or_die(head + bytes + tail + 1, 1);
        memcpy(whole, m->chat->head, head);
        memcpy(whole + head, text, bytes);
        memcpy(whole + head + bytes, m->chat->tail, tail);
        status = tokenizer_encode(m->tokens, whole, head + bytes + tail, false, &ids);
        free(whole);
    } else {
        status = prompt_encode_front(m, text, bytes, &ids);
    }
    if (!status && ids.count < 2)
        status = fail("the prompt has %zu token%s; it needs at least 2, one each for document and "
                      "query", ids.count, ids.count == 1 ? "" : "s");
    if (!status && query_tokens >= (int64_t)ids.count)
        status = fail("--query-tokens %lld leaves no document: the prompt has %zu tokens",
                      (long long)query_tokens, ids.count);
    if (status) {
        token_list_free(&ids);
        return -1;
    }
    int64_t query = query_tokens ? query_tokens : (int64_t)ids.count / 10;
    if (!query_tokens)
        query = query < 1 ? 1 : query > 50 ? 50 : query;
    p->ids = ids.ids;
    p->query = query;
    p->document = (int64_t)ids.count - query;
    find_places(m, p);
    return 0;
}

int prompt_check_length(int64_t length, int64_t query)
{
    if (query < 1)
        return fail("--query %lld: at least 1 token", (long long)query);
    if (length <= query)
        return fail("--lengths %lld leaves no document beside a query of %lld", (long long)length,
                    (long long)query);
    if (length > MOST_TOKENS)
        return fail("--lengths %lld: at most %d tokens", (long long)length, MOST_TOKENS);
    return 0;
}

int prompt_random(const model *m, int64_t length, int64_t query, uint64_t seed, prompt *p)
{
    if (prompt_check_length(length, query))
        return -1;
    *p = (prompt){.ids = alloc_or_die((size_t)length, sizeof *p->ids),
                  .document = length - query,
                  .query = query};
    uint64_t draw = 0;
    for (int64_t i = 0; i < length; i++)
        do
            p->ids[i] = (int32_t)(hash_bits(seed, draw++) % (uint64_t)m->config.shape.vocab);
        while (m->tokens && tokenizer_is_special(m->tokens, p->ids[i]));
    find_places(m, p);
    /* Random ids begin with no chat head; the anchor still keeps as many tokens in front of the
     * query as a prompt of this family would. */
    if (m->tokens && m->chat) {
        token_list head = {0};
        if (!tokenizer_encode(m->tokens, m->chat->head, strlen(m->chat->head), false, &head))
            p->head_tokens = (int64_t)head.count;
        token_list_free(&head);
    }
    return 0;
}

void prompt_to_cell(const prompt *p, cell *c)
{
    c->document = p->document;
    c->query = p->query;
    c->head_tokens = p->head_tokens;
    c->query_in_anchor = p->query_in_anchor;
}

void prompt_free(prompt *p)
{
    free(p->ids);
    free(p->anchor_query);
    *p = (prompt){0};
}
