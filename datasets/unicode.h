/* Python's rules for text, which the official scorers and generators lean on, for UTF-8 through
 * ICU: strip, lower, whitespace; and the sentence breaks that needles are put at. */
#ifndef DATASETS_UNICODE_H
#define DATASETS_UNICODE_H
#include <stddef.h>
#include <stdint.h>

/* Bytes at the front of text that are valid UTF-8 (== bytes when all is). */
size_t utf8_valid_prefix(const char *text, size_t bytes);
/* Code points of valid UTF-8. */
size_t utf8_characters(const char *text, size_t bytes);

/* Bytes of the whitespace character (str.isspace()) at the start of text, 0 when there is none. */
size_t python_space(const char *text, size_t bytes);
/* str.strip(): moves *text and *bytes to what is left. */
void python_strip(const char **text, size_t *bytes);
/* str.lower(): full lower-casing with its contexts (final sigma; dotted capital I becomes two code
 * points). Fresh memory with a NUL behind; NULL with a sentence when text is over 700 MB. */
char *python_lower(const char *text, size_t bytes, size_t *lower_bytes);
/* " ".join(text.split()): whitespace runs become one space, none at the ends. Fresh memory. */
char *python_join_words(const char *text, size_t bytes, size_t *joined_bytes);

/* Ends (byte offsets, trailing whitespace included) of the sentences of English text by Unicode's
 * sentence rules (UAX 29); fresh memory, *count of them. -1 with a sentence. */
int sentence_ends(const char *text, size_t bytes, size_t **ends, size_t *count);
#endif
