/* RULER's scorers against values that the official Python code gave, and the rules behind them:
 * substring, Python's lower() and strip(), control characters, rounding of exact doubles. */
#include "datasets/official.h"
#include "datasets/task.h"
#include "datasets/unicode.h"
#include "harness/error.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The score in percent as a one-row file gives it; NAN where the official code raises. */
static double score_one(const char *task_name, const char *prediction, size_t bytes,
                        const json_t *outputs, bool *null)
{
    json_t *row = json_object();
    json_object_set(row, "outputs", (json_t *)outputs);
    sized_text *references;
    int count = official_references(row, &references);
    json_decref(row);
    if (count < 0)
        return NAN;
    double score;
    int result = task_score(task_find(task_name), prediction, bytes, references, count, &score,
                            null);
    official_references_free(references, count);
    return result < 0 ? NAN : score_percent(score, 1);
}

/* Every [prediction, references, percent] of a file. 1e-9 is the tolerance that the vectors name. */
static void check_vectors(const char *task_name, const char *path, size_t expected)
{
    json_t *vectors = open_vectors(path, expected);
    size_t i;
    json_t *vector;
    json_array_foreach(vectors, i, vector) {
        const json_t *prediction = json_array_get(vector, 0);
        bool null;
        double score = score_one(task_name, json_string_value(prediction),
                                 json_string_length(prediction), json_array_get(vector, 1), &null);
        cr_expect_float_eq(score, json_real_value(json_array_get(vector, 2)), 1e-9,
                           "%s, vector %zu: %.17g", path, i, score);
        cr_expect_eq(null, i == 3, "only the fourth prediction of either file is empty");
    }
    json_decref(vectors);
}

Test(score, vectors_of_string_match_all)
{
    check_vectors("niah_single_1", "tests/data/tasks/string_match_all.json", 22);
    check_vectors("cwe", "tests/data/tasks/string_match_all.json", 22);
}

Test(score, vectors_of_string_match_part)
{
    check_vectors("qa_1", "tests/data/tasks/string_match_part.json", 14);
}

static double score_text_of(const char *task_name, const char *prediction, const char *outputs)
{
    json_t *list = json_loads(outputs, JSON_DECODE_ANY, NULL);
    cr_assert(list);
    bool null;
    double score = score_one(task_name, prediction, strlen(prediction), list, &null);
    json_decref(list);
    return score;
}

Test(score, matches_are_substrings)
{
    cr_expect_eq(score_text_of("qa_1", "I know", "[\"no\"]"), 100);
    cr_expect_eq(score_text_of("niah_single_1", "98152736", "[\"8152736\"]"), 100);
    cr_expect_eq(score_text_of("cwe", "a pineapple", "[\"apple\"]"), 100);
}

Test(score, duplicate_and_empty_references)
{
    cr_expect_eq(score_text_of("cwe", "apple", "[\"apple\", \"apple\", \"pear\", \"fig\"]"), 50);
    cr_expect_eq(score_text_of("cwe", "", "[\"\", \"fig\"]"), 50);
    cr_expect(isnan(score_text_of("cwe", "apple", "[]")), "a division by zero");
    cr_expect(isnan(score_text_of("cwe", "apple", "[1]")), "int has no lower()");
    cr_expect(isnan(score_text_of("cwe", "apple", "{}")));
    /* Python iterates over a string's characters: o, m, g-clef */
    cr_expect_eq(score_text_of("cwe", "\xf0\x9d\x84\x9e mmm", "\"om\xf0\x9d\x84\x9e\""), 66.67);
}

Test(score, lower_case_looks_at_the_context)
{
    static const char *const pairs[][2] = {
        {"ΑΣ", "ας"},       {"ΑΣΑ", "ασα"},   {"Σ", "σ"},           {"ΑΣ.", "ας."},
        {"Α.Σ", "α.ς"},     {"ΑΣ\u0301", "ας\u0301"}, {"İ", "i\u0307"}, {"\u212a\u212b", "kå"},
        {"ẞß", "ßß"},       {"Ⓐ", "ⓐ"},       {"ǅ", "ǆ"},           {"𐐀", "𐐨"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        size_t bytes;
        char *lower = python_lower(pairs[i][0], strlen(pairs[i][0]), &bytes);
        cr_expect_str_eq(lower, pairs[i][1]);
        free(lower);
    }
    char many[4 * 301] = ""; /* grows by half: past the first guess of the size */
    for (int i = 0; i < 300; i++)
        strcat(many, "İ");
    size_t bytes;
    char *lower = python_lower(many, strlen(many), &bytes);
    cr_expect_eq(bytes, 900);
    free(lower);
}

/* The whole list of str.isspace(), U+200B not in it. */
Test(score, whitespace_is_pythons)
{
    static const uint32_t spaces[] = {0x09,   0x0a,   0x0b,   0x0c,   0x0d,   0x1c,   0x1d,   0x1e,
                                      0x1f,   0x20,   0x85,   0xa0,   0x1680, 0x2000, 0x2001, 0x2002,
                                      0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a,
                                      0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
    size_t next = 0;
    for (uint32_t c = 1; c < 0x30000; c++) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        char utf8[5] = {(char)c};
        if (c >= 0x10000)
            snprintf(utf8, sizeof utf8, "%c%c%c%c", 0xf0 | c >> 18, 0x80 | (c >> 12 & 63),
                     0x80 | (c >> 6 & 63), 0x80 | (c & 63));
        else if (c >= 0x800)
            snprintf(utf8, sizeof utf8, "%c%c%c", 0xe0 | c >> 12, 0x80 | (c >> 6 & 63),
                     0x80 | (c & 63));
        else if (c >= 0x80)
            snprintf(utf8, sizeof utf8, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 63));
        bool listed = next < sizeof spaces / sizeof *spaces && spaces[next] == c;
        next += listed;
        cr_assert_eq(python_space(utf8, strlen(utf8)), listed ? strlen(utf8) : 0, "U+%04X", c);
    }
    cr_assert_eq(next, sizeof spaces / sizeof *spaces);
}

Test(score, strip_takes_whole_characters)
{
    const char *text = "\u3000\u00a0\x1f x\u200b y \u2028\t";
    size_t bytes = strlen(text);
    python_strip(&text, &bytes);
    cr_expect_eq(bytes, strlen("x\u200b y"));
    cr_expect(!strncmp(text, "x\u200b y", bytes));
    text = " \u2003 ";
    bytes = strlen(text);
    python_strip(&text, &bytes);
    cr_expect_eq(bytes, 0);
}

Test(score, nulls_are_empty_after_postprocessing)
{
    json_t *list = json_loads("[\"7\"]", 0, NULL);
    bool null;
    score_one("niah_single_1", " \t\u3000\x1f", strlen(" \t\u3000\x1f"), list, &null);
    cr_expect(null);
    /* a NUL at the edge is no whitespace at first, but becomes a newline */
    score_one("niah_single_1", "\0 \0", 3, list, &null);
    cr_expect(null);
    score_one("niah_single_1", "\u200b", 3, list, &null);
    cr_expect_not(null);
    json_decref(list);
}

/* Means of k of n rows: ties of the exact double go to even, others by the exact value. The values
 * are Python's round(k / n * 100, 2). */
Test(score, rounds_as_python_does)
{
    static const struct {
        double sum;
        int64_t rows;
        const char *text;
    } cases[] = {{1, 32, "3.12"},  {3, 32, "9.38"},  {9, 160, "5.62"}, {0, 7, "0.0"},
                 {7, 7, "100.0"},  {2, 3, "66.67"},  {1, 8, "12.5"},   {1, 800, "0.12"},
                 {23, 160, "14.37"}, {29, 32, "90.62"}, {1, 1600, "0.06"}, {57, 160, "35.62"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        score_text(score_percent(cases[i].sum, cases[i].rows), text, sizeof text);
        cr_expect_str_eq(text, cases[i].text);
    }
}

Test(score, refuses_predictions_that_are_no_utf8)
{
    sized_text reference = {(char *)"7", 1};
    double score;
    bool null;
    cr_expect_eq(task_score(task_find("cwe"), "ab\xff", 3, &reference, 1, &score, &null), -1);
    cr_expect(strstr(fail_text(), "byte 2"));
}
