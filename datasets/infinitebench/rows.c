/* Rows of InfiniteBench's files to prompts and labels. See infinitebench.h. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/infinitebench/text.h"

#include "datasets/unicode.h"
#include "harness/error.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What the official code draws out of `input` ---- */

/* The span that "The .+ of" matches first (greedy, within a line), lower-cased, its last three
 * characters dropped: "the second largest number". Fresh memory, NULL with a sentence. */
static char *draw_span(sized_text input)
{
    for (size_t start = 0; start < input.count; start++) {
        int64_t the = text_find(text_from(input, start), text_of("The "));
        if (the < 0)
            break;
        start += (size_t)the;
        const char *line = input.bytes + start;
        const char *newline = memchr(line, '\n', input.count - start);
        size_t bytes = newline ? (size_t)(newline - line) : input.count - start;
        for (size_t end = bytes; end >= strlen("The x of"); end--)
            if (!memcmp(line + end - 3, " of", 3)) {
                size_t lower_bytes;
                char *lower = python_lower(line, end, &lower_bytes);
                if (lower)
                    lower[lower_bytes - 3] = 0;
                return lower;
            }
        start += bytes; /* what the first "The " of a line does not find, the others do not */
    }
    fail("`input` does not say \"The ... of\", so it is unclear what to find");
    return NULL;
}

/* The first `func_`, digits, `(`, optional minus, digits, `)` of the input, in fresh memory; NULL
 * with a sentence. */
static char *draw_call(sized_text input)
{
    for (size_t start = 0; start < input.count; start++) {
        int64_t found = text_find(text_from(input, start), text_of("func_"));
        if (found < 0)
            break;
        start += (size_t)found;
        const char *s = input.bytes + start; /* a NUL is behind the text */
        size_t at = strlen("func_"), digits = at;
        while (isdigit((unsigned char)s[at]))
            at++;
        if (at == digits || s[at] != '(')
            continue;
        at += s[at + 1] == '-' ? 2 : 1;
        digits = at;
        while (isdigit((unsigned char)s[at]))
            at++;
        if (at > digits && s[at] == ')')
            return copy_bytes(s, at + 1);
    }
    fail("`input` has no call of a function as in func_7(-3)");
    return NULL;
}

/* ---- Labels ---- */

/* [answer, its letter]: `answer` is that pair already, a list of the answer, or the answer. */
static json_t *lettered_label(const json_t *answer, const json_t *options)
{
    const json_t *second = json_array_get(answer, 1), *text = answer;
    if (json_array_size(answer) == 2 && json_is_string(second) &&
        json_string_length(second) == 1 && memchr("ABCD", json_string_value(second)[0], 4))
        return json_incref((json_t *)answer);
    if (json_array_size(answer) == 1)
        text = json_array_get(answer, 0);
    for (size_t i = 0; json_is_string(text) && i < 4; i++)
        if (json_equal(json_array_get(options, i), text))
            return json_pack("[O, s#]", text, &"ABCD"[i], 1);
    fail("`answer` is none of the four `options`");
    return NULL;
}

/* ---- Prompts ---- */

static void write_text(FILE *out, sized_text text)
{
    fwrite(text.bytes, 1, text.count, out);
}

static void write_options(FILE *out, const json_t *options)
{
    for (size_t i = 0; i < 4; i++) {
        fprintf(out, "%s%c. ", i ? "\n" : "", "ABCD"[i]);
        write_text(out, json_view(json_array_get(options, i)));
    }
}

static void write_document(const infinite_prompt *prompt, const json_t *row, const char *drawn,
                           const chat_template *chat, task_sample *sample)
{
    FILE *out = open_memstream(&sample->document.bytes, &sample->document.count);
    fputs(chat ? chat->head : "", out);
    const char *place = strstr(prompt->instruction, "%s");
    if (place)
        fprintf(out, "%.*s%s%s", (int)(place - prompt->instruction), prompt->instruction, drawn,
                place + 2);
    else
        fputs(prompt->instruction, out);
    fputs("\n\n", out);
    write_text(out, json_view(json_object_get(row, "context")));
    fputs(prompt->gap, out);
    fclose(out);
}

/* What the anchors of APB's blocks carry. No chat template is in it. */
static void write_carried(const infinite_prompt *prompt, const json_t *row, size_t question_bytes,
                          task_sample *sample)
{
    FILE *out = open_memstream(&sample->anchor_query.bytes, &sample->anchor_query.count);
    switch (prompt->carries) {
    case CARRIES_INPUT:
        write_text(out, json_view(json_object_get(row, "input")));
        break;
    case CARRIES_QUESTION:
        fwrite(sample->query.bytes, 1, question_bytes, out);
        break;
    case CARRIES_OPTIONS_LEAD_IN:
        write_options(out, json_object_get(row, "options"));
        fprintf(out, "%s%s", prompt->lead_gap, prompt->lead_in);
        break;
    case CARRIES_LEAD_IN:
        fputs(prompt->lead_in, out);
        break;
    }
    fclose(out);
}

static void write_question(const infinite_prompt *prompt, const json_t *row, const char *drawn,
                        const chat_template *chat, task_sample *sample)
{
    FILE *out = open_memstream(&sample->query.bytes, &sample->query.count);
    if (prompt->asks == ASKS_INPUT)
        write_text(out, json_view(json_object_get(row, "input")));
    else if (prompt->asks == ASKS_CALL)
        fprintf(out, prompt->ask, drawn);
    if (prompt->options) {
        fputs(prompt->asks == ASKS_NOTHING ? "" : "\n", out);
        write_options(out, json_object_get(row, "options"));
    }
    fflush(out);
    size_t question_bytes = sample->query.count;
    fputs(chat ? chat->tail : prompt->lead_gap, out);
    fflush(out);
    sample->lead_in = sample->query.count;
    fputs(prompt->lead_in, out);
    fclose(out);
    write_carried(prompt, row, question_bytes, sample);
}

static int check_row(const struct infinite_task *task, const json_t *row)
{
    if (!json_is_object(row))
        return fail("the line is not a JSON object");
    const json_t *context = json_object_get(row, "context");
    if (!json_is_string(context) || !json_string_length(context))
        return fail(context ? "`context` is not a text" : "there is no `context`");
    bool needs_input = task->prompt->asks != ASKS_NOTHING || task->prompt->draws != DRAWS_NOTHING;
    if (needs_input && !json_is_string(json_object_get(row, "input")))
        return fail("there is no string `input`");
    if (!json_object_get(row, "answer"))
        return fail("there is no `answer`");
    const json_t *options = json_object_get(row, "options");
    for (size_t i = 0; task->prompt->options && i < 4; i++)
        if (!json_is_string(json_array_get(options, i)))
            return fail("`options` is not a list of four strings");
    return 0;
}

int infinite_sample(const task *task, json_t *row, const chat_template *chat, task_sample *sample)
{
    const struct infinite_task *infinite = task->infinite;
    const infinite_prompt *prompt = infinite->prompt;
    const sized_text input = json_view(json_object_get(row, "input"));
    *sample = (task_sample){0};
    if (check_row(infinite, row) < 0)
        return -1;
    char *drawn = NULL, *function = NULL;
    if (prompt->draws == DRAWS_SPAN && !(drawn = draw_span(input)))
        return -1;
    if (prompt->draws == DRAWS_FUNCTION) {
        if (!(drawn = draw_call(input)))
            return -1;
        function = copy_bytes(drawn, strcspn(drawn, "("));
    }
    sample->label = infinite->letter ? lettered_label(json_object_get(row, "answer"),
                                                      json_object_get(row, "options"))
                                     : json_incref(json_object_get(row, "answer"));
    if (sample->label) {
        write_document(prompt, row, function ? function : drawn, chat, sample);
        write_question(prompt, row, drawn, chat, sample);
    }
    free(drawn);
    free(function);
    if (!sample->label || (!sample->query.count && fail("the question is empty"))) {
        task_sample_free(sample);
        return -1;
    }
    const json_t *id = json_object_get(row, "id");
    const char *generator = json_string_value(json_object_get(row, "generator"));
    sample->row = json_incref(row);
    sample->index = json_is_integer(id) ? json_integer_value(id) : 0;
    sample->official = !generator || strcmp(generator, "apbench");
    return 0;
}

/* ---- Truncation ---- */

/* The text of the first `front` and the last `back` of the ids, decoded as one: some decoders drop a
 * space where a text begins. */
static sized_text cut_text(const tokenizer *tokens, const token_list *ids, int64_t front,
                           int64_t back)
{
    token_list kept = {0};
    for (int64_t i = 0; i < front; i++)
        token_list_push(&kept, ids->ids[i]);
    for (int64_t i = (int64_t)ids->count - back; i < (int64_t)ids->count; i++)
        token_list_push(&kept, ids->ids[i]);
    sized_text text;
    text.bytes = tokenizer_decode(tokens, kept.ids, kept.count, false, &text.count);
    token_list_free(&kept);
    return text;
}

int infinite_truncate(const tokenizer *tokens, int64_t most, task_sample *sample)
{
    token_list document = {0}, query = {0};
    int result = tokenizer_encode(tokens, sample->query.bytes, sample->query.count, false, &query);
    if (result == 0)
        result = tokenizer_encode(tokens, sample->document.bytes, sample->document.count, false,
                                  &document);
    int64_t asked = (int64_t)query.count, count = (int64_t)document.count;
    sample->length = count + asked;
    int64_t half = most / 2;
    for (int attempt = 0; result == 0 && sample->length > most; attempt++) {
        if (half - asked < 1 || attempt == 20) {
            result = fail("a query of %lld tokens does not leave room for its document in %lld",
                          (long long)asked, (long long)most);
            break;
        }
        sized_text text = cut_text(tokens, &document, half, half - asked);
        token_list again = {0};
        result = tokenizer_encode(tokens, text.bytes, text.count, false, &again);
        int64_t over = (int64_t)again.count + asked - most;
        token_list_free(&again);
        if (over <= 0) {
            free(sample->document.bytes);
            sample->document = text;
            sample->length = most + over;
            break;
        }
        free(text.bytes);
        half -= (over + 1) / 2;
    }
    token_list_free(&document);
    token_list_free(&query);
    return result;
}
