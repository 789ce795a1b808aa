/* What the tables of one group are made with, and what they share. */
#ifndef HARNESS_REPORT_PAGE_H
#define HARNESS_REPORT_PAGE_H
#include "harness/report/intervals/samples.h"
#include "harness/report/markdown.h"
#include "harness/report/results.h"

typedef struct {
    const results *all;
    const result_group *group;
    FILE *out;
    footnotes notes;
    const sample_scores *scores; /* of accuracy rows' samples; NULL: none were read */
    bool intervals;              /* of every score, not of differences alone */
} page;

/* Three or four figures, as papers print them. */
void number_text(double value, char *text, size_t bytes);

/* A cell of a grid: the number, with a note when it was scaled; the status with its reason; "-". */
void put_cell(page *, grid *, int line, int column, const result *, double value);

/* The parts of the breakdown in milliseconds a layer, as the paper's table 16 has one block. NaN
 * where a row (NULL too) has none. */
enum { BREAKDOWN_PARTS = 7 };
extern const char *const breakdown_titles[BREAKDOWN_PARTS];
double breakdown_ms(const result *, int part);
/* The longest length (or `wanted`, if not 0) at which the group has a breakdown; 0 when none. */
int64_t breakdown_length(const results *, const result_group *, int64_t wanted);

/* "smollm2, only 4 of 30 layers, 8 hosts, projected over eth100"; to be freed. */
char *group_title(const results *, const result_group *);
/* That as a heading, and the inputs that all rows share. length 0: of any. */
void print_heading(const page *, int64_t length);
void print_conditions(const page *, int64_t length);
/* The resolved options of each series that has some, at the longest (or this) length. */
void print_options(const page *, int64_t length);
/* Which commit, machine and libraries the rows come from, and the paper. */
void print_provenance(const results *, FILE *);

/* All tables of a group: by length, one value or (NULL) the usual ones. */
void print_speed(page *, const char *value, int64_t breakdown_at);
/* Cells that the file holds both measured and projected, with their ratio; nothing when there are none. */
void print_comparison(const results *, FILE *);
/* Scores (or another column) of tasks by series at one length. */
void print_accuracy(page *, int64_t length, const char *column);
#endif
