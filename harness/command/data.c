/* apbench data: writes samples of tasks as the official JSONL files,
 * OUT/<length in tokens>/<task>/validation.jsonl, InfiniteBench's as <task>/<task>.jsonl. A file appears whole, by rename. */
#include "datasets/official.h"
#include "datasets/task.h"
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/whole_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int write_samples(FILE *file, task_samples *samples, const task_request *request,
                         int64_t count, task_layout layout)
{
    for (int64_t i = 0; i < count; i++) {
        task_sample sample;
        if (task_samples_next(samples, &sample) < 0)
            return -1;
        char *line = official_line(request->task, &sample, request->tokens, layout);
        task_sample_free(&sample);
        if (!line)
            return -1;
        fputs(line, file);
        free(line);
    }
    return 0;
}

static int write_task(const char *out, const task_request *request, int64_t count,
                      task_layout layout)
{
    task_samples *samples = task_samples_open(request);
    if (!samples)
        return -1;
    const char *name = request->task->name;
    char *path = format_text("%s/%lld/%s/%s.jsonl", out, (long long)request->length, name,
                             request->task->infinite ? name : "validation");
    whole_file file;
    int result = whole_file_open(&file, path);
    if (result == 0)
        result = whole_file_close(&file, write_samples(file.file, samples, request, count, layout));
    if (result == 0)
        fprintf(stderr, "apbench: wrote %s (%lld sample%s)\n", path, (long long)count,
                count == 1 ? "" : "s");
    task_samples_close(samples);
    free(path);
    return result;
}

typedef struct {
    text_list tasks;
    size_list lengths;
    int64_t samples, seed;
    const char *model, *haystack, *out, *layout;
    bool no_chat;
} data_options;

/* The tokenizer of the model named, which is in a directory: it reads text. */
static tokenizer *open_tokenizer(const char *name)
{
    model_config config;
    char *directory;
    if (model_resolve(name, &config, &directory) < 0)
        return NULL;
    tokenizer *tokens = tokenizer_open(directory);
    free(directory);
    return tokens;
}

/* Every task at every length; the exit status. */
static int write_all(const data_options *options, const task *const *found, int count)
{
    tokenizer *tokens = open_tokenizer(options->model);
    if (!tokens)
        return command_failed();
    task_request request = {.seed = (uint64_t)options->seed,
                            .tokens = tokens,
                            .chat = options->no_chat ? NULL : chat_template_for(tokens),
                            .haystack = options->haystack};
    task_layout layout = strcmp(options->layout, "split") ? LAYOUT_RULER : LAYOUT_SPLIT;
    int status = 0;
    for (int l = 0; l < options->lengths.count; l++)
        for (int t = 0; t < count; t++) {
            request.length = options->lengths.items[l];
            request.task = found[t];
            if (write_task(options->out, &request, options->samples, layout) < 0)
                status = command_failed();
        }
    tokenizer_close(tokens);
    return status;
}

static int check_options(const data_options *options)
{
    if (!options->tasks.count)
        return fail("--tasks is missing");
    if (!options->lengths.count)
        return fail("--lengths is missing");
    if (!options->out)
        return fail("--out is missing");
    if (strcmp(options->layout, "ruler") && strcmp(options->layout, "split"))
        return fail("--layout: '%s' is neither ruler nor split", options->layout);
    return check_range("samples", options->samples, 1, INT32_MAX) ||
                   check_ranges("lengths", &options->lengths, 1, MOST_SAMPLE_TOKENS)
               ? -1
               : 0;
}

int command_data(int argc, char **argv)
{
    data_options options = {
        .samples = 500, .seed = 42, .model = "smollm2", .layout = "ruler"};
    const flag flags[] = {
        {"tasks", FLAG_TEXTS, &options.tasks, "NAMES", "tasks or groups: niah_single_1, niah"},
        {"lengths", FLAG_SIZES, &options.lengths, "SIZES",
         "most tokens of prompt and answer: 4K,8K"},
        {"samples", FLAG_SIZE, &options.samples, "N", "samples a file"},
        {"model", FLAG_TEXT_OF(model_check_reader), &options.model, "NAME",
         "whose tokenizer counts and whose chat template is used"},
        {"seed", FLAG_SIZE, &options.seed, "N", "another seed gives other samples"},
        {"out", FLAG_TEXT, &options.out, "DIR",
         "where LENGTH/TASK/validation.jsonl go (InfiniteBench: LENGTH/TASK/TASK.jsonl)"},
        {"haystack", FLAG_TEXT, &options.haystack, "FILE",
         "essay text: UTF-8 text or JSON with the key `text` (default: the Jargon File)"},
        {"layout", FLAG_TEXT, &options.layout, "NAME",
         "ruler, or split: input_context and input_query apart"},
        {"no-chat", FLAG_SWITCH, &options.no_chat, NULL, "leave out the model's chat template"},
    };
    int parsed = options_parse(
        "usage: apbench data --tasks NAMES --lengths SIZES --out DIR [flags]\n\n"
        "Makes samples of RULER's and InfiniteBench's tasks (in our own wording: generator=apbench) and\n"
        "writes them as the official JSONL files.\n",
        flags, FLAG_COUNT(flags), argc, argv, NULL);
    if (parsed > 0)
        return 0;
    if (parsed == 0)
        parsed = check_options(&options);
    const task **found = NULL;
    int count = 0;
    if (parsed == 0 && (count = task_find_all(options.tasks.items, options.tasks.count, &found)) < 0)
        parsed = -1;
    int status = parsed ? command_misused() : write_all(&options, found, count);
    free(found);
    text_list_free(&options.tasks);
    free(options.lengths.items);
    return status;
}
