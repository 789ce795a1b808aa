/* Tables in Markdown whose columns line up, so that they read as well in a terminal, and the
 * footnotes under them. */
#ifndef HARNESS_REPORT_MARKDOWN_H
#define HARNESS_REPORT_MARKDOWN_H
#include <stdio.h>

typedef struct {
    int columns, rows; /* row 0 is the header */
    char **cells;      /* [rows * columns], NULL = empty */
    int text_columns;  /* that many from the left are set flush left, the rest flush right */
} grid;

grid grid_new(int columns, int text_columns);
/* Appends an empty row and returns its number. */
int grid_row(grid *);
/* Sets a cell, printf style. Bars are escaped. */
void grid_set(grid *, int row, int column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void grid_print(const grid *, FILE *);
void grid_free(grid *);

typedef struct {
    char **texts;
    int count;
} footnotes;

/* The number of the footnote with this text, from 1; added when it is new. */
int footnote(footnotes *, const char *text);
/* Prints and empties them. */
void footnotes_print(footnotes *, FILE *);
#endif
