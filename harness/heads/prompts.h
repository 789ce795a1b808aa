/* Prompts that retaining heads learn from: token ids, and which of their rows are looked back from.
 * The rows before them are the positions whose keys are labelled and scored. */
#ifndef HARNESS_HEADS_PROMPTS_H
#define HARNESS_HEADS_PROMPTS_H
#include <stdbool.h>

#include "harness/model/model.h"
#include "harness/options.h"

typedef struct {
    int32_t *ids;
    int64_t count;     /* positions, label rows, and one last token that only ends the prompt */
    int64_t positions; /* labelled ones; label rows are positions .. count - 2 */
    uint8_t *needle;   /* [positions]: tokens of the answers in the document; NULL: none are known */
    /* As methods are given it (run/prompt.h): the document, and the query behind it. What comes behind
     * both is the answer. Of a window of text the query are the rows that look back. */
    int64_t document, query, head_tokens, query_in_anchor;
} heads_prompt;

typedef struct {
    heads_prompt *items;
    int64_t count;
} heads_prompts;

typedef struct {
    text_list data;  /* JSON lines in RULER's layouts: document, query and answer */
    text_list text;  /* plain text: windows of it, of which the last 64 tokens look back */
    int64_t windows; /* of each text file */
    size_list lengths; /* two: fewest and most tokens of a window */
    bool from_query; /* the query's rows look back as well as the answer's; else the answer's alone,
                      * as in Locret, and the query is labelled too */
    uint64_t seed;
} prompt_sources;

/* -1 with a sentence when `lengths` are no two sizes that windows of text can have. */
int prompt_sources_check(const prompt_sources *);

/* All prompts of all sources (good ones: prompt_sources_check()), tokenised. Broken rows are
 * counted on stderr and left out; -1 with a sentence when a file cannot be read or nothing is left. */
int heads_prompts_read(const model *, const prompt_sources *, heads_prompts *);
void heads_prompts_free(heads_prompts *);
/* Of all ids and places: tells one set of prompts from another. */
uint64_t heads_prompts_hash(const heads_prompts *);
#endif
