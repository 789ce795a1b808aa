/* See task_fixture.h. */
#include "tests/task_fixture.h"

#include "harness/error.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SENTENCES = 3000 };
char folder[64], haystack[96], scratch[96];
tokenizer *tokens;
const chat_template chat = {
    "test", "<|im_start|>system\nThey are all kind.<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>", NULL};

void write_test_file(const char *path, const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    cr_assert_eq(fwrite(bytes, 1, count, file), count);
    cr_assert_eq(fclose(file), 0);
}

/* Own words, and an essay of numbered sentences, so that a test sees where a needle lies. */
void set_up_tasks(void)
{
    setenv("APBENCH_CACHE", "tests/data/tasks/cache", 1);
    tokens = tokenizer_open("tests/data/tasks/tokenizer.json");
    cr_assert(tokens, "%s", fail_text());
    strcpy(folder, "/tmp/apbench-tasks-XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(haystack, sizeof haystack, "%s/essay.txt", folder);
    snprintf(scratch, sizeof scratch, "%s/rows.jsonl", folder);
    FILE *essay = fopen(haystack, "wb");
    cr_assert(essay);
    for (int i = 0; i < SENTENCES; i++)
        fprintf(essay, "Day %d was calm\n and  plain.\t", i);
    fclose(essay);
}

void tear_down_tasks(void)
{
    remove(haystack);
    remove(scratch);
    rmdir(folder);
    tokenizer_close(tokens);
}

task_request request_for(const char *name, int64_t length)
{
    return (task_request){.task = task_find(name), .length = length, .seed = 7, .tokens = tokens,
                          .chat = &chat, .haystack = haystack};
}

task_samples *open_samples(const task_request *request)
{
    task_samples *samples = task_samples_open(request);
    cr_assert(samples, "%s", fail_text());
    return samples;
}

void next_sample(task_samples *samples, task_sample *sample)
{
    cr_assert_eq(task_samples_next(samples, sample), 1, "%s", fail_text());
}

json_t *open_vectors(const char *path, size_t expected)
{
    json_error_t error;
    json_t *vectors = json_load_file(path, JSON_ALLOW_NUL, &error);
    cr_assert(vectors, "%s: %s", path, error.text);
    cr_assert_eq(json_array_size(vectors), expected);
    return vectors;
}

int64_t count_tokens(sized_text text)
{
    token_list ids = {0};
    cr_assert_eq(tokenizer_encode(tokens, text.bytes, text.count, false, &ids), 0);
    int64_t count = (int64_t)ids.count;
    token_list_free(&ids);
    return count;
}

int64_t count_prompt_tokens(const task_sample *sample)
{
    char *prompt = format_text("%s%s", sample->document.bytes, sample->query.bytes);
    int64_t count = count_tokens((sized_text){prompt, strlen(prompt)});
    free(prompt);
    return count;
}

bool same_text(sized_text a, sized_text b)
{
    return a.count == b.count && !memcmp(a.bytes, b.bytes, a.count);
}

void assert_same(const task_sample *a, const task_sample *b)
{
    cr_assert(same_text(a->document, b->document));
    cr_assert(same_text(a->query, b->query));
    cr_assert_eq(a->lead_in, b->lead_in);
    cr_assert_eq(a->reference_count, b->reference_count);
    for (int i = 0; i < a->reference_count; i++)
        cr_assert(same_text(a->references[i], b->references[i]));
    cr_assert_eq(a->number, b->number);
}
