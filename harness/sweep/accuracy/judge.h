/* Whether a row of the accuracy sweep can be run, known before anything of it is. */
#ifndef HARNESS_SWEEP_ACCURACY_JUDGE_H
#define HARNESS_SWEEP_ACCURACY_JUDGE_H
#include "harness/sweep/accuracy/group.h"
#include "methods/method.h"

typedef struct {
    cell resolved;  /* the options that all samples of the row are run with */
    bool runs;
    char word[32];  /* the CSV's status: "ok" where it runs, so far */
    char reason[1024];
} row_verdict;

/* Resolves the method's options on the group's shortest document and asks whether the longest fits the
 * device. */
void row_judge(const group *, const char *method_text, int hosts, row_verdict *);
#endif
