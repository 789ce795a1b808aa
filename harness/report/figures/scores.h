/* Figures of accuracy: scores by length, and as bars at one length, both with 95 % intervals where the
 * samples are there. */
#ifndef HARNESS_REPORT_FIGURES_SCORES_H
#define HARNESS_REPORT_FIGURES_SCORES_H
#include "harness/report/figures/curves.h"

/* Curves where a group has several lengths, and bars where it has one, or at `length` if that is not 0.
 * Means over tasks, of series that have a score for every task. -1 with a sentence. */
int draw_scores(drawing *, const result_group *, int64_t length);
#endif
