/* InfiniteBench's synthetic rows: their answers, worked out anew from the text of the row, their
 * depths, kinds and counts over whole files, and that samples fill their length. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/infinitebench/make.h"
#include "datasets/official.h"
#include "datasets/task.h"
#include "harness/error.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(infinite_make, .init = set_up_tasks, .fini = tear_down_tasks);

static random_stream stream_of(int64_t k)
{
    return random_stream_for(5, "test", 0, (uint64_t)k);
}

static const char *context_of(const json_t *row)
{
    return json_string_value(json_object_get(row, "context"));
}

static const json_t *answer_of(const json_t *row)
{
    const json_t *answer = json_object_get(row, "answer");
    cr_assert(json_is_array(answer));
    return json_array_get(answer, 0);
}

/* 590 rows, as published: ten at each of 59 evenly spread depths, the first 59 at all of them; the
 * line names the digits twice, and nothing else does. */
static void check_digits(json_t *(*make)(int64_t, int64_t, random_stream *), size_t digits,
                         int *leading_zeros)
{
    enum { BLOCKS = 116, ROWS = 590 };
    int at[BLOCKS + 1] = {0};
    for (int k = 0; k < ROWS; k++) {
        random_stream stream = stream_of(k);
        json_t *row = make(BLOCKS, k, &stream);
        const char *key = json_string_value(answer_of(row)), *text = context_of(row);
        cr_assert_eq(strlen(key), digits);
        cr_assert_eq(strspn(key, "0123456789"), digits);
        *leading_zeros += key[0] == '0';
        const char *first = strstr(text, key), *second = first ? strstr(first + digits, key) : NULL;
        cr_assert(second && !strstr(second + digits, key) && !memchr(first, '\n', second - first));
        int lines = 0, before = 0;
        for (const char *c = text; *c; c++) {
            lines += *c == '\n';
            before += *c == '\n' && c < first;
        }
        cr_assert_eq(lines, BLOCKS + 1);
        cr_assert_eq(json_integer_value(json_object_get(row, "len")), 26 * (BLOCKS - before));
        cr_assert(++at[before] == k / 59 + 1, "row %d at %d", k, before);
        json_decref(row);
    }
    for (int before = 0; before <= BLOCKS; before++)
        cr_assert_eq(at[before], before % 2 ? 0 : 10);
}

Test(infinite_make, digits_in_noise)
{
    int zeros = 0, unused = 0;
    check_digits(make_passkey, 5, &zeros);
    cr_expect(zeros > 30 && zeros < 90, "about a tenth of 590, five deviations: %d", zeros);
    check_digits(make_number_string, 10, &unused);
}

/* Five digits, five times one of them doubled: at least five neighbours are equal. */
Test(infinite_make, doubled_digits)
{
    for (int k = 0; k < 300; k++) {
        random_stream stream = stream_of(k);
        json_t *row = make_number_string(5, k, &stream);
        const char *key = json_string_value(answer_of(row));
        int equal = 0;
        for (int i = 1; i < 10; i++)
            equal += key[i] == key[i - 1];
        cr_assert_geq(equal, 5, "%s", key);
        json_decref(row);
    }
}

Test(infinite_make, keys_and_values)
{
    enum { PAIRS = 250 };
    bool seen[500] = {false};
    for (int k = 0; k < 500; k++) {
        random_stream stream = stream_of(k);
        json_t *row = make_kv_retrieval(PAIRS, k, &stream);
        const char *object = strchr(context_of(row), '{');
        const char *input = json_string_value(json_object_get(row, "input"));
        char *key = copy_bytes(strchr(input, '"') + 1, 36);
        json_t *pairs = json_loads(object, JSON_REJECT_DUPLICATES, NULL);
        cr_assert_eq(json_object_size(pairs), PAIRS);
        cr_assert(json_equal(json_object_get(pairs, key), answer_of(row)));
        cr_assert(key[14] == '4' && strchr("89ab", key[19]), "version 4: %s", key);
        /* where: 80 characters a pair, of 250; two rows a place */
        int place = (int)((strstr(object, key) - object) / 80);
        cr_assert(place >= 0 && place < PAIRS);
        cr_assert_not(seen[2 * place] && seen[2 * place + 1]);
        seen[2 * place + seen[2 * place]] = true;
        free(key);
        json_decref(pairs);
        json_decref(row);
    }
}

static int ascending(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Every kind against the sorted list: distinct values for second and third, a float for the median. */
Test(infinite_make, numbers_of_a_list)
{
    static const char *const kinds[] = {"largest",         "second largest", "third largest",
                                        "smallest",        "second smallest", "third smallest",
                                        "median"};
    enum { MOST = 101 };
    for (int k = 0; k < 350; k++) {
        random_stream stream = stream_of(k);
        int64_t size = k % 2 ? MOST : MOST - 1;
        json_t *row = make_math_find(size, k, &stream);
        json_t *list = json_loads(context_of(row), 0, NULL);
        cr_assert_eq((int64_t)json_array_size(list), size);
        int all[MOST], distinct[MOST], count = 0;
        for (int i = 0; i < size; i++)
            all[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
        qsort(all, (size_t)size, sizeof *all, ascending);
        cr_assert(all[0] >= 0 && all[size - 1] <= 99);
        for (int i = 0; i < size; i++)
            if (!i || all[i] != all[i - 1])
                distinct[count++] = all[i];
        const char *input = json_string_value(json_object_get(row, "input"));
        char *phrase = format_text("The %s%s of", kinds[k % 7], k % 7 == 6 ? "" : " number");
        cr_assert(strstr(input, phrase), "%s: %s", input, phrase);
        const json_t *answer = answer_of(row);
        if (k % 7 == 6) {
            cr_assert(json_is_real(answer));
            cr_assert_eq(json_real_value(answer), (all[(size - 1) / 2] + all[size / 2]) / 2.0);
        } else {
            int wanted = k % 7 < 3 ? distinct[count - 1 - k % 7] : distinct[k % 7 - 3];
            cr_assert(json_is_integer(answer));
            cr_assert_eq(json_integer_value(answer), wanted);
        }
        free(phrase);
        json_decref(list);
        json_decref(row);
    }
}

/* Of long lists: 0 and an upper bound of 79..99 where large numbers are asked for, a lower bound of
 * 0..19 and 99 where small ones are, either for the median; every bound turns up. */
Test(infinite_make, bounds_of_a_list)
{
    bool upper[100] = {false}, lower[100] = {false};
    int halves[2] = {0};
    for (int k = 0; k < 700; k++) {
        random_stream stream = stream_of(k);
        json_t *row = make_math_find(2000, k, &stream);
        int least = 99, most = 0;
        for (char *at = (char *)context_of(row) + 1; *at && *at != ']'; at += *at == ',') {
            int number = (int)strtol(at, &at, 10);
            least = number < least ? number : least;
            most = number > most ? number : most;
        }
        bool large = least == 0 && most < 99, small = least > 0 && most == 99;
        if (k % 7 == 6)
            halves[0] += large, halves[1] += small;
        cr_assert(k % 7 < 3 ? least == 0 && most >= 79 : k % 7 == 6 || (most == 99 && least <= 19),
                  "row %d: %d..%d", k, least, most);
        upper[most] |= k % 7 < 3;
        lower[least] |= k % 7 >= 3 && k % 7 < 6;
        json_decref(row);
    }
    for (int bound = 0; bound < 21; bound++) {
        cr_expect(upper[79 + bound], "%d", 79 + bound);
        cr_expect(bound == 20 || lower[bound], "%d", bound);
    }
    cr_expect(halves[0] > 25 && halves[1] > 25, "%d and %d of 100", halves[0], halves[1]);
}

/* The value after every operator, the first operand left out, all within 0..99. */
Test(infinite_make, values_of_a_sum)
{
    for (int k = 0; k < 20; k++) {
        random_stream stream = stream_of(k);
        enum { OPERANDS = 500 };
        json_t *row = make_math_calc(OPERANDS, k, &stream), *answer = json_object_get(row, "answer");
        cr_assert_eq(json_array_size(answer), OPERANDS - 1);
        char *rest = strchr(context_of(row), ':') + 1;
        long value = strtol(rest, &rest, 10);
        for (size_t i = 0; i < OPERANDS - 1; i++) {
            char sign = rest[1];
            long operand = strtol(rest + 2, &rest, 10);
            cr_assert(operand >= 0 && operand <= 99 && (sign == '+' || sign == '-'));
            value += sign == '+' ? operand : -operand;
            cr_assert(value >= 0 && value <= 99);
            cr_assert_eq(json_integer_value(json_array_get(answer, i)), value);
        }
        cr_assert_eq(*rest, 0);
        json_decref(row);
    }
}

/* Runs func_ID(x) of the text: the value, and in *calls how many functions that took. */
static int run_function(const char *text, int id, int x, int *calls)
{
    char head[40];
    snprintf(head, sizeof head, "def func_%d(x):\n    return ", id);
    const char *body = strstr(text, head);
    cr_assert(body, "%s", head);
    body += strlen(head);
    ++*calls;
    int next = 0, value = x, used = 0;
    if (sscanf(body, "func_%d(x)%n", &next, &used) == 1)
        value = run_function(text, next, x, calls);
    else
        used = 1;
    char sign;
    int constant;
    if (sscanf(body + used, " %c %d", &sign, &constant) == 2 && body[used] == ' ')
        value += sign == '-' ? -constant : constant;
    return value;
}

Test(infinite_make, functions_that_call)
{
    enum { FUNCTIONS = 64 };
    for (int k = 0; k < 200; k++) {
        random_stream stream = stream_of(k);
        json_t *row = make_code_run(FUNCTIONS, k, &stream);
        const char *text = context_of(row);
        int layers = 2 + 2 * (k % 5), count = 0, last = 0;
        for (const char *at = text; (at = strstr(at, "def func_")); at++, count++) {
            int id = atoi(at + strlen("def func_"));
            cr_assert(id > last && id <= 2 * layers * (FUNCTIONS / layers), "sorted by id");
            last = id;
        }
        cr_assert_eq(count, FUNCTIONS / layers * layers);
        int id, x, calls = 0;
        const char *input = json_string_value(json_object_get(row, "input"));
        cr_assert_eq(sscanf(strstr(input, "func_"), "func_%d(%d)", &id, &x), 2);
        cr_assert(x >= -10 && x <= 10);
        cr_assert_eq(json_integer_value(answer_of(row)), run_function(text, id, x, &calls));
        cr_assert_eq(calls, layers);
        json_decref(row);
    }
}

/* ---- As samples ---- */

static const char *const made[] = {"passkey", "number_string", "kv_retrieval", "math_find",
                                   "code_run"};

/* Within the budget, and no more than a unit or 3 % below it; a right answer scores 1. Units take
 * about: a block 26 tokens here, a pair 100, a number 3, a layer of functions 200. */
Test(infinite_make, samples_fill_their_length)
{
    static const int64_t unit[] = {60, 60, 200, 10, 400};
    for (size_t t = 0; t < sizeof made / sizeof *made; t++) {
        task_request request = request_for(made[t], 3000);
        task_samples *samples = open_samples(&request);
        for (int k = 0; k < 6; k++) {
            task_sample sample;
            next_sample(samples, &sample);
            int64_t length = count_tokens(sample.document) + count_tokens(sample.query) +
                             request.task->tokens_to_generate;
            int64_t slack = unit[t] > 90 ? unit[t] : 90;
            cr_expect(length <= 3000 && length >= 3000 - slack, "%s: %lld", made[t],
                      (long long)length);
            cr_expect_not(sample.official);
            char *answer = json_is_string(json_array_get(sample.label, 0))
                               ? copy_text(json_string_value(json_array_get(sample.label, 0)))
                               : json_dumps(json_array_get(sample.label, 0), JSON_ENCODE_ANY);
            for (int kind = 0; kind < 2; kind++) {
                scorer scorer = {(scorer_kind)kind, NULL};
                double score;
                bool null;
                cr_assert_eq(task_score_sample(request.task, &scorer, answer, strlen(answer),
                                               &sample, &score, &null), 0);
                cr_expect_eq(score, 1, "%s: %s", made[t], answer);
            }
            free(answer);
            task_sample_free(&sample);
        }
        task_samples_close(samples);
    }
}

/* A sample written as a row of a file and read again, cut to the same length, is what it was. */
Test(infinite_make, written_rows_read_back)
{
    for (size_t t = 0; t < sizeof made / sizeof *made; t++) {
        task_request request = request_for(made[t], 2000);
        task_samples *samples = open_samples(&request);
        task_sample sample[3], read;
        FILE *file = fopen(scratch, "wb");
        for (int k = 0; k < 3; k++) {
            next_sample(samples, &sample[k]);
            char *line = official_line(request.task, &sample[k], tokens, LAYOUT_RULER);
            cr_assert(line, "%s", fail_text());
            fputs(line, file);
            free(line);
        }
        fclose(file);
        task_samples_close(samples);
        request.file = scratch;
        samples = open_samples(&request);
        for (int k = 0; k < 3; k++) {
            next_sample(samples, &read);
            assert_same(&sample[k], &read);
            cr_expect(json_equal(sample[k].label, read.label) && json_equal(sample[k].row, read.row));
            cr_expect(same_text(sample[k].anchor_query, read.anchor_query) && !read.official);
            cr_expect_eq(sample[k].tokens_to_generate, read.tokens_to_generate);
            task_sample_free(&read);
            task_sample_free(&sample[k]);
        }
        task_samples_close(samples);
    }
}

/* Sample k is the same whatever was made before it; another seed gives another one. */
Test(infinite_make, samples_stand_alone)
{
    for (size_t t = 0; t < sizeof made / sizeof *made; t++) {
        task_request request = request_for(made[t], 2000);
        task_samples *all = open_samples(&request), *skipping = open_samples(&request);
        task_sample a, b;
        for (int k = 0; k < 3; k++) {
            next_sample(all, &a);
            if (k < 2)
                task_sample_free(&a);
        }
        task_samples_skip(skipping, 2);
        next_sample(skipping, &b);
        cr_expect(json_equal(a.row, b.row), "%s", made[t]);
        task_sample_free(&b);
        task_samples_close(skipping);
        task_samples_close(all);
        request.seed++;
        task_samples *other = open_samples(&request);
        task_samples_skip(other, 2);
        next_sample(other, &b);
        cr_expect_not(json_equal(a.row, b.row), "%s", made[t]);
        task_sample_free(&a);
        task_sample_free(&b);
        task_samples_close(other);
    }
}
