/* Files that grow by whole lines, each written by one write(): the rows and what lies beside them. */
#ifndef HARNESS_RECORDS_LINE_FILE_H
#define HARNESS_RECORDS_LINE_FILE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *path;
    int descriptor; /* -1: not open */
} line_file;

/* Opens or makes the file at `path`. All of these return -1 with a sentence when they fail. */
int lines_open(line_file *);
/* Appends with one write(); a part that a full disk lets through is taken back. */
int lines_append(line_file *, const char *text, size_t bytes);
/* Leaves the first `bytes` bytes. */
int lines_cut(line_file *, size_t bytes);
/* Has what was written on disk before it returns. */
int lines_settle(line_file *);

/* The number of a line that begins with `mark` and digits, of which this many are read. Returns where they
 * end; 0 when the line begins otherwise. */
enum { LINE_NUMBER_DIGITS = 18 };
size_t line_number(const char *mark, const char *line, size_t bytes, int64_t *number);
#endif
