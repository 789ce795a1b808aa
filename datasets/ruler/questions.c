/* RULER's question answering (qa_1 on SQuAD, qa_2 on HotpotQA): numbered documents in random order,
 * those of the question among them, filled up with others; the question is asked behind them. Which
 * documents follows RULER's generator (arXiv 2404.06654): the question's own, then the same article's,
 * then any; past all of them, all again from the first. The wording is our own. Sample i asks question
 * i of the file. Documents are ordered anew in each sample (RULER's order depends on their number
 * alone, so that a question's own documents always lie at the same places). */
#include "datasets/ruler/generator.h"

#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char instruction[] =
    "A question about the documents below is to be answered from them alone. Give nothing but the "
    "answer, in a few words.";
static const char header[] = "Here are the documents.";
static const char question_form[] = "Question: %s";
static const char lead_in[] = " Answer:";

/* Appends what is not among the documents chosen already. */
static void take(uint32_t document, bool *taken, uint32_t *chosen, size_t *count)
{
    if (!taken[document])
        chosen[(*count)++] = document;
    taken[document] = true;
}

/* `count` documents for the question, a larger count adding to a smaller one's. Own documents are at
 * least there once. */
static void choose_documents(const question_set *set, const question *question, size_t count,
                             random_stream *stream, uint32_t *chosen)
{
    size_t all = set->document_count, have = 0;
    size_t of_article = (size_t)question->article_count; /* the same paragraph may be there twice */
    if (count >= all) {
        for (size_t i = 0; i < count; i++)
            chosen[i] = (uint32_t)(i % all);
        return;
    }
    bool *taken = alloc_or_die(all, sizeof *taken);
    uint32_t *others = alloc_or_die(all > of_article ? all : of_article, sizeof *others);
    uint32_t *order = alloc_or_die(all, sizeof *order);
    for (int i = 0; i < question->own_count; i++)
        take(question->own[i], taken, order, &have);
    for (size_t i = 0; i < of_article; i++)
        others[i] = question->article[i];
    random_shuffle(stream, others, of_article);
    for (size_t i = 0; i < of_article; i++)
        take(others[i], taken, order, &have);
    for (size_t i = 0; i < all; i++)
        others[i] = (uint32_t)i;
    random_shuffle(stream, others, all);
    for (size_t i = 0; i < all; i++)
        take(others[i], taken, order, &have);
    memcpy(chosen, order, count * sizeof *chosen);
    free(taken);
    free(others);
    free(order);
}

static int questions_build(const sample_plan *plan, random_stream *stream, task_sample *sample)
{
    const question_set *set = plan->corpus->questions;
    if ((uint64_t)plan->number >= set->question_count)
        return fail("%s: %s holds %zu questions, there is none for sample %lld", plan->task->name,
                    set->path, set->question_count, (long long)plan->number);
    const question *question = &set->questions[plan->number];
    if (plan->size < question->own_count)
        return fail("%s: question %lld has %d documents of its own, there is room for %lld",
                    plan->task->name, (long long)plan->number, question->own_count,
                    (long long)plan->size);
    uint32_t *chosen = alloc_or_die((size_t)plan->size, sizeof *chosen);
    choose_documents(set, question, (size_t)plan->size, stream, chosen);
    random_shuffle(stream, chosen, (size_t)plan->size);
    FILE *out = open_memstream(&sample->document.bytes, &sample->document.count);
    fprintf(out, "%s%s\n\n%s\n\n", plan->chat ? plan->chat->head : "", instruction, header);
    for (int64_t i = 0; i < plan->size; i++)
        fprintf(out, "Document %lld:\n%s\n\n", (long long)i + 1, set->documents[chosen[i]]);
    fprintf(out, "%s\n\n", instruction);
    fclose(out);
    free(chosen);
    char *asked = format_text(question_form, question->text);
    write_query(plan, asked, lead_in, sample);
    free(asked);
    for (int i = 0; i < question->answer_count; i++)
        add_reference(sample, question->answers[i]);
    return 0;
}

static corpus *questions_open(const task *task, const char *haystack)
{
    (void)haystack;
    const question_options *options = task->options;
    corpus *corpus = corpus_open(false, false, NULL);
    if (corpus && !(corpus->questions = question_set_open(options->format))) {
        corpus_close(corpus);
        return NULL;
    }
    return corpus;
}

/* RULER's ten documents; below 4096 tokens, where those would be most of the length, as many as belong
 * to the question. */
static int64_t questions_step(const task *task, int64_t length)
{
    const question_options *options = task->options;
    return length < 4096 ? options->own_documents : 10;
}

const generator questions_generator = {"qa", false, questions_open, questions_step, questions_build};
