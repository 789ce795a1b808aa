/* See records_fixture.h. */
#include "tests/records_fixture.h"

#include "harness/error.h"
#include "harness/records/csv.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char records_folder[64], rows_path[96], reps_path[96], samples_path[96];

void make_records_folder(void)
{
    strcpy(records_folder, "/tmp/apbench-records-XXXXXX");
    cr_assert(mkdtemp(records_folder));
    snprintf(rows_path, sizeof rows_path, "%s/sweep.csv", records_folder);
    snprintf(reps_path, sizeof reps_path, "%s/sweep.reps.csv", records_folder);
    snprintf(samples_path, sizeof samples_path, "%s/sweep.samples.jsonl", records_folder);
}

void remove_records_folder(void)
{
    remove(rows_path);
    remove(reps_path);
    remove(samples_path);
    rmdir(records_folder);
}

void write_bytes(const char *path, const char *text, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(text, 1, bytes, file) == bytes && fclose(file) == 0);
}

char *read_bytes(const char *path, size_t *bytes)
{
    char *text = file_text(path, bytes);
    cr_assert(text, "%s", fail_text());
    return text;
}
