/* F1 of the words (English) or characters (Chinese) that a prediction and a reference share, the best
 * over the references. The README of InfiniteBench calls it ROUGE; its code counts tokens. */
#include "datasets/infinitebench/scorers.h"
#include "datasets/infinitebench/text.h"

#include "datasets/unicode.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

/* From the multisets' sizes and what they share, in the official order of operations. */
static double f1(size_t common, size_t prediction, size_t reference)
{
    if (!common)
        return 0;
    double precision = (double)common / (double)prediction;
    double recall = (double)common / (double)reference;
    return 2 * precision * recall / (precision + recall);
}

static bool is_ascii_punctuation(int32_t c)
{
    return c > 0x20 && c < 0x7f && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c);
}

/* A text as its tokens, sorted. */
typedef struct {
    char *bytes;       /* what words point into */
    sized_text *words; /* English */
    uint32_t *characters;
    size_t count;
} tokens;

static void tokens_free(tokens *tokens)
{
    free(tokens->bytes);
    free(tokens->words);
    free(tokens->characters);
}

/* ---- English ---- */

static int by_text(const void *a, const void *b)
{
    const sized_text *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->count < y->count ? x->count : y->count);
    return order ? order : (x->count > y->count) - (x->count < y->count);
}

static bool is_article(sized_text word)
{
    return text_equals(word, text_of("a")) || text_equals(word, text_of("an")) ||
           text_equals(word, text_of("the"));
}

/* Whole words a, an, the become a space; words end where Python's \b sees it. In place. */
static void drop_articles(sized_text *text)
{
    size_t to = 0;
    for (size_t at = 0; at < text->count;) {
        int32_t c;
        size_t start = at, bytes = utf8_character(text->bytes + at, text->count - at, &c);
        bool word = python_is_word(c);
        do
            at += bytes;
        while (word && at < text->count &&
               (bytes = utf8_character(text->bytes + at, text->count - at, &c), python_is_word(c)));
        if (is_article((sized_text){text->bytes + start, at - start})) {
            text->bytes[to++] = ' ';
            continue;
        }
        memmove(text->bytes + to, text->bytes + start, at - start);
        to += at - start;
    }
    text->count = to;
}

/* Lower case, ASCII punctuation deleted, articles blanked out, split. -1 with a sentence. */
static int english_tokens(sized_text text, tokens *found)
{
    sized_text lower;
    *found = (tokens){0};
    lower.bytes = found->bytes = python_lower(text.bytes, text.count, &lower.count);
    if (!lower.bytes)
        return -1;
    size_t to = 0;
    for (size_t i = 0; i < lower.count; i++)
        if (!is_ascii_punctuation((unsigned char)lower.bytes[i]))
            lower.bytes[to++] = lower.bytes[i];
    lower.count = to;
    drop_articles(&lower);
    found->words = text_words(lower, &found->count);
    if (found->count)
        qsort(found->words, found->count, sizeof *found->words, by_text);
    return 0;
}

static int order_of_words(const tokens *a, size_t i, const tokens *b, size_t j)
{
    return by_text(&a->words[i], &b->words[j]);
}

/* ---- Chinese ---- */

/* The punctuation that the official list names beside ASCII's: U+300A, 3008, 3009, 00B7 and FF0E are
 * not in it. */
static bool is_chinese_punctuation(int32_t c)
{
    static const int32_t ranges[][2] = {
        {0x2013, 0x2014}, {0x2018, 0x2019}, {0x201b, 0x201f}, {0x2026, 0x2027}, {0x3001, 0x3003},
        {0x300b, 0x3011}, {0x3014, 0x301f}, {0x3030, 0x3030}, {0x303e, 0x303f}, {0xfe4f, 0xfe4f},
        {0xff01, 0xff0d}, {0xff0f, 0xff0f}, {0xff1a, 0xff20}, {0xff3b, 0xff40}, {0xff5b, 0xff64},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

static int by_character(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Lower case, punctuation and whitespace deleted, every character a token. -1 with a sentence. */
static int chinese_tokens(sized_text text, tokens *found)
{
    sized_text lower;
    *found = (tokens){0};
    lower.bytes = python_lower(text.bytes, text.count, &lower.count);
    if (!lower.bytes)
        return -1;
    found->characters = alloc_or_die(utf8_characters(lower.bytes, lower.count) + 1,
                                     sizeof *found->characters);
    for (size_t at = 0; at < lower.count;) {
        int32_t c;
        size_t space = python_space(lower.bytes + at, lower.count - at);
        at += utf8_character(lower.bytes + at, lower.count - at, &c);
        if (!space && !is_ascii_punctuation(c) && !is_chinese_punctuation(c))
            found->characters[found->count++] = (uint32_t)c;
    }
    free(lower.bytes);
    qsort(found->characters, found->count, sizeof *found->characters, by_character);
    return 0;
}

static int order_of_characters(const tokens *a, size_t i, const tokens *b, size_t j)
{
    return by_character(&a->characters[i], &b->characters[j]);
}

/* ---- Both ---- */

typedef struct {
    int (*tokenize)(sized_text, tokens *);
    int (*order)(const tokens *, size_t, const tokens *, size_t);
} language;

static size_t count_common(const language *language, const tokens *a, const tokens *b)
{
    size_t common = 0, i = 0, j = 0;
    while (i < a->count && j < b->count) {
        int order = language->order(a, i, b, j);
        common += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    return common;
}

/* Words of the prediction that are gone through, over all references: some seconds' work. */
static const uint64_t MOST_WALKED = 1ull << 32;

static int best_f1(const language *language, sized_text prediction, const json_t *label,
                   double *score)
{
    json_t *references = label_items(label);
    tokens predicted;
    if (!references)
        return -1;
    if (language->tokenize(prediction, &predicted) < 0) {
        json_decref(references);
        return -1;
    }
    *score = 0;
    int result = 0;
    if ((uint64_t)predicted.count * json_array_size(references) > MOST_WALKED)
        result = fail("%zu references are too many for a prediction of %zu words",
                      json_array_size(references), predicted.count);
    size_t i;
    const json_t *reference;
    json_array_foreach(references, i, reference) {
        tokens wanted;
        if (result == 0)
            result = json_is_string(reference)
                         ? language->tokenize(json_view(reference), &wanted)
                         : fail("item %zu of the label is not a string", i);
        if (result < 0)
            break;
        double value = f1(count_common(language, &predicted, &wanted), predicted.count,
                          wanted.count);
        *score = value > *score ? value : *score;
        tokens_free(&wanted);
    }
    tokens_free(&predicted);
    json_decref(references);
    return result;
}

int score_qa_english(const scorer *scorer, sized_text prediction, const json_t *label,
                     double *score)
{
    static const language english = {english_tokens, order_of_words};
    (void)scorer;
    return best_f1(&english, prediction, label, score);
}

int score_qa_chinese(const scorer *scorer, sized_text prediction, const json_t *label,
                     double *score)
{
    static const language chinese = {chinese_tokens, order_of_characters};
    (void)scorer;
    return best_f1(&chinese, prediction, label, score);
}
