/* Scores of answers, for both benchmarks (InfiniteBench's scorers are in infinitebench/), and RULER's
 * scorers: what is left of a prediction after postprocessing, the share of references that
 * it contains, and the task's score as the official report rounds it. Matching is by substring of
 * lower-cased text, so "no" matches in "know"; nothing is normalised. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/task.h"
#include "datasets/unicode.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* strip; characters U+0000-001F become newlines; strip again. Changes prediction's bytes. */
static void postprocess(sized_text *prediction)
{
    const char *left = prediction->bytes;
    size_t bytes = prediction->count;
    python_strip(&left, &bytes);
    prediction->bytes += left - prediction->bytes;
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)prediction->bytes[i] < 0x20)
            prediction->bytes[i] = '\n';
    python_strip(&left, &bytes);
    *prediction = (sized_text){prediction->bytes + (left - prediction->bytes), bytes};
}

bool task_is_null(const char *prediction, size_t bytes)
{
    sized_text left = {copy_bytes(prediction, bytes), bytes};
    char *copy = left.bytes;
    postprocess(&left);
    free(copy);
    return left.count == 0;
}

/* Bytes of the prediction times references: some seconds' work. */
static const uint64_t MOST_SEARCHED = 1ull << 33;

/* How many references the prediction contains; both lower-cased. -1 with a sentence. */
static int count_matches(sized_text prediction, const sized_text *references, int count)
{
    sized_text lower;
    if ((uint64_t)count * prediction.count > MOST_SEARCHED)
        return fail("%d references are too many to be looked for in a prediction of %zu bytes", count,
                    prediction.count);
    lower.bytes = python_lower(prediction.bytes, prediction.count, &lower.count);
    int matches = 0;
    for (int i = 0; lower.bytes && i < count; i++) {
        size_t bytes;
        char *reference = python_lower(references[i].bytes, references[i].count, &bytes);
        if (!reference) {
            matches = -1;
            break;
        }
        matches += memmem(lower.bytes, lower.count, reference, bytes) != NULL;
        free(reference);
    }
    if (!lower.bytes)
        matches = -1;
    free(lower.bytes);
    return matches;
}

double string_match_all(sized_text prediction, const sized_text *references, int count)
{
    int matches = count_matches(prediction, references, count);
    return matches < 0 ? -1 : (double)matches / count;
}

double string_match_part(sized_text prediction, const sized_text *references, int count)
{
    int matches = count_matches(prediction, references, count);
    return matches < 0 ? -1 : matches > 0;
}

int task_score(const task *task, const char *prediction, size_t bytes, const sized_text *references,
               int count, double *score, bool *null)
{
    if (count < 1)
        return fail("there are no references to score against (a division by zero)");
    size_t valid = utf8_valid_prefix(prediction, bytes);
    if (valid < bytes)
        return fail("the prediction is no UTF-8 from byte %zu on", valid);
    char *copy = copy_bytes(prediction, bytes);
    sized_text left = {copy, bytes};
    postprocess(&left);
    *null = left.count == 0;
    *score = task->score(left, references, count);
    free(copy);
    return *score < 0 ? -1 : 0;
}

const char *const scorer_names[] = {[SCORER_OFFICIAL] = "official", [SCORER_APB] = "apb"};

int scorer_find(const char *name, scorer_kind *kind)
{
    for (int k = 0; k < 2; k++)
        if (!strcmp(name, scorer_names[k])) {
            *kind = (scorer_kind)k;
            return 0;
        }
    return fail("'%s' is no scorer; there are official and apb", name);
}

int task_score_label(const task *task, const scorer *scorer, const char *prediction, size_t bytes,
                     const json_t *label, double *score)
{
    size_t valid = utf8_valid_prefix(prediction, bytes);
    if (valid < bytes)
        return fail("the prediction is no UTF-8 from byte %zu on", valid);
    return task->infinite->score(scorer, (sized_text){(char *)prediction, bytes}, label, score);
}

int task_score_sample(const task *task, const scorer *scorer, const char *prediction, size_t bytes,
                      const task_sample *sample, double *score, bool *null)
{
    if (!task->infinite)
        return task_score(task, prediction, bytes, sample->references, sample->reference_count,
                          score, null);
    /* The published rows of kv_retrieval have lists, with which the official scorer gives 0 to every
     * answer; its published figures come from strings. */
    const json_t *label = sample->label;
    if (task->infinite->unwrap && scorer->kind == SCORER_OFFICIAL && json_array_size(label) == 1)
        label = json_array_get(label, 0);
    const char *left = prediction;
    size_t count = bytes;
    python_strip(&left, &count);
    *null = count == 0;
    return task_score_label(task, scorer, prediction, bytes, label, score);
}

char *score_exact_text(double score, char *buffer, size_t bytes)
{
    int digits = 15;
    do
        snprintf(buffer, bytes, "%.*g", digits, score);
    while (strtod(buffer, NULL) != score && ++digits <= 17);
    if (!strpbrk(buffer, ".en") && strlen(buffer) + 2 < bytes)
        strcat(buffer, ".0");
    return buffer;
}

double score_round(double value)
{
    /* glibc prints the exact double correctly rounded, ties to even, which is what round() does */
    char digits[400];
    snprintf(digits, sizeof digits, "%.2f", value);
    return strtod(digits, NULL);
}

double score_percent(double sum, int64_t rows)
{
    return score_round(sum / (double)rows * 100);
}

char *score_text(double percent, char *buffer, size_t bytes)
{
    snprintf(buffer, bytes, "%.2f", percent);
    size_t end = strlen(buffer);
    if (end > 1 && buffer[end - 1] == '0' && buffer[end - 2] != '.')
        buffer[end - 1] = 0;
    return buffer;
}
