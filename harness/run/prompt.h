/* A prompt as token ids, split into the document that is prefilled and the query that follows it,
 * and the places in it that methods ask about (chat head, end of turn). */
#ifndef HARNESS_PROMPT_H
#define HARNESS_PROMPT_H
#include "harness/model/model.h"
#include "methods/method.h"

typedef struct {
    int32_t *ids;             /* document, then query */
    int64_t document, query;  /* lengths in tokens */
    int64_t head_tokens;      /* chat head at the document's start: the model's, or that of the template
                               * that an official row brings, at least its begin-of-text */
    int64_t query_in_anchor;  /* query tokens before its first end-of-turn id; all when it has none; or
                               * how many there are of: */
    int32_t *anchor_query;    /* ids that an anchor carries instead; NULL: those of the query */
} prompt;

/* Appends the ids of a prompt's front. It begins with what the tokenizer puts before a text (Llama-3's
 * begin-of-text) exactly once, whether the text, as its chat head, brings that or not. */
int prompt_encode_front(const model *, const char *text, size_t bytes, token_list *);

/* Document and query tokenised apart, as all benchmark samples are, under every method. */
int prompt_from_parts(const model *, const char *document, size_t document_bytes, const char *query,
                      size_t query_bytes, prompt *);

/* Makes anchors carry this text, which may be empty, in place of the query's beginning. */
int prompt_set_anchor_query(const model *, const char *text, size_t bytes, prompt *);

/* One text, used as it is (begun as prompt_encode_front() does) or, with chat, inside the model's chat
 * template. The last query_tokens tokens are the query; 0 = a tenth, at most 50. */
int prompt_from_text(const model *, const char *text, size_t bytes, bool chat, int64_t query_tokens,
                     prompt *);

/* -1 with a sentence when a random prompt cannot have so many tokens, its query among them. */
int prompt_check_length(int64_t length, int64_t query);

/* `length` seeded random ids of which the last `query` are the query: what speed runs use. Ids of
 * special tokens do not occur. */
int prompt_random(const model *, int64_t length, int64_t query, uint64_t seed, prompt *);

/* Sets the cell's lengths from the prompt. */
void prompt_to_cell(const prompt *, cell *);
void prompt_free(prompt *);
#endif
