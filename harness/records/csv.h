/* Comma-separated values as RFC 4180 has them, read whole. The results of sweeps, the paper's
 * figures and the single repetitions are such files; whoever reads one asks for columns by name, so
 * that a file with more columns, or fewer, still reads. */
#ifndef HARNESS_CSV_H
#define HARNESS_CSV_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct {
    int columns, rows;
    char **names; /* [columns], the header */
    char **cells; /* [rows * columns] */
    size_t whole_bytes; /* where the last whole line ends */
    bool torn;          /* bytes behind it: an unfinished line, not among the rows */
    char *text;         /* what names and cells point into */
} csv;

/* Reads a file whose first line is the header. NULL with a sentence naming file and line when it
 * cannot be read, a line has not as many fields as the header, or quotes are out of place. A file
 * without one whole line gives columns == 0. */
csv *csv_read(const char *path);

/* The same from memory; takes over `text` (bytes + 1 long, from malloc). */
csv *csv_parse(char *text, size_t bytes, const char *path);
void csv_free(csv *);

/* The number of the column with that name; -1 when there is none. */
int csv_column(const csv *, const char *name);

/* A cell; "" when the column is -1. */
const char *csv_cell(const csv *, int row, int column);

/* A cell of the named column as a number; NaN when it is empty, no number or not there. */
double csv_number(const csv *, int row, const char *name);

/* Writes a field with quotes where it needs them. */
void csv_put(FILE *, const char *field);

/* The whole file (of at most 256 MB) in memory, with a NUL behind it. NULL with a sentence on failure. */
char *file_text(const char *path, size_t *bytes);
#endif
