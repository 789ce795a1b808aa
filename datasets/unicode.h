/* Python's rules for text, which the official scorers and generators lean on, for UTF-8 through
 * ICU: strip, lower, whitespace; and the sentence breaks that needles are put at. */
#ifndef DATASETS_UNICODE_H
#define DATASETS_UNICODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes at the front of text that are valid UTF-8 (== bytes when all is). */
size_t utf8_valid_prefix(const char *text, size_t bytes);
/* Code points of valid UTF-8. */
size_t utf8_characters(const char *text, size_t bytes);

/* Bytes of the character at the start of text, which goes to *character (-1: none, or no UTF-8). */
size_t utf8_character(const char *text, size_t bytes, int32_t *character);

/* Bytes of the whitespace character (str.isspace()) at the start of text, 0 when there is none. */
size_t python_space(const char *text, size_t bytes);
/* str.strip(): moves *text and *bytes to what is left. */
void python_strip(const char **text, size_t *bytes);
/* str.lower(): full lower-casing with its contexts (final sigma; dotted capital I becomes two code
 * points). Fresh memory with a NUL behind; NULL with a sentence when text is over 700 MB. */
char *python_lower(const char *text, size_t bytes, size_t *lower_bytes);
/* str.upper(), likewise (sharp s becomes SS). */
char *python_upper(const char *text, size_t bytes, size_t *upper_bytes);
/* What \w matches: str.isalnum() or an underscore. */
bool python_is_word(int32_t character);
/* The value of a decimal digit of any script (general category Nd, what \d matches), else -1. */
int python_digit(int32_t character);
/* " ".join(text.split()): whitespace runs become one space, none at the ends. Fresh memory. */
char *python_join_words(const char *text, size_t bytes, size_t *joined_bytes);

/* Ends (byte offsets, trailing whitespace included) of the sentences of English text by Unicode's
 * sentence rules (UAX 29); fresh memory, *count of them. -1 with a sentence. */
int sentence_ends(const char *text, size_t bytes, size_t **ends, size_t *count);
#endif
