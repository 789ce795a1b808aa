/* What an accuracy sweep makes of its rows: their inputs, what it says while it runs, how much time is left
 * by its reckoning, rows that could not be run, and what --dry-run foretells. A tiny model of written
 * weights answers made samples, on the cpu device, which is slow where a test wants it to be. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/error.h"
#include "harness/records/csv.h"
#include "harness/sweep/accuracy.h"
#include "harness/sweep/accuracy/sample.h"
#include "harness/timeline.h"
#include "tests/checkpoint.h"
#include "tests/task_fixture.h"

static char *directory, *rows_path;
static accuracy_sweep s;

static void open_sweep(void)
{
    static const checkpoint made = {
        .model_type = "llama", .type = DTYPE_F32, .tied = true,
        .shape = {.layers = 2, .hidden = 32, .heads = 2, .kv_heads = 1, .head_dim = 16, .ffn = 48, .vocab = 1024}};
    size_t bytes;
    set_up_tasks();
    directory = temporary_directory();
    write_checkpoint(directory, &made);
    char *text = file_text("tests/data/tasks/tokenizer.json", &bytes);
    cr_assert(text, "%s", fail_text());
    write_text(directory, "tokenizer.json", text);
    free(text);
    rows_path = format_text("%s/rows.csv", directory);
    s = (accuracy_sweep){.dev = device_find("cpu"), .driver = comm_find("sim"), .most_hosts = 8, .leader = true,
                         .room = (size_t)1 << 40, .exact_room = (size_t)1 << 30, .samples = 1, .seed = 7,
                         .threads = 1, .haystack = haystack};
    cr_assert_eq(s.dev->open(s.dev, 1), 0, "%s", fail_text());
    parse_texts(directory, &s.models);
}

static void forget_axes(void)
{
    text_list_free(&s.methods);
    free(s.hosts.items);
    free(s.lengths.items);
    free(s.tasks);
    s.methods = (text_list){0};
    s.hosts = s.lengths = (size_list){0};
    s.tasks = NULL;
}

static void close_sweep(void)
{
    forget_axes();
    text_list_free(&s.models);
    free(rows_path);
    s.dev->close(s.dev);
    remove_directory(directory);
    tear_down_tasks();
}

TestSuite(accuracy, .init = open_sweep, .fini = close_sweep, .timeout = 60);

static void axes(const char *methods, const char *hosts, const char *lengths, const char *names)
{
    text_list list = {0};
    forget_axes();
    parse_texts(methods, &s.methods);
    parse_sizes(hosts, &s.hosts);
    parse_sizes(lengths, &s.lengths);
    parse_texts(names, &list);
    s.task_count = task_find_all(list.items, list.count, &s.tasks);
    cr_assert_gt(s.task_count, 0, "%s", fail_text());
    text_list_free(&list);
}

/* Runs the sweep, or foretells it; what it says on either stream, to be freed. */
static char *said_by(int (*what)(accuracy_sweep *))
{
    char *path = format_text("%s/said", directory);
    size_t bytes;
    fflush(stdout);
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO), now = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(now, STDOUT_FILENO);
    dup2(now, STDERR_FILENO);
    s.failed = s.already = 0;
    s.records = what == accuracy_run ? records_open(rows_path, RECORD_ACCURACY, "abc") : NULL;
    int status = what(&s);
    if (s.records)
        records_close(s.records);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    close(now);
    cr_assert_eq(status, 0, "%s", fail_text());
    char *text = file_text(path, &bytes);
    free(path);
    return text;
}

static void expect_said(int (*what)(accuracy_sweep *), const char *words)
{
    char *text = said_by(what);
    cr_expect(strstr(text, words), "'%s' is not in\n%s", words, text);
    free(text);
}

static csv *written(int rows)
{
    csv *file = csv_read(rows_path);
    cr_assert(file, "%s", fail_text());
    cr_assert_eq(file->rows, rows, "there are %d rows, not %d", file->rows, rows);
    return file;
}

static void expect_cell(const csv *file, int row, const char *column, const char *value)
{
    const char *found = csv_cell(file, row, csv_column(file, column));
    cr_expect_str_eq(found, value, "%s of row %d is '%s', not '%s'", column, row + 1, found, value);
}

/* What a row was given; a file of samples has no haystack. Rows that are there count for nothing. */
Test(accuracy, inputs_of_rows)
{
    static const char *const cells[][2] = {
        {"layers", "1"}, {"model_layers", "2"}, {"limit", ""}, {"chat", "1"}, {"fidelity", "0"}, {"variant", ""},
        {"hosts", "1"}, {"samples", "2"}, {"seed", "7"}, {"source", haystack}, {"status", "ok"}};
    axes("flash", "2", "1K", "vt");
    s.samples = 2;
    s.layers = 1;
    s.chat = true;
    expect_said(accuracy_run, " flash, 1 host, vt of 1K: ok, score ");
    axes("flash,star:anchor=8", "2", "1K", "vt");
    char *text = said_by(accuracy_run);
    cr_expect(!strncmp(text, "[1/1] ", 6) && strstr(text, " star:anchor=8, 2 hosts, vt of 1K: ok") &&
              !strstr(text, "nothing to run"), "%s", text);
    free(text);
    expect_said(accuracy_run, "2 rows are in the file already: nothing to run\n");
    csv *file = written(2);
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        expect_cell(file, 0, cells[i][0], cells[i][1]);
    expect_cell(file, 1, "variant", "anchor=8");
    csv_free(file);
    static const char line[] = "{\"index\": 3, \"input\": \"Day 7 was calm.\\nWas it?\", \"outputs\": [\"7\"]}\n";
    write_test_file(scratch, line, strlen(line));
    axes("flash", "2", "1K", "niah_single_1");
    s.file = scratch;
    free(said_by(accuracy_run));
    file = written(3);
    expect_cell(file, 2, "source", scratch);
    expect_cell(file, 2, "generator", "official");
    csv_free(file);
    write_test_file(scratch, "{\n", 2);
    s.records = NULL;
    cr_expect_eq(accuracy_run(&s), -1);
    cr_expect(strstr(fail_text(), " has no usable sample of niah_single_1: 1 broken line of "), "%s", fail_text());
    cr_expect_eq(accuracy_dry_run(&s), -1);
}

/* What samples have they add to the row, those that are compared with flash their errors too. */
Test(accuracy, totals_of_lines)
{
    static const char *const lines[] = {
        "{\"score\":0.5,\"seconds\":2,\"null\":0,\"top1\":1,\"kl\":0.25,\"error_start\":0.5,"
        "\"error_end\":1,\"error_document\":1.5,\"error_query\":2}",
        "{\"score\":0,\"seconds\":3,\"null\":1,\"score_error\":\"it raised\"}",
        "{\"score\":1,\"seconds\":4,\"null\":1,\"top1\":0,\"kl\":0.5,\"error_start\":1,"
        "\"error_end\":1,\"error_document\":1,\"error_query\":1}"};
    totals sum = {0};
    for (int i = 0; i < 3; i++) {
        totals one;
        json_error_t error;
        json_t *line = json_loads(lines[i], 0, &error);
        cr_assert(line, "%s", error.text);
        totals_of_line(line, &one);
        totals_add(&sum, &one);
        json_decref(line);
    }
    cr_expect(sum.score == 1.5 && sum.seconds == 9 && sum.done == 3 && sum.nulls == 2 && sum.raised == 1);
    cr_expect(sum.compared == 2 && sum.same_first == 1 && sum.kl == 0.75);
    cr_expect(sum.errors[ERROR_START] == 1.5 && sum.errors[ERROR_END] == 2 &&
              sum.errors[ERROR_DOCUMENT] == 2.5 && sum.errors[ERROR_QUERY] == 3);
    static const int64_t wanted[][3] = {{5, 0, 5}, {5, 3, 3}, {5, 9, 5}}; /* --samples, --limit, how many */
    for (int i = 0; i < 3; i++)
        cr_expect_eq(group_samples_wanted(&(accuracy_sweep){.samples = wanted[i][0], .limit = wanted[i][1]}),
                     wanted[i][2]);
}

/* Rows of more hosts than the launch has are another launch's. */
Test(accuracy, hosts_that_a_launch_lacks)
{
    axes("flash,star", "3,2", "1K", "vt");
    s.most_hosts = 2;
    expect_said(accuracy_dry_run, "\n2 rows, of which 2 run: ");
    char *text = said_by(accuracy_run);
    cr_expect(strstr(text, "star on 3 hosts: left out, the launch has 2\n[2/2] ") && strstr(text, " star, 2 hosts,"),
              "%s", text);
    free(text);
    csv_free(written(2));
}

static void (*swiglu)(device *, void *, const void *, int64_t, int);

static void slow_swiglu(device *dev, void *out, const void *gate_up, int64_t rows, int columns)
{
    usleep(2100000);
    swiglu(dev, out, gate_up, rows, columns);
}

/* Rows of a length that no sample fits are there once. One that takes too long has failed, and says in which
 * layer and sample; the next layer notices. */
Test(accuracy, rows_that_do_not_run)
{
    axes("flash,star", "2,3", "64", "vt");
    s.samples = 5;
    s.limit = 3;
    expect_said(accuracy_dry_run, "\n3 rows, of which 0 run: 0 samples, 0 tokens in prompts, at most 0 in answers\n");
    for (int again = 0; again < 2; again++) {
        char *text = said_by(accuracy_run);
        cr_expect(strstr(text, "[3/3] ") && strstr(text, ": unsupported: ") && !s.failed, "%s", text);
        free(text);
    }
    csv *file = written(3);
    expect_cell(file, 2, "samples", "3");
    expect_cell(file, 2, "limit", "3");
    csv_free(file);
    axes("flash", "2", "1K", "vt");
    s.timeout = 2;
    swiglu = s.dev->swiglu;
    s.dev->swiglu = slow_swiglu;
    char *text = said_by(accuracy_run);
    cr_expect(strstr(text, ": failed: host 0: timeout in layer 1 (sample 0)\n") && s.failed == 1, "%s", text);
    free(text);
}

static void *(*alloc)(device *, size_t);
static size_t room;

static void *little_room(device *dev, size_t bytes)
{
    return bytes > room ? NULL : alloc(dev, bytes);
}

/* What the device has no room for after all is no failure. */
Test(accuracy, rows_without_room)
{
    axes("flash", "2", "1K", "vt");
    alloc = s.dev->alloc;
    s.dev->alloc = little_room;
    room = 200 << 10; /* the embedding has 128 KB, what a cell takes at once more than 200 */
    expect_said(accuracy_run, ": oom: host 0: out of memory: ");
    cr_expect_eq(s.failed, 0);
    s.dev->alloc = alloc;
    csv *file = written(1);
    expect_cell(file, 0, "status", "oom");
    csv_free(file);
}

/* ---- Time that is left ---- */

static void (*argmax)(device *, int32_t *, const float *, int64_t, int);
static int slow_token; /* how many come before it; less than none: none is slow */
static double slow_seconds;

static void slow_argmax(device *dev, int32_t *ids, const float *logits, int64_t rows, int vocab)
{
    if (slow_token-- == 0)
        usleep((useconds_t)(1e6 * slow_seconds));
    argmax(dev, ids, logits, rows, vocab);
}

/* Time left as the line that begins so says it, within [least, most] seconds: all but what is slow on
 * purpose takes as long as the machine likes. */
static void expect_left(const char *text, const char *line, int least, int most)
{
    int seconds = -1;
    const char *at = strstr(text, line), *left = at ? strstr(at, "; about ") : NULL;
    cr_assert(left, "%s has no time left:\n%s", line, text);
    cr_assert_eq(sscanf(left, "; about %d s left", &seconds), 1);
    cr_expect(seconds >= least && seconds <= most, "%s: %d s, not %d to %d:\n%s", line, seconds, least, most, text);
}

/* A row takes as long as its length says: of 2 tasks x 3 rows x (1K + 4K) tokens 1K took 1 s; flash
 * runs on one host alone, and a row that cannot be run or is there takes none. */
Test(accuracy, time_left)
{
    axes("flash,star", "2,3", "1K,4K", "vt,fwe");
    argmax = s.dev->argmax;
    s.dev->argmax = slow_argmax;
    slow_seconds = 1;
    char *text = said_by(accuracy_run);
    expect_left(text, "[1/12] ", 29, 45);
    free(text);

    /* Nothing fits 512; at 1K flash's row is there, such an anchor fits no block, and zigzag is as long as ring. */
    axes("flash,star:anchor=2K,ring,zigzag", "2", "512,1K", "vt");
    slow_token = 0;
    slow_seconds = 2;
    text = said_by(accuracy_run);
    cr_expect(strstr(text, "\n[6/7] ") < strstr(text, "; about "), "nothing is known yet:\n%s", text);
    expect_left(text, "[6/7] ", 2, 3);
    free(text);
}

/* A row whose fourth sample took too long is gone on with: the one sample of four that is left, a quarter of
 * the row, takes 2 s, so that the row behind it takes 8 s. */
Test(accuracy, time_left_behind_samples_from_before)
{
    axes("flash,star", "2", "1K", "vt");
    s.samples = 4;
    s.timeout = 3;
    argmax = s.dev->argmax;
    s.dev->argmax = slow_argmax;
    slow_token = 3 * 30; /* 30 tokens answer a sample */
    slow_seconds = 3.1;
    char *text = said_by(accuracy_run);
    cr_expect(strstr(text, ": failed: host 0: timeout") && strstr(text, "(sample 3)"), "%s", text);
    free(text);
    s.timeout = 0;
    slow_token = 0;
    slow_seconds = 2;
    text = said_by(accuracy_run);
    cr_expect(strstr(text, ", 3 samples from before; about "), "%s", text);
    expect_left(text, "[1/2] ", 8, 12);
    free(text);
}

/* ---- What is measured, and foretold ---- */

static void (*download)(device *, void *, const void *, size_t);

/* Logits and ids come as fast as ever, rows of the residual stream do not. */
static void slow_rows(device *dev, void *to, const void *from, size_t bytes)
{
    if (bytes > sizeof(int32_t) && bytes != 1024 * sizeof(float))
        usleep(700000);
    download(dev, to, from, bytes);
}

/* A method's seconds are without what it takes to look at it. */
Test(accuracy, seconds_without_watching)
{
    axes("flash,star", "2", "1K", "vt");
    s.fidelity = true;
    download = s.dev->download;
    s.dev->download = slow_rows;
    free(said_by(accuracy_run));
    csv *file = written(2);
    for (int row = 0; row < 2; row++)
        cr_expect_lt(csv_number(file, row, "seconds"), 0.7);
    csv_free(file);
}

/* --dry-run counts the tokens of the very samples that the sweep then runs, row by row and in all. */
Test(accuracy, what_a_dry_run_foretells)
{
    axes("flash,star:anchor=8,star:anchor=2K", "2,3", "1K", "vt");
    s.samples = 2;
    char *told = said_by(accuracy_dry_run);
    cr_expect(!strstr(told, "under flash"), "%s", told);
    free(said_by(accuracy_run));
    char *path = format_text("%s/rows.samples.jsonl", directory);
    int64_t tokens_of_row = 0;
    json_error_t error;
    FILE *lines = fopen(path, "r");
    cr_assert(lines);
    for (json_t *line; (line = json_loadf(lines, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error));) {
        static const char *const names[][2] = {{"document", "document_tokens"}, {"query", "query_tokens"}};
        int64_t counts[2];
        for (int i = 0; i < 2; i++) {
            json_t *text = json_object_get(line, names[i][0]);
            counts[i] = count_tokens((sized_text){(char *)json_string_value(text), json_string_length(text)});
            cr_expect_eq(json_integer_value(json_object_get(line, names[i][1])), counts[i]);
            cr_expect(!strstr(json_string_value(text), "<|im_"), "a chat template under --no-chat");
        }
        if (json_integer_value(json_object_get(line, "row")) == 1)
            tokens_of_row += counts[0] + counts[1];
        json_decref(line);
    }
    fclose(lines);
    free(path);
    for (int hosts = 1; hosts <= 3; hosts++) {
        char *line = format_text("     1K vt               %-42s %5d       2 %9lld       60  ok ",
                                 hosts == 1 ? "flash" : "star:anchor=8", hosts, (long long)tokens_of_row);
        cr_expect(strstr(told, line), "'%s' is not in\n%s", line, told);
        free(line);
    }
    cr_expect(strstr(told, "  ok          anchor=8:reference_mask=0\n"), "%s", told);
    cr_expect(strstr(told, "      0         0        0  unsupported star's anchor "), "%s", told);
    char *sums = format_text("\n5 rows, of which 3 run: 6 samples, %lld tokens in prompts, at most 180 in answers\n",
                             (long long)tokens_of_row * 3);
    cr_expect(strstr(told, sums), "'%s' is not in\n%s", sums, told);
    free(sums);
    free(told);
    axes("star:anchor=8", "2", "1K", "vt");
    expect_said(accuracy_dry_run, " in answers\n");
    s.fidelity = true;
    expect_said(accuracy_dry_run, " in answers; and a prefill of each sample under flash\n");
}
