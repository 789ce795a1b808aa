/* apbench score: scores a file of predictions as the official scorers do. Rows are JSON objects:
 * RULER's with `pred` and `outputs`, InfiniteBench's with `prediction` (or `pred`) and `ground_truth`
 * (or `label`); other fields do not matter. Prints the official summary, or with --per-row one JSON
 * line a row. */
#include "datasets/jsonl.h"
#include "datasets/official.h"
#include "datasets/task.h"
#include "harness/command/command.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What became of the rows so far. */
typedef struct {
    const task *task;
    scorer scorer;
    bool per_row;
    double sum;
    int64_t rows, scored, nulls;
    bool unlabelled;       /* RULER: the first row's first reference is null: the score is 0.0 */
    const char *label_key; /* InfiniteBench: what the first row calls its label */
} tally;

/* The first reference is null: where it is in a file's first row, the official code gives the file 0.0
 * without looking at any row's references, and counts the empty predictions all the same. */
static bool is_unlabelled(const json_t *row)
{
    return json_is_null(json_array_get(json_object_get(row, "outputs"), 0));
}

static int score_ruler(const task *task, const json_t *row, bool unlabelled, double *score,
                       bool *null)
{
    const json_t *prediction = json_object_get(row, "pred");
    if (!json_is_string(prediction))
        return fail(prediction ? "`pred` is not a string" : "there is no `pred`");
    if (unlabelled) {
        *null = task_is_null(json_string_value(prediction), json_string_length(prediction));
        return 0;
    }
    sized_text *references;
    int count = official_references(row, &references);
    int result = count < 0 ? -1
                           : task_score(task, json_string_value(prediction),
                                        json_string_length(prediction), references, count, score,
                                        null);
    official_references_free(references, count);
    return result;
}

/* The first row decides between `ground_truth` and `label` for all; a row without it is scored, as
 * officially, against a text that is no answer. */
static int score_infinite(tally *tally, const json_t *row, double *score)
{
    if (!tally->label_key && json_object_get(row, "ground_truth"))
        tally->label_key = "ground_truth";
    else if (!tally->label_key && json_object_get(row, "label"))
        tally->label_key = "label";
    if (!tally->label_key)
        return fail("there is neither `ground_truth` nor `label`");
    const json_t *prediction = json_object_get(row, "prediction");
    if (!prediction)
        prediction = json_object_get(row, "pred");
    if (!prediction)
        return fail("there is neither `prediction` nor `pred`");
    if (!json_is_string(prediction))
        return fail("the prediction is not a string");
    json_t *label = json_incref(json_object_get(row, tally->label_key));
    if (!label)
        label = json_string("XXXXXXXXXX");
    int result = task_score_label(tally->task, &tally->scorer, json_string_value(prediction),
                                  json_string_length(prediction), label, score);
    json_decref(label);
    return result;
}

static void print_row(const tally *tally, int64_t row, const double *value, const char *error)
{
    char score[32] = "null";
    if (value && tally->task->infinite)
        score_exact_text(*value, score, sizeof score);
    else if (value)
        score_text(score_percent(*value, 1), score, sizeof score);
    printf("{\"row\": %lld, \"score\": %s", (long long)row, score);
    if (error) {
        json_t *string = json_string(error);
        char *escaped = string ? json_dumps(string, JSON_ENSURE_ASCII | JSON_ENCODE_ANY) : NULL;
        printf(", \"error\": %s", escaped ? escaped : "\"unprintable\"");
        free(escaped);
        json_decref(string);
    }
    printf("}\n");
}

/* One row of the file, or (row NULL) a broken line with its sentence left. */
static void take_row(tally *tally, const json_t *row, const char *path, int64_t line)
{
    int64_t number = tally->rows++;
    double score = 0;
    bool null = false;
    int result = row ? 0 : -1;
    if (row && !json_is_object(row))
        result = fail("the line is not a JSON object");
    else if (row && tally->task->infinite)
        result = score_infinite(tally, row, &score);
    else if (row) {
        tally->unlabelled |= number == 0 && is_unlabelled(row);
        /* --per-row scores each row as a file of its own */
        result = score_ruler(tally->task, row, tally->per_row ? is_unlabelled(row) : tally->unlabelled,
                             &score, &null);
    }
    if (result == 0) {
        tally->sum += score;
        tally->scored++;
        tally->nulls += null;
        if (tally->per_row)
            print_row(tally, number, &score, NULL);
        return;
    }
    char *reason = copy_text(fail_text());
    if (row)
        fail("%s:%lld: %s", path, (long long)line, reason);
    fprintf(stderr, "apbench: left out %s\n", fail_text());
    if (tally->per_row)
        print_row(tally, number, NULL, reason);
    free(reason);
}

static int score_file(tally *tally, const char *path)
{
    jsonl_file lines;
    if (jsonl_open(&lines, path) < 0)
        return -1;
    int found;
    for (json_t *row; (found = jsonl_next(&lines, &row)) != JSONL_END;) {
        if (found == JSONL_FAILED)
            break;
        take_row(tally, row, lines.path, lines.number);
        json_decref(row);
    }
    jsonl_close(&lines);
    return found == JSONL_FAILED ? -1 : 0;
}

/* RULER's report has percent with two decimals and the empty predictions; InfiniteBench's code prints
 * the mean as it is. */
static void print_summary(const tally *tally)
{
    char score[32];
    printf("Tasks,%s\n", tally->task->name);
    if (tally->task->infinite) {
        printf("Score,%s\n", score_exact_text(tally->sum / (double)tally->scored, score,
                                              sizeof score));
        return;
    }
    double percent = tally->unlabelled ? 0 : score_percent(tally->sum, tally->scored);
    printf("Score,%s\nNulls,%lld/%lld\n", score_text(percent, score, sizeof score),
           (long long)tally->nulls, (long long)tally->scored);
}

int command_score(int argc, char **argv)
{
    const char *name = NULL, *path = NULL, *scorer = "official";
    bool per_row = false;
    tally tally = {0};
    const flag flags[] = {
        {"task", FLAG_TEXT, &name, "NAME", "the task that the predictions answer"},
        {"file", FLAG_TEXT, &path, "FILE",
         "predictions, JSON lines: `pred` and `outputs`; InfiniteBench: `prediction` or `pred`, and "
         "`ground_truth` or `label`"},
        {"per-row", FLAG_SWITCH, &per_row, NULL,
         "print {row, score} for each row instead of the summary"},
        {"scorer", FLAG_TEXT, &scorer, "NAME",
         "official (2024-06-13) or apb: whose copy of InfiniteBench's scorers"},
        {"model-name", FLAG_TEXT, &tally.scorer.model, "NAME",
         "who made the predictions: math_calc has a rule of its own for gpt4"},
    };
    int parsed = options_parse("usage: apbench score --task NAME --file FILE [flags]\n\n"
                               "Scores a file of predictions as the official scorers do: RULER in\n"
                               "percent, InfiniteBench from 0 to 1.\n",
                               flags, FLAG_COUNT(flags), argc, argv, NULL);
    if (parsed > 0)
        return 0;
    tally.per_row = per_row;
    if (parsed == 0 && !name)
        parsed = fail("--task is missing");
    if (parsed == 0 && !path)
        parsed = fail("--file is missing");
    if (parsed == 0 && (!(tally.task = task_find(name)) ||
                        scorer_find(scorer, &tally.scorer.kind) < 0))
        parsed = -1;
    if (parsed < 0)
        return command_misused();
    if (score_file(&tally, path) < 0 ||
        (!tally.scored && fail("%s: none of its %lld rows can be scored", path,
                               (long long)tally.rows)))
        return command_failed();
    if (!per_row)
        print_summary(&tally);
    if (tally.scored < tally.rows)
        fprintf(stderr, "apbench: %lld of %lld rows left out of the score\n",
                (long long)(tally.rows - tally.scored), (long long)tally.rows);
    if (fflush(stdout) || ferror(stdout)) {
        fail("cannot write to the standard output");
        return command_failed();
    }
    return tally.scored < tally.rows ? 1 : 0;
}
