/* Questions on documents, for the QA tasks: the files of SQuAD and HotpotQA as their authors publish
 * them, which the user fetches and puts under the cache. */
#ifndef DATASETS_QUESTION_SET_H
#define DATASETS_QUESTION_SET_H
#include <stddef.h>
#include <stdint.h>

typedef enum { QUESTIONS_SQUAD, QUESTIONS_HOTPOTQA } question_format;

typedef struct {
    char *text;
    char **answers; /* at least one; repeats are kept */
    int answer_count;
    /* Indices of documents: the question's own, and others of the same article, which may hold the
     * own one too (shared by the questions of an article). */
    uint32_t *own, *article;
    int own_count, article_count;
} question;

typedef struct question_set {
    char **documents; /* sorted by bytes, without repeats */
    size_t document_count;
    question *questions; /* in the order of the file */
    size_t question_count;
    uint32_t **articles; /* what questions share */
    size_t article_count;
    char *path;
} question_set;

/* Reads <cache>/questions/squad.json (SQuAD 2.0, dev; answerable questions only) or hotpotqa.json
 * (HotpotQA, dev, distractor setting). NULL with a sentence naming the file and what is wrong. */
question_set *question_set_open(question_format);
void question_set_close(question_set *);
#endif
