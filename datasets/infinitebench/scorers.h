/* InfiniteBench's scorers, one function a kind of task, as the official code of 2024-06-13
 * (compute_scores.py) gives its rows; where APB's copy of it (MInference's lineage) differs, a scorer
 * of kind SCORER_APB does as that does. A label keeps its JSON type, since the official code takes
 * other paths for strings, lists, integers and floats. Each function: prediction is valid UTF-8;
 * *score 0..1; -1 with a sentence where the official code raises. */
#ifndef DATASETS_INFINITEBENCH_SCORERS_H
#define DATASETS_INFINITEBENCH_SCORERS_H
#include "datasets/task.h"
#include <jansson.h>

typedef int label_scorer(const scorer *, sized_text prediction, const json_t *label,
                         double *score);

/* match.c: one answer, right or wrong */
label_scorer score_first_number; /* passkey, number_string: the first digits, as a string */
label_scorer score_kv_retrieval, score_code_run, score_code_debug, score_choice, score_dialogue;
/* numbers.c */
label_scorer score_math_find, score_math_calc;
/* overlap.c: F1 of words, of characters */
label_scorer score_qa_english, score_qa_chinese;
/* rouge.c: rougeLsum */
label_scorer score_summary;
#endif
