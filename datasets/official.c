/* Rows of the official layouts to samples and back. See official.h. */
#include "datasets/official.h"

#include "datasets/ruler/generator.h"
#include "datasets/unicode.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CHARACTERS = 1 << 20 }; /* in a string that stands for a list of them */

/* ---- Reading ---- */

void official_references_free(sized_text *references, int count)
{
    for (int i = 0; i < count; i++)
        free(references[i].bytes);
    free(references);
}

static sized_text copy_sized(const char *bytes, size_t count)
{
    return (sized_text){copy_bytes(bytes, count), count};
}

int official_references(const json_t *row, sized_text **references)
{
    *references = NULL;
    const json_t *outputs = json_object_get(row, "outputs");
    int count = 0;
    if (json_is_string(outputs)) {
        const char *characters = json_string_value(outputs);
        size_t bytes = json_string_length(outputs);
        if (bytes > MOST_CHARACTERS)
            return fail("`outputs` is a string of %zu bytes, each of whose characters would be a "
                        "reference", bytes);
        *references = alloc_or_die(bytes, sizeof **references);
        for (size_t at = 0, next; at < bytes; at = next) {
            for (next = at + 1; next < bytes && ((unsigned char)characters[next] & 0xc0) == 0x80;)
                next++;
            (*references)[count++] = copy_sized(characters + at, next - at);
        }
        return count;
    }
    if (!json_is_array(outputs))
        return fail(outputs ? "`outputs` is not a list" : "there is no `outputs`");
    size_t i;
    const json_t *value;
    *references = alloc_or_die(json_array_size(outputs), sizeof **references);
    json_array_foreach(outputs, i, value) {
        if (!json_is_string(value)) {
            official_references_free(*references, count);
            *references = NULL;
            return fail("`outputs` holds something that is not a string");
        }
        (*references)[count++] = copy_sized(json_string_value(value), json_string_length(value));
    }
    return count;
}

static bool is_blank(const char *line, size_t bytes)
{
    python_strip(&line, &bytes);
    return bytes == 0;
}

/* Start of the line that ends at `end`. */
static size_t line_start(const char *input, size_t end)
{
    while (end > 0 && input[end - 1] != '\n')
        end--;
    return end;
}

static bool is_marker(const char *line, size_t bytes)
{
    return bytes >= 2 && !memcmp(line, "<|", 2);
}

/* Whether the assistant's turn opens with this line, or at its end. */
static bool opens_answer(const char *line, size_t bytes)
{
    bool ends = bytes >= 2 && !memcmp(line + bytes - 2, "|>", 2);
    return (is_marker(line, bytes) || ends) && memmem(line, bytes, "assistant", 9);
}

/* Where the query starts: see official.h. */
static size_t question_start(const char *input, size_t bytes, bool has_prefix)
{
    size_t lead_in = SIZE_MAX; /* start of a last line that may be the lead-in of the answer */
    for (size_t end = bytes, start; end > 0; end = start ? start - 1 : 0) {
        start = line_start(input, end);
        const char *line = input + start;
        if (is_blank(line, end - start))
            continue;
        if (lead_in != SIZE_MAX && !opens_answer(line, end - start))
            return lead_in; /* it was the question */
        if (is_marker(line, end - start)) {
            if (lead_in != SIZE_MAX)
                has_prefix = true, lead_in = SIZE_MAX;
            continue;
        }
        if (has_prefix || lead_in != SIZE_MAX)
            return start;
        lead_in = start;
    }
    return lead_in == SIZE_MAX ? 0 : lead_in;
}

/* first + second + third into fresh memory. */
static sized_text join(const char *first, const char *second, size_t second_bytes,
                       const char *third)
{
    size_t a = strlen(first), c = strlen(third);
    sized_text joined = {alloc_or_die(a + second_bytes + c + 1, 1), a + second_bytes + c};
    memcpy(joined.bytes, first, a);
    memcpy(joined.bytes + a, second, second_bytes);
    memcpy(joined.bytes + a + second_bytes, third, c);
    return joined;
}

static int read_ruler(const json_t *row, const chat_template *wrap, task_sample *sample)
{
    const json_t *input = json_object_get(row, "input");
    const json_t *prefix = json_object_get(row, "answer_prefix");
    if (!json_is_string(input))
        return fail("there is no string `input` (nor `input_context` and `input_query`)");
    if (prefix && !json_is_string(prefix) && !json_is_null(prefix))
        return fail("`answer_prefix` is not a string");
    const char *characters = json_string_value(input);
    size_t bytes = json_string_length(input);
    if (is_marker(characters, bytes))
        wrap = NULL;
    size_t start = question_start(characters, bytes, json_string_length(prefix) > 0);
    if (start == 0)
        return fail("`input` has no line before the question, so there is no document");
    sample->document = join(wrap ? wrap->head : "", characters, start, "");
    sized_text question = join("", characters + start, bytes - start, wrap ? wrap->tail : "");
    size_t prefix_bytes = json_is_string(prefix) ? json_string_length(prefix) : 0;
    sample->lead_in = question.count;
    sample->query.count = question.count + prefix_bytes;
    sample->query.bytes = realloc_or_die(question.bytes, sample->query.count + 1, 1);
    if (prefix_bytes)
        memcpy(sample->query.bytes + question.count, json_string_value(prefix), prefix_bytes);
    sample->query.bytes[sample->query.count] = 0;
    return 0;
}

static int read_split(const json_t *row, const chat_template *wrap, task_sample *sample)
{
    const json_t *context = json_object_get(row, "input_context");
    const json_t *query = json_object_get(row, "input_query");
    if (!json_is_string(context) || !json_is_string(query))
        return fail("`input_context` and `input_query` are not both strings");
    if (!json_string_length(context) || !json_string_length(query))
        return fail("`input_context` or `input_query` is empty");
    if (wrap && !is_marker(json_string_value(context), json_string_length(context)))
        return fail("a row with `input_query` does not say where its lead-in starts, so no chat "
                    "template can be put around it");
    sample->document = copy_sized(json_string_value(context), json_string_length(context));
    sample->query = copy_sized(json_string_value(query), json_string_length(query));
    sample->lead_in = sample->query.count;
    return 0;
}

int official_sample(const json_t *row, const chat_template *wrap, task_sample *sample)
{
    *sample = (task_sample){0};
    if (!json_is_object(row))
        return fail("the line is not a JSON object");
    bool split = json_object_get(row, "input_context") || json_object_get(row, "input_query");
    int result = split ? read_split(row, wrap, sample) : read_ruler(row, wrap, sample);
    if (result == 0) {
        sample->reference_count = official_references(row, &sample->references);
        if (sample->reference_count == 0)
            result = fail("`outputs` is empty");
        if (sample->reference_count < 0)
            sample->reference_count = 0, result = -1;
    }
    if (result < 0) {
        task_sample_free(sample);
        return -1;
    }
    const json_t *index = json_object_get(row, "index"), *length = json_object_get(row, "length");
    const char *generator = json_string_value(json_object_get(row, "generator"));
    sample->index = json_is_integer(index) ? json_integer_value(index) : 0;
    sample->length = json_is_integer(length) ? json_integer_value(length) : 0;
    sample->split_layout = split;
    sample->official = !generator || strcmp(generator, "apbench");
    return 0;
}

/* ---- Writing ---- */

static int64_t count_tokens(const tokenizer *tokens, const char *bytes, size_t count)
{
    token_list ids = {0};
    int result = tokenizer_encode(tokens, bytes, count, false, &ids);
    int64_t tokens_found = (int64_t)ids.count;
    token_list_free(&ids);
    return result < 0 ? -1 : tokens_found;
}

/* Where the first answer is: niah's `index` is its character offset in `input`, and
 * token_position_answer the tokens before it, as the official generator has it. */
static int locate_answer(const task_sample *sample, const tokenizer *tokens, const char *prompt,
                         json_int_t *index, int64_t *tokens_before)
{
    const char *answer = memmem(prompt, sample->document.count + sample->lead_in,
                                sample->references[0].bytes, sample->references[0].count);
    if (!answer)
        return fail("the first answer does not occur in the text");
    *index = (json_int_t)utf8_characters(prompt, (size_t)(answer - prompt));
    *tokens_before = count_tokens(tokens, prompt, (size_t)(answer - prompt));
    return *tokens_before < 0 ? -1 : 0;
}

/* Fields of the RULER layout. */
static int write_ruler(const task *task, const task_sample *sample, const tokenizer *tokens,
                       const char *prompt, json_t *row)
{
    size_t input_bytes = sample->document.count + sample->lead_in;
    int64_t length = count_tokens(tokens, prompt, sample->document.count + sample->query.count);
    int64_t tokens_before = 0;
    json_int_t index = sample->number;
    bool locates = task->generator && task->generator->locates_answer;
    if (length < 0 || (locates && locate_answer(sample, tokens, prompt, &index, &tokens_before) < 0))
        return -1;
    length += task->tokens_to_generate;
    return json_object_set_new(row, "index", json_integer(index)) ||
                   json_object_set_new(row, "input", json_stringn(prompt, input_bytes)) ||
                   json_object_set_new(row, "outputs", json_array()) ||
                   json_object_set_new(row, "length", json_integer(length)) ||
                   json_object_set_new(row, "length_w_model_temp", json_integer(length)) ||
                   json_object_set_new(row, "answer_prefix",
                                       json_stringn(prompt + input_bytes,
                                                    sample->query.count - sample->lead_in)) ||
                   (locates && json_object_set_new(row, "token_position_answer",
                                                   json_integer(tokens_before)))
               ? fail("the text is no UTF-8")
               : 0;
}

static int write_split(const task *task, const task_sample *sample, const tokenizer *tokens,
                       const char *prompt, json_t *row)
{
    const sized_text *document = &sample->document, *query = &sample->query;
    int64_t length = count_tokens(tokens, prompt, document->count + query->count);
    if (length < 0)
        return -1;
    length += task->tokens_to_generate;
    return json_object_set_new(row, "index", json_integer(sample->number)) ||
                   json_object_set_new(row, "input_context",
                                       json_stringn(document->bytes, document->count)) ||
                   json_object_set_new(row, "input_query",
                                       json_stringn(query->bytes, query->count)) ||
                   json_object_set_new(row, "outputs", json_array()) ||
                   json_object_set_new(row, "length", json_integer(length))
               ? fail("the text is no UTF-8")
               : 0;
}

/* InfiniteBench's files hold UTF-8 as it is. */
static char *infinite_line(const json_t *row)
{
    char *json = json_dumps(row, 0);
    if (!json)
        fail("the row cannot be written as JSON");
    char *line = json ? format_text("%s\n", json) : NULL;
    free(json);
    return line;
}

char *official_line(const task *task, const task_sample *sample, const tokenizer *tokens,
                    task_layout layout)
{
    if (sample->row)
        return infinite_line(sample->row);
    size_t bytes = sample->document.count + sample->query.count;
    char *prompt = alloc_or_die(bytes + 1, 1);
    memcpy(prompt, sample->document.bytes, sample->document.count);
    memcpy(prompt + sample->document.count, sample->query.bytes, sample->query.count);
    json_t *row = json_object();
    int result = layout == LAYOUT_RULER ? write_ruler(task, sample, tokens, prompt, row)
                                        : write_split(task, sample, tokens, prompt, row);
    json_t *outputs = json_object_get(row, "outputs");
    for (int i = 0; result == 0 && i < sample->reference_count; i++)
        if (json_array_append_new(outputs, json_stringn(sample->references[i].bytes,
                                                        sample->references[i].count)))
            result = fail("a reference is no UTF-8");
    if (result == 0 && !sample->official)
        json_object_set_new(row, "generator", json_string("apbench"));
    char *line = NULL;
    if (result == 0) {
        char *json = json_dumps(row, JSON_ENSURE_ASCII);
        line = format_text("%s\n", json);
        free(json);
    }
    json_decref(row);
    free(prompt);
    return line;
}
