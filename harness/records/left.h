/* Samples in the file beside the rows that a later row may take over: those that a killed run has left, of
 * a row that it has not committed, and those of a row that failed. Each line says which cell it is of.
 * records.c alone includes this. */
#ifndef HARNESS_RECORDS_LEFT_H
#define HARNESS_RECORDS_LEFT_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLE_ROW_MARK "{\"row\":" /* how every line of samples begins; the row's number comes next */

typedef struct {
    int64_t row;   /* as the line has it */
    uint64_t cell; /* hash of commit and key */
    char *rest;    /* the line behind its row's number: `,"cell":"0123...",...}` and its end */
    size_t bytes;
} left_sample;

typedef struct {
    left_sample *items;
    int count;
} left_samples;

/* What a line has behind the row's number, up to the sample's own fields: `,"cell":"0123456789abcdef"`. */
enum { LEFT_CELL_BYTES = 26 };
void left_cell_text(uint64_t cell, char text[LEFT_CELL_BYTES + 1]);

/* Takes the lines `{"row":N,"cell":"...",...}` of text up to the first that is another or has no end,
 * and returns how many bytes these are. */
size_t left_samples_read(left_samples *, const char *text, size_t bytes);

/* Takes from text the lines of one row and cell, wherever they are. */
void left_samples_of(left_samples *, const char *text, size_t bytes, int64_t row, uint64_t cell);

/* The sample as an object, for the caller to free; NULL when the line is no JSON. */
json_t *left_sample_object(const left_sample *);

/* Forgets those of a cell. */
void left_samples_drop(left_samples *, uint64_t cell);
void left_samples_free(left_samples *);
#endif
