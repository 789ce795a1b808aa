/* Reads the files of SQuAD and HotpotQA. See question_set.h. */
#include "datasets/ruler/question_set.h"

#include "harness/error.h"
#include "harness/model/model.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *file, *source;
} formats[] = {
    [QUESTIONS_SQUAD] = {"squad.json", "dev-v2.0.json of SQuAD 2.0 (rajpurkar.github.io/SQuAD-explorer)"},
    [QUESTIONS_HOTPOTQA] = {"hotpotqa.json", "hotpot_dev_distractor_v1.json of HotpotQA (hotpotqa.github.io)"},
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- Documents ---- */

static void add_document(question_set *set, char *document)
{
    if (!(set->document_count & (set->document_count + 1)) || !set->documents) /* 2^n - 1 */
        set->documents = realloc_or_die(set->documents, 2 * (set->document_count + 1),
                                        sizeof *set->documents);
    set->documents[set->document_count++] = document;
}

static void sort_documents(question_set *set)
{
    size_t distinct = 0;
    if (!set->documents)
        return;
    qsort(set->documents, set->document_count, sizeof *set->documents, by_bytes);
    for (size_t i = 0; i < set->document_count; i++)
        if (i && !strcmp(set->documents[i], set->documents[distinct - 1]))
            free(set->documents[i]);
        else
            set->documents[distinct++] = set->documents[i];
    set->document_count = distinct;
}

static uint32_t find_document(const question_set *set, const char *document)
{
    char *const *found = bsearch(&document, set->documents, set->document_count,
                                 sizeof *set->documents, by_bytes);
    return (uint32_t)(found - set->documents);
}

/* ---- Questions ---- */

static question *add_question(question_set *set, const char *text)
{
    set->questions = realloc_or_die(set->questions, set->question_count + 1, sizeof *set->questions);
    question *added = &set->questions[set->question_count++];
    *added = (question){.text = copy_text(text)};
    return added;
}

static void add_answer(question *question, const char *answer)
{
    question->answers = realloc_or_die(question->answers, (size_t)question->answer_count + 1,
                                       sizeof *question->answers);
    question->answers[question->answer_count++] = copy_text(answer);
}

/* The documents of a list, remembered for the set's end. */
static uint32_t *add_indices(question_set *set, size_t count)
{
    set->articles = realloc_or_die(set->articles, set->article_count + 1, sizeof *set->articles);
    return set->articles[set->article_count++] = alloc_or_die(count, sizeof(uint32_t));
}

/* ---- SQuAD: data[] of articles, paragraphs[] of {context, qas[]} ---- */

static int squad_documents(question_set *set, const json_t *root)
{
    size_t a, p;
    const json_t *article, *paragraph, *data = json_object_get(root, "data");
    if (!json_is_array(data))
        return fail("%s: no list `data`, so it is not a file of SQuAD", set->path);
    json_array_foreach(data, a, article) {
        const json_t *paragraphs = json_object_get(article, "paragraphs");
        if (!json_is_array(paragraphs))
            return fail("%s: article %zu has no list `paragraphs`", set->path, a);
        json_array_foreach(paragraphs, p, paragraph) {
            const json_t *context = json_object_get(paragraph, "context");
            if (!json_is_string(context) || !json_is_array(json_object_get(paragraph, "qas")))
                return fail("%s: paragraph %zu of article %zu has no string `context` or no list "
                            "`qas`", set->path, p, a);
            add_document(set, copy_text(json_string_value(context)));
        }
    }
    return 0;
}

static int squad_question(question_set *set, const json_t *row, uint32_t *own, uint32_t *article,
                          size_t article_count)
{
    const json_t *text = json_object_get(row, "question");
    const json_t *answers = json_object_get(row, "answers"), *answer;
    if (json_is_true(json_object_get(row, "is_impossible")))
        return 0;
    if (!json_is_string(text) || !json_array_size(answers))
        return fail("%s: answerable question %zu has no string `question` or no `answers`",
                    set->path, set->question_count);
    question *added = add_question(set, json_string_value(text));
    added->own = own;
    added->own_count = 1;
    added->article = article;
    added->article_count = (int)article_count;
    size_t i;
    json_array_foreach(answers, i, answer) {
        const json_t *value = json_object_get(answer, "text");
        if (!json_is_string(value))
            return fail("%s: an answer of question %zu has no string `text`", set->path,
                        set->question_count - 1);
        add_answer(added, json_string_value(value));
    }
    return 0;
}

static int squad_questions(question_set *set, const json_t *root)
{
    size_t a, p, q;
    const json_t *article, *paragraph, *row;
    json_array_foreach(json_object_get(root, "data"), a, article) {
        const json_t *paragraphs = json_object_get(article, "paragraphs");
        size_t count = json_array_size(paragraphs);
        uint32_t *documents = add_indices(set, count);
        json_array_foreach(paragraphs, p, paragraph)
            documents[p] = find_document(
                set, json_string_value(json_object_get(paragraph, "context")));
        json_array_foreach(paragraphs, p, paragraph)
            json_array_foreach(json_object_get(paragraph, "qas"), q, row)
                if (squad_question(set, row, &documents[p], documents, count) < 0)
                    return -1;
    }
    return 0;
}

/* ---- HotpotQA: a list of {question, answer, context: [[title, [sentence ..]] ..]} ---- */

/* Title, newline, the sentences as they are; NULL with a sentence. */
static char *hotpotqa_document(const question_set *set, const json_t *paragraph, size_t number)
{
    const json_t *title = json_array_get(paragraph, 0), *sentences = json_array_get(paragraph, 1);
    char *document = NULL;
    size_t i, bytes;
    const json_t *sentence;
    bool good = json_is_string(title) && json_is_array(sentences);
    FILE *out = open_memstream(&document, &bytes);
    fprintf(out, "%s\n", good ? json_string_value(title) : "");
    json_array_foreach(sentences, i, sentence) {
        good = good && json_is_string(sentence);
        fputs(good ? json_string_value(sentence) : "", out);
    }
    fclose(out);
    if (good)
        return document;
    free(document);
    fail("%s: a paragraph of question %zu is not [title, [sentence, ...]]", set->path, number);
    return NULL;
}

enum { MOST_PARAGRAPHS = 10000 }; /* of a question; published ones have 10 */

static int hotpotqa_documents(question_set *set, const json_t *root)
{
    size_t q, p;
    const json_t *row, *paragraph;
    if (!json_is_array(root))
        return fail("%s: not a list of questions, so it is not a file of HotpotQA", set->path);
    json_array_foreach(root, q, row) {
        const json_t *context = json_object_get(row, "context");
        if (!json_array_size(context) || !json_is_string(json_object_get(row, "question")) ||
            !json_is_string(json_object_get(row, "answer")))
            return fail("%s: question %zu lacks a string `question`, a string `answer` or `context`",
                        set->path, q);
        if (json_array_size(context) > MOST_PARAGRAPHS)
            return fail("%s: question %zu has %zu paragraphs, more than %d", set->path, q,
                        json_array_size(context), MOST_PARAGRAPHS);
        json_array_foreach(context, p, paragraph) {
            char *document = hotpotqa_document(set, paragraph, q);
            if (!document)
                return -1;
            add_document(set, document);
        }
    }
    return 0;
}

static int hotpotqa_questions(question_set *set, const json_t *root)
{
    size_t q, p;
    const json_t *row, *paragraph;
    json_array_foreach(root, q, row) {
        const json_t *context = json_object_get(row, "context");
        question *added = add_question(set, json_string_value(json_object_get(row, "question")));
        add_answer(added, json_string_value(json_object_get(row, "answer")));
        added->own = add_indices(set, json_array_size(context));
        json_array_foreach(context, p, paragraph) {
            char *document = hotpotqa_document(set, paragraph, q);
            uint32_t index = find_document(set, document);
            free(document);
            int same = 0;
            while (same < added->own_count && added->own[same] != index)
                same++;
            added->own[same] = index;
            added->own_count += same == added->own_count;
        }
    }
    return 0;
}

/* ---- Both ---- */

static int read_set(question_set *set, question_format format, const json_t *root)
{
    int result = format == QUESTIONS_SQUAD ? squad_documents(set, root)
                                           : hotpotqa_documents(set, root);
    if (result == 0) {
        sort_documents(set);
        result = format == QUESTIONS_SQUAD ? squad_questions(set, root)
                                           : hotpotqa_questions(set, root);
    }
    return result == 0 && !set->question_count ? fail("%s holds no question", set->path) : result;
}

question_set *question_set_open(question_format format)
{
    question_set *set = alloc_or_die(1, sizeof *set);
    char *cache = cache_directory();
    set->path = format_text("%s/questions/%s", cache, formats[format].file);
    free(cache);
    json_error_t where;
    json_t *root = NULL;
    int result = 0;
    if (access(set->path, F_OK))
        result = fail("%s is missing: fetch %s and put it there", set->path, formats[format].source);
    else if (access(set->path, R_OK))
        result = fail("cannot read %s: %s", set->path, strerror(errno));
    else if (!(root = json_load_file(set->path, 0, &where)))
        result = fail("%s: line %d: %s", set->path, where.line, where.text);
    if (result == 0)
        result = read_set(set, format, root);
    json_decref(root);
    if (result == 0)
        return set;
    question_set_close(set);
    return NULL;
}

void question_set_close(question_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->document_count; i++)
        free(set->documents[i]);
    for (size_t i = 0; i < set->question_count; i++) {
        for (int a = 0; a < set->questions[i].answer_count; a++)
            free(set->questions[i].answers[a]);
        free(set->questions[i].answers);
        free(set->questions[i].text);
    }
    for (size_t i = 0; i < set->article_count; i++)
        free(set->articles[i]);
    free(set->documents);
    free(set->questions);
    free(set->articles);
    free(set->path);
    free(set);
}
