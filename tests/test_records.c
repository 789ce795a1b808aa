/* Results on disk: a sweep that is killed at any moment, or whose files end anywhere, goes on
 * without losing, repeating or halving a row; foreign files are refused and left alone. */
#include "harness/error.h"
#include "harness/records/csv.h"
#include "tests/records_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(records, .init = make_records_folder, .fini = remove_records_folder);

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

static bool cell_done_if(records *all, int length, bool supported)
{
    record row = speed_row(length, "");
    bool done = records_done(all, &row, supported);
    record_clear(&row);
    return done;
}

static bool cell_done(records *all, int length)
{
    return cell_done_if(all, length, false);
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
                            " space ", "\xc3\xa9", "cr at the end\r"};
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

/* A number is a cell's whole text. */
Test(records, numbers_read_back)
{
    static const char text[] = "a,b,c,d\n1.5e3,12x,,-7\n";
    csv *table = csv_parse(copy_text(text), strlen(text), "numbers");
    cr_assert(table, "%s", fail_text());
    cr_expect_eq(csv_number(table, 0, "a"), 1500);
    cr_expect(isnan(csv_number(table, 0, "b")) && isnan(csv_number(table, 0, "c")));
    cr_expect_eq(csv_number(table, 0, "d"), -7);
    cr_expect(isnan(csv_number(table, 0, "e")), "no such column");
    csv_free(table);
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
        for (int i = 0; i < 5; i++) /* what could not be run, and now can, is to be run */
            cr_expect_eq(cell_done_if(all, 100 + i, true), i < 4 && i != 2, "%s", statuses[i]);
        cr_expect_not(cell_done(all, 99));
        records_close(all);
        all = open_or_die("abc");
    }
    run_cell(all, 104, 2, "ok"); /* the failed one, tried again: the latest row counts */
    cr_expect(cell_done(all, 104));
    run_cell(all, 102, 1, "ok");
    cr_expect(cell_done_if(all, 102, true));
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
    char *row_text = read_bytes(rows_path, &row_bytes), *rep_text = read_bytes(reps_path, &rep_bytes);
    for (size_t length = 0; length <= row_bytes; length++) {
        write_bytes(rows_path, row_text, length);
        write_bytes(reps_path, rep_text, rep_bytes);
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
        char *text = read_bytes(rows_path, &bytes);
        cr_assert(bytes == row_bytes && !memcmp(text, row_text, bytes), "cut at %zu", length);
        free(text);
        text = read_bytes(reps_path, &bytes);
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
    free(read_bytes(reps_path, &kept));
    run_cell(all, 1001, 2, "ok");
    records_close(all);
    char *rep_text = read_bytes(reps_path, &bytes), *row_text;
    size_t row_bytes;
    row_text = read_bytes(rows_path, &row_bytes);
    size_t committed = (size_t)((char *)memrchr(row_text, '\n', row_bytes - 1) - row_text) + 1;
    for (size_t length = kept; length <= bytes; length++) {
        write_bytes(rows_path, row_text, committed);
        write_bytes(reps_path, rep_text, length);
        records_close(open_or_die("abc"));
        size_t left;
        free(read_bytes(reps_path, &left));
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

/* ---- Refusals: the file stays as it is ---- */

static void expect_refused(const char *text, size_t bytes, const char *commit, const char *reason)
{
    write_bytes(rows_path, text, bytes);
    records *all = records_open(rows_path, RECORD_SPEED, commit);
    cr_expect_null(all, "%s", reason);
    cr_expect(strstr(fail_text(), reason), "\"%s\" lacks \"%s\"", fail_text(), reason);
    cr_expect(strstr(fail_text(), "sweep.csv"), "%s", fail_text());
    size_t after;
    char *now = read_bytes(rows_path, &after);
    cr_expect(after == bytes && !memcmp(now, text, bytes), "changed although refused: %s", reason);
    free(now);
}

Test(records, foreign_files_are_refused)
{
    records *all = open_or_die("abc");
    run_cell(all, 1, 1, "ok");
    records_close(all);
    size_t bytes;
    char *text = read_bytes(rows_path, &bytes);
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
    size_t header = (size_t)(strchr(text, '\n') + 1 - text);
    char *large = format_text("%.*s%s%s", (int)header, text, "100000000000000000", text + header + 1);
    expect_refused(large, strlen(large), "abc", "row \"100000000000000000\" stands where a number above 0");
    free(large);
    expect_refused("my notes", 8, "abc", "no results file of this kind");
    expect_refused("my notes\n", 9, "abc", "column 1 of its header is my notes");
    write_bytes(rows_path, text, bytes);
    write_bytes(reps_path, "my notes\n", 9);
    cr_expect_null(records_open(rows_path, RECORD_SPEED, "abc"));
    cr_expect(strstr(fail_text(), "sweep.reps.csv"), "%s", fail_text());
    cr_expect_null(records_open(records_folder, RECORD_SPEED, "abc"));
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
    free(read_bytes(rows_path, &rows_bytes));
    free(read_bytes(reps_path, &reps_bytes));
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
    free(read_bytes(rows_path, &bytes));
    cr_expect_eq(bytes, rows_bytes);
    record_clear(&row);
    run_cell(all, 2, 1, "ok");
    records_close(all);
    all = open_or_die("abc");
    cr_expect(cell_done(all, 1) && cell_done(all, 2));
    records_close(all);
}
