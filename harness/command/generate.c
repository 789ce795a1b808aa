/* `apbench generate`: answers one prompt under any method, and shows the logits behind the answer. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/run/prompt.h"
#include "harness/run/prompt_file.h"
#include "harness/run/run.h"
#include "harness/run/together.h"
#include "harness/sweep/compare.h"

typedef struct {
    const model *model;
    int64_t top;
    bool json, print;
    json_t *steps;
    token_list ids; /* for text that grows as tokens come */
    size_t printed;
} answer;

/* The index of the next best logit after (last value, last index): value descending, index
 * ascending. */
static int next_best(const float *logits, int vocab, int last)
{
    int best = -1;
    for (int i = 0; i < vocab; i++) {
        bool behind = last < 0 || logits[i] < logits[last] || (logits[i] == logits[last] && i > last);
        if (behind && (best < 0 || logits[i] > logits[best]))
            best = i;
    }
    return best;
}

static json_t *text_of(const answer *a, int32_t id)
{
    size_t bytes;
    char *text = tokenizer_decode(a->model->tokens, &id, 1, false, &bytes);
    json_t *value = json_stringn(text, bytes);
    free(text);
    return value ? value : json_string("");
}

static void report_top(answer *a, int step, int32_t id, const float *logits)
{
    int vocab = a->model->config.shape.vocab, last = -1;
    double total = logits_log_total(logits, vocab);
    json_t *top = json_array();
    if (a->print)
        printf("step %d:", step);
    for (int64_t k = 0; k < a->top && k < vocab; k++) {
        last = next_best(logits, vocab, last);
        if (last < 0)
            break;
        json_t *text = text_of(a, last);
        if (a->print)
            printf("  %d '%s' %.4f", last, json_string_value(text), logits[last]);
        json_array_append_new(top, json_pack("{s:i, s:o, s:f, s:f}", "id", last, "text", text,
                                             "logit", (double)logits[last], "logprob",
                                             logits[last] - total));
    }
    if (a->print)
        printf("\n");
    json_array_append_new(a->steps, json_pack("{s:i, s:o, s:o}", "id", (int)id, "text",
                                              text_of(a, id), "top", top));
}

static void on_token(void *argument, int step, int32_t id, const float *logits)
{
    answer *a = argument;
    if (a->top > 0 || a->json) {
        report_top(a, step, id, logits);
        return;
    }
    /* Print what is certain: text up to the last whole character. */
    token_list_push(&a->ids, id);
    size_t bytes;
    char *text = tokenizer_decode(a->model->tokens, a->ids.ids, a->ids.count, true, &bytes);
    bool unfinished = bytes >= 3 && !memcmp(text + bytes - 3, "\xef\xbf\xbd", 3);
    if (!unfinished && bytes > a->printed) {
        fwrite(text + a->printed, 1, bytes - a->printed, stdout);
        fflush(stdout);
        a->printed = bytes;
    }
    free(text);
}

static void print_json(const answer *a, const cell *c, const prompt *p, const run_result *result)
{
    char options[512];
    method_describe(c, options, sizeof options);
    json_t *ids = json_array();
    for (int64_t i = 0; i < p->document + p->query; i++)
        json_array_append_new(ids, json_integer(p->ids[i]));
    size_t bytes;
    char *text =
        tokenizer_decode(a->model->tokens, result->ids, (size_t)result->count, true, &bytes);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:i, s:o, s:I, s:I, s:O, s:s%, s:b}", "model", a->model->name, "method",
        c->method->name, "options", options, "hosts", c->hosts, "prompt_ids", ids,
        "document_tokens", (json_int_t)p->document, "query_tokens", (json_int_t)p->query, "steps",
        a->steps, "text", text, bytes, "stop", (int)result->stopped);
    json_dumpf(object, stdout, JSON_REAL_PRECISION(9) | JSON_PRESERVE_ORDER);
    printf("\n");
    json_decref(object);
    free(text);
}

static int generate(const machine *m, const model *model, const machine_flags *flags, cell *c,
                    const prompt *p, int64_t new_tokens, answer *a)
{
    prompt_to_cell(p, c);
    cell_from_model(c, &model->config, model);
    c->seed = (uint64_t)flags->seed;
    if (c->hosts > m->most_hosts)
        return fail("--hosts %d, but this launch has %d", c->hosts, m->most_hosts);
    if (c->method->resolve && c->method->resolve(c))
        return -1;
    run_request request = {
        .model = model,
        .cell = c,
        .driver = m->driver,
        .document = p->ids,
        .query = p->ids + p->document,
        .new_tokens = new_tokens,
        .stop_ids = model->config.stop_ids,
        .stop_count = model->config.stop_count,
        .deadline = flags->timeout > 0 ? monotonic_seconds() + flags->timeout : 0,
        .on_token = m->leader ? on_token : NULL,
        .argument = a,
    };
    run_result result = {0};
    int status = run_cell(&request, &result);
    if (!status && m->leader) {
        if (a->json)
            print_json(a, c, p, &result);
        else if (!a->top)
            printf("\n");
    }
    run_result_free(&result);
    return status;
}

/* The prompt is read by the leader (standard input reaches no other process) and given to all. */
static int share_prompt(const machine *m, char **content, size_t *bytes)
{
    int64_t count = (int64_t)*bytes;
    if (m->driver->agree(m->driver, m->leader && !*content ? -1 : 0) ||
        m->driver->share(m->driver, &count, sizeof count))
        return -1;
    if (!m->leader) {
        free(*content);
        *content = alloc_or_die((size_t)count + 1, 1);
        *bytes = (size_t)count;
    }
    return m->driver->share(m->driver, *content, (size_t)count);
}

static const char usage[] =
    "usage: apbench generate --prompt TEXT [flags]\n\n"
    "Answers one prompt greedily, the prefill shared by --hosts under --method. Without --chat the\n"
    "prompt is used as it is; its last --query-tokens tokens are the query, the rest the document.\n";

int command_generate(int argc, char **argv)
{
    machine_flags flags = MACHINE_FLAGS_DEFAULT;
    const char *name = "smollm2", *method_text = "flash", *text = NULL, *file = NULL;
    int64_t hosts = 1, new_tokens = 64, query_tokens = 0;
    static answer a;
    a.steps = json_array();
    bool chat = false;
    const flag table[] = {
        {"model", FLAG_TEXT_OF(model_check_reader), &name, "NAME", "preset or Hugging Face directory"},
        {"method", FLAG_TEXT, &method_text, "NAME[:OPTIONS]", "attention method"},
        {"hosts", FLAG_SIZE, &hosts, "N", "hosts that share the document"},
        {"prompt", FLAG_TEXT, &text, "TEXT", "the prompt"},
        {"file", FLAG_TEXT, &file, "FILE", "the prompt from a file, or - for standard input"},
        {"chat", FLAG_SWITCH, &chat, NULL, "put the prompt into the model's chat template"},
        {"query-tokens", FLAG_SIZE, &query_tokens, "N",
         "how much of the prompt's end is the query; 0 = a tenth, at most 50"},
        {"new-tokens", FLAG_SIZE, &new_tokens, "N", "generate at most N tokens"},
        {"top", FLAG_SIZE, &a.top, "K", "print the K best logits of each step"},
        {"json", FLAG_SWITCH, &a.json, NULL, "one JSON object with everything"},
        MACHINE_FLAGS(flags),
    };
    int parsed = options_parse(usage, table, FLAG_COUNT(table), argc, argv, NULL);
    if (parsed > 0)
        return 0;
    cell c = {0};
    if (!parsed && !text == !file)
        parsed = fail("give the prompt with --prompt TEXT or with --file FILE, one of the two");
    if (!parsed && (check_range("hosts", hosts, 1, MOST_HOSTS_OF_A_CELL) ||
                    check_range("new-tokens", new_tokens, 1, INT32_MAX)))
        parsed = -1;
    if (parsed || method_parse(method_text, &c))
        return command_misused();
    c.hosts = (int)hosts;
    a.print = !a.json;

    machine m;
    int opened = machine_open(&flags, &m);
    if (opened)
        return opened;
    size_t bytes = text ? strlen(text) : 0;
    char *content = text ? copy_text(text) : m.leader ? read_prompt_file(file, &bytes) : NULL;
    int status = share_prompt(&m, &content, &bytes);
    prompt p = {0};
    a.model = status ? NULL
                     : model_open_together(m.driver, name, m.dev, (int)flags.layers,
                                           (uint64_t)flags.seed, flags.retaining_heads);
    if (!a.model ||
        m.driver->agree(m.driver,
                        prompt_from_text(a.model, content, bytes, chat, query_tokens, &p)) ||
        generate(&m, a.model, &flags, &c, &p, new_tokens, &a))
        status = -1;
    int exit_status = status ? machine_failed(&m) : 0;
    prompt_free(&p);
    free(content);
    token_list_free(&a.ids);
    json_decref(a.steps);
    if (a.model)
        model_close((model *)a.model);
    machine_close(&m);
    return exit_status;
}
