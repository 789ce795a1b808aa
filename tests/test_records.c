/* Results on disk: a sweep that is killed at any moment, or whose files end anywhere, goes on
 * without losing, repeating or halving a row; foreign files are refused and left alone. */
#include "harness/error.h"
#include "harness/records/csv.h"
#include "harness/records/records.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64], rows_path[96], reps_path[96], samples_path[96];

static void make_folder(void)
{
    strcpy(folder, "/tmp/apbench-records-XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(rows_path, sizeof rows_path, "%s/sweep.csv", folder);
    snprintf(reps_path, sizeof reps_path, "%s/sweep.reps.csv", folder);
    snprintf(samples_path, sizeof samples_path, "%s/sweep.samples.jsonl", folder);
}

static void remove_folder(void)
{
    remove(rows_path);
    remove(reps_path);
    remove(samples_path);
    rmdir(folder);
}

TestSuite(records, .init = make_folder, .fini = remove_folder);

static void write_text(const char *path, const char *text, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(text, 1, bytes, file) == bytes && fclose(file) == 0);
}

static char *read_text(const char *path, size_t *bytes)
{
    char *text = file_text(path, bytes);
    cr_assert(text, "%s", fail_text());
    return text;
}

/* The fixed date makes files comparable byte by byte. */
static record speed_row(int length, const char *status)
{
    record row = {.kind = RECORD_SPEED};
    record_text(&row, SPEED_MODEL, "smollm2");
    record_text(&row, SPEED_METHOD, "apb");
    record_text(&row, SPEED_OPTIONS, "anchor=256:compressor=query");
    record_integer(&row, SPEED_HOSTS, 4);
    record_integer(&row, SPEED_LENGTH, length);
    record_text(&row, SPEED_STATUS, status);
    record_text(&row, SPEED_DETAIL, "a \"quoted\" word, and a comma");
    record_number(&row, SPEED_PREFILL_S, length / 3.0);
    record_text(&row, SPEED_DATE, "2025-01-01T00:00:00Z");
    return row;
}

/* One cell as a sweep does it: repetitions first, then the row that commits them. */
static void run_cell(records *all, int length, int repetitions, const char *status)
{
    record row = speed_row(length, status);
    for (int i = 1; i <= repetitions; i++) {
        double clocks[] = {0.1 * i, 0.2 * i};
        repetition one = {.kind = "timed", .number = i, .prefill_s = length + 0.5 * i, .decode_s = NAN,
                          .wall_s = 2, .charged_s = 1, .transfers_s = 0.5, .enqueue_s = NAN,
                          .hosts = 2, .host_prefill_s = clocks};
        cr_assert_eq(records_repetition(all, &row, &one), 0, "%s", fail_text());
    }
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    record_clear(&row);
}

static bool cell_done(records *all, int length)
{
    record row = speed_row(length, "");
    bool done = records_done(all, &row);
    record_clear(&row);
    return done;
}

static records *open_or_die(const char *commit)
{
    records *all = records_open(rows_path, RECORD_SPEED, commit);
    cr_assert(all, "%s", fail_text());
    return all;
}

/* ---- CSV ---- */

Test(records, quoting_round_trip)
{
    const char *fields[] = {"plain", "", "a,b", "say \"x\"", "\"", "two\nlines", "cr\r\nlf", ",",
                            " space ", "\xc3\xa9"};
    enum { FIELDS = sizeof fields / sizeof fields[0] };
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    for (int row = 0; row < 3; row++)
        for (int i = 0; i < FIELDS; i++) {
            csv_put(out, fields[(i + row) % FIELDS]);
            fputc(i + 1 < FIELDS ? ',' : '\n', out);
        }
    fclose(out);
    csv *table = csv_parse(text, bytes, "memory");
    cr_assert(table, "%s", fail_text());
    cr_assert_eq(table->columns, FIELDS);
    cr_assert_eq(table->rows, 2);
    cr_assert_not(table->torn);
    for (int i = 0; i < FIELDS; i++) {
        cr_expect_str_eq(table->names[i], fields[i]);
        for (int row = 0; row < 2; row++)
            cr_expect_str_eq(csv_cell(table, row, i), fields[(i + row + 1) % FIELDS]);
    }
    csv_free(table);
}

static csv *parse(const char *text)
{
    return csv_parse(copy_text(text), strlen(text), "x.csv");
}

Test(records, csv_refuses_with_the_line)
{
    cr_expect_null(parse("a,b\n1,2\n1,2,3\n"));
    cr_expect_str_eq(fail_text(), "x.csv, line 3: 3 fields where the header has 2");
    cr_expect_null(parse("a,b\n1,\"2\"x\n"));
    cr_expect_str_eq(fail_text(), "x.csv, line 2: a quote stands where none may");
    cr_expect_null(parse("a,b\n1,2\"\n"));
    cr_expect_null(csv_parse(memcpy(malloc(5), "a\n\0\n", 5), 4, "x.csv"));
    cr_expect_str_eq(fail_text(), "x.csv is no CSV: it holds a NUL byte");
    csv *table = parse("a,b\r\n1,2\r\n\r\n\"3\",\r\n4,\"5");
    cr_assert(table, "%s", fail_text());
    cr_expect_eq(table->rows, 2);
    cr_expect(table->torn);
    cr_expect_str_eq(table->names[1], "b");
    cr_expect_eq(csv_number(table, 0, "b"), 2);
    cr_expect(isnan(csv_number(table, 1, "b")));
    cr_expect(isnan(csv_number(table, 1, "c")));
    csv_free(table);
}

Test(records, numbers_in_cells)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{1.0 / 3, "0.333333"}, {-2.5e-7, "-2.5e-07"}, {1234567890123.0, "1234567890123"},
                 {0, "0"},              {1e300, "1e+300"},     {123456.75, "123457"}};
    record row = {.kind = RECORD_SPEED};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        record_number(&row, SPEED_BYTES_SENT, cases[i].value);
        cr_expect_str_eq(row.values[SPEED_BYTES_SENT], cases[i].text);
    }
    record_number(&row, SPEED_BYTES_SENT, NAN);
    cr_expect_null(row.values[SPEED_BYTES_SENT]);
    record_clear(&row);
}

/* ---- Resuming ---- */

Test(records, statuses_decide_what_is_done)
{
    const char *statuses[] = {"ok", "oom", "unsupported", "too-big-to-simulate", "failed"};
    records *all = open_or_die("abc");
    for (int i = 0; i < 5; i++)
        run_cell(all, 100 + i, 1, statuses[i]);
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 5; i++)
            cr_expect_eq(cell_done(all, 100 + i), i < 4, "%s", statuses[i]);
        cr_expect_not(cell_done(all, 99));
        records_close(all);
        all = open_or_die("abc");
    }
    run_cell(all, 104, 2, "ok"); /* the failed one, tried again: the latest row counts */
    cr_expect(cell_done(all, 104));
    records_close(all);
}

/* Every length that a cut can leave the rows file with; the repetitions are all there, as they are
 * written first. Going on must give the very bytes of the undisturbed sweep. */
Test(records, rows_cut_anywhere)
{
    enum { CELLS = 4, REPS = 2 };
    records *all = open_or_die("abc");
    for (int cell = 0; cell < CELLS; cell++)
        run_cell(all, 1000 + cell, REPS, "ok");
    records_close(all);
    size_t row_bytes, rep_bytes;
    char *row_text = read_text(rows_path, &row_bytes), *rep_text = read_text(reps_path, &rep_bytes);
    for (size_t length = 0; length <= row_bytes; length++) {
        write_text(rows_path, row_text, length);
        write_text(reps_path, rep_text, rep_bytes);
        int whole = -1;
        for (size_t i = 0; i < length; i++)
            whole += row_text[i] == '\n';
        all = open_or_die("abc");
        for (int cell = 0; cell < CELLS; cell++) {
            cr_assert_eq(cell_done(all, 1000 + cell), cell < whole, "cut at %zu", length);
            if (cell >= whole)
                run_cell(all, 1000 + cell, REPS, "ok");
        }
        records_close(all);
        size_t bytes;
        char *text = read_text(rows_path, &bytes);
        cr_assert(bytes == row_bytes && !memcmp(text, row_text, bytes), "cut at %zu", length);
        free(text);
        text = read_text(reps_path, &bytes);
        cr_assert(bytes == rep_bytes && !memcmp(text, rep_text, bytes), "cut at %zu", length);
        free(text);
    }
    free(row_text);
    free(rep_text);
}

/* The same for the details of a cell that was never committed. */
Test(records, repetitions_cut_anywhere)
{
    records *all = open_or_die("abc");
    run_cell(all, 1000, 2, "ok");
    size_t kept, bytes;
    free(read_text(reps_path, &kept));
    run_cell(all, 1001, 2, "ok");
    records_close(all);
    char *rep_text = read_text(reps_path, &bytes), *row_text;
    size_t row_bytes;
    row_text = read_text(rows_path, &row_bytes);
    size_t committed = (size_t)((char *)memrchr(row_text, '\n', row_bytes - 1) - row_text) + 1;
    for (size_t length = kept; length <= bytes; length++) {
        write_text(rows_path, row_text, committed);
        write_text(reps_path, rep_text, length);
        records_close(open_or_die("abc"));
        size_t left;
        free(read_text(reps_path, &left));
        cr_assert_eq(left, kept, "cut at %zu", length);
    }
    free(rep_text);
    free(row_text);
}

enum { SWEEP_CELLS = 250, SWEEP_REPS = 3 };

/* A sweep that says on the pipe which cells it has committed. Never returns. */
static void sweep(int report)
{
    records *all = records_open(rows_path, RECORD_SPEED, "abc");
    if (!all)
        _exit(3);
    for (int cell = 0; cell < SWEEP_CELLS; cell++) {
        if (cell_done(all, cell))
            continue;
        run_cell(all, cell, SWEEP_REPS, "ok");
        if (write(report, &cell, sizeof cell) != sizeof cell)
            _exit(4);
    }
    _exit(0);
}

Test(records, killed_at_random_moments, .timeout = 60)
{
    bool committed[SWEEP_CELLS] = {false};
    int kills = 0, result;
    unsigned seed = 7;
    do {
        int pipe_ends[2];
        cr_assert_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0)
            sweep(pipe_ends[1]);
        close(pipe_ends[1]);
        struct timespec pause = {0, rand_r(&seed) % 6000 * 1000L};
        if (kills < 80) {
            nanosleep(&pause, NULL);
            kill(child, SIGKILL);
        }
        int cell;
        while (read(pipe_ends[0], &cell, sizeof cell) == sizeof cell) {
            cr_assert_not(committed[cell], "cell %d ran twice", cell);
            committed[cell] = true;
        }
        close(pipe_ends[0]);
        cr_assert_eq(waitpid(child, &result, 0), child);
        kills += WIFSIGNALED(result);
        /* What was reported is in the file; a kill between commit and report leaves one more. */
        records *all = open_or_die("abc");
        for (cell = 0; cell < SWEEP_CELLS; cell++) {
            cr_assert(cell_done(all, cell) || !committed[cell], "cell %d is lost", cell);
            committed[cell] = cell_done(all, cell);
        }
        records_close(all);
    } while (WIFSIGNALED(result));
    cr_assert(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    cr_log_info("%d kills", kills);
    cr_assert_geq(kills, 10, "the sweep was over before it could be killed often enough");

    csv *rows = csv_read(rows_path), *reps = csv_read(reps_path);
    cr_assert(rows && reps, "%s", fail_text());
    cr_assert_not(rows->torn || reps->torn);
    cr_assert_eq(rows->rows, SWEEP_CELLS);
    cr_assert_eq(reps->rows, SWEEP_CELLS * SWEEP_REPS);
    for (int i = 0; i < reps->rows; i++) {
        int row = i / SWEEP_REPS;
        cr_assert_eq(csv_number(rows, row, "length"), row);
        cr_assert_eq(csv_number(reps, i, "length"), row);
        cr_assert_eq(csv_number(reps, i, "row"), row + 1);
        cr_assert_eq(csv_number(reps, i, "repetition"), i % SWEEP_REPS + 1);
    }
    csv_free(rows);
    csv_free(reps);
}

/* ---- Samples ---- */

static record accuracy_row(const char *task, const char *status)
{
    record row = {.kind = RECORD_ACCURACY};
    record_text(&row, ACCURACY_TASK, task);
    record_text(&row, ACCURACY_STATUS, status);
    record_text(&row, ACCURACY_DETAIL, "two\nlines");
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
    char *text = read_text(samples_path, &kept);
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
    cr_expect(records_done(all, &row));
    cr_expect_not(records_done(all, &other));
    record third = accuracy_row("cwe", "ok");
    cr_expect_eq(resume(all, &third, 9), 0);
    free(read_text(samples_path, &bytes));
    cr_expect_eq(bytes, kept); /* what is in memory alone now comes back with its row */
    cr_assert_eq(records_append(all, &third), 0);
    cr_expect_eq(resume(all, &other, 9), 1);
    cr_assert_eq(records_append(all, &other), 0);
    records_close(all);
    text = read_text(samples_path, &bytes);
    cr_expect_gt(bytes, kept);
    cr_expect(!strncmp(text + kept, "{\"row\":3,\"cell\":\"", 17), "%s", text + kept);
    free(text);
    csv *rows = csv_read(rows_path);
    cr_expect_eq(rows->rows, 3);
    cr_expect_str_eq(csv_cell(rows, 0, csv_column(rows, "detail")), "two lines");
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
            free(read_text(rows_path, &row_bytes)), free(read_text(samples_path, &first_bytes));
        cr_expect_eq(resume(all, &rows[r], SAMPLES), 0);
        for (int i = 0; i < SAMPLES; i++)
            write_sample(all, &rows[r], i);
        cr_assert_eq(records_append(all, &rows[r]), 0);
    }
    records_close(all);
    size_t all_rows_bytes;
    char *row_text = read_text(rows_path, &all_rows_bytes), *text = read_text(samples_path, &bytes);
    for (size_t length = first_bytes; length <= bytes; length++) {
        write_text(rows_path, row_text, row_bytes);
        write_text(samples_path, text, length);
        int whole = 0;
        for (size_t i = first_bytes; i < length; i++)
            whole += text[i] == '\n';
        all = open_accuracy("abc");
        cr_expect(records_done(all, &rows[0]));
        cr_assert_eq(resume(all, &rows[1], SAMPLES), whole, "cut at %zu", length);
        for (int i = whole; i < SAMPLES; i++)
            write_sample(all, &rows[1], i);
        cr_assert_eq(records_append(all, &rows[1]), 0);
        records_close(all);
        size_t now;
        char *after = read_text(samples_path, &now);
        cr_assert(now == bytes && !memcmp(after, text, bytes), "cut at %zu", length);
        free(after);
        after = read_text(rows_path, &now);
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
    char *text = read_text(samples_path, &bytes);
    char *row_text = read_text(rows_path, &after);

    all = open_accuracy("abc"); /* the failed row is tried again first */
    cr_expect_eq(resume(all, &failed, 9), 0);
    write_sample(all, &failed, 0);
    cr_assert_eq(records_append(all, &failed), 0);
    cr_expect_eq(resume(all, &row, 3), 3); /* the fourth does not fit */
    cr_expect_eq(resume(all, &row, 9), 0); /* they are this row's already */
    write_sample(all, &row, 3);
    cr_assert_eq(records_append(all, &row), 0);
    records_close(all);
    char *now = read_text(samples_path, &after);
    int of_row[4] = {0};
    for (const char *line = now; *line; line = strchr(line, '\n') + 1)
        of_row[atoi(line + 7)]++;
    cr_expect(of_row[1] == 0 && of_row[2] == 1 && of_row[3] == 4, "%s", now);
    free(now);

    record seed = accuracy_row("niah_single_1", "ok");
    record_integer(&seed, ACCURACY_SEED, 43);
    remove(rows_path);
    write_text(samples_path, text, bytes); /* of a sweep killed in its first row, by another commit */
    all = open_accuracy("def");
    cr_expect_eq(resume(all, &row, 9), 0);
    records_close(all);
    free(read_text(samples_path, &after));
    cr_expect_eq(after, 0);
    write_text(samples_path, text, bytes);
    all = open_accuracy("abc");
    cr_expect_eq(resume(all, &seed, 9), 0);
    records_close(all);
    free(text);
    free(row_text);
    record_clear(&row);
    record_clear(&failed);
    record_clear(&seed);
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
        write_text(samples_path, odd[i], strlen(odd[i]));
        records *all = open_accuracy("abc");
        size_t bytes;
        free(read_text(samples_path, &bytes));
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
    char *text = read_text(samples_path, &bytes);
    char *second = strchr(text, '\n') + 1;
    *strstr(second, "prompt") = '"';
    write_text(samples_path, text, bytes);
    all = open_accuracy("abc");
    cr_expect_eq(resume(all, &row, 9), 1);
    records_close(all);
    size_t after;
    free(read_text(samples_path, &after));
    cr_expect_eq(after, (size_t)(second - text));
    free(text);
    record_clear(&row);
}

/* ---- Refusals: the file stays as it is ---- */

static void expect_refused(const char *text, size_t bytes, const char *commit, const char *reason)
{
    write_text(rows_path, text, bytes);
    records *all = records_open(rows_path, RECORD_SPEED, commit);
    cr_expect_null(all, "%s", reason);
    cr_expect(strstr(fail_text(), reason), "\"%s\" lacks \"%s\"", fail_text(), reason);
    cr_expect(strstr(fail_text(), "sweep.csv"), "%s", fail_text());
    size_t after;
    char *now = read_text(rows_path, &after);
    cr_expect(after == bytes && !memcmp(now, text, bytes), "changed although refused: %s", reason);
    free(now);
}

Test(records, foreign_files_are_refused)
{
    records *all = open_or_die("abc");
    run_cell(all, 1, 1, "ok");
    records_close(all);
    size_t bytes;
    char *text = read_text(rows_path, &bytes);
    expect_refused(text, bytes, "def", "holds rows of commit abc and this program is commit def");
    text[0] = 'R';
    expect_refused(text, bytes, "abc", "column 1 of its header is Row where this program writes");
    text[0] = 'r';
    char *extra = format_text("%s7,8\n", text);
    expect_refused(extra, strlen(extra), "abc", "line 3: 2 fields where the header has");
    free(extra);
    char *twice = format_text("%s%s", text, strchr(text, '\n') + 1);
    expect_refused(twice, strlen(twice), "abc", "row \"1\" stands where a number above 1");
    free(twice);
    expect_refused("my notes", 8, "abc", "no results file of this kind");
    expect_refused("my notes\n", 9, "abc", "column 1 of its header is my notes");
    write_text(rows_path, text, bytes);
    write_text(reps_path, "my notes\n", 9);
    cr_expect_null(records_open(rows_path, RECORD_SPEED, "abc"));
    cr_expect(strstr(fail_text(), "sweep.reps.csv"), "%s", fail_text());
    cr_expect_null(records_open(folder, RECORD_SPEED, "abc"));
    free(text);
}

Test(records, one_run_at_a_time)
{
    records *all = open_or_die("abc");
    cr_expect_null(records_open(rows_path, RECORD_SPEED, "abc"));
    cr_expect(strstr(fail_text(), "is being written by another run"), "%s", fail_text());
    records_close(all);
    records_close(open_or_die("abc"));
}

/* A disk that is full in the middle of a line: the part that went through is taken back. */
Test(records, half_a_write_is_taken_back)
{
    records *all = open_or_die("abc");
    run_cell(all, 1, 1, "ok");
    size_t rows_bytes, reps_bytes, bytes;
    free(read_text(rows_path, &rows_bytes));
    free(read_text(reps_path, &reps_bytes));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small = {rows_bytes + 20, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    record row = speed_row(2, "ok");
    int result = records_append(all, &row);
    setrlimit(RLIMIT_FSIZE, &before);
    cr_expect_eq(result, -1);
    cr_expect(strstr(fail_text(), "sweep.csv"), "%s", fail_text());
    free(read_text(rows_path, &bytes));
    cr_expect_eq(bytes, rows_bytes);
    record_clear(&row);
    run_cell(all, 2, 1, "ok");
    records_close(all);
    all = open_or_die("abc");
    cr_expect(cell_done(all, 1) && cell_done(all, 2));
    records_close(all);
}
