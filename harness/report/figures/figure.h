/* One figure: its data as a temporary file, and gnuplot run over it with a script of plots/, once
 * for PNG and once for SVG. The scripts get all that varies as variables, so a user can edit them. */
#ifndef HARNESS_REPORT_FIGURES_FIGURE_H
#define HARNESS_REPORT_FIGURES_FIGURE_H
#include <stdint.h>
#include <stdio.h>

typedef struct {
    const char *script;  /* "prefill": plots/prefill.gp */
    char *name;          /* of the files, without folder and ending */
    char *heading;
    FILE *data;          /* to be filled before drawing */
    char *data_path;
    char *settings;      /* gnuplot assignments so far */
} figure;

/* Starts a figure; name and heading are taken over. NULL with a sentence when there is no room for
 * its data. */
figure *figure_new(const char *script, char *name, char *heading);
/* Sets a gnuplot variable to a text or a number. */
void figure_text(figure *, const char *variable, const char *value);
void figure_number(figure *, const char *variable, double value);
/* The marks of the x axis: variables `lengths` and `names`. */
void figure_marks(figure *, const int64_t *values, int count);
/* A double-quoted field of the data. */
void figure_field(figure *, const char *text);
/* Draws FOLDER/name.png and .svg, which appear whole by rename, and says so on stdout. -1 with a
 * sentence, when gnuplot is missing too. keep_data leaves FOLDER/name.dat and says how to draw it
 * by hand. Frees the figure. */
int figure_draw(figure *, const char *folder, int keep_data);
void figure_free(figure *);
#endif
