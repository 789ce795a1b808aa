/* Fuzzes JSON lines and what is made of them: rows of RULER's layouts and of InfiniteBench's files,
 * prompts cut to a length, rows written again, and predictions scored by every task's scorer. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/jsonl.h"
#include "datasets/official.h"
#include "harness/error.h"
#include "tests/fuzz/scratch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const chat_template chat = {"test", "<|im_start|>user\n",
                                   "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>", NULL};
static tokenizer *tokens;

static void check_sample(const task *task, const task_sample *sample, bool official)
{
    MUST(sample->document.bytes && !sample->document.bytes[sample->document.count]);
    MUST(sample->query.bytes && !sample->query.bytes[sample->query.count]);
    MUST(sample->document.count && sample->lead_in <= sample->query.count);
    MUST(official ? sample->reference_count > 0 : sample->label && sample->row);
    for (task_layout layout = LAYOUT_RULER; layout <= LAYOUT_SPLIT; layout++) {
        char *line = official_line(task, sample, tokens, layout);
        json_t *row = line ? json_loads(line, JSON_ALLOW_NUL, NULL) : NULL;
        MUST(!line || (json_is_object(row) && line[strlen(line) - 1] == '\n'));
        json_decref(row);
        free(line);
    }
    double score = -1;
    bool null;
    for (scorer_kind kind = SCORER_OFFICIAL; kind <= SCORER_APB; kind++) {
        const scorer by = {kind, kind == SCORER_APB ? "gpt4" : NULL};
        if (task_score_sample(task, &by, sample->query.bytes, sample->query.count, sample, &score,
                              &null) == 0)
            MUST(score >= 0 && score <= 1);
    }
}

static void try_infinite(const task *task, json_t *row)
{
    task_sample sample;
    if (infinite_sample(task, row, NULL, &sample) == 0) {
        check_sample(task, &sample, false);
        task_sample_free(&sample);
    }
    if (infinite_sample(task, row, &chat, &sample) == 0) {
        if (infinite_truncate(tokens, 96, &sample) == 0)
            MUST(sample.length <= 96);
        task_sample_free(&sample);
    }
    const json_t *prediction = json_object_get(row, "pred"), *label = json_object_get(row, "label");
    double score;
    for (scorer_kind kind = SCORER_OFFICIAL; kind <= SCORER_APB; kind++) {
        const scorer by = {kind, NULL};
        if (json_is_string(prediction) && label &&
            task_score_label(task, &by, json_string_value(prediction),
                             json_string_length(prediction), label, &score) == 0)
            MUST(isnan(score) || (score >= 0 && score <= 1));
    }
}

static void try_row(json_t *row)
{
    task_sample sample;
    for (int i = 0; i < task_count; i++)
        if (tasks[i].infinite)
            try_infinite(&tasks[i], row);
    for (int wrap = 0; wrap < 2; wrap++)
        if (official_sample(row, wrap ? &chat : NULL, &sample) == 0) {
            check_sample(task_find("niah_single_1"), &sample, true);
            check_sample(task_find("qa_1"), &sample, true);
            task_sample_free(&sample);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!tokens)
        tokens = tokenizer_open("tests/data/tasks/tokenizer.json");
    MUST(tokens);
    char *path = scratch_file("rows.jsonl", data, bytes);
    jsonl_file lines;
    MUST(jsonl_open(&lines, path) == 0);
    int64_t number = 0;
    int found;
    for (json_t *row; (found = jsonl_next(&lines, &row)) != JSONL_END;) {
        MUST(found == JSONL_ROW || (found == JSONL_BROKEN && *fail_text()));
        MUST(lines.number > number);
        number = lines.number;
        if (row)
            try_row(row);
        json_decref(row);
    }
    jsonl_close(&lines);
    free(path);
    return 0;
}
