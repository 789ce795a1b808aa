/* JSON lines from files that are not trusted: line by line with bounded memory, each line either a
 * value or broken with the reason. A line is broken when it is over 256 MB, nested deeper than 64,
 * of more than a million values, holds a NUL byte, or is refused by jansson (among them lone
 * surrogates, NaN and integers past 64 bits, which Python would accept). Lines end in LF or CRLF; a
 * byte order mark at the file's start is passed over. */
#ifndef DATASETS_JSONL_H
#define DATASETS_JSONL_H
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    FILE *file;
    char *path;     /* of the file in hand: a chunk's, where the lines come in chunks */
    char *stem;     /* of chunk files STEM-N.jsonl; else NULL */
    long chunk;     /* N of the one in hand */
    char *line; /* the last line read, without its newline */
    size_t bytes, capacity;
    int64_t number; /* of the last line read, from 1; in its chunk */
} jsonl_file;

enum { JSONL_ROW = 1, JSONL_END = 0, JSONL_FAILED = -1, JSONL_BROKEN = -2 };

/* A file NAME.jsonl that is not there may lie in chunks, as RULER's scripts leave them: then the lines
 * of NAME-0.jsonl, NAME-1.jsonl .. are read one after another, and a chunk missing before others is an
 * error. -1 with a sentence naming the path. */
int jsonl_open(jsonl_file *, const char *path);
/* Next line that is not blank: JSONL_ROW and *row (to be json_decref'd); JSONL_END; JSONL_BROKEN
 * with the sentence "PATH:LINE: reason", after which reading goes on; JSONL_FAILED with a sentence
 * when the file cannot be read. */
int jsonl_next(jsonl_file *, json_t **row);
void jsonl_close(jsonl_file *);
#endif
