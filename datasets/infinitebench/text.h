/* What InfiniteBench's scorers do with texts and labels over and over, by Python's rules: replacing,
 * splitting, indexing and iterating over a label that may be a list or a string. */
#ifndef DATASETS_INFINITEBENCH_TEXT_H
#define DATASETS_INFINITEBENCH_TEXT_H
#include "datasets/task.h"
#include <jansson.h>

/* A copy that the caller frees. */
sized_text text_copy(sized_text);
/* str.strip() as a view. */
sized_text text_stripped(sized_text);
/* The view from `bytes` on. */
sized_text text_from(sized_text, size_t bytes);
bool text_equals(sized_text, sized_text);
bool text_begins(sized_text, sized_text start);
/* Byte offset of the first occurrence, -1 when there is none. */
int64_t text_find(sized_text, sized_text piece);
sized_text text_of(const char *);

/* Every occurrence of each piece in turn (NULL-terminated, none empty) becomes a space; in place. */
void text_blank_out(sized_text *, const char *const *pieces);
/* Runs of spaces (U+0020) become one; in place. */
void text_squeeze(sized_text *);
/* str.split() as views; fresh memory. */
sized_text *text_words(sized_text, size_t *count);

/* A string's text, as a view; of anything else the empty text. */
sized_text json_view(const json_t *);
/* What iterating over the label gives, as a new list: a list's items, a string's characters, an
 * object's keys. NULL with a sentence for what Python cannot iterate over. */
json_t *label_items(const json_t *label);
/* label[i] as a new reference; NULL with a sentence where Python raises. */
json_t *label_item(const json_t *label, size_t i);
/* `text in label`: an item of a list, a substring of a string. -1 with a sentence. */
int label_holds(const json_t *label, sized_text text);
#endif
