/* Results on disk: one CSV row a cell (speed) or a cell x task (accuracy), with every repetition or
 * sample in a file beside it. A sweep may be killed at any moment; the same command then goes on
 * where it stopped. What makes that so:
 *   - the details of a row (its repetitions or samples) are on disk before the row is;
 *   - the row is one write() of one whole line, and is what commits the cell;
 *   - opening cuts off what was not committed: a torn last line, and repetitions of no row;
 *   - samples of no row stay until the sweep comes to the row that they are of, and are not run again
 *     (records_resume()), nor are those of a row that failed; each line says which cell and commit it is of;
 *   - a cell whose key (all inputs, defaults resolved) has a row that did not fail is done, unless the
 *     row says that it could not be run and it can be now: files and retaining heads come later.
 * The columns, and what each means, are one table: record_columns(). */
#ifndef HARNESS_RECORDS_H
#define HARNESS_RECORDS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum { RECORD_SPEED, RECORD_ACCURACY } record_kind;

typedef enum {
    SPEED_ROW, SPEED_MODEL, SPEED_LAYERS, SPEED_METHOD, SPEED_OPTIONS, SPEED_DEVICE, SPEED_COMM,
    SPEED_LINK, SPEED_HOSTS, SPEED_LENGTH, SPEED_QUERY, SPEED_DTYPE, SPEED_WARMUP, SPEED_REPS,
    SPEED_THREADS, SPEED_SEED, SPEED_NEW_TOKENS, SPEED_WEIGHTS,
    SPEED_VARIANT, SPEED_MODEL_LAYERS, SPEED_STATUS, SPEED_DETAIL,
    SPEED_PREFILL_S, SPEED_PREFILL_MIN_S, SPEED_PREFILL_MAX_S,
    SPEED_DECODE_S, SPEED_DECODE_MIN_S, SPEED_DECODE_MAX_S, SPEED_SPEED_TOK_S,
    SPEED_TFLOPS, SPEED_UTILISATION, SPEED_GEMM_PEAK_TFLOPS, SPEED_BYTES_SENT, SPEED_PEAK_BYTES,
    SPEED_QKV_S, SPEED_COMPRESS_S, SPEED_COMM_S, SPEED_ATTENTION_S, SPEED_O_PROJ_S, SPEED_FFN_S,
    SPEED_OTHER_S, SPEED_INSTRUMENTED_S, SPEED_PROJECTED, SPEED_LOAD,
    SPEED_MACHINE, SPEED_GPU, SPEED_DRIVER, SPEED_LIBRARIES, SPEED_COMMIT, SPEED_DATE,
    SPEED_COLUMNS
} speed_column;

typedef enum {
    ACCURACY_ROW, ACCURACY_MODEL, ACCURACY_LAYERS, ACCURACY_METHOD, ACCURACY_OPTIONS,
    ACCURACY_DEVICE, ACCURACY_COMM, ACCURACY_LINK, ACCURACY_HOSTS, ACCURACY_LENGTH, ACCURACY_TASK,
    ACCURACY_SAMPLES, ACCURACY_SEED, ACCURACY_GENERATOR, ACCURACY_SCORER, ACCURACY_LIMIT,
    ACCURACY_THREADS, ACCURACY_WEIGHTS, ACCURACY_SOURCE, ACCURACY_CHAT, ACCURACY_FIDELITY,
    ACCURACY_VARIANT, ACCURACY_MODEL_LAYERS, ACCURACY_STATUS, ACCURACY_DETAIL,
    ACCURACY_SCORE, ACCURACY_KL, ACCURACY_TOP1,
    ACCURACY_ERROR_START, ACCURACY_ERROR_END, ACCURACY_ERROR_DOCUMENT, ACCURACY_ERROR_QUERY,
    ACCURACY_NULLS, ACCURACY_SECONDS, ACCURACY_WORKERS,
    ACCURACY_MACHINE, ACCURACY_GPU, ACCURACY_DRIVER, ACCURACY_LIBRARIES, ACCURACY_COMMIT,
    ACCURACY_DATE,
    ACCURACY_COLUMNS
} accuracy_column;

enum { RECORD_COLUMNS = SPEED_COLUMNS };
_Static_assert((int)ACCURACY_COLUMNS <= (int)SPEED_COLUMNS, "a record holds either kind of row");

typedef struct {
    const char *name;
    bool key;            /* an input: rows with equal keys are one cell */
    const char *unit;    /* "" for text and counts */
    const char *meaning; /* one sentence, for the dictionary */
} record_column;

/* The columns of a kind of row, in file order. */
const record_column *record_columns(record_kind, int *count);

/* The dictionary of both files' columns, as Markdown tables. */
void record_columns_print(FILE *);

/* ---- A row ---- */

/* values[column], NULL for an empty one. Start with `record row = {.kind = ...}`. */
typedef struct {
    record_kind kind;
    char *values[RECORD_COLUMNS];
} record;

/* Sets a value. Line ends within a text become spaces, so that a row is always one line. */
void record_text(record *, int column, const char *);
void record_integer(record *, int column, int64_t);
/* Six digits, or all of a whole number (bytes); NaN leaves it empty. */
void record_number(record *, int column, double);
void record_clear(record *); /* empties all values */
/* The line of the row, and the header of a file of such rows; to be freed. */
char *record_line(const record *);
char *record_header(record_kind);

/* ---- A file of rows ---- */

typedef struct records records;

/* 0, or -1 with a sentence when --out cannot be this: it is NAME.csv, since NAME and NAME.csv would have
 * the same details beside them. */
int records_check_path(const char *out);

/* Where the details of the rows at `path` lie: NAME.reps.csv or NAME.samples.jsonl. To be freed. */
char *records_details_path(const char *path, record_kind);

/* Opens or starts the file and the one beside it (NAME.reps.csv, NAME.samples.jsonl), cuts off
 * what was not committed and locks it against a second run. NULL with a sentence when the file
 * cannot be opened or is locked, its header is another one, or a row in it is of another commit. */
records *records_open(const char *path, record_kind, const char *commit);
void records_close(records *);

/* Whether the cell of this row's key is done: its latest row has any status but "failed", and but
 * "unsupported" where the cell is supported now. */
bool records_done(const records *, const record *, bool supported);

/* A repetition of the cell that the next append commits. `kind`: "warmup", "timed",
 * "instrumented". wall_s ... enqueue_s: where the process's time went (run_result of run.h), NaN when
 * unknown. host_prefill_s, host_decode_s: each host's own clock, [hosts], or NULL. */
typedef struct {
    const char *kind;
    int number; /* from 1 */
    double prefill_s, decode_s;
    double wall_s, charged_s, transfers_s, enqueue_s;
    int hosts;
    const double *host_prefill_s, *host_decode_s;
} repetition;
int records_repetition(records *, const record *key, const repetition *);

/* Begins a row of samples: what a killed run has left of this cell, or what its latest row has, if that
 * failed. Those that fit() takes count as written, for the row that the next append commits; of others
 * that were left nothing stays. An array in the order of writing, which the caller frees (json_decref);
 * NULL with a sentence when the file cannot be read or written. What was left of another cell is kept
 * until that comes, or the file is closed. */
json_t *records_resume(records *, const record *key, bool (*fits)(void *argument, const json_t *sample),
                       void *argument);

/* A sample (the text of a JSON object on one line: prompt, prediction, references, score, ...) of the
 * row that the next append commits; it gets that row's number as "row" and a hash of the commit and
 * the key as "cell". */
int records_sample(records *, const record *key, const char *object);

/* Commits the row: gives it its number, commit and (when empty) date, writes it and has it on disk
 * before returning. -1 with a sentence when it could not be written whole; nothing of it is left
 * then. */
int records_append(records *, record *);
#endif
