/* JSON lines that nobody vouches for: each line of a file is a sample read rightly, or broken, counted
 * and named with its file, its line and the reason; none crashes, hangs, or takes memory out of
 * proportion to it. Rows of RULER's two layouts and of InfiniteBench, and their scorers. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/jsonl.h"
#include "datasets/official.h"
#include "harness/error.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* Megabytes that this test's process has had at most; the libraries of a build with CUDA are some 100. */
static long peak_megabytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss >> 10;
}

static long peak_at_start;

static void set_up(void)
{
    set_up_tasks();
    peak_at_start = peak_megabytes();
}

TestSuite(hostile_rows, .init = set_up, .fini = tear_down_tasks, .timeout = 120);

#define INPUT "\"input\": \"C\\nQ\""
#define OUTPUTS "\"outputs\": [\"x\"]"
static const char good[] = "{" INPUT ", " OUTPUTS "}";
static const char split[] = "{\"input_context\": \"C\", \"input_query\": \"Q\", " OUTPUTS "}";
static const char infinite[] = "{\"context\": \"C\", \"input\": \"The x of func_1(2)\", \"answer\": [\"y\"], "
                               "\"options\": [\"w\", \"x\", \"y\", \"z\"]}";

/* ---- Lines ---- */

/* What becomes of a line as a row of the task: NULL when it is read, else the sentence, checked to name
 * the place. The line stands in the middle of a file, between two good ones that must survive. */
static const char *reason_of(const char *name, const char *whole, const char *line, size_t bytes)
{
    static char sentence[2048];
    const task *task = task_find(name);
    FILE *file = fopen(scratch, "wb");
    cr_assert(file);
    fprintf(file, "%s\n", whole);
    fwrite(line, 1, bytes, file);
    fprintf(file, "\n%s", whole);
    fclose(file);
    jsonl_file lines;
    cr_assert_eq(jsonl_open(&lines, scratch), 0);
    *sentence = 0;
    int64_t good_rows = 0;
    for (int64_t number = 1; number <= 3; number++) {
        json_t *row;
        task_sample sample = {0};
        int found = jsonl_next(&lines, &row);
        cr_assert(found == JSONL_ROW || found == JSONL_BROKEN, "line %lld: %d", (long long)number, found);
        cr_assert_eq(lines.number, number);
        if (found == JSONL_ROW &&
            (task->infinite ? infinite_sample(task, row, NULL, &sample)
                            : official_sample(row, NULL, &sample)) < 0) {
            fail_within("%s:%lld", lines.path, (long long)lines.number); /* as samples.c does */
            found = JSONL_BROKEN;
        }
        if (found == JSONL_BROKEN) {
            cr_assert_eq(number, 2, "%s", fail_text());
            snprintf(sentence, sizeof sentence, "%s", fail_text());
        } else {
            cr_assert(sample.document.count && sample.query.count);
            cr_assert(sample.label || sample.reference_count > 0);
            good_rows++;
        }
        json_decref(row);
        task_sample_free(&sample);
    }
    json_t *row;
    cr_assert_eq(jsonl_next(&lines, &row), JSONL_END);
    jsonl_close(&lines);
    cr_assert_eq(good_rows, *sentence ? 2 : 3);
    if (!*sentence)
        return NULL;
    char *place = format_text("%s:2: ", scratch);
    cr_assert(!strncmp(sentence, place, strlen(place)), "%s", sentence);
    size_t length = strlen(place);
    free(place);
    cr_assert(sentence[length], "no reason");
    return sentence + length;
}

static const struct {
    const char *line;
    size_t bytes;       /* 0: up to the NUL */
    const char *reason; /* NULL: it is read */
} lines[] = {
    {good, 0, NULL},
    {"\t {" INPUT "\t,\r" OUTPUTS "} \t\r", 0, NULL},
    {"{" INPUT ", " OUTPUTS "} {}", 0, "end of file expected"},
    {"{" INPUT ", " OUTPUTS "}\r{" INPUT ", " OUTPUTS "}", 0, "end of file expected"},
    {"{" INPUT ", " OUTPUTS ",}", 0, "expected"},
    {"{'input': 'C\\nQ'}", 0, "expected"},
    {"{" INPUT ", " OUTPUTS "} // comment", 0, "expected"},
    {"null", 0, "'[' or '{' expected"},
    {"\"text\"", 0, "'[' or '{' expected"},
    {"17", 0, "'[' or '{' expected"},
    {"[" INPUT "]", 0, "expected"},
    {"[{}]", 0, "not a JSON object"},
    {"{}", 0, "no string `input`"},
    /* encodings */
    {"\xEF\xBB\xBF{" INPUT ", " OUTPUTS "}", 0, "near"}, /* a mark at the start of a file only */
    {"\xFF\xFE{\0\"\0", 6, "NUL byte"},
    {"{" INPUT ", " OUTPUTS "}\0", sizeof "{" INPUT ", " OUTPUTS "}", "NUL byte"},
    {"{\"input\": \"C\\nQ\0\", " OUTPUTS "}", sizeof "{\"input\": \"C\\nQ\0\", " OUTPUTS "}" - 1, "NUL byte"},
    {"{\"input\": \"C\\nQ\\u0000\", " OUTPUTS "}", 0, NULL},
    {"{\"in\\u0000put\": 1, " INPUT ", " OUTPUTS "}", 0, "NUL byte in object key"},
    {"{\"input\": \"C\\nQ \x01\", " OUTPUTS "}", 0, "control character 0x1"},
    {"{\"input\": \"C\\nQ \x7F\", " OUTPUTS "}", 0, NULL},
    {"{\"input\": \"C\\nQ \xC0\xAF\", " OUTPUTS "}", 0, "unable to decode byte 0xc0"},
    {"{\"input\": \"C\\nQ \xED\xA0\x80\", " OUTPUTS "}", 0, "unable to decode byte 0xed"},
    {"{\"input\": \"C\\nQ \xF4\x90\x80\x80\", " OUTPUTS "}", 0, "unable to decode byte 0xf4"},
    {"{\"input\": \"C\\nQ \xE4\xB8\", " OUTPUTS "}", 0, "unable to decode byte 0xe4"},
    {"{\"input\": \"C\\nQ \xEF\xBF\xBF\xF4\x8F\xBF\xBF\", " OUTPUTS "}", 0, NULL},
    /* surrogates */
    {"{\"input\": \"C\\nQ \\ud83d\\ude00\", " OUTPUTS "}", 0, NULL},
    {"{\"input\": \"C\\nQ \\ud83d\", " OUTPUTS "}", 0, "invalid Unicode"},
    {"{\"input\": \"C\\nQ \\ude00\", " OUTPUTS "}", 0, "invalid Unicode"},
    {"{\"input\": \"C\\nQ \\ude00\\ud83d\", " OUTPUTS "}", 0, "invalid Unicode"},
    {"{\"input\": \"C\\nQ \\ud83d\\ud83d\", " OUTPUTS "}", 0, "invalid Unicode"},
    {"{\"input\": \"C\\nQ \\ud83dx\", " OUTPUTS "}", 0, "invalid Unicode"},
    {"{\"\\udc00\": 1, " INPUT ", " OUTPUTS "}", 0, "invalid Unicode"},
    {"{" INPUT ", \"outputs\": [\"\\udbff\"]}", 0, "invalid Unicode"},
    {"{\"input\": \"C\\nQ \\u12\", " OUTPUTS "}", 0, "invalid escape"},
    {"{\"input\": \"C\\nQ \\x41\", " OUTPUTS "}", 0, "invalid escape"},
    /* numbers */
    {"{" INPUT ", " OUTPUTS ", \"index\": 9223372036854775807}", 0, NULL},
    {"{" INPUT ", " OUTPUTS ", \"index\": 9223372036854775808}", 0, "too big integer"},
    {"{" INPUT ", " OUTPUTS ", \"length\": -9223372036854775808}", 0, NULL},
    {"{" INPUT ", " OUTPUTS ", \"length\": -9223372036854775809}", 0, "too big negative integer"},
    {"{" INPUT ", " OUTPUTS ", \"index\": 1e308}", 0, NULL},
    {"{" INPUT ", " OUTPUTS ", \"index\": 1e309}", 0, "real number overflow"},
    {"{" INPUT ", " OUTPUTS ", \"index\": 1e-999999999}", 0, NULL},
    {"{" INPUT ", " OUTPUTS ", \"index\": 01}", 0, "invalid token"},
    {"{" INPUT ", " OUTPUTS ", \"index\": +1}", 0, "invalid token"},
    {"{" INPUT ", " OUTPUTS ", \"index\": -Infinity}", 0, "invalid token"},
    /* members */
    {"{" INPUT ", \"input\": \"C\\nOther\", " OUTPUTS "}", 0, NULL}, /* the last one counts, as in Python */
    {"{" INPUT ", " OUTPUTS ", \"outputs\": []}", 0, "`outputs` is empty"},
    {"{" INPUT ", \"outputs\": [], " OUTPUTS "}", 0, NULL},
    {"{\"input\": \"\", " OUTPUTS "}", 0, "no document"},
    {"{\"input\": \"\\n \\n\\t\\n\", " OUTPUTS "}", 0, "no document"},
    {"{" INPUT ", \"outputs\": \"\"}", 0, "`outputs` is empty"},
    {"{\"input_context\": \"\", \"input_query\": \"Q\", " OUTPUTS "}", 0, "is empty"},
    {"{\"input_context\": \"C\", \"input_query\": null, " OUTPUTS "}", 0, "not both strings"},
};

Test(hostile_rows, lines_are_read_or_named)
{
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        size_t bytes = lines[i].bytes ? lines[i].bytes : strlen(lines[i].line);
        const char *reason = reason_of("niah_single_1", good, lines[i].line, bytes);
        if (lines[i].reason)
            cr_expect(reason && strstr(reason, lines[i].reason), "%s: \"%s\" should say: %s",
                      lines[i].line, reason ? reason : "it is read", lines[i].reason);
        else
            cr_expect(!reason, "%s: %s", lines[i].line, reason);
    }
}

/* A line that was cut anywhere is broken: no beginning of an object is one. */
Test(hostile_rows, cut_anywhere)
{
    static const struct {
        const char *task, *row;
    } rows[] = {{"niah_single_1", good}, {"qa_1", split}, {"longbook_choice_eng", infinite},
                {"math_find", infinite}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t bytes = 1; bytes <= strlen(rows[r].row); bytes++) {
            const char *reason = reason_of(rows[r].task, rows[r].row, rows[r].row, bytes);
            cr_expect_eq(!reason, bytes == strlen(rows[r].row), "%s, %zu bytes: %s", rows[r].task,
                         bytes, reason ? reason : "it is read");
        }
}

/* Every member of a row in every type: read or broken, and then with a sentence that names it. */
Test(hostile_rows, members_of_any_type)
{
    static const char *const values[] = {
        "null", "true", "false", "0", "-7", "1.5", "\"\"", "\"text\"", "[]", "{}", "[\"a\"]", "[[]]",
        "[null]", "[1, 2.5]", "{\"a\": \"b\"}", "[\"w\", \"x\", \"y\", \"z\", \"\"]", "[\"y\", \"B\"]"};
    static const struct {
        const char *row;
        const char *members[8];
    } rows[] = {
        {"{" INPUT ", " OUTPUTS ", \"answer_prefix\": \" A\", \"index\": 1, \"length\": 2, "
         "\"generator\": \"apbench\"}",
         {"input", "outputs", "answer_prefix", "index", "length", "generator", "input_context"}},
        {split, {"input_context", "input_query", "outputs"}},
        {infinite, {"context", "input", "answer", "options", "id", "generator"}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (int m = 0; m < 8 && rows[r].members[m]; m++)
            for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                json_t *row = json_loads(rows[r].row, 0, NULL);
                json_object_set_new(row, rows[r].members[m],
                                    json_loads(values[v], JSON_DECODE_ANY, NULL));
                for (int i = 0; i < task_count; i++) {
                    task_sample sample;
                    fail("no sentence");
                    if ((tasks[i].infinite ? infinite_sample(&tasks[i], row, NULL, &sample)
                                           : official_sample(row, NULL, &sample)) < 0) {
                        cr_expect(strcmp(fail_text(), "no sentence"), "%s, %s: %s", tasks[i].name,
                                  rows[r].members[m], values[v]);
                        continue;
                    }
                    cr_expect(sample.document.count && sample.query.count);
                    cr_expect(tasks[i].infinite ? sample.label != NULL : sample.reference_count > 0);
                    task_sample_free(&sample);
                }
                json_decref(row);
            }
}

/* ---- Files ---- */

static void write_rows(const char *content)
{
    write_test_file(scratch, content, strlen(content));
}

/* How many rows and broken lines a file has as one of samples. */
static void expect_counts(int rows, int broken, const char *what)
{
    task_request request = {.task = task_find("niah_single_1"), .file = scratch};
    task_samples *samples = open_samples(&request);
    task_sample sample;
    int found, read = 0;
    while ((found = task_samples_next(samples, &sample)) == 1) {
        cr_expect_eq(sample.number, read);
        task_sample_free(&sample);
        read++;
    }
    cr_expect_eq(found, 0, "%s: %s", what, fail_text());
    cr_expect_eq(read, rows, "%s: %d rows", what, read);
    cr_expect_eq(task_samples_broken(samples), broken, "%s", what);
    task_samples_close(samples);
}

Test(hostile_rows, ends_of_lines_and_files)
{
    char *text;
    write_rows("");
    expect_counts(0, 0, "an empty file");
    write_rows("\n\r\n \t\n\n");
    expect_counts(0, 0, "blank lines");
    text = format_text("%s\r\n\r\n%s\r\n%s", good, good, good);
    write_rows(text);
    expect_counts(3, 0, "CRLF, none at the end");
    free(text);
    text = format_text("\xEF\xBB\xBF%s\n\xEF\xBB\xBF%s\n%s", good, good, good);
    write_rows(text);
    expect_counts(2, 1, "a byte order mark in front and another behind");
    free(text);
    write_rows("\xEF\xBB\xBF\n\xEF\xBB\xBF");
    expect_counts(0, 1, "nothing but marks");
    write_rows("\xEF\xBB");
    expect_counts(0, 1, "half a mark");
    write_rows("{\n\"input\":\n\"x\"\n}\n"); /* one object over lines is none */
    expect_counts(0, 4, "an object over lines");
}

/* ---- Large lines ---- */

/* A line of `head`, `bytes` bytes of a unit again and again, and `tail`, and then a good one. */
static void write_large(const char *head, const char *unit, size_t bytes, const char *tail)
{
    enum { BLOCK = 1 << 16 };
    size_t one = strlen(unit), block = BLOCK / one * one;
    char *units = alloc_or_die(block, 1);
    for (size_t at = 0; at < block; at += one)
        memcpy(units + at, unit, one);
    FILE *file = fopen(scratch, "wb");
    cr_assert(file);
    fputs(head, file);
    for (size_t written = 0; written < bytes; written += block)
        fwrite(units, 1, block, file);
    fprintf(file, "%s\n%s\n", tail, good);
    cr_assert_eq(fclose(file), 0);
    free(units);
}

/* Of this test, which has a process of its own. (Sanitizers keep what was freed.) */
static void expect_peak_below(long megabytes, const char *what)
{
#ifndef __SANITIZE_ADDRESS__
    long peak = peak_megabytes() - peak_at_start;
    cr_expect(peak < megabytes, "%s: %ld MB at the peak", what, peak);
#else
    (void)megabytes, (void)what;
#endif
}

enum { MEGABYTE = 1 << 20 };

/* The line, its text as jansson gathers it (doubling) and copies it, the sample: six times at most. */
Test(hostile_rows, a_string_of_100_megabytes)
{
    write_large("{" OUTPUTS ", \"input\": \"", "a long tale ", 100 * MEGABYTE, "\\nQ\"}");
    expect_counts(2, 0, "100 MB in a string");
    expect_peak_below(650, "100 MB in a string");
}

Test(hostile_rows, a_string_without_end)
{
    write_large("{" OUTPUTS ", \"input\": \"", "\\u00e9", 100 * MEGABYTE, "");
    expect_counts(1, 1, "a string without end");
    expect_peak_below(500, "a string without end");
}

Test(hostile_rows, a_line_of_300_megabytes)
{
    write_large("{" OUTPUTS ", \"input\": \"", "x", 300 * MEGABYTE, "\\nQ\"}");
    expect_counts(1, 1, "300 MB in a line");
    cr_expect(strstr(fail_text(), "rows.jsonl:1: a line of over 256 MB"), "%s", fail_text());
    expect_peak_below(330, "300 MB in a line");
}

/* 100 MB of what would take a hundred times as much, once parsed. */
Test(hostile_rows, structure_out_of_proportion)
{
    static const struct {
        const char *unit, *reason;
    } cases[] = {
        {"[", "nested deeper than 64"},     {"{\"a\":", "nested deeper than 64"},
        {"[],", "over a million values"},   {"\"\",", "over a million values"},
        {"{},", "over a million values"},   {"1,", "over a million values"},
        {"\"a\":{},", "over a million values"}, {"]", "']'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_large("{\"a\": [", cases[i].unit, 30 * MEGABYTE, "0]}");
        expect_counts(1, 1, cases[i].unit);
        cr_expect(strstr(fail_text(), cases[i].reason) || cases[i].unit[0] == ']', "%s: %s",
                  cases[i].unit, fail_text());
    }
    expect_peak_below(200, "structure");
}

/* A million bytes of digits are a number that is too large, at no great cost. */
Test(hostile_rows, numbers_of_a_million_digits)
{
    static const char *const heads[] = {"{\"index\": 1", "{\"index\": -1", "{\"index\": 0.",
                                        "{\"index\": 1e", "{\"index\": 1e-"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char *tail = format_text(", " INPUT ", " OUTPUTS "}");
        write_large(heads[i], "1234567890", MEGABYTE, tail);
        bool small = i == 2 || i == 4; /* 0.123.. and 10 to the power of -123.. */
        expect_counts(small ? 2 : 1, small ? 0 : 1, heads[i]);
        free(tail);
    }
}

/* ---- What is made of large rows ---- */

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static json_t *repeated(const char *unit, size_t bytes)
{
    size_t one = strlen(unit), count = bytes / one * one;
    char *text = alloc_or_die(count, 1);
    for (size_t at = 0; at < count; at += one)
        memcpy(text + at, unit, one);
    json_t *string = json_stringn(text, count);
    free(text);
    cr_assert(string);
    return string;
}

/* Texts on which a search that starts again at every place would not end. */
Test(hostile_rows, questions_without_an_end)
{
    static const char *const units[] = {"The ", "The of ", "func_", "func_1", "func_1(", "func_1(-",
                                        "\n", "<|\n", "assistant|>\n", " \n", "\xE3\x80\x80"};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        json_t *row = json_pack("{s: s, s: o, s: [s], s: [s, s, s, s], s: [s]}", "context", "C", "input",
                                repeated(units[u], 4 * MEGABYTE), "answer", "y", "options", "w", "x",
                                "y", "z", "outputs", "x");
        double from = seconds();
        task_sample sample;
        for (int i = 0; i < task_count; i++)
            if ((tasks[i].infinite ? infinite_sample(&tasks[i], row, NULL, &sample)
                                   : official_sample(row, NULL, &sample)) == 0)
                task_sample_free(&sample);
            else
                cr_expect(*fail_text());
        cr_expect_lt(seconds() - from, 30, "%s takes %.1f s", units[u], seconds() - from);
        json_decref(row);
    }
}

/* A string in place of a list counts by characters, but not 100 million of them. */
Test(hostile_rows, references_without_number)
{
    json_t *row = json_pack("{s: s, s: o}", "input", "C\nQ", "outputs", repeated("x", 100 * MEGABYTE));
    task_sample sample;
    cr_expect_eq(official_sample(row, NULL, &sample), -1);
    cr_expect(strstr(fail_text(), "`outputs` is a string of 104857600 bytes"), "%s", fail_text());
    json_decref(row);
    expect_peak_below(330, "references");
}

/* Predictions of megabytes and labels without number: a score, or a sentence, within seconds. */
Test(hostile_rows, predictions_and_labels_without_end)
{
    static const char *const units[] = {"a ", "word\n", "7", "\xE4\xB8\xAD", "answer is: "};
    json_t *labels = json_array(), *pairs = json_pack("[s, s]", "y", "B");
    for (int i = 0; i < 200000; i++)
        json_array_append_new(labels, json_string(i % 3 ? "a b" : ""));
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        json_t *prediction = repeated(units[u], 2 * MEGABYTE);
        const char *bytes = json_string_value(prediction);
        size_t count = json_string_length(prediction);
        for (int i = 0; i < task_count; i++) {
            const json_t *const all[] = {labels, pairs, prediction};
            for (int l = 0; l < 3 && tasks[i].infinite; l++) {
                const scorer by = {u % 2 ? SCORER_APB : SCORER_OFFICIAL, NULL};
                double score = -1, from = seconds();
                int result = task_score_label(&tasks[i], &by, bytes, count, all[l], &score);
                cr_expect(result < 0 ? *fail_text() : score >= 0 && score <= 1);
                cr_expect_lt(seconds() - from, 30, "%s, %s: %.1f s", tasks[i].name, units[u],
                             seconds() - from);
            }
        }
        json_decref(prediction);
    }
    sized_text *references = alloc_or_die(200000, sizeof *references);
    for (int i = 0; i < 200000; i++)
        references[i] = (sized_text){"no such thing", 13};
    char *prediction = alloc_or_die(MEGABYTE + 1, 1);
    memset(prediction, 'n', MEGABYTE);
    double score;
    bool null;
    cr_expect_eq(task_score(task_find("qa_1"), prediction, MEGABYTE, references, 200000, &score, &null), -1);
    cr_expect(strstr(fail_text(), "200000 references are too many"), "%s", fail_text());
    free(prediction);
    free(references);
    json_decref(labels);
    json_decref(pairs);
}
