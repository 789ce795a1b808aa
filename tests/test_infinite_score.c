/* InfiniteBench's scorers against values that the official Python code gave (official and APB's
 * copy), and what the vectors leave out. Tolerance 1e-9, as the vectors name it: the sums are of few
 * terms in the official order. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/task.h"
#include "datasets/unicode.h"
#include "harness/error.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* NAN where the official code raises. */
static double score_one(const char *name, scorer scorer, const json_t *prediction,
                        const json_t *label)
{
    double score = -1;
    int result = task_score_label(task_find(name), &scorer, json_string_value(prediction),
                                  json_string_length(prediction), label, &score);
    return result < 0 ? NAN : score;
}

static void expect_score(double score, const json_t *wanted, const char *what, size_t i,
                         const char *prediction)
{
    if (json_is_string(wanted)) /* "raises" */
        cr_expect(isnan(score), "%s, vector %zu (%s): %.17g", what, i, prediction, score);
    else
        cr_expect_float_eq(score, json_number_value(wanted), 1e-9, "%s, vector %zu (%s): %.17g",
                           what, i, prediction, score);
}

/* Every [prediction, label, score] or [prediction, label, score, APB's score] of a file. */
static void check_vectors(const char *name, const char *file, size_t expected, bool listed_for_apb)
{
    char *path = format_text("tests/data/infinitebench/%s.json", file);
    json_t *vectors = open_vectors(path, expected);
    size_t i;
    json_t *vector;
    json_array_foreach(vectors, i, vector) {
        const json_t *prediction = json_array_get(vector, 0);
        json_t *label = json_array_get(vector, 1);
        const char *text = json_string_value(prediction);
        expect_score(score_one(name, (scorer){SCORER_OFFICIAL, NULL}, prediction, label),
                     json_array_get(vector, 2), name, i, text);
        json_t *apb = json_array_get(vector, 3), *list = json_pack("[O]", label);
        expect_score(score_one(name, (scorer){SCORER_APB, NULL}, prediction,
                               listed_for_apb ? list : label),
                     apb ? apb : json_array_get(vector, 2), name, i, text);
        json_decref(list);
    }
    json_decref(vectors);
    free(path);
}

Test(infinite_score, vectors_of_passkey) { check_vectors("passkey", "passkey", 18, false); }
Test(infinite_score, vectors_of_number_string)
{
    check_vectors("number_string", "passkey", 18, false);
}
Test(infinite_score, vectors_of_kv_retrieval)
{
    check_vectors("kv_retrieval", "kv_retrieval", 15, true);
}
Test(infinite_score, vectors_of_code_run) { check_vectors("code_run", "code_run", 19, false); }
Test(infinite_score, vectors_of_code_debug)
{
    check_vectors("code_debug", "code_debug", 24, false);
}
Test(infinite_score, vectors_of_longbook_choice_eng)
{
    check_vectors("longbook_choice_eng", "longbook_choice_eng", 23, false);
}
Test(infinite_score, vectors_of_longdialogue_qa_eng)
{
    check_vectors("longdialogue_qa_eng", "longdialogue_qa_eng", 19, false);
}
Test(infinite_score, vectors_of_math_find) { check_vectors("math_find", "math_find", 19, false); }
Test(infinite_score, vectors_of_math_calc) { check_vectors("math_calc", "math_calc", 14, false); }
Test(infinite_score, vectors_of_longbook_qa_eng)
{
    check_vectors("longbook_qa_eng", "longbook_qa_eng", 19, false);
}
Test(infinite_score, vectors_of_longbook_qa_chn)
{
    check_vectors("longbook_qa_chn", "longbook_qa_chn", 15, false);
}
Test(infinite_score, vectors_of_longbook_sum_eng)
{
    check_vectors("longbook_sum_eng", "longbook_sum_eng", 19, false);
}

/* ---- Beyond the vectors ---- */

static double by(const char *name, scorer scorer, const char *prediction, const char *label_text)
{
    json_error_t error;
    json_t *label = json_loads(label_text, JSON_DECODE_ANY, &error);
    cr_assert(label, "%s: %s", label_text, error.text);
    json_t *text = json_string(prediction);
    double score = score_one(name, scorer, text, label);
    json_decref(text);
    json_decref(label);
    return score;
}

static double official(const char *name, const char *prediction, const char *label)
{
    return by(name, (scorer){SCORER_OFFICIAL, NULL}, prediction, label);
}

static double apb(const char *name, const char *prediction, const char *label)
{
    return by(name, (scorer){SCORER_APB, NULL}, prediction, label);
}

/* Which ASCII characters a scorer replaces by a space, where a word of them would be none: those listed
 * and whitespace. before, the character, after: a prediction that scores 1 only so. */
Test(infinite_score, marks_are_those_listed)
{
    static const char words[] = "\n:\"'.,?!{}";
    static const struct {
        const char *task, *before, *after, *label, *marks;
    } cases[] = {
        {"kv_retrieval", "x", "0f3a", "\"0f3a\"", words},
        {"kv_retrieval", "0f3a", "x", "\"0f3a\"", words},
        {"longdialogue_qa_eng", "x", "ALICE", "[\"ALICE\"]", words},
        {"longbook_choice_eng", "it", "C", "[\"Snow\", \"C\"]", "\n\"'.,?!{}"},
        {"code_run", "x", "12", "12", "\n.`'\":"},
        {"code_debug", "answer is: ", "B", "[\"foo\", \"B\"]", "\n`'\"-*"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (char c = 1; c < 0x7f; c++) {
            if (c == 'B')
                continue; /* the answer itself */
            char *prediction = format_text("%s%c%s", cases[i].before, c, cases[i].after);
            bool space = python_space(&c, 1) > 0;
            /* code_debug squeezes U+0020 only, and looks at what begins the rest */
            bool wanted = strchr(cases[i].marks, c) ||
                          (strcmp(cases[i].task, "code_debug") ? space : c == ' ');
            cr_expect_eq(official(cases[i].task, prediction, cases[i].label), wanted, "%s, U+%04X",
                         cases[i].task, c);
            free(prediction);
        }
}

/* What the word and the character F1 delete: a character x of the plane counts for nothing beside an x
 * just where it is listed (or, for Chinese, whitespace). */
Test(infinite_score, punctuation_is_as_listed)
{
    static const uint32_t chinese[][2] = {
        {0x2013, 0x2014}, {0x2018, 0x2019}, {0x201b, 0x201f}, {0x2026, 0x2027}, {0x3001, 0x3003},
        {0x300b, 0x3011}, {0x3014, 0x301f}, {0x3030, 0x3030}, {0x303e, 0x303f}, {0xfe4f, 0xfe4f},
        {0xff01, 0xff0d}, {0xff0f, 0xff0f}, {0xff1a, 0xff20}, {0xff3b, 0xff40}, {0xff5b, 0xff64}};
    json_t *label = json_pack("[s]", "0");
    for (uint32_t c = 1; c < 0x10000; c++) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        char text[8] = "0", *end = text + 1;
        if (c >= 0x800)
            *end++ = (char)(0xe0 | c >> 12), *end++ = (char)(0x80 | (c >> 6 & 63));
        else if (c >= 0x80)
            *end++ = (char)(0xc0 | c >> 6);
        *end++ = (char)(c >= 0x80 ? 0x80 | (c & 63) : c);
        bool ascii = c > 0x20 && c < 0x7f && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') &&
                     !(c >= 'a' && c <= 'z');
        bool space = python_space(text + 1, (size_t)(end - text - 1)) > 0, listed = ascii || space;
        for (size_t r = 0; r < sizeof chinese / sizeof *chinese; r++)
            listed |= c >= chinese[r][0] && c <= chinese[r][1];
        json_t *prediction = json_string(text);
        cr_expect_eq(score_one("longbook_qa_chn", (scorer){0}, prediction, label) == 1, listed, "U+%04X", c);
        cr_expect_eq(score_one("longbook_qa_eng", (scorer){0}, prediction, label) == 1, ascii || space,
                     "U+%04X", c);
        json_decref(prediction);
    }
    json_decref(label);
}

/* Trap 15: the published list never equals a word; APB's copy takes the first item, of a string its
 * first character. A sample of the official file is scored against the string. */
Test(infinite_score, lists_of_kv_retrieval)
{
    static const char *const blanked[] = {"The7f", "To7f", "7f</s>", "{7f}"}; /* by APB's copy */
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(apb("kv_retrieval", blanked[i], "[\"7f\"]"), 1, "%s", blanked[i]);
        cr_expect_eq(official("kv_retrieval", blanked[i], "\"7f\""), i == 3, "%s", blanked[i]);
    }
    cr_expect_eq(official("kv_retrieval", "0f3a", "[\"0f3a\"]"), 0);
    cr_expect_eq(apb("kv_retrieval", "0f3a", "[\"0f3a\"]"), 1);
    cr_expect_eq(apb("kv_retrieval", "0f3a", "\"0f3a\""), 0);
    cr_expect_eq(apb("kv_retrieval", "0 f3a", "\"0f3a\""), 1);
    cr_expect(isnan(apb("kv_retrieval", "0f3a", "[]")));
    cr_expect_eq(official("kv_retrieval", "0f3a", "7"), 0);
    task_sample sample = {.label = json_pack("[s]", "0f3a")};
    double score;
    bool null;
    for (int kind = SCORER_OFFICIAL; kind <= SCORER_APB; kind++) {
        scorer both = {(scorer_kind)kind, NULL};
        cr_assert_eq(task_score_sample(task_find("kv_retrieval"), &both, " 0f3a", 5, &sample,
                                       &score, &null), 0);
        cr_expect(score == 1 && !null);
    }
    json_array_append_new(sample.label, json_string("7f")); /* a list of two is no answer of one */
    cr_assert_eq(task_score_sample(task_find("kv_retrieval"), &(scorer){SCORER_OFFICIAL, NULL}, " 0f3a", 5,
                                   &sample, &score, &null), 0);
    cr_expect_eq(score, 0);
    task_sample_free(&sample);
}

/* Trap 21 and the special case for GPT-4: the first number is dropped, for that model only. */
Test(infinite_score, first_operand_of_math_calc)
{
    cr_expect_eq(by("math_calc", (scorer){SCORER_OFFICIAL, "gpt4"}, "[3, 1, 4, 8]", "[1, 4, 8]"), 1);
    cr_expect_eq(by("math_calc", (scorer){SCORER_OFFICIAL, "gpt-4"}, "[3, 1, 4, 8]", "[1, 4, 8]"),
                 0);
    cr_expect_eq(by("math_calc", (scorer){SCORER_OFFICIAL, "gpt4"}, "3", "[3]"), 0);
    cr_expect(isnan(official("math_calc", "1", "[]")));
    cr_expect(isnan(official("math_calc", "1", "[[]]")), "a division by zero");
    cr_expect(isnan(official("math_calc", "1", "\"1\"")));
    cr_expect_eq(official("math_calc", "1 2", "[1.0, \"2\"]"), 0.5);
    cr_expect_eq(official("math_calc", "0 00", "[0, -0.0]"), 1);
}

/* Trap 20: 48 and 48.0 are other labels; integers beyond 64 bits are compared whole. */
Test(infinite_score, types_of_math_find)
{
    cr_expect_eq(official("math_find", "48", "48"), 1);
    cr_expect_eq(official("math_find", "48", "48.0"), 1);
    cr_expect(isnan(official("math_find", "48.0", "48")));
    cr_expect(isnan(official("math_find", "48", "[]")));
    cr_expect(isnan(official("math_find", "48", "null")));
    cr_expect(isnan(official("math_find", "48", "[[48]]")));
    cr_expect_eq(official("math_find", "1", "true"), 1);
    cr_expect_eq(official("math_find", "18446744073709551664", "48"), 0);
    cr_expect_eq(official("math_find", "9223372036854775807", "9223372036854775807"), 1);
    cr_expect_eq(official("math_find", "9223372036854775808", "9223372036854775807"), 0);
    cr_expect_eq(official("math_find", "0.1", "0.1"), 1);
    cr_expect_eq(official("math_find", "٤٨.٥", "48.5"), 1);
    cr_expect_eq(official("math_find", "48.", "48"), 1);
    cr_expect_eq(apb("math_find", "48.99", "48"), 1);
    cr_expect_eq(apb("math_find", "48.99", "-48"), 0);
    char *long_number = alloc_or_die(5002, 1);
    memset(long_number, '0', 5000);
    cr_expect(isnan(official("math_find", long_number, "0")), "Python's limit of digits");
    long_number[4300] = 0;
    cr_expect_eq(official("math_find", long_number, "0"), 1);
    memset(long_number, '9', 5000);
    cr_expect(isnan(apb("math_find", long_number, "9")), "an infinite float");
    free(long_number);
}

/* Trap 16: the last word counts in code_run, the first number in passkey. */
Test(infinite_score, which_number_counts)
{
    cr_expect_eq(official("code_run", "3 or 12", "12"), 1);
    cr_expect_eq(official("passkey", "3 or 12", "\"3\""), 1);
    cr_expect_eq(official("code_run", "12", "12.0"), 1);
    cr_expect_eq(official("code_run", "12", "12.5"), 0);
    cr_expect_eq(official("code_run", "1", "true"), 1);
    cr_expect_eq(official("code_run", "_1", "1"), 0);
    cr_expect_eq(official("code_run", "1__2", "12"), 0);
    cr_expect_eq(official("code_run", "1_", "1"), 0);
    cr_expect_eq(official("code_run", "-", "0"), 0);
    cr_expect_eq(official("code_run", "-٥", "-5"), 1);
    cr_expect_eq(official("code_run", "99999999999999999999999", "9223372036854775807"), 0);
    cr_expect(isnan(official("code_run", "1", "[]")));
    cr_expect(isnan(official("passkey", "1", "[]")));
    char digits[4302]; /* of which Python converts 4300 */
    memset(digits, '0', sizeof digits);
    strcpy(digits + 4299, "7");
    cr_expect_eq(official("code_run", digits, "7"), 1);
    strcpy(digits + 4299, "07");
    cr_expect_eq(official("code_run", digits, "7"), 0);
}

/* Traps 17, 18, 19: letters and prefixes. Letters of text are substrings of a label that is one. */
Test(infinite_score, letters_and_prefixes)
{
    cr_expect_eq(official("longbook_choice_eng", "Eve", "[\"Eve\", \"A\"]"), 1); /* no letter of a choice */
    cr_expect_eq(official("longbook_choice_eng", "Dan", "[\"Dan\", \"A\"]"), 0); /* the letter D */
    cr_expect_eq(official("code_debug", "answer is: set_x", "[\"set_x\", \"B\"]"), 1);
    cr_expect_eq(official("code_debug", "answer is: my-fn", "[\"my-fn\", \"B\"]"), 0);
    cr_expect_eq(apb("code_debug", "option B. foo", "[\"foo\", \"B\"]"), 1);
    cr_expect_eq(apb("code_debug", "option  B. foo", "[\"foo\", \"C\"]"), 0);
    cr_expect(isnan(official("code_debug", "B.", "[\"foo\"]")));
    cr_expect(isnan(official("code_debug", "answer is: x", "[\"foo\", 2]")));
    cr_expect_eq(official("longbook_choice_eng", "Certainly B", "[\"Snow\", \"B\"]"), 0);
    cr_expect_eq(official("longbook_choice_eng", "Based on it, C", "[\"Snow\", \"B\"]"), 1);
    cr_expect_eq(official("longbook_choice_eng", "the answer is:C", "[\"Snow\", \"C\"]"), 0);
    cr_expect_eq(official("longbook_choice_eng", "the answer is:CC", "[\"Snow\", \"C\"]"), 1);
    cr_expect_eq(official("longbook_choice_eng", "the answer is:éC", "[\"Snow\", \"C\"]"), 1);
    cr_expect_eq(official("longbook_choice_eng", "Ann", "\"CBA\""), 1);
    cr_expect_eq(official("longbook_choice_eng", "no", "\"snow\""), 1);
    cr_expect(isnan(official("longbook_choice_eng", "A", "5")));
    cr_expect_eq(official("longbook_choice_eng", " \n", "5"), 0);
    cr_expect(isnan(official("longbook_choice_eng", "the answer is C", "[1, \"C\"]")));
}

Test(infinite_score, odd_labels_of_words)
{
    cr_expect_eq(official("longdialogue_qa_eng", "a", "\"ALICE\""), 1);
    cr_expect(isnan(official("longdialogue_qa_eng", "a", "\"\"")));
    cr_expect(isnan(official("longdialogue_qa_eng", "a", "{\"a\": 1}")));
    cr_expect_eq(official("longbook_qa_eng", "x", "[]"), 0);
    cr_expect(isnan(official("longbook_qa_eng", "x", "[1]")));
    cr_expect(isnan(official("longbook_qa_eng", "x", "null")));
    cr_expect_eq(official("longbook_qa_eng", "x", "{\"x\": null}"), 1);
    cr_expect(isnan(official("longbook_sum_eng", "x", "[]")));
    cr_expect(isnan(official("longbook_sum_eng", "x", "[\"x\", 1]")));
    /* articles are whole words by Unicode's alphanumerics: not within or beside such */
    cr_expect_eq(official("longbook_qa_eng", "the\u2460 x", "[\"x\"]"), 2.0 / 3);
    cr_expect_eq(official("longbook_qa_eng", "an\u2014a x", "[\"\u2014 x\"]"), 1);
    cr_expect_eq(official("longbook_qa_eng", "aa\u0301n x", "[\"aa\u0301n x\"]"), 1);
}

/* Trap 24, a summary of lines whose longest subsequences tie, by hand: against "a b a c" the line
 * "b a a c" has "a a c" and "b a c", both of 3. From the end: c, a, then b of row 2 against a of
 * column 2: left and up are equal, so up; a meets a: "a a c", and b is no hit. */
Test(infinite_score, ties_of_subsequences)
{
    cr_expect_float_eq(official("longbook_sum_eng", "b a a c", "[\"a b a c\"]"), 0.75, 1e-9);
    cr_expect_float_eq(official("longbook_sum_eng", "b a a c\nb x", "[\"a b a c\"]"),
                       2 * (4.0 / 6) * (4.0 / 4) / (4.0 / 6 + 1), 1e-9);
}

/* A summary that is one line of 20,000 words takes no table of 1.6 GB; endless ones are refused. */
Test(infinite_score, long_summaries)
{
    enum { WORDS = 20000 };
    char *text = alloc_or_die(2 * WORDS + 1, 1);
    for (int i = 0; i < WORDS; i++) {
        text[2 * i] = (char)('a' + i % 26);
        text[2 * i + 1] = ' ';
    }
    json_t *label = json_pack("[s]", text), *prediction = json_string(text);
    cr_expect_float_eq(score_one("longbook_sum_eng", (scorer){0}, prediction, label), 1, 1e-9);
    json_decref(label);
    json_decref(prediction);
    free(text);
    text = alloc_or_die(8 * WORDS + 1, 1);
    for (int i = 0; i < 4 * WORDS; i++)
        memcpy(text + 2 * i, "a ", 2);
    label = json_pack("[s]", text), prediction = json_string(text);
    cr_expect(isnan(score_one("longbook_sum_eng", (scorer){0}, prediction, label)));
    cr_expect(strstr(fail_text(), "80000 words"), "%s", fail_text());
    json_decref(label);
    json_decref(prediction);
    free(text);
}

Test(infinite_score, exact_text_is_pythons)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0.0"}, {1, "1.0"}, {2.0 / 3, "0.6666666666666666"}, {0.1 + 0.2, "0.30000000000000004"},
                 {0.00001, "1e-05"}, {0.5, "0.5"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        cr_expect_str_eq(score_exact_text(cases[i].value, text, sizeof text), cases[i].text);
    }
}
