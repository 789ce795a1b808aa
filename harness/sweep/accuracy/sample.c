/* Runs one sample under a cell and under flash, and scores and records it. See sample.h. */
#include "harness/sweep/accuracy/sample.h"

#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/run.h"

int sample_cell(const group *g, const char *method_text, int hosts, const group_sample *one,
                const cell *resolved, cell *c)
{
    *c = (cell){.hosts = hosts, .seed = (uint64_t)g->sweep->seed};
    if (method_parse(method_text, c))
        return -1;
    if (resolved)
        memcpy(c->options, resolved->options, sizeof c->options);
    cell_from_model(c, &g->model->config, g->model);
    prompt_to_cell(&one->prompt, c);
    return c->method->resolve ? c->method->resolve(c) : 0;
}

static int run(const group *g, const cell *c, const group_sample *one, int64_t new_tokens,
               logits_trace *trace, run_result *result)
{
    const accuracy_sweep *s = g->sweep;
    *trace = (logits_trace){.vocab = g->model->config.shape.vocab, .most = 1};
    run_request request = {
        .model = g->model,
        .cell = c,
        .driver = s->driver,
        .document = one->prompt.ids,
        .query = one->prompt.ids + one->prompt.document,
        .new_tokens = new_tokens,
        .stop_ids = g->model->config.stop_ids,
        .stop_count = g->model->config.stop_count,
        .deadline = g->deadline,
        .on_token = logits_trace_token,
        .argument = trace,
    };
    *result = (run_result){0};
    int status = run_cell(&request, result);
    s->dev->forget_marks(s->dev);
    return status;
}

/* Logits reach the leading process only; the others note that the reference has been run. */
static void mark_exact(group_sample *one)
{
    if (!one->exact.steps)
        one->exact.steps = -1;
}

/* The exact distribution of a sample's first token, computed when it is first asked for. */
static int need_exact(const group *g, group_sample *one, size_t *wanted_bytes)
{
    if (one->exact.steps || !g->sweep->fidelity)
        return 0;
    cell c;
    run_result result = {0};
    logits_trace trace = {0};
    int status = sample_cell(g, "flash", 1, one, NULL, &c);
    if (!status)
        status = run(g, &c, one, 1, &trace, &result);
    one->exact = trace;
    if (!status)
        mark_exact(one);
    *wanted_bytes = result.wanted_bytes;
    run_result_free(&result);
    return status;
}

/* Only the leading process scores and writes: what became of that, all must know. */
static int leader_did(const group *g, int status)
{
    const accuracy_sweep *s = g->sweep;
    int did = status;
    if (s->driver->share(s->driver, &did, sizeof did))
        return -1;
    if (!did)
        return 0;
    return s->leader ? -1 : fail("the leading process could not record a sample");
}

static json_t *json_text(const char *bytes, size_t count)
{
    json_t *value = json_stringn(bytes, count);
    return value ? value : json_string("");
}

/* Scores the answer: the sample's line and totals. */
static int score(const group *g, const cell *c, const group_sample *one, const logits_trace *trace,
                 const run_result *result, sample_result *scored)
{
    totals *sum = &scored->sum;
    size_t bytes;
    char *text =
        tokenizer_decode(g->model->tokens, result->ids, (size_t)result->count, true, &bytes);
    double points = 0;
    bool null = false;
    const scorer scorer = {g->sweep->scorer, NULL};
    int status = task_score_sample(g->task, &scorer, text, bytes, &one->sample, &points, &null);
    json_t *line = json_object(), *references = json_array();
    if (status && one->sample.label) { /* the official code raises: no reason to end a sweep */
        json_object_set_new(line, "score_error", json_text(fail_text(), strlen(fail_text())));
        status = 0;
        points = 0;
        sum->raised++;
    }
    if (one->sample.label)
        json_object_set(line, "label", one->sample.label);
    for (int i = 0; i < one->sample.reference_count; i++)
        json_array_append_new(references, json_text(one->sample.references[i].bytes,
                                                    one->sample.references[i].count));
    json_object_set_new(line, "sample", json_integer(one->sample.number));
    json_object_set_new(line, "document", json_text(one->sample.document.bytes,
                                                    one->sample.document.count));
    json_object_set_new(line, "query",
                        json_text(one->sample.query.bytes, one->sample.query.count));
    json_object_set_new(line, "document_tokens", json_integer(c->document));
    json_object_set_new(line, "query_tokens", json_integer(c->query));
    json_object_set_new(line, "prediction", json_text(text, bytes));
    json_object_set_new(line, "references", references);
    json_object_set_new(line, "score", json_real(points));
    json_object_set_new(line, "seconds", json_real(result->wall_s));
    sum->score += points;
    sum->nulls += null;
    sum->seconds += result->wall_s;
    sum->done++;
    if (one->exact.steps > 0 && !c->method->single_host) {
        double kl = logits_kl(one->exact.logits, trace->logits, trace->vocab);
        bool same = logits_best(one->exact.logits, trace->vocab) ==
                    logits_best(trace->logits, trace->vocab);
        sum->kl += kl;
        sum->same_first += same;
        sum->compared++;
        json_object_set_new(line, "kl", json_real(kl));
        json_object_set_new(line, "top1", json_integer(same));
    }
    scored->line = line;
    free(text);
    return status;
}

int sample_run(group *g, const char *method_text, int hosts, const cell *resolved, int64_t index,
               sample_result *got)
{
    group_sample *one = &g->samples[index];
    *got = (sample_result){0};
    cell c;
    if (sample_cell(g, method_text, hosts, one, resolved, &c))
        return fail_within("sample %lld", (long long)index);
    if (!c.method->single_host && need_exact(g, one, &got->wanted_bytes))
        return -1;
    logits_trace trace;
    run_result result;
    int status = run(g, &c, one, one->sample.tokens_to_generate, &trace, &result);
    got->wanted_bytes = result.wanted_bytes;
    if (!status)
        status = leader_did(g, g->sweep->leader ? score(g, &c, one, &trace, &result, got) : 0);
    if (!status && c.method->single_host && !one->exact.steps) {
        one->exact = trace; /* the reference itself: kept for the methods to come */
        trace = (logits_trace){0};
        mark_exact(one);
    }
    logits_trace_free(&trace);
    run_result_free(&result);
    return status;
}

int sample_record(const group *g, const sample_result *got, totals *row)
{
    int status = 0;
    if (g->sweep->records)
        status = records_sample(g->sweep->records, got->line);
    row->score += got->sum.score;
    row->kl += got->sum.kl;
    row->seconds += got->sum.seconds;
    row->done += got->sum.done;
    row->nulls += got->sum.nulls;
    row->compared += got->sum.compared;
    row->same_first += got->sum.same_first;
    row->raised += got->sum.raised;
    return leader_did(g, status);
}

void sample_result_free(sample_result *got)
{
    json_decref(got->line);
    *got = (sample_result){0};
}
