/* Rows that the tests of tables and figures are made of: a few cells of speed and of accuracy, with round
 * numbers, in the results file of results_fixture.h. */
#ifndef TESTS_ROWS_FIXTURE_H
#define TESTS_ROWS_FIXTURE_H
#include "harness/records/records.h"

/* What the next rows are given. */
extern const char *row_remark;  /* detail of rows that end well; "" */
extern const char *row_comm;    /* "sim" */
extern const char *row_variant; /* of speed: options that the command named; "" */
extern const char *row_link;    /* "nvlink3", of several hosts; "": real ones */
extern double row_exposed_s;    /* of the instrumented repetition; 0: not recorded */

/* One row of `layers` of llama-3.1-8b's 32 layers. */
void add_speed_of_layers(records *, int layers, const char *method, int hosts, int length,
                         const char *status, double prefill_s);
/* The same, of 4 layers past 64K tokens and of all up to there. */
void add_speed(records *, const char *method, int hosts, int length, const char *status,
               double prefill_s);
/* One row of smollm2 at 1000 tokens; a score that is NAN: it failed. */
void add_accuracy(records *, const char *method, const char *variant, int hosts, const char *task,
                  double score, double kl);

/* A small sweep of each kind, appended to results_path. */
void write_speed(void);
void write_accuracy(void);
#endif
