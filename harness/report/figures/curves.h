/* What the figures of results share: how a series looks, a figure's title and name, and curves, one block
 * of data each, as the scripts of plots/ read them. */
#ifndef HARNESS_REPORT_FIGURES_CURVES_H
#define HARNESS_REPORT_FIGURES_CURVES_H
#include "harness/report/figures/figure.h"
#include "harness/report/intervals/samples.h"
#include "harness/report/results.h"

typedef struct {
    const results *all;
    const char *folder;
    bool keep_data;
    int drawn;
    const sample_scores *scores; /* of accuracy; else NULL */
} drawing;

enum { STYLES = 10, PAPER_STYLE = 20, BOUND_STYLE = 40 }; /* plots/style.gp */

/* The line style of a series, the same in all figures and for any number of hosts: a method's place
 * in the table, so that the paper's series look like ours; variants and methods that are not ours
 * take, in the order of their labels, those that no method of these results has by its place. */
int series_style(const results *, int series);

/* The figure's title says what it shows; its files' name is as short as it can be and not clash. NULL
 * with a sentence as figure_new(). */
figure *figure_start(const char *script, const results *, const result_group *, const char *heading);

/* Blocks of data, as they are written: what gnuplot must know of each. */
typedef struct {
    figure *figure;
    char styles[1024];
    int blocks;
} curves;

/* Adds a point. A block begins when its first point comes, so that none is empty. */
void curves_point(curves *, bool *begun, const char *label, int style, double x, double y);
/* The same with what it may be instead: low to high. */
void curves_span(curves *, bool *begun, const char *label, int style, double x, double y, double low,
                 double high);
/* Draws and frees the figure; nothing where it has no block. -1 with a sentence. */
int curves_draw(drawing *, curves *);
#endif
