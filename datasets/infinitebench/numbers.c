/* Scorers of the mathematical tasks. Integers are compared as runs of significant digits, so that
 * none is too large; a float is compared by the exact value of its double, as Python does. */
#include "datasets/infinitebench/scorers.h"
#include "datasets/infinitebench/text.h"

#include "datasets/unicode.h"
#include "harness/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Python refuses to convert longer strings to integers since 3.10.7. */
enum { MOST_DIGITS = 4300 };

/* Whether label == int(digits); digits is ASCII, without sign. */
static bool equals_integer(const json_t *label, sized_text digits)
{
    char text[400];
    if (json_is_integer(label))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(label));
    else if (json_is_boolean(label))
        snprintf(text, sizeof text, "%d", json_is_true(label));
    else if (json_is_real(label) && floor(json_real_value(label)) == json_real_value(label))
        snprintf(text, sizeof text, "%.0f", fabs(json_real_value(label)) + 0.0);
    else
        return false;
    if (json_is_real(label) && json_real_value(label) < 0)
        return false;
    while (digits.count > 1 && digits.bytes[0] == '0')
        digits = text_from(digits, 1);
    return text_equals(digits, text_of(text));
}

/* The first run of decimal digits of any script, with `.` and more digits behind it where there are
 * such, as ASCII in fresh memory; false where there is none. */
static bool first_number(sized_text text, char **number, bool *has_point)
{
    *number = NULL;
    *has_point = false;
    size_t used = 0, capacity = 0;
    while (text.count) {
        int32_t c, next;
        size_t bytes = utf8_character(text.bytes, text.count, &c);
        int digit = python_digit(c);
        bool point = false;
        if (digit < 0 && used && c == '.' && !*has_point) {
            utf8_character(text.bytes + bytes, text.count - bytes, &next);
            point = python_digit(next) >= 0;
        }
        if (digit < 0 && !point && used)
            break;
        text = text_from(text, bytes);
        if (digit < 0 && !point)
            continue;
        if (used + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 32;
            *number = realloc_or_die(*number, capacity, 1);
        }
        (*number)[used++] = point ? '.' : (char)('0' + digit);
        *has_point |= point;
    }
    if (used)
        (*number)[used] = 0;
    return used > 0;
}

/* Against an integer: int(number), which raises where there is a point; APB's copy takes
 * int(float(number)). */
static int find_integer(const scorer *scorer, const char *number, bool has_point,
                        const json_t *label, double *score)
{
    if (scorer->kind == SCORER_APB) {
        double value = strtod(number, NULL);
        if (isinf(value))
            return fail("the number found is too large for a float");
        json_t *cut = json_real(floor(value));
        char text[32];
        snprintf(text, sizeof text, "%lld", json_is_integer(label)
                                                ? (long long)json_integer_value(label)
                                                : (long long)json_is_true(label));
        *score = equals_integer(cut, text_of(text));
        json_decref(cut);
        return 0;
    }
    if (has_point)
        return fail("the number found, %.40s, is no integer as the label is", number);
    if (strlen(number) > MOST_DIGITS)
        return fail("the number found has over %d digits", MOST_DIGITS);
    *score = equals_integer(label, text_of(number));
    return 0;
}

int score_math_find(const scorer *scorer, sized_text prediction, const json_t *label,
                    double *score)
{
    json_t *answer = json_is_array(label) ? label_item(label, 0) : json_incref((json_t *)label);
    if (!answer)
        return -1;
    char *number = NULL;
    bool has_point;
    int result = 0;
    *score = 0;
    if (!json_is_number(answer) && !json_is_boolean(answer))
        result = fail("the label is neither an integer nor a float");
    else if (!first_number(prediction, &number, &has_point))
        *score = 0;
    else if (json_is_real(answer))
        *score = strtod(number, NULL) == json_real_value(answer);
    else
        result = find_integer(scorer, number, has_point, answer, score);
    free(number);
    json_decref(answer);
    return result;
}

/* The next run of ASCII digits from *at on; false at the end. */
static bool next_digits(sized_text text, size_t *at, sized_text *digits)
{
    while (*at < text.count && (text.bytes[*at] < '0' || text.bytes[*at] > '9'))
        ++*at;
    size_t start = *at;
    while (*at < text.count && text.bytes[*at] >= '0' && text.bytes[*at] <= '9')
        ++*at;
    *digits = (sized_text){text.bytes + start, *at - start};
    return *at > start;
}

int score_math_calc(const scorer *scorer, sized_text prediction, const json_t *label,
                    double *score)
{
    if (!json_is_array(label))
        return fail("the label is not a list");
    if (!json_array_size(label))
        return fail("the label is an empty list");
    const json_t *first = json_array_get(label, 0);
    if (scorer->kind == SCORER_OFFICIAL && json_is_array(first))
        label = first;
    size_t labels = json_array_size(label);
    if (!labels)
        return fail("the label is an empty list (a division by zero)");
    sized_text digits;
    size_t at = 0, prefix = 0;
    bool same = true;
    /* The prompt for GPT-4 has it begin with the first operand, which is not in the label. */
    bool skip = scorer->model && !strcmp(scorer->model, "gpt4");
    while (next_digits(prediction, &at, &digits)) {
        if (digits.count > MOST_DIGITS)
            return fail("a number of the prediction has over %d digits", MOST_DIGITS);
        same = same && (skip || (prefix < labels && equals_integer(json_array_get(label, prefix),
                                                                   digits)));
        prefix += same && !skip;
        skip = false;
    }
    *score = (double)prefix / (double)labels;
    return 0;
}
