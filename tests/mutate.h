/* Seeded random mutations of a text, for tests that feed readers with files gone wrong. */
#ifndef TESTS_MUTATE_H
#define TESTS_MUTATE_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void mutate_seed(uint64_t seed);

/* Changes one to four pieces of text [length], which has room for `room` bytes: a byte or a bit, a
 * digit by another, up to 16 bytes repeated or taken out. Returns the new length. */
size_t mutate(char *text, size_t length, size_t room);

/* Writes `rows` mutations of a row to the file, each on a line of its own: newlines in them become
 * blanks. */
void mutate_rows(FILE *, const char *row, int rows);
#endif
