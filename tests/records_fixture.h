/* What the tests of results on disk stand on: a scratch folder with the files of one sweep. */
#ifndef TESTS_RECORDS_FIXTURE_H
#define TESTS_RECORDS_FIXTURE_H
#include "harness/records/records.h"

extern char records_folder[64], rows_path[96], reps_path[96], samples_path[96];

void make_records_folder(void);
void remove_records_folder(void); /* and the three files */

void write_bytes(const char *path, const char *text, size_t bytes);
char *read_bytes(const char *path, size_t *bytes); /* to be freed */
#endif
