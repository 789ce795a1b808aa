/* The official JSONL layouts: RULER's (`input`, `answer_prefix`) and the split one of Star-Attention
 * and APB (`input_context`, `input_query`); rows to samples and samples to rows. */
#ifndef DATASETS_OFFICIAL_H
#define DATASETS_OFFICIAL_H
#include "datasets/task.h"
#include <jansson.h>

typedef enum { LAYOUT_RULER, LAYOUT_SPLIT } task_layout;

/* A row as a sample (number is left 0). wrap: a chat template to put around the text, NULL for a
 * text that is used as it is; as is one that opens with a chat marker ("<|"), since it was written with
 * its template. -1 with a sentence saying what is wrong with the row.
 *
 * Where a RULER row's document ends: the query is the last line of `input` that is neither blank
 * nor opens with a chat marker, and all behind it; RULER's thirteen templates put the
 * question on one line, the chat templates only markers behind it. A row without `answer_prefix` (a
 * row of predictions) has the lead-in at the end of `input`: there the line before the one that
 * opens the assistant's turn is the question. */
int official_sample(const json_t *row, const chat_template *wrap, task_sample *);

/* The references of a row: the strings of `outputs` (a string instead of a list counts as the list
 * of its characters, as it does for Python, up to a million bytes). Returns their count, to be freed with
 * official_references_free, or -1 with a sentence. */
int official_references(const json_t *row, sized_text **references);
void official_references_free(sized_text *references, int count);

/* One line of JSON, newline included, to be freed: of an InfiniteBench task the sample's row, whatever
 * the layout; else ASCII-escaped. tokens counts `length` (whole
 * prompt, tokenised as one, plus the generated budget) and `token_position_answer`. NULL with a
 * sentence on failure. */
char *official_line(const task *, const task_sample *, const tokenizer *tokens, task_layout);
#endif
