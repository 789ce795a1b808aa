/* Samples of accuracy rows on disk: they are written as they come, so a row that is cut off anywhere goes
 * on with those that are there whole and are its own, and with no others. */
#include "harness/error.h"
#include "harness/records/csv.h"
#include "tests/records_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(records, .init = make_records_folder, .fini = remove_records_folder);

static record accuracy_row(const char *task, const char *status)
{
    record row = {.kind = RECORD_ACCURACY};
    record_text(&row, ACCURACY_TASK, task);
    record_text(&row, ACCURACY_STATUS, status);
    record_text(&row, ACCURACY_DETAIL, "two\r\nlines");
    record_text(&row, ACCURACY_DATE, "2025-01-01T00:00:00Z");
    return row;
}

static records *open_accuracy(const char *commit)
{
    records *all = records_open(rows_path, RECORD_ACCURACY, commit);
    cr_assert(all, "%s", fail_text());
    return all;
}

static void write_sample(records *all, const record *row, int number)
{
    json_t *sample = json_pack("{s:i, s:s%, s:[s], s:f}", "sample", number, "prompt", "l\n\"\0\"", 5,
                               "references", "42", "score", number / 7.0);
    char *text = json_dumps(sample, JSON_COMPACT);
    cr_assert_eq(records_sample(all, row, text), 0, "%s", fail_text());
    free(text);
    json_decref(sample);
}

/* What a sweep does with what is left of a row: here samples below *argument fit. */
static bool fits(void *argument, const json_t *sample)
{
    json_int_t number = json_integer_value(json_object_get(sample, "sample"));
    return number < *(int *)argument &&
           json_real_value(json_object_get(sample, "score")) == (double)number / 7.0 &&
           json_string_length(json_object_get(sample, "prompt")) == 5;
}

/* Begins a row; returns how many samples are left of it. */
static int resume(records *all, const record *row, int below)
{
    json_t *left = records_resume(all, row, fits, &below);
    cr_assert(left, "%s", fail_text());
    int count = (int)json_array_size(left);
    for (int i = 0; i < count; i++)
        cr_expect_eq(json_integer_value(json_object_get(json_array_get(left, (size_t)i), "sample")), i);
    json_decref(left);
    return count;
}

Test(records, samples_beside_accuracy_rows)
{
    records *all = open_accuracy("abc");
    record row = accuracy_row("niah_single_1", "ok");
    for (int i = 0; i < 2; i++)
        write_sample(all, &row, i);
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    size_t kept, bytes;
    char *text = read_bytes(samples_path, &kept);
    json_error_t error;
    json_t *line = json_loadb(text, kept, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error);
    cr_assert(line, "%s", error.text);
    cr_expect_eq(json_integer_value(json_object_get(line, "row")), 1);
    cr_expect_eq(json_string_length(json_object_get(line, "cell")), 16);
    cr_expect_eq(json_string_length(json_object_get(line, "prompt")), 5);
    json_decref(line);
    free(text);
    record other = accuracy_row("vt", "ok");
    write_sample(all, &other, 0); /* of a row that never comes */
    records_close(all);
    FILE *file = fopen(samples_path, "a");
    fputs("{\"row\":2,\"prompt\":\"li", file);
    fclose(file);
    all = open_accuracy("abc");
    cr_expect(records_done(all, &row, true));
    cr_expect_not(records_done(all, &other, true));
    record third = accuracy_row("cwe", "ok");
    cr_expect_eq(resume(all, &third, 9), 0);
    free(read_bytes(samples_path, &bytes));
    cr_expect_eq(bytes, kept); /* what is in memory alone now comes back with its row */
    cr_assert_eq(records_append(all, &third), 0);
    cr_expect_eq(resume(all, &other, 9), 1);
    cr_assert_eq(records_append(all, &other), 0);
    records_close(all);
    text = read_bytes(samples_path, &bytes);
    cr_expect_gt(bytes, kept);
    cr_expect(!strncmp(text + kept, "{\"row\":3,\"cell\":\"", 17), "%s", text + kept);
    free(text);
    csv *rows = csv_read(rows_path);
    cr_expect_eq(rows->rows, 3);
    cr_expect_str_eq(csv_cell(rows, 0, csv_column(rows, "detail")), "two  lines");
    csv_free(rows);
    record_clear(&row);
    record_clear(&other);
    record_clear(&third);
}

/* Every length that a kill can leave the samples with, in the second of two rows: going on runs only
 * what is not there whole, and gives the bytes of the undisturbed sweep. */
Test(records, samples_cut_anywhere, .timeout = 60)
{
    enum { SAMPLES = 5 };
    record rows[2] = {accuracy_row("niah_single_1", "ok"), accuracy_row("vt", "ok")};
    records *all = open_accuracy("abc");
    size_t row_bytes = 0, first_bytes = 0, bytes;
    for (int r = 0; r < 2; r++) {
        if (r)
            free(read_bytes(rows_path, &row_bytes)), free(read_bytes(samples_path, &first_bytes));
        cr_expect_eq(resume(all, &rows[r], SAMPLES), 0);
        for (int i = 0; i < SAMPLES; i++)
            write_sample(all, &rows[r], i);
        cr_assert_eq(records_append(all, &rows[r]), 0);
    }
    records_close(all);
    size_t all_rows_bytes;
    char *row_text = read_bytes(rows_path, &all_rows_bytes), *text = read_bytes(samples_path, &bytes);
    for (size_t length = first_bytes; length <= bytes; length++) {
        write_bytes(rows_path, row_text, row_bytes);
        write_bytes(samples_path, text, length);
        int whole = 0;
        for (size_t i = first_bytes; i < length; i++)
            whole += text[i] == '\n';
        all = open_accuracy("abc");
        cr_expect(records_done(all, &rows[0], true));
        cr_assert_eq(resume(all, &rows[1], SAMPLES), whole, "cut at %zu", length);
        for (int i = whole; i < SAMPLES; i++)
            write_sample(all, &rows[1], i);
        cr_assert_eq(records_append(all, &rows[1]), 0);
        records_close(all);
        size_t now;
        char *after = read_bytes(samples_path, &now);
        cr_assert(now == bytes && !memcmp(after, text, bytes), "cut at %zu", length);
        free(after);
        after = read_bytes(rows_path, &now);
        cr_assert(now == all_rows_bytes && !memcmp(after, row_text, now), "cut at %zu", length);
        free(after);
    }
    free(text);
    free(row_text);
    record_clear(&rows[0]);
    record_clear(&rows[1]);
}

/* Left samples of another commit, of another cell, or that do not fit stay out of the row; those of a
 * cell that comes later are kept for it, by whatever number its row gets. */
Test(records, samples_of_another_cell_are_not_mixed_in)
{
    record row = accuracy_row("niah_single_1", "ok"), failed = accuracy_row("cwe", "failed");
    records *all = open_accuracy("abc");
    cr_assert_eq(records_append(all, &failed), 0);
    for (int i = 0; i < 4; i++)
        write_sample(all, &row, i);
    records_close(all);
    size_t bytes, after;
    char *text = read_bytes(samples_path, &bytes);
    char *row_text = read_bytes(rows_path, &after);

    all = open_accuracy("abc"); /* the failed row is tried again first */
    cr_expect_eq(resume(all, &failed, 9), 0);
    write_sample(all, &failed, 0);
    cr_assert_eq(records_append(all, &failed), 0);
    cr_expect_eq(resume(all, &row, 3), 3); /* the fourth does not fit */
    cr_expect_eq(resume(all, &row, 9), 0); /* they are this row's already */
    write_sample(all, &row, 3);
    cr_assert_eq(records_append(all, &row), 0);
    records_close(all);
    char *now = read_bytes(samples_path, &after);
    int of_row[4] = {0};
    for (const char *line = now; *line; line = strchr(line, '\n') + 1)
        of_row[atoi(line + 7)]++;
    cr_expect(of_row[1] == 0 && of_row[2] == 1 && of_row[3] == 4, "%s", now);
    free(now);

    record seed = accuracy_row("niah_single_1", "ok");
    record_integer(&seed, ACCURACY_SEED, 43);
    remove(rows_path);
    write_bytes(samples_path, text, bytes); /* of a sweep killed in its first row, by another commit */
    all = open_accuracy("def");
    cr_expect_eq(resume(all, &row, 9), 0);
    records_close(all);
    free(read_bytes(samples_path, &after));
    cr_expect_eq(after, 0);
    write_bytes(samples_path, text, bytes);
    all = open_accuracy("abc");
    cr_expect_eq(resume(all, &seed, 9), 0);
    records_close(all);
    free(text);
    free(row_text);
    record_clear(&row);
    record_clear(&failed);
    record_clear(&seed);
}

/* A row that failed keeps its samples, and the row that tries its cell again takes copies: once, however
 * often it is killed, and of the latest such row. */
Test(records, samples_of_a_failed_row_are_not_run_again)
{
    record row = accuracy_row("cwe", "failed"), other = accuracy_row("fwe", "failed");
    records *all = open_accuracy("abc");
    write_sample(all, &other, 0);
    cr_assert_eq(records_append(all, &other), 0);
    for (int i = 0; i < 3; i++)
        write_sample(all, &row, i);
    cr_assert_eq(records_append(all, &row), 0);
    records_close(all);
    for (int kills = 0; kills < 3; kills++) {
        all = open_accuracy("abc");
        cr_expect_eq(resume(all, &row, 9), 3 + kills);
        write_sample(all, &row, 3 + kills);
        records_close(all);
    }
    all = open_accuracy("abc");
    cr_expect_eq(resume(all, &row, 9), 6);
    cr_assert_eq(records_append(all, &row), 0);
    cr_expect_eq(resume(all, &row, 5), 5); /* of row 3 now, the last of them does not fit */
    record_text(&row, ACCURACY_STATUS, "ok");
    cr_assert_eq(records_append(all, &row), 0);
    cr_expect_eq(resume(all, &row, 9), 0);
    records_close(all);
    size_t bytes;
    char *text = read_bytes(samples_path, &bytes);
    int of_row[5] = {0};
    for (const char *line = text; *line; line = strchr(line, '\n') + 1)
        of_row[atoi(line + 7)]++;
    cr_expect(of_row[1] == 1 && of_row[2] == 3 && of_row[3] == 6 && of_row[4] == 5, "%s", text);
    free(text);
    record_clear(&row);
    record_clear(&other);
}

/* Lines that no run has written so. */
Test(records, odd_left_samples_are_dropped)
{
    static const char *const odd[] = {
        "{\"row\":1,\"cell\":\"0123456789abcde\",\"sample\":0}\n",
        "{\"row\":1,\"cell\":\"0123456789abcdeX\",\"sample\":0}\n",
        "{\"row\":1,\"cell\":\"0123456789abcdef\"}\n",
        "{\"row\":1,\"cell\":\"0123456789abcdef\",\"sample\":0\n",
        "{\"row\":1,\"sample\":0}\n",
        "{\"row\":1}\n",
    };
    record row = accuracy_row("niah_single_1", "ok");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        remove(rows_path);
        write_bytes(samples_path, odd[i], strlen(odd[i]));
        records *all = open_accuracy("abc");
        size_t bytes;
        free(read_bytes(samples_path, &bytes));
        cr_expect_eq(bytes, 0, "%s", odd[i]);
        cr_expect_eq(resume(all, &row, 9), 0);
        records_close(all);
    }
    /* the right cell, but no JSON behind it */
    remove(rows_path);
    remove(samples_path);
    records *all = open_accuracy("abc");
    write_sample(all, &row, 0);
    write_sample(all, &row, 1);
    records_close(all);
    size_t bytes;
    char *text = read_bytes(samples_path, &bytes);
    char *second = strchr(text, '\n') + 1;
    *strstr(second, "prompt") = '"';
    write_bytes(samples_path, text, bytes);
    all = open_accuracy("abc");
    cr_expect_eq(resume(all, &row, 9), 1);
    records_close(all);
    size_t after;
    free(read_bytes(samples_path, &after));
    cr_expect_eq(after, (size_t)(second - text));
    free(text);
    record_clear(&row);
}

/* Of a row whose number is another now, since rows before it were taken out of the file by hand. */
Test(records, left_samples_get_the_rows_number)
{
    record row = accuracy_row("niah_single_1", "ok");
    records *all = open_accuracy("abc");
    write_sample(all, &row, 0);
    write_sample(all, &row, 1);
    records_close(all);
    size_t bytes;
    char *text = read_bytes(samples_path, &bytes), *second = strchr(text, '\n') + 1;
    text[7] = second[7] = '7'; /* {"row":7 */
    write_bytes(samples_path, text, bytes);
    free(text);
    all = open_accuracy("abc");
    cr_expect_eq(resume(all, &row, 9), 2);
    cr_assert_eq(records_append(all, &row), 0);
    records_close(all);
    text = read_bytes(samples_path, &bytes);
    second = strchr(text, '\n') + 1;
    cr_expect(!strncmp(text, "{\"row\":1,", 9) && !strncmp(second, "{\"row\":1,", 9), "%s", text);
    free(text);
    record_clear(&row);
}
