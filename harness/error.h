/* How a function says that it failed, and why. It returns -1 (or NULL) after leaving one sentence
 * with fail(); whoever gives up prints the sentence once. The sentence names the file, key or flag
 * and the value found. Also the allocation that never fails: a process that cannot get a few
 * kilobytes of host memory has nothing better to do than to say so and stop. */
#ifndef HARNESS_ERROR_H
#define HARNESS_ERROR_H
#include <stddef.h>

/* Leaves the sentence (printf style, no trailing newline) for fail_text() and returns -1. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts "prefix: " in front of the sentence already left, and returns -1: callers add where. */
int fail_within(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The sentence of the last failure of this thread; "" when none. */
const char *fail_text(void);

/* Host memory or the end of the program; zeroed. count * size is checked for overflow. */
void *alloc_or_die(size_t count, size_t size);

/* Grows (or moves) a block of host memory to count * size bytes; the new part is not zeroed. */
void *realloc_or_die(void *block, size_t count, size_t size);

/* A copy of the text, or of its first `bytes` bytes with a NUL behind them. */
char *copy_text(const char *text);
char *copy_bytes(const char *text, size_t bytes);

/* printf into fresh memory that the caller frees. */
char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif
