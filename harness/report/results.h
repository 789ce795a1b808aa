/* Results read back: the rows of a CSV sorted into series (a line of a plot, a row of a table) and
 * the paper's own figures beside them. Tables and plots are two views of this.
 *
 * A series is what differs only in model, length and task: a method with its options as the command
 * named them, its number of hosts, the link between them, and whatever else varies within the file
 * (device, threads, ...), which is then part of its label. The latest row of a cell counts. */
#ifndef HARNESS_REPORT_RESULTS_H
#define HARNESS_REPORT_RESULTS_H
#include "harness/records/csv.h"

#include <stdint.h>

typedef struct {
    const csv *file;
    int row; /* of the file */
    int series;
    const char *model, *task, *status, *detail;
    const char *link; /* "" where it has no say: on one host, in accuracy, in the paper's rows */
    int layers, model_layers, hosts;
    int64_t length;
} result;

typedef struct {
    char *label; /* "APB", "APB (compressor=random)" */
    const char *method;
    int hosts;
    bool paper;     /* of the paper's figures */
    int paper_twin; /* ours: the paper's series of the same method and hosts; -1 when none */
    char *identity; /* the values that tell series apart */
} result_series;

typedef struct {
    const char *model;
    const char *link; /* as results have it */
    int layers;       /* 0: any, scaled to the whole model */
    int hosts;        /* 0: any */
} result_group;

typedef struct {
    csv *ours, *paper; /* paper NULL when the preset has no figures */
    char *paper_name;  /* "table14" */
    bool accuracy, scaled;
    result *rows; /* less those whose times mean nothing, in speed results */
    int row_count;
    int untimed; /* how many these are: comm_takes_turns() */
    result_series *series;
    int series_count;
    bool *varies; /* [ours->columns] */
} results;

/* Reads a results file. preset "paper-NAME" brings results/paper/NAME.csv; NULL or another preset
 * brings none. With scale (and always beside the paper's figures), times of rows that ran fewer
 * layers than the model has are multiplied up. NULL with a sentence on failure. */
results *results_read(const char *path, const char *preset, bool scale);
void results_free(results *);

/* Says how many rows are left out and why; NULL when none is. Returns text. */
char *results_untimed(const results *, char *text, int bytes);

/* The groups that get a table or figure of their own, in file order; to be freed: one for each
 * model and link and (by_hosts) number of hosts. A single host that only serves as the baseline of others
 * makes none. */
result_group *results_groups(const results *, bool by_hosts, int *count);

/* Whether a row is of the group's model and layers. */
bool results_in_group(const result_group *, const result *);

/* Whether a series belongs to a group: it has rows of its model and layers, and its link and hosts
 * are the group's or it is a baseline: of a method that has only single-host rows there. */
bool results_belongs(const results *, const result_group *, int series);

/* The lengths of a group's own rows, and the tasks, ascending; to be freed. */
int64_t *results_lengths(const results *, const result_group *, int *count);
/* 0 when the file has a row of that length, or none is asked for (0); else -1 with a sentence. */
int results_check_length(const results *, const char *path, int64_t length);
const char **results_tasks(const results *, const result_group *, int *count);

/* The latest row of a cell; task NULL in speed results. When scaled, the row of most
 * layers, ones that ended well first.
 * Paper series look at the paper's rows. NULL when there is none. */
const result *results_find(const results *, const result_group *, int series, int64_t length,
                           const char *task);

/* A value of a row by column name, scaled when it is a time and the row's layers are fewer than the
 * model's and scaling is on. NaN when the row is NULL, did not end well or has none. */
double results_value(const results *, const result *, const char *column);
/* What it was multiplied by; 1 when not scaled. */
double results_scale(const results *, const result *);

/* The series of a method, its options as the command named them (variant; NULL: any) and hosts that is
 * most like this one in what else varies within the file (device, ...); -1 when there is none. */
int results_counterpart(const results *, const result_group *, int series, const char *method,
                        const char *variant, int hosts);
/* The series of FlashAttn that this series' speedup is over; -1 when there is none. */
int results_baseline(const results *, const result_group *, int series);
#endif
