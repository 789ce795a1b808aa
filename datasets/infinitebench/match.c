/* Scorers that find one answer in the prediction: right or wrong. The rules, their order included,
 * are those of InfiniteBench's code, accidents and all: who scores by them wants their numbers. */
#include "datasets/infinitebench/scorers.h"
#include "datasets/infinitebench/text.h"

#include "datasets/unicode.h"
#include "harness/error.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The label, or the first item where it is a list: a new reference, NULL with a sentence. */
static json_t *only_answer(const json_t *label)
{
    return json_is_array(label) ? label_item(label, 0) : json_incref((json_t *)label);
}

int score_first_number(const scorer *scorer, sized_text prediction, const json_t *label,
                       double *score)
{
    (void)scorer;
    json_t *answer = only_answer(label);
    if (!answer)
        return -1;
    size_t start = 0;
    while (start < prediction.count && (prediction.bytes[start] < '0' ||
                                        prediction.bytes[start] > '9'))
        start++;
    size_t end = start;
    while (end < prediction.count && prediction.bytes[end] >= '0' && prediction.bytes[end] <= '9')
        end++;
    sized_text digits = {prediction.bytes + start, end - start};
    *score = json_is_string(answer) && text_equals(digits, json_view(answer));
    json_decref(answer);
    return 0;
}

/* Whether one of the words of the text is the answer. */
static bool has_word(sized_text text, sized_text answer)
{
    size_t count;
    sized_text *words = text_words(text, &count);
    bool found = false;
    for (size_t i = 0; i < count && !found; i++)
        found = text_equals(words[i], answer);
    free(words);
    return found;
}

int score_kv_retrieval(const scorer *scorer, sized_text prediction, const json_t *label,
                       double *score)
{
    static const char *const official[] = {"\n", ":", "\"", "'", ".", ",", "?", "!", "{", "}", NULL};
    static const char *const apb[] = {"\n", ":", "\"", "'",    ".",   ",",  "?",
                                      "!",  "{", "}",  "</s>", "The", "To", NULL};
    bool like_apb = scorer->kind == SCORER_APB;
    json_t *answer = like_apb ? label_item(label, 0) : json_incref((json_t *)label);
    if (!answer)
        return -1;
    sized_text text = text_copy(prediction);
    text_blank_out(&text, like_apb ? apb : official);
    *score = json_is_string(answer) && has_word(text, json_view(answer));
    free(text.bytes);
    json_decref(answer);
    return 0;
}

int score_dialogue(const scorer *scorer, sized_text prediction, const json_t *label, double *score)
{
    static const char *const marks[] = {"\n", ":", "\"", "'", ".", ",", "?", "!", "{", "}", NULL};
    (void)scorer;
    json_t *answer = label_item(label, 0);
    if (!answer)
        return -1;
    sized_text text = text_copy(text_stripped(prediction)), upper;
    text_blank_out(&text, marks);
    /* upper-casing makes no whitespace and takes none away, so it may come before the split */
    upper.bytes = python_upper(text.bytes, text.count, &upper.count);
    if (upper.bytes)
        *score = json_is_string(answer) && has_word(upper, json_view(answer));
    int result = upper.bytes ? 0 : -1;
    free(upper.bytes);
    free(text.bytes);
    json_decref(answer);
    return result;
}

/* int(word) of Python: a sign, decimal digits of any script, single underscores between digits; at
 * most 4300 digits, as Python has it since 3.10.7. False where that raises. An integer beyond int64,
 * which no label is, becomes INT64_MAX or INT64_MIN with *exact false. */
static bool python_int(sized_text word, int64_t *value, bool *exact)
{
    bool negative = word.count && word.bytes[0] == '-', after_digit = false;
    if (word.count && (word.bytes[0] == '-' || word.bytes[0] == '+'))
        word = text_from(word, 1);
    __int128 sum = 0;
    size_t digits = 0;
    *exact = true;
    while (word.count) {
        int32_t c;
        size_t bytes = utf8_character(word.bytes, word.count, &c);
        int digit = python_digit(c);
        word = text_from(word, bytes);
        if (digit < 0 && (c != '_' || !after_digit))
            return false;
        after_digit = digit >= 0;
        if (digit < 0)
            continue;
        digits++;
        sum = sum * 10 + digit;
        if (sum > INT64_MAX) {
            sum = INT64_MAX;
            *exact = false;
        }
    }
    *value = (int64_t)(negative ? -sum : sum);
    return after_digit && digits <= 4300;
}

int score_code_run(const scorer *scorer, sized_text prediction, const json_t *label, double *score)
{
    static const char *const marks[] = {"\n", ".", "`", "'", "\"", ":", NULL};
    (void)scorer;
    json_t *answer = only_answer(label);
    if (!answer)
        return -1;
    sized_text text = text_copy(text_stripped(prediction));
    text_blank_out(&text, marks);
    size_t count;
    sized_text *words = text_words(text, &count);
    int64_t value;
    bool exact;
    *score = 0;
    if (count && python_int(words[count - 1], &value, &exact) && exact) {
        if (json_is_integer(answer))
            *score = json_integer_value(answer) == value;
        else if (json_is_real(answer)) /* Python compares an int and a float exactly */
            *score = (long double)json_real_value(answer) == (long double)value;
        else if (json_is_boolean(answer))
            *score = json_is_true(answer) == value;
    }
    free(words);
    free(text.bytes);
    json_decref(answer);
    return 0;
}

/* ---- Letters and texts behind a prefix of the answer ---- */

/* Whether the text starts with one of the label's items. -1 where one that is asked is no string. */
static int begins_with_item(sized_text text, const json_t *items)
{
    size_t i;
    const json_t *item;
    json_array_foreach(items, i, item) {
        if (!json_is_string(item))
            return fail("item %zu of the label is not a string", i);
        if (text_begins(text, json_view(item)))
            return 1;
    }
    return 0;
}

/* At the first of the prefixes that occurs: whether what follows, one more character left out,
 * starts with an item. -1 with a sentence; -2 when no prefix occurs. */
static int judge_prefixes(sized_text text, const char *const *prefixes, const json_t *items)
{
    for (; *prefixes; prefixes++) {
        sized_text prefix = text_of(*prefixes);
        int64_t found = text_find(text, prefix);
        if (found < 0)
            continue;
        sized_text rest = text_from(text, (size_t)found + prefix.count);
        int32_t c;
        size_t skipped = utf8_character(rest.bytes, rest.count, &c);
        return skipped ? begins_with_item(text_from(rest, skipped), items) : 0;
    }
    return -2;
}

/* Whether the text starts with the letter and `.` or `:`. */
static bool is_marked(sized_text text, sized_text letter)
{
    if (!text_begins(text, letter) || utf8_characters(letter.bytes, letter.count) != 1)
        return false;
    sized_text rest = text_from(text, letter.count);
    return rest.count && (rest.bytes[0] == '.' || rest.bytes[0] == ':');
}

int score_code_debug(const scorer *scorer, sized_text prediction, const json_t *label,
                     double *score)
{
    static const char *const marks[] = {"\n", "`", "'", "\"", "-", "*", "Option", "option", NULL};
    /* The official list ends in "correct option is:", which "is:" and the blanks keep from use. */
    static const char *const prefixes[] = {"answer is:", "is:", "answer:", NULL};
    json_t *letter = label_item(label, 1), *name = letter ? label_item(label, 0) : NULL;
    if (!name) {
        json_decref(letter);
        return -1;
    }
    sized_text text = text_copy(text_stripped(prediction)), stripped = text;
    bool marked = scorer->kind == SCORER_OFFICIAL && is_marked(text, json_view(letter));
    if (!marked) {
        text_blank_out(&text, marks);
        text_squeeze(&text);
        stripped = scorer->kind == SCORER_APB ? text_stripped(text) : text;
        marked = scorer->kind == SCORER_APB && is_marked(stripped, json_view(letter));
    }
    int judged = 1;
    if (!marked) {
        json_t *items = json_pack("[O, O]", letter, name);
        judged = judge_prefixes(stripped, prefixes, items);
        json_decref(items);
    }
    free(text.bytes);
    json_decref(letter);
    json_decref(name);
    *score = judged == 1;
    return judged == -1 ? -1 : 0;
}

/* The last resort: the first word that is a substring of "ABCD" decides. */
static int judge_letters(sized_text text, const json_t *label)
{
    size_t count;
    sized_text *words = text_words(text, &count);
    int judged = 0;
    for (size_t i = 0; i < count; i++)
        if (text_find(text_of("ABCD"), words[i]) >= 0) {
            judged = label_holds(label, words[i]);
            break;
        }
    free(words);
    return judged;
}

int score_choice(const scorer *scorer, sized_text prediction, const json_t *label, double *score)
{
    static const char *const marks[] = {"\n", "\"", "'", ".", ",", "?", "!", "{", "}", NULL};
    static const char *const prefixes[] = {"answer is:", "answer:", "answer is", "option is", NULL};
    (void)scorer;
    *score = 0;
    sized_text stripped = text_stripped(prediction);
    if (!stripped.count)
        return 0;
    bool letter = stripped.bytes[0] >= 'A' && stripped.bytes[0] <= 'D';
    int judged = label_holds(label, letter ? (sized_text){stripped.bytes, 1} : stripped);
    if (judged == 0 && !letter) {
        sized_text text = text_copy(stripped);
        text_blank_out(&text, marks);
        text_squeeze(&text);
        json_t *items = label_items(label);
        judged = judge_prefixes(text, prefixes, items);
        if (judged == -2)
            judged = judge_letters(text, label);
        json_decref(items);
        free(text.bytes);
    }
    *score = judged == 1;
    return judged < 0 ? -1 : 0;
}
