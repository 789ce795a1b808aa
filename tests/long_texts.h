/* Long texts of a kind, most of them hostile to a tokenizer: one word of megabytes, runs of one class,
 * random characters. For the test that the work grows no faster than the text, and for the benchmark. */
#ifndef TESTS_LONG_TEXTS_H
#define TESTS_LONG_TEXTS_H
#include <stddef.h>

typedef struct {
    const char *name;
    const char *alphabet; /* characters, drawn at random with equal chances; NULL: see long_text() */
} long_text_kind;
extern const long_text_kind long_text_kinds[];
extern const int long_text_count;

/* At most `bytes` bytes of text, whole characters only, the same at each call; to be freed. */
char *long_text(const long_text_kind *, size_t bytes, size_t *made);
#endif
