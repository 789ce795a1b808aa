/* What the tests of tasks and of their files stand on: a small vocabulary and words of our own
 * (tests/data/tasks), an essay of numbered sentences in a scratch folder, and samples made of them. */
#ifndef TESTS_TASK_FIXTURE_H
#define TESTS_TASK_FIXTURE_H
#include "datasets/task.h"

#include <jansson.h>

extern char folder[64], haystack[96], scratch[96]; /* the folder, its essay, and a path in it */
extern tokenizer *tokens;
extern const chat_template chat;

void set_up_tasks(void);
void tear_down_tasks(void);

void write_test_file(const char *path, const char *bytes, size_t count);
/* Samples of this task and length in the chat template, seed 7. */
task_request request_for(const char *name, int64_t length);
task_samples *open_samples(const task_request *);
void next_sample(task_samples *, task_sample *);

/* The `expected` vectors of a JSON file of scores. */
json_t *open_vectors(const char *path, size_t expected);

int64_t count_tokens(sized_text);
/* Of document and query as one text. */
int64_t count_prompt_tokens(const task_sample *);
bool same_text(sized_text, sized_text);
/* In everything that a model or a scorer sees, and in number. */
void assert_same(const task_sample *, const task_sample *);
#endif
