/* Progress on stderr: which cell, what came of it, and how long the rest will take. Cells are weighed by
 * what they are expected to take, in any measure; the time that finished ones really took for it is the
 * pace of the others, and nothing is said of the rest before there is one. */
#ifndef HARNESS_PROGRESS_H
#define HARNESS_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool quiet; /* processes that do not lead say nothing */
    int done, total;
    double expected_left; /* of what is not done */
    double expected_done, took; /* what finished cells were expected to take, and the seconds they took */
    double said;          /* when the last line from within a cell was written; 0: none was */
} progress;

/* A cell that was to take `expected` took `took` seconds; line says what came of it. */
void progress_report(progress *, double expected, double took, const char *line);
/* From within a cell that is to take `expected` and began at `began`: `done` of its `all` parts are there,
 * `before` of them already when it began. Says so from time to time. line: which cell. */
void progress_within(progress *, double expected, double began, int64_t before, int64_t done,
                     int64_t all, const char *line);
/* "3 min 20 s", "2 h 5 min". Returns text. */
char *format_seconds(double seconds, char *text, int bytes);
#endif
