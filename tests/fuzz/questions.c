/* Fuzzes the files that tasks take from elsewhere: questions of SQuAD (an input that begins with `{`)
 * or HotpotQA, with samples made of them, and haystack text, plain or JSON. */
#include "datasets/random.h"
#include "datasets/ruler/corpus.h"
#include "datasets/ruler/generator.h"
#include "datasets/ruler/question_set.h"
#include "harness/error.h"
#include "tests/fuzz/scratch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void check_set(const question_set *set)
{
    MUST(set->question_count > 0 && set->document_count > 0);
    for (size_t i = 0; i < set->question_count; i++) {
        const question *q = &set->questions[i];
        MUST(q->text && q->answer_count > 0 && q->own_count > 0);
        for (int k = 0; k < q->own_count; k++)
            MUST(q->own[k] < set->document_count);
        for (int k = 0; k < q->article_count; k++)
            MUST(q->article[k] < set->document_count);
    }
}

/* Of the first questions, with their own documents alone, with some more, and with more than there may be. */
static void make_samples(question_set *set, const task *task)
{
    const corpus from = {.questions = set};
    for (size_t i = 0; i < set->question_count && i < 3; i++) {
        const int64_t own = set->questions[i].own_count, sizes[] = {own, own + 2, own + 20};
        for (int k = 0; k < 3; k++) {
            random_stream stream = random_stream_for(1, task->name, i, (uint64_t)k);
            const sample_plan plan = {.task = task, .corpus = &from, .number = (int64_t)i, .size = sizes[k]};
            task_sample sample = {0};
            MUST(!questions_generator.build(&plan, &stream, &sample));
            MUST(sample.document.count > 0 && sample.query.count > 0 && sample.reference_count > 0);
            task_sample_free(&sample);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    setenv("APBENCH_CACHE", scratch_folder(), 1);
    char *folder = format_text("%s/questions", scratch_folder());
    mkdir(folder, 0700);
    free(folder);
    bool squad = bytes && data[0] == '{';
    free(scratch_file(squad ? "questions/squad.json" : "questions/hotpotqa.json", data, bytes));
    question_set *set = question_set_open(squad ? QUESTIONS_SQUAD : QUESTIONS_HOTPOTQA);
    if (set) {
        check_set(set);
        make_samples(set, task_find(squad ? "qa_1" : "qa_2"));
    } else {
        MUST(*fail_text());
    }
    question_set_close(set);
    char *path = scratch_file("essay.txt", data, bytes);
    corpus *corpus = corpus_open(false, true, path);
    if (corpus) {
        size_t essay_bytes;
        char *essay = corpus_essay(corpus, 100, &essay_bytes);
        MUST(essay_bytes >= 100 && strlen(essay) <= essay_bytes);
        free(essay);
    } else {
        MUST(*fail_text());
    }
    corpus_close(corpus);
    free(path);
    return 0;
}
