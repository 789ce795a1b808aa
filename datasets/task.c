/* The table of tasks. See task.h. */
#include "datasets/task.h"

#include "datasets/infinitebench/infinitebench.h"
#include "datasets/ruler/generator.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NIAH(name, summary, ...)                                                                   \
    {name, "ruler", summary, 128, &niah_generator, &(const niah_options){__VA_ARGS__},             \
     string_match_all, 0, NULL}
#define RULER(name, summary, tokens, generator, options, score, split_tokens)                      \
    {name, "ruler", summary, tokens, generator, options, score, split_tokens, NULL}

#define INFINITE(name, summary, tokens, infinite)                                                  \
    {name, "infinitebench", summary, tokens, &infinite_generator, NULL, NULL, 0, &infinite}
#define INFINITE_FILES(name, summary, tokens, infinite)                                            \
    {name, "infinitebench", summary, tokens, NULL, NULL, NULL, 0, &infinite}

const task tasks[] = {
    /* haystack, kind of keys, kind of values, keys, values a key, queries */
    NIAH("niah_single_1", "one number in repeated noise", HAYSTACK_NOISE, NIAH_WORDS, NIAH_NUMBERS,
         1, 1, 1),
    NIAH("niah_single_2", "one number in essay text", HAYSTACK_ESSAY, NIAH_WORDS, NIAH_NUMBERS, 1,
         1, 1),
    NIAH("niah_single_3", "one uuid in essay text", HAYSTACK_ESSAY, NIAH_WORDS, NIAH_UUIDS, 1, 1,
         1),
    NIAH("niah_multikey_1", "one number in essay text, three distractors", HAYSTACK_ESSAY,
         NIAH_WORDS, NIAH_NUMBERS, 4, 1, 1),
    NIAH("niah_multikey_2", "one number among distractors only", HAYSTACK_NEEDLES, NIAH_WORDS,
         NIAH_NUMBERS, 1, 1, 1),
    NIAH("niah_multikey_3", "one uuid by its uuid among distractors only", HAYSTACK_NEEDLES,
         NIAH_UUIDS, NIAH_UUIDS, 1, 1, 1),
    NIAH("niah_multivalue", "four numbers of one key in essay text", HAYSTACK_ESSAY, NIAH_WORDS,
         NIAH_NUMBERS, 1, 4, 1),
    NIAH("niah_multiquery", "four numbers of four keys in essay text", HAYSTACK_ESSAY, NIAH_WORDS,
         NIAH_NUMBERS, 1, 1, 4),
    RULER("vt", "the names that a value went to, in repeated noise", 30, &tracing_generator, NULL,
          string_match_all, 0),
    RULER("cwe", "the ten common words of a list", 120, &common_words_generator, NULL,
          string_match_all, 0),
    RULER("fwe", "the three frequent words of a coded text", 50, &frequent_words_generator, NULL,
          string_match_all, 120),
    RULER("qa_1", "questions on SQuAD paragraphs", 32, &questions_generator,
          (&(const question_options){QUESTIONS_SQUAD, 1}), string_match_part, 0),
    RULER("qa_2", "questions on HotpotQA paragraphs", 32, &questions_generator,
          (&(const question_options){QUESTIONS_HOTPOTQA, 10}), string_match_part, 0),
    INFINITE("passkey", "five digits in repeated noise", 6, infinite_passkey),
    INFINITE("number_string", "ten digits with repeats in noise", 12, infinite_number_string),
    INFINITE("kv_retrieval", "the value of one key of a JSON object", 50, infinite_kv_retrieval),
    INFINITE_FILES("longbook_sum_eng", "summary of a novel (En.Sum)", 1200, infinite_sum),
    INFINITE_FILES("longbook_choice_eng", "one of four answers on a novel (En.MC)", 40,
                   infinite_choice),
    INFINITE_FILES("longbook_qa_eng", "questions on a novel (En.QA)", 40, infinite_qa_english),
    INFINITE_FILES("longbook_qa_chn", "questions on a Chinese novel (Zh.QA)", 40,
                   infinite_qa_chinese),
    INFINITE_FILES("longdialogue_qa_eng", "the speaker whose name is masked (En.Dia)", 40,
                   infinite_dialogue),
    INFINITE("math_find", "largest, smallest or median of a list", 3, infinite_math_find),
    INFINITE("math_calc", "every value of a long sum", 30000, infinite_math_calc),
    INFINITE("code_run", "the value of functions that call functions", 5, infinite_code_run),
    INFINITE_FILES("code_debug", "the function with an error (Code.Debug)", 5,
                   infinite_code_debug),
};
const int task_count = sizeof tasks / sizeof tasks[0];

const task *task_find(const char *name)
{
    for (int i = 0; i < task_count; i++)
        if (!strcmp(tasks[i].name, name))
            return &tasks[i];
    char *list = NULL;
    size_t bytes;
    FILE *out = open_memstream(&list, &bytes);
    for (int i = 0; i < task_count; i++)
        fprintf(out, "%s%s", i ? ", " : "", tasks[i].name);
    fclose(out);
    fail("there is no task \"%.80s\"; there are %s", name, list);
    free(list);
    return NULL;
}

/* Whether `name` stands for a group that the task is in. */
static bool in_group(const task *task, const char *name)
{
    return task->generator &&
           (!strcmp(task->benchmark, name) || !strcmp(task->generator->group, name));
}

int task_find_all(char *const *names, int name_count, const task ***found)
{
    bool *taken = alloc_or_die((size_t)task_count, sizeof *taken);
    *found = alloc_or_die((size_t)task_count, sizeof **found);
    int count = 0;
    for (int n = 0; n < name_count; n++) {
        bool known = false;
        for (int i = 0; i < task_count; i++) {
            if (strcmp(tasks[i].name, names[n]) && !in_group(&tasks[i], names[n]))
                continue;
            known = true;
            if (!taken[i])
                (*found)[count++] = &tasks[i];
            taken[i] = true;
        }
        if (!known) {
            task_find(names[n]);
            free(*found);
            *found = NULL;
            count = -1;
            break;
        }
    }
    free(taken);
    return count;
}
