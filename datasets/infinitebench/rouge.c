/* rougeLsum's F-measure as the rouge_score package computes it without a stemmer: the union of longest
 * common subsequences of every reference line with all lines of the prediction (C.-Y. Lin, "ROUGE: a
 * package for automatic evaluation of summaries", 2004, section 3.2), every token counted once. Which
 * of several longest subsequences is taken changes the union, so the way back through the table is
 * that package's. */
#include "datasets/infinitebench/scorers.h"
#include "datasets/infinitebench/text.h"

#include "datasets/unicode.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

/* Pairs of words that are compared for a prediction, over all references: some seconds' work, and
 * 512 MB where both texts are one line. A pair of lines costs as much as PAIRS_A_LINE of words, since
 * each has a table of its own, and a text that is read again as PAIRS_A_BYTE for each byte. */
static const uint64_t MOST_PAIRS = 1ull << 32;
enum { PAIRS_A_LINE = 100, PAIRS_A_BYTE = 64 };

/* A text as lines of tokens; the same token has the same number in all texts of a comparison. */
typedef struct {
    char *bytes;
    sized_text *tokens;
    uint32_t *ids;
    size_t count;
    size_t *line_ends; /* of lines with at least one character, in tokens */
    size_t lines;
} token_lines;

static void token_lines_free(token_lines *lines)
{
    free(lines->bytes);
    free(lines->tokens);
    free(lines->ids);
    free(lines->line_ends);
}

static bool is_token_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Lower case; every run outside a-z0-9 parts tokens. Lines end at newlines. -1 with a sentence. */
static int token_lines_read(sized_text text, token_lines *read)
{
    *read = (token_lines){0};
    size_t bytes, capacity = 0, line_capacity = 0;
    read->bytes = python_lower(text.bytes, text.count, &bytes);
    if (!read->bytes)
        return -1;
    for (size_t at = 0; at <= bytes; at++) {
        size_t start = at;
        while (at < bytes && is_token_character(read->bytes[at]))
            at++;
        if (at > start) {
            if (read->count == capacity) {
                capacity = capacity ? 2 * capacity : 64;
                read->tokens = realloc_or_die(read->tokens, capacity, sizeof *read->tokens);
            }
            read->tokens[read->count++] = (sized_text){read->bytes + start, at - start};
        }
        size_t before = read->lines ? read->line_ends[read->lines - 1] : 0;
        if ((at == bytes || read->bytes[at] == '\n') && read->count > before) {
            if (read->lines == line_capacity) {
                line_capacity = line_capacity ? 2 * line_capacity : 16;
                read->line_ends = realloc_or_die(read->line_ends, line_capacity,
                                                 sizeof *read->line_ends);
            }
            read->line_ends[read->lines++] = read->count; /* lines without tokens match nothing */
        }
    }
    read->ids = alloc_or_die(read->count + 1, sizeof *read->ids);
    return 0;
}

/* ---- Numbers of tokens ---- */

typedef struct {
    sized_text token;
    uint32_t *id;
} numbered;

static int by_token(const void *a, const void *b)
{
    const sized_text *x = &((const numbered *)a)->token, *y = &((const numbered *)b)->token;
    int order = memcmp(x->bytes, y->bytes, x->count < y->count ? x->count : y->count);
    return order ? order : (x->count > y->count) - (x->count < y->count);
}

/* Numbers the tokens of both texts; returns how many different ones there are. */
static size_t number_tokens(token_lines *a, token_lines *b)
{
    size_t count = a->count + b->count, different = 0;
    numbered *all = alloc_or_die(count + 1, sizeof *all);
    for (size_t i = 0; i < a->count; i++)
        all[i] = (numbered){a->tokens[i], &a->ids[i]};
    for (size_t i = 0; i < b->count; i++)
        all[a->count + i] = (numbered){b->tokens[i], &b->ids[i]};
    qsort(all, count, sizeof *all, by_token);
    for (size_t i = 0; i < count; i++) {
        different += i == 0 || by_token(&all[i - 1], &all[i]) != 0;
        *all[i].id = (uint32_t)(different - 1);
    }
    free(all);
    return different;
}

/* ---- Longest common subsequences ---- */

/* Marks the tokens of the reference line that one longest common subsequence with the other line
 * takes. The way back from the end: equal tokens go to the diagonal, else to the left (an earlier
 * token of the prediction) only where that is strictly longer, else up. */
static void mark_common(const uint32_t *reference, size_t rows, const uint32_t *prediction,
                        size_t columns, bool *marked)
{
    size_t row_bytes = columns / 8 + 1;
    uint8_t *left = alloc_or_die(rows, row_bytes);
    uint32_t *above = alloc_or_die(columns + 1, sizeof *above);
    uint32_t *here = alloc_or_die(columns + 1, sizeof *here);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            bool longer = here[j] > above[j + 1];
            left[i * row_bytes + j / 8] |= (uint8_t)(longer << j % 8);
            here[j + 1] = reference[i] == prediction[j] ? above[j] + 1
                          : longer                      ? here[j]
                                                        : above[j + 1];
        }
        uint32_t *swap = above;
        above = here;
        here = swap;
    }
    for (size_t i = rows, j = columns; i && j;) {
        if (reference[i - 1] == prediction[j - 1]) {
            marked[--i] = true;
            j--;
        } else if (left[(i - 1) * row_bytes + (j - 1) / 8] >> (j - 1) % 8 & 1) {
            j--;
        } else {
            i--;
        }
    }
    free(left);
    free(above);
    free(here);
}

/* Tokens of the reference that are hit, each use of a token once in either text. */
static int64_t count_hits(const token_lines *reference, const token_lines *prediction,
                          size_t different)
{
    int64_t hits = 0;
    bool *marked = alloc_or_die(reference->count + 1, sizeof *marked);
    int64_t *unused = alloc_or_die(different + 1, sizeof *unused); /* of the prediction */
    int64_t *left = alloc_or_die(different + 1, sizeof *left);     /* of the reference */
    for (size_t i = 0; i < prediction->count; i++)
        unused[prediction->ids[i]]++;
    for (size_t i = 0; i < reference->count; i++)
        left[reference->ids[i]]++;
    for (size_t r = 0; r < reference->lines; r++) {
        size_t start = r ? reference->line_ends[r - 1] : 0, end = reference->line_ends[r];
        for (size_t p = 0; p < prediction->lines; p++) {
            size_t from = p ? prediction->line_ends[p - 1] : 0, to = prediction->line_ends[p];
            mark_common(reference->ids + start, end - start, prediction->ids + from, to - from,
                        marked + start);
        }
        for (size_t i = start; i < end; i++) {
            uint32_t id = reference->ids[i];
            if (!marked[i] || !unused[id] || !left[id])
                continue;
            unused[id]--;
            left[id]--;
            hits++;
        }
    }
    free(marked);
    free(unused);
    free(left);
    return hits;
}

/* *left: what is left of MOST_PAIRS. */
static int rouge_lsum(sized_text prediction, sized_text reference, uint64_t *left, double *score)
{
    token_lines predicted, wanted = {0};
    int result = token_lines_read(prediction, &predicted);
    if (result == 0)
        result = token_lines_read(reference, &wanted);
    *score = 0;
    uint64_t cost = (uint64_t)predicted.count * wanted.count +
                    PAIRS_A_LINE * (uint64_t)predicted.lines * wanted.lines +
                    PAIRS_A_BYTE * (uint64_t)prediction.count;
    if (result == 0 && cost > *left)
        result = fail("%zu words against %zu of the reference are too many to be scored",
                      predicted.count, wanted.count);
    *left -= result == 0 ? cost : 0;
    if (result == 0 && predicted.count && wanted.count) {
        size_t different = number_tokens(&predicted, &wanted);
        int64_t hits = count_hits(&wanted, &predicted, different);
        if (hits > 0) {
            double precision = (double)hits / (double)predicted.count;
            double recall = (double)hits / (double)wanted.count;
            *score = 2 * precision * recall / (precision + recall);
        }
    }
    token_lines_free(&predicted);
    token_lines_free(&wanted);
    return result;
}

int score_summary(const scorer *scorer, sized_text prediction, const json_t *label, double *score)
{
    (void)scorer;
    uint64_t left = MOST_PAIRS;
    if (json_is_string(label))
        return rouge_lsum(prediction, json_view(label), &left, score);
    if (!json_is_array(label) || !json_array_size(label))
        return fail("the label is neither a string nor a list with one in it");
    *score = 0;
    size_t i;
    const json_t *reference;
    json_array_foreach(label, i, reference) {
        double value;
        if (!json_is_string(reference))
            return fail("item %zu of the label is not a string", i);
        if (rouge_lsum(prediction, json_view(reference), &left, &value) < 0)
            return -1;
        *score = value > *score ? value : *score;
    }
    return 0;
}
