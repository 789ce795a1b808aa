/* Files that appear whole or not at all: they are written beside their place, and take it by rename. */
#ifndef HARNESS_WHOLE_FILE_H
#define HARNESS_WHOLE_FILE_H
#include <stdio.h>

typedef struct {
    FILE *file; /* to be written */
    char *part; /* where it lies until it is whole */
    char *path;
} whole_file;

/* Whether a file can take this place, as far as that is known before it is written: makes the folders that
 * it is to lie in, and refuses what is there and no regular file (a folder; a device, which the rename
 * would replace). -1 with a sentence. */
int whole_file_check(const char *path);
/* Begins the file, once it is checked. -1 with a sentence. */
int whole_file_open(whole_file *, const char *path);
/* status 0: the file takes its place, once it is on disk; else nothing of it stays, and the sentence of
 * whoever failed stands. -1 with a sentence when it could not be written, else status. */
int whole_file_close(whole_file *, int status);
#endif
