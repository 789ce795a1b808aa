/* Fuzzes what a sweep resumes from: the CSV, and behind a NUL byte the file beside it. Bit 0 of the
 * first byte makes them rows of accuracy, else of speed; bit 1 puts what the program itself writes in
 * front; and a line that begins with `@` gets empty fields up to the header's number, so that inputs
 * need not follow the columns. What is taken must be taken again after it was cut, with the same text,
 * and so after a row was appended. Samples that are left of that row go into it, once. */
#include "harness/error.h"
#include "harness/records/csv.h"
#include "harness/records/records.h"
#include "harness/report/intervals/samples.h"
#include "tests/fuzz/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "a \"name\", with\nall"

static void try_csv(const uint8_t *data, size_t bytes)
{
    char *text = copy_bytes((const char *)data, bytes);
    csv *table = csv_parse(text, bytes, "fuzz.csv");
    if (!table)
        return;
    MUST(table->whole_bytes <= bytes);
    for (int row = 0; row < table->rows; row++)
        for (int column = 0; column < table->columns; column++)
            MUST(strlen(csv_cell(table, row, column)) < bytes);
    if (table->rows)
        csv_number(table, table->rows - 1, table->names[table->columns - 1]);
    csv_free(table);
}

/* Both files behind one another. */
static char *both(const char *rows, const char *details)
{
    size_t first = 0, second = 0;
    char *a = file_text(rows, &first), *b = file_text(details, &second);
    MUST(a && b);
    char *text = format_text("%s\n----\n%s", a, b);
    free(a);
    free(b);
    return text;
}

/* The input's text as it goes to the CSV. */
static char *expand(record_kind kind, const char *text)
{
    int columns;
    record_columns(kind, &columns);
    char *expanded;
    size_t bytes;
    FILE *out = open_memstream(&expanded, &bytes);
    for (const char *end; *text; text = end) {
        bool whole = *(end = strchrnul(text, '\n'));
        int fields = 1;
        for (const char *at = text; at < end; at++)
            fields += *at == ',';
        bool fill = *text == '@';
        fwrite(text + fill, 1, (size_t)(end - text) - fill, out);
        for (; fill && fields < columns; fields++)
            fputc(',', out);
        fputs(whole ? "\n" : "", out);
        end += whole;
    }
    fclose(out);
    return expanded;
}

static void append_row(records *all, record_kind kind)
{
    record row = {.kind = kind};
    record_text(&row, 1, NAME);
    record_text(&row, kind == RECORD_SPEED ? SPEED_STATUS : ACCURACY_STATUS, "ok");
    MUST(records_append(all, &row) == 0);
    record_clear(&row);
}

static void append_to(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "ab");
    MUST(file && fwrite(bytes, 1, count, file) == count);
    fclose(file);
}

/* Two rows, the second with details, as the program leaves them. */
static void write_sound(const char *rows, record_kind kind)
{
    records *all = records_open(rows, kind, "");
    MUST(all);
    append_row(all, kind);
    record key = {.kind = kind};
    record_text(&key, 1, "model");
    const repetition one = {.kind = "timed", .number = 1, .wall_s = 2};
    MUST((kind == RECORD_SPEED ? records_repetition(all, &key, &one)
                               : records_sample(all, &key, "{\"prompt\":\"a\\nb\"}")) == 0);
    MUST(records_append(all, &key) == 0);
    record_clear(&key);
    records_close(all);
}

/* What intervals are made of. */
static void try_scores(const char *rows)
{
    sample_scores *all = sample_scores_read(rows);
    MUST(all);
    for (int64_t i = 0; i < all->count; i++) {
        const sample_score *one = &all->items[i];
        int64_t count;
        MUST(!i || one[-1].row < one->row || (one[-1].row == one->row && one[-1].number < one->number));
        MUST(one->score - one->score == 0); /* finite */
        MUST(sample_scores_of(all, one->row, &count) <= one && count > 0);
    }
    sample_scores_free(all);
}

static bool fits(void *argument, const json_t *sample)
{
    (void)argument;
    MUST(json_is_object(sample));
    return json_object_get(sample, "sample") != NULL;
}

/* How many samples are left of the row that append_row() writes. */
static size_t resume(records *all)
{
    record row = {.kind = RECORD_ACCURACY};
    record_text(&row, 1, NAME);
    json_t *left = records_resume(all, &row, fits, NULL);
    MUST(left);
    size_t count = json_array_size(left);
    json_decref(left);
    record_clear(&row);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!bytes)
        return 0;
    record_kind kind = data[0] & 1 ? RECORD_ACCURACY : RECORD_SPEED;
    bool sound = data[0] & 2;
    data++, bytes--;
    try_csv(data, bytes);
    const uint8_t *second = bytes ? memchr(data, 0, bytes) : NULL;
    char *plain = copy_bytes((const char *)data, second ? (size_t)(second - data) : bytes);
    char *text = expand(kind, plain);
    char *rows = scratch_file("rows.csv", "", 0);
    char *details = scratch_file(kind == RECORD_SPEED ? "rows.reps.csv" : "rows.samples.jsonl", "", 0);
    if (sound)
        write_sound(rows, kind);
    append_to(rows, text, strlen(text));
    if (second)
        append_to(details, second + 1, bytes - (size_t)(second - data) - 1);
    try_scores(rows);
    records *all = records_open(rows, kind, "");
    if (all) {
        records_close(all);
        char *once = both(rows, details);
        all = records_open(rows, kind, "");
        MUST(all);
        char *twice = both(rows, details);
        MUST(!strcmp(once, twice));
        size_t left = kind == RECORD_ACCURACY ? resume(all) : 0;
        append_row(all, kind);
        records_close(all);
        size_t before, after;
        free(file_text(details, &before));
        all = records_open(rows, kind, "");
        MUST(all && (kind == RECORD_SPEED || resume(all) == 0));
        records_close(all);
        free(file_text(details, &after)); /* what was left is the row's now */
        MUST(before == after && after >= left);
        free(once);
        free(twice);
    } else {
        MUST(*fail_text());
    }
    free(plain);
    free(text);
    free(rows);
    free(details);
    return 0;
}
