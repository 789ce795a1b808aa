/* Runs and scores tasks. See accuracy.h. A group is one model, length and task: its samples are made
 * once and all methods answer the same ones. */
#include "harness/sweep/accuracy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/prompt.h"
#include "harness/run/run.h"
#include "harness/run/together.h"
#include "harness/sweep/cells.h"
#include "harness/sweep/compare.h"
#include "harness/sweep/progress.h"

typedef struct {
    task_sample sample;
    prompt prompt;
    logits_trace exact; /* first token under flash; empty until needed */
} group_sample;

typedef struct {
    accuracy_sweep *sweep;
    const model *model;
    const task *task;
    int64_t length;
    group_sample *samples;
    int64_t count;
    double deadline; /* of the row in hand; 0 = none */
    const char *lacking; /* why the model has no weights, NULL when it has: all rows are `oom` */
} group;

static int64_t samples_wanted(const accuracy_sweep *s)
{
    return s->limit && s->limit < s->samples ? s->limit : s->samples;
}

static void group_close(group *g)
{
    for (int64_t i = 0; i < g->count; i++) {
        task_sample_free(&g->samples[i].sample);
        prompt_free(&g->samples[i].prompt);
        logits_trace_free(&g->samples[i].exact);
    }
    free(g->samples);
    g->samples = NULL;
    g->count = 0;
}

/* Makes or reads the samples and tokenises them. */
static int group_open(group *g)
{
    const accuracy_sweep *s = g->sweep;
    const model *m = g->model;
    task_request request = {
        .task = g->task,
        .length = g->length,
        .seed = (uint64_t)s->seed,
        .tokens = m->tokens,
        .chat = s->chat ? m->chat : NULL,
        .haystack = s->haystack,
        .file = s->file,
    };
    task_samples *source = task_samples_open(&request);
    if (!source)
        return -1;
    int status = 0, got = 1;
    while (!status && g->count < samples_wanted(s)) {
        group_sample one = {0};
        got = task_samples_next(source, &one.sample);
        if (got <= 0)
            break;
        status = prompt_from_parts(m, one.sample.document.bytes, one.sample.document.count,
                                   one.sample.query.bytes, one.sample.query.count,
                                   s->chat || one.sample.official, &one.prompt);
        if (status) {
            task_sample_free(&one.sample);
            break;
        }
        g->samples = realloc_or_die(g->samples, (size_t)g->count + 1, sizeof *g->samples);
        g->samples[g->count++] = one;
    }
    task_samples_close(source);
    if (!status && got < 0)
        status = -1;
    if (!status && !g->count)
        status = fail("%s has no usable sample of %s", s->file ? s->file : "the generator",
                      g->task->name);
    return status;
}

/* ---- Running a sample ---- */

/* The cell of one sample. resolved: the options of the row, so that all its samples have the same. */
static int sample_cell(const group *g, const char *method_text, int hosts, const group_sample *one,
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

static int run_sample(const group *g, const cell *c, const group_sample *one, int64_t new_tokens,
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

/* What the samples of a row add up to. */
typedef struct {
    double score, kl, seconds;
    int64_t done, nulls, compared, same_first, raised; /* raised: unscorable answers, counted 0 */
    size_t wanted_bytes; /* a sample failed for want of device memory: how much; else 0 */
} totals;

/* The exact distribution of a sample's first token, computed when it is first asked for. */
static int need_exact(const group *g, group_sample *one, totals *sum)
{
    if (one->exact.steps || !g->sweep->fidelity)
        return 0;
    cell c;
    run_result result = {0};
    logits_trace trace = {0};
    int status = sample_cell(g, "flash", 1, one, NULL, &c);
    if (!status)
        status = run_sample(g, &c, one, 1, &trace, &result);
    one->exact = trace;
    if (!status)
        mark_exact(one);
    sum->wanted_bytes = result.wanted_bytes;
    run_result_free(&result);
    return status;
}

/* ---- Rows ---- */

static void fill_row(const group *g, const cell *c, const char *method_text, record *row)
{
    const accuracy_sweep *s = g->sweep;
    char options[256];
    method_describe(c, options, sizeof options);
    const char *colon = strchr(method_text, ':');
    *row = (record){.kind = RECORD_ACCURACY};
    record_text(row, ACCURACY_MODEL, g->model->name);
    record_integer(row, ACCURACY_LAYERS, g->model->layers);
    record_text(row, ACCURACY_METHOD, c->method->name);
    record_text(row, ACCURACY_OPTIONS, options);
    record_text(row, ACCURACY_DEVICE, s->dev->name);
    record_text(row, ACCURACY_COMM, s->driver->name);
    record_integer(row, ACCURACY_HOSTS, c->hosts);
    record_integer(row, ACCURACY_LENGTH, g->length);
    record_text(row, ACCURACY_TASK, g->task->name);
    record_integer(row, ACCURACY_SAMPLES, g->count);
    record_integer(row, ACCURACY_SEED, s->seed);
    record_text(row, ACCURACY_GENERATOR, s->file ? "official" : "apbench");
    record_text(row, ACCURACY_SCORER, scorer_names[s->scorer]);
    if (s->limit)
        record_integer(row, ACCURACY_LIMIT, s->limit);
    record_integer(row, ACCURACY_THREADS, s->dev->threads);
    record_text(row, ACCURACY_WEIGHTS, g->model->origin);
    record_text(row, ACCURACY_SOURCE, s->file ? s->file : s->haystack ? s->haystack : "");
    record_integer(row, ACCURACY_CHAT, s->chat);
    record_integer(row, ACCURACY_FIDELITY, s->fidelity);
    record_text(row, ACCURACY_VARIANT, colon ? colon + 1 : "");
    record_integer(row, ACCURACY_MODEL_LAYERS, g->model->config.shape.layers);
    record_text(row, ACCURACY_MACHINE, s->id.machine);
    record_text(row, ACCURACY_GPU, s->id.gpu);
    record_text(row, ACCURACY_DRIVER, s->id.driver);
    record_text(row, ACCURACY_LIBRARIES, s->id.libraries);
}

static json_t *json_text(const char *bytes, size_t count)
{
    json_t *value = json_stringn(bytes, count);
    return value ? value : json_string("");
}

static int score_sample(group *g, const cell *c, int64_t index, const logits_trace *trace,
                        const run_result *result, totals *sum)
{
    group_sample *one = &g->samples[index];
    size_t bytes;
    char *text =
        tokenizer_decode(g->model->tokens, result->ids, (size_t)result->count, true, &bytes);
    double score = 0;
    bool null = false;
    const scorer scorer = {g->sweep->scorer, NULL};
    int status = task_score_sample(g->task, &scorer, text, bytes, &one->sample, &score, &null);
    json_t *line = json_object(), *references = json_array();
    if (status && one->sample.label) { /* the official code raises: no reason to end a sweep */
        json_object_set_new(line, "score_error", json_text(fail_text(), strlen(fail_text())));
        status = 0;
        score = 0;
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
    json_object_set_new(line, "score", json_real(score));
    json_object_set_new(line, "seconds", json_real(result->wall_s));
    sum->score += score;
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
    if (!status && g->sweep->records)
        status = records_sample(g->sweep->records, line);
    json_decref(line);
    free(text);
    return status;
}

static int run_samples(group *g, const char *method_text, int hosts, const cell *resolved,
                       totals *sum)
{
    for (int64_t i = 0; i < g->count; i++) {
        group_sample *one = &g->samples[i];
        cell c;
        if (sample_cell(g, method_text, hosts, one, resolved, &c))
            return fail_within("sample %lld", (long long)i);
        if (!c.method->single_host && need_exact(g, one, sum))
            return -1;
        logits_trace trace;
        run_result result;
        int status = run_sample(g, &c, one, one->sample.tokens_to_generate, &trace, &result);
        sum->wanted_bytes = result.wanted_bytes;
        int scored = !status && g->sweep->leader ? score_sample(g, &c, i, &trace, &result, sum) : 0;
        /* Only the leader scores and writes: what became of that, all must know. */
        if (!status && g->sweep->driver->share(g->sweep->driver, &scored, sizeof scored))
            status = -1;
        if (!status && scored)
            status = g->sweep->leader ? -1 : fail("the leading process could not record a sample");
        if (!status && c.method->single_host && !one->exact.steps) {
            one->exact = trace; /* the reference itself: kept for the methods to come */
            trace = (logits_trace){0};
            mark_exact(one);
        }
        logits_trace_free(&trace);
        run_result_free(&result);
        if (status)
            return -1;
    }
    return 0;
}

/* The sample with the shortest document. Options with defaults by length are resolved on it: an anchor
 * that fits its blocks fits all others. */
static const group_sample *shortest_sample(const group *g)
{
    const group_sample *shortest = &g->samples[0];
    for (int64_t i = 1; i < g->count; i++)
        if (g->samples[i].prompt.document < shortest->prompt.document)
            shortest = &g->samples[i];
    return shortest;
}

/* Whether the longest sample fits the device; else the CSV's word for it and the reason. */
static int judge(const group *g, const char *method_text, int hosts, const cell *resolved,
                 char *word, size_t word_bytes, char *reason, size_t reason_bytes)
{
    const group_sample *longest = &g->samples[0];
    for (int64_t i = 1; i < g->count; i++)
        if (g->samples[i].prompt.document > longest->prompt.document)
            longest = &g->samples[i];
    sweep_cell judged = {0};
    if (sample_cell(g, method_text, hosts, longest, resolved, &judged.cell))
        return 0; /* run_samples() says so of the sample */
    sweep_cell_judge(&judged, g->model, g->sweep->dev, g->sweep->room, g->sweep->driver->projected,
                     longest->sample.tokens_to_generate);
    if (judged.verdict == CELL_RUNS)
        return 0;
    snprintf(word, word_bytes, "%s", cell_verdict_names[judged.verdict]);
    snprintf(reason, reason_bytes, "%s", judged.reason);
    return -1;
}

/* Runs one method on the group's samples and writes the row. */
static int run_row(group *g, const char *method_text, int hosts, progress *progress)
{
    accuracy_sweep *s = g->sweep;
    cell resolved;
    record row;
    char status_word[32] = "ok", reason[1024] = "";
    totals sum = {0};
    double start = monotonic_seconds();
    g->deadline = s->timeout > 0 ? start + s->timeout : 0;
    int status = sample_cell(g, method_text, hosts, shortest_sample(g), NULL, &resolved);
    if (status) {
        snprintf(status_word, sizeof status_word, "unsupported");
        snprintf(reason, sizeof reason, "%s", fail_text());
    } else {
        status = judge(g, method_text, hosts, &resolved, status_word, sizeof status_word, reason,
                       sizeof reason);
        if (!status && g->lacking) {
            snprintf(status_word, sizeof status_word, "%s", cell_verdict_names[CELL_OOM]);
            snprintf(reason, sizeof reason, "%s", g->lacking);
            status = -1;
        }
    }
    fill_row(g, &resolved, method_text, &row);
    bool wanted = !s->records || !records_done(s->records, &row);
    if (s->driver->share(s->driver, &wanted, sizeof wanted)) {
        record_clear(&row);
        return -1;
    }
    if (!wanted) {
        progress->total--;
        progress->expected_left--;
        record_clear(&row);
        return 0;
    }
    if (!status && run_samples(g, method_text, hosts, &resolved, &sum)) {
        snprintf(status_word, sizeof status_word, "%s",
                 sum.wanted_bytes ? cell_verdict_names[CELL_OOM] : "failed");
        snprintf(reason, sizeof reason, "%s", fail_text());
        s->failed += !sum.wanted_bytes;
        status = -1;
    }
    record_text(&row, ACCURACY_STATUS, status_word);
    record_text(&row, ACCURACY_DETAIL, reason);
    char line[2048], length[32];
    size_t used = (size_t)snprintf(line, sizeof line, "%s %s, %d host%s, %s of %s: %s",
                                   g->model->name, method_text, hosts, hosts == 1 ? "" : "s",
                                   g->task->name, format_size(g->length, length, sizeof length),
                                   status_word);
    if (status) {
        snprintf(line + used, sizeof line - used, ": %s", reason);
    } else if (s->leader) {
        if (s->driver->remark && s->driver->remark(s->driver))
            record_text(&row, ACCURACY_DETAIL, s->driver->remark(s->driver));
        if (sum.raised) {
            snprintf(reason, sizeof reason, "the official scorer raises on %lld answers: counted 0",
                     (long long)sum.raised);
            record_text(&row, ACCURACY_DETAIL, reason);
        }
        double score = score_percent(sum.score, sum.done);
        record_number(&row, ACCURACY_SCORE, score);
        record_integer(&row, ACCURACY_NULLS, sum.nulls);
        record_number(&row, ACCURACY_SECONDS, sum.seconds);
        if (sum.compared) {
            record_number(&row, ACCURACY_KL, sum.kl / (double)sum.compared);
            record_number(&row, ACCURACY_TOP1, (double)sum.same_first / (double)sum.compared);
        }
        snprintf(line + used, sizeof line - used, ", score %.2f", score);
    }
    status = s->records ? records_append(s->records, &row) : 0;
    record_clear(&row);
    progress_report(progress, 1, monotonic_seconds() - start, line);
    return status;
}

/* ---- The sweep ---- */

static int rows_of_a_group(const accuracy_sweep *s)
{
    int rows = 0;
    for (int k = 0; k < s->methods.count; k++) {
        cell c;
        if (method_parse(s->methods.items[k], &c))
            return -1;
        rows += c.method->single_host ? 1 : s->hosts.count;
    }
    return rows;
}

/* Rows for a task and length of which no sample can be made: the sweep goes on. */
static int refuse_group(group *g, progress *progress)
{
    accuracy_sweep *s = g->sweep;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", fail_text());
    int status = 0;
    for (int k = 0; k < s->methods.count && !status; k++)
        for (int h = 0; h < s->hosts.count && !status; h++) {
            cell c = {0};
            record row;
            status = method_parse(s->methods.items[k], &c);
            if (status || (c.method->single_host && h > 0))
                continue;
            c.hosts = c.method->single_host ? 1 : (int)s->hosts.items[h];
            fill_row(g, &c, s->methods.items[k], &row);
            record_integer(&row, ACCURACY_SAMPLES, samples_wanted(s));
            record_text(&row, ACCURACY_STATUS, cell_verdict_names[CELL_UNSUPPORTED]);
            record_text(&row, ACCURACY_DETAIL, reason);
            if (s->records && !records_done(s->records, &row))
                status = records_append(s->records, &row);
            record_clear(&row);
            char line[1200];
            snprintf(line, sizeof line, "%s %s: unsupported: %s", g->model->name,
                     s->methods.items[k], reason);
            progress_report(progress, 1, 0, line);
        }
    return status;
}

static int run_group(group *g, progress *progress)
{
    const accuracy_sweep *s = g->sweep;
    int status = s->driver->agree(s->driver, group_open(g)); /* files may be missing on one machine */
    if (status && !s->file) {
        group_close(g);
        return refuse_group(g, progress);
    }
    for (int h = 0; h < s->hosts.count && !status; h++)
        for (int k = 0; k < s->methods.count && !status; k++) {
            cell c;
            status = method_parse(s->methods.items[k], &c);
            if (status || (c.method->single_host && h > 0))
                continue;
            int hosts = c.method->single_host ? 1 : (int)s->hosts.items[h];
            if (hosts > s->most_hosts) { /* another launch's work */
                if (s->leader)
                    fprintf(stderr, "%s on %d hosts: left out, the launch has %d\n",
                            s->methods.items[k], hosts, s->most_hosts);
                progress->total--;
                progress->expected_left--;
                continue;
            }
            status = run_row(g, s->methods.items[k], hosts, progress);
        }
    group_close(g);
    return status;
}

/* The model, or where its weights do not fit after all its description alone, and why in *lacking. */
static model *open_model(const accuracy_sweep *s, const char *name, char **lacking)
{
    model *m = model_open_together(s->driver, name, s->dev, (int)s->layers, (uint64_t)s->seed,
                                   s->retaining_heads);
    if (m || !model_lacked_memory())
        return m;
    *lacking = copy_text(fail_text());
    m = model_open_together(s->driver, name, NULL, (int)s->layers, (uint64_t)s->seed,
                            s->retaining_heads);
    if (!m)
        free(*lacking);
    return m;
}

int accuracy_run(accuracy_sweep *s)
{
    int rows = rows_of_a_group(s);
    if (rows < 0)
        return -1;
    progress progress = {.quiet = !s->leader};
    progress.total = rows * s->models.count * s->lengths.count * s->task_count;
    progress.expected_left = progress.total;
    int status = 0;
    for (int m = 0; m < s->models.count && !status; m++) {
        char *lacking = NULL;
        model *loaded = open_model(s, s->models.items[m], &lacking);
        if (!loaded)
            return -1;
        if (!loaded->tokens)
            status = fail("model %s has no tokenizer, so it cannot answer tasks", loaded->name);
        for (int l = 0; l < s->lengths.count && !status; l++)
            for (int t = 0; t < s->task_count && !status; t++) {
                group g = {.sweep = s,
                           .model = loaded,
                           .task = s->tasks[t],
                           .length = s->lengths.items[l],
                           .lacking = lacking};
                status = run_group(&g, &progress);
            }
        model_close(loaded);
        free(lacking);
    }
    /* The exit status is the same everywhere: see speed_run(). */
    return status ? status : s->driver->share(s->driver, &s->failed, sizeof s->failed);
}
