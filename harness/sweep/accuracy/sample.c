/* Runs one sample under a cell and under flash, and scores it. See sample.h. */
#include "harness/sweep/accuracy/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/run.h"

int sample_cell(const group *g, const char *method_text, int hosts, const group_sample *one,
                const cell *resolved, cell *c)
{
    /* Random choices are other ones for each sample, so that intervals over samples cover them. */
    *c = (cell){.hosts = hosts,
                .seed = (uint64_t)g->sweep->seed * 1000003 + (uint64_t)one->sample.number};
    if (method_parse(method_text, c))
        return -1;
    if (resolved)
        memcpy(c->options, resolved->options, sizeof c->options);
    cell_from_model(c, &g->model->config, g->model);
    prompt_to_cell(&one->prompt, c);
    return c->method->resolve ? c->method->resolve(c) : 0;
}

/* What a run is watched for. */
typedef struct {
    logits_trace logits; /* of the first token */
    residual_watch rows;
} watch;

static void watch_token(void *argument, int step, int32_t id, const float *logits)
{
    logits_trace_token(&((watch *)argument)->logits, step, id, logits);
}

static int watch_rows(void *argument, comm *links, const plan *p, const float *x)
{
    return residual_watch_rows(&((watch *)argument)->rows, links, p, x);
}

static int watch_query(void *argument, comm *links, const float *x)
{
    return residual_watch_query(&((watch *)argument)->rows, links, x);
}

/* exact, keep: see residual_watch; both NULL watches the first token alone. */
static int run(const group *g, const cell *c, const group_sample *one, int64_t new_tokens,
               const float *exact, float *keep, watch *w, run_result *result)
{
    const accuracy_sweep *s = g->sweep;
    w->logits = (logits_trace){.vocab = g->model->config.shape.vocab, .most = 1};
    residual_watch_open(&w->rows, c, exact, keep);
    run_request request = {
        .model = g->model,
        .cell = c,
        .driver = s->driver,
        .document = one->prompt.ids,
        .query = one->prompt.ids + one->prompt.document,
        .anchor_query = one->prompt.anchor_query,
        .new_tokens = new_tokens,
        .stop_ids = g->model->config.stop_ids,
        .stop_count = g->model->config.stop_count,
        .deadline = g->deadline,
        .untimed = true,
        .kept = g->kept,
        .on_token = watch_token,
        .on_rows = exact || keep ? watch_rows : NULL,
        .on_query_rows = exact || keep ? watch_query : NULL,
        .argument = w,
    };
    *result = (run_result){0};
    int status = run_cell(&request, result);
    s->dev->forget_marks(s->dev);
    return status;
}

static void watch_free(watch *w)
{
    logits_trace_free(&w->logits);
    residual_watch_close(&w->rows);
}

/* ---- The exact reference ---- */

static bool is_reference(const cell *c)
{
    return c->method->single_host && c->method->exact;
}

static size_t exact_bytes(const group *g, const group_sample *one)
{
    return (size_t)(one->prompt.document + one->prompt.query) *
           (size_t)g->model->config.shape.hidden * sizeof(float);
}

static float *exact_buffer(const group *g, const group_sample *one)
{
    return alloc_or_die(exact_bytes(g, one), 1);
}

/* Takes over what a run under flash left: its first token, which only the leading process has (the
 * others note that it has been run), and its rows, which every host is compared with. */
static int keep_exact(group *g, group_sample *one, watch *w, float *rows)
{
    const accuracy_sweep *s = g->sweep;
    if (!one->exact.steps) {
        one->exact = w->logits;
        w->logits = (logits_trace){0};
        if (!one->exact.steps)
            one->exact.steps = -1;
    }
    if (!rows)
        return 0;
    one->exact_rows = rows;
    g->exact_bytes += exact_bytes(g, one);
    size_t piece = (size_t)64 << 20, all = s->driver->projected ? 0 : exact_bytes(g, one);
    for (size_t done = 0; done < all; done += piece)
        if (s->driver->share(s->driver, (char *)rows + done, all - done < piece ? all - done : piece))
            return -1;
    return 0;
}

/* The exact first token and rows of a sample, computed where they are not kept. */
static int need_exact(group *g, group_sample *one, size_t *wanted_bytes)
{
    if (!g->sweep->fidelity || (one->exact.steps && one->exact_rows))
        return 0;
    cell c;
    if (sample_cell(g, "flash", 1, one, NULL, &c))
        return -1;
    watch w;
    run_result result;
    float *rows = exact_buffer(g, one);
    int status = run(g, &c, one, 1, NULL, rows, &w, &result);
    *wanted_bytes = result.wanted_bytes;
    if (status) { /* what the row is about may fit where one host does not hold it all */
        fail_within("flash, to compare with (--no-fidelity leaves it out)");
        free(rows);
    } else {
        status = keep_exact(g, one, &w, rows);
    }
    watch_free(&w);
    run_result_free(&result);
    return status;
}

/* Lets go of the sample's exact rows when the group has no room to keep them. */
static void trim_exact(group *g, group_sample *one)
{
    if (!one->exact_rows || g->exact_bytes <= g->sweep->exact_room)
        return;
    free(one->exact_rows);
    one->exact_rows = NULL;
    g->exact_bytes -= exact_bytes(g, one);
}

/* Where the run in hand is the reference itself: a place for its rows, if they are wanted and can stay. */
static float *exact_rows_wanted(const group *g, const cell *c, const group_sample *one)
{
    if (!is_reference(c) || !g->sweep->fidelity || one->exact_rows ||
        g->exact_bytes + exact_bytes(g, one) > g->sweep->exact_room)
        return NULL;
    cell other;
    for (int k = 0; k < g->sweep->methods.count; k++)
        if (!method_parse(g->sweep->methods.items[k], &other) && !is_reference(&other))
            return exact_buffer(g, one);
    return NULL;
}

/* ---- Scoring ---- */

int sample_leader_did(const group *g, int status)
{
    const accuracy_sweep *s = g->sweep;
    int did = status;
    if (s->apart)
        return status;
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

static json_t *references_of(const group_sample *one)
{
    json_t *references = json_array();
    for (int i = 0; i < one->sample.reference_count; i++)
        json_array_append_new(references, json_text(one->sample.references[i].bytes,
                                                    one->sample.references[i].count));
    return references;
}

/* How far the sample is from the exact run. */
static void compare(const group_sample *one, const watch *w, json_t *line)
{
    const logits_trace *trace = &w->logits;
    double kl = logits_kl(one->exact.logits, trace->logits, trace->vocab);
    bool same = logits_best(one->exact.logits, trace->vocab) ==
                logits_best(trace->logits, trace->vocab);
    double errors[ERROR_PLACES];
    json_object_set_new(line, "kl", json_real(kl));
    json_object_set_new(line, "top1", json_integer(same));
    residual_watch_means(&w->rows, errors);
    for (int place = 0; place < ERROR_PLACES; place++)
        json_object_set_new(line, error_place_names[place], json_real(errors[place]));
    json_t *hosts = json_array();
    for (int rank = 0; rank < w->rows.hosts; rank++) {
        json_t *host = json_array();
        for (int place = ERROR_START; place <= ERROR_DOCUMENT; place++) {
            double mean = error_mean(w->rows.by_host[rank * ERROR_PLACES + place]);
            json_array_append_new(host, isnan(mean) ? json_null() : json_real(mean));
        }
        json_array_append_new(hosts, host);
    }
    json_object_set_new(line, "errors_by_host", hosts);
}

/* Scores the answer: the sample's line. */
static int score(const group *g, const cell *c, const group_sample *one, const watch *w,
                 const run_result *result, sample_result *scored)
{
    double seconds = result->wall_s - w->rows.seconds;
    size_t bytes;
    char *text =
        tokenizer_decode(g->model->tokens, result->ids, (size_t)result->count, true, &bytes);
    double points = 0;
    bool null = false;
    const scorer scorer = {g->sweep->scorer, NULL};
    int status = task_score_sample(g->task, &scorer, text, bytes, &one->sample, &points, &null);
    json_t *line = json_object();
    if (status && one->sample.label) { /* the official code raises: no reason to end a sweep */
        json_object_set_new(line, "score_error", json_text(fail_text(), strlen(fail_text())));
        status = 0;
        points = 0;
    }
    if (one->sample.label)
        json_object_set(line, "label", one->sample.label);
    json_object_set_new(line, "sample", json_integer(one->sample.number));
    json_object_set_new(line, "document", json_text(one->sample.document.bytes,
                                                    one->sample.document.count));
    json_object_set_new(line, "query",
                        json_text(one->sample.query.bytes, one->sample.query.count));
    json_object_set_new(line, "document_tokens", json_integer(c->document));
    json_object_set_new(line, "query_tokens", json_integer(c->query));
    json_object_set_new(line, "prediction", json_text(text, bytes));
    json_object_set_new(line, "references", references_of(one));
    json_object_set_new(line, "score", json_real(points));
    json_object_set_new(line, "null", json_integer(null));
    json_object_set_new(line, "seconds", json_real(seconds));
    if (one->exact.steps > 0 && w->rows.exact)
        compare(one, w, line);
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
        return -1;
    if (!is_reference(&c) && need_exact(g, one, &got->wanted_bytes))
        return -1;
    watch w;
    run_result result;
    float *keep = exact_rows_wanted(g, &c, one);
    int status = run(g, &c, one, one->sample.tokens_to_generate,
                     is_reference(&c) ? NULL : one->exact_rows, keep, &w, &result);
    got->wanted_bytes = result.wanted_bytes;
    if (!status)
        status = sample_leader_did(g, g->sweep->leader || g->sweep->apart
                                          ? score(g, &c, one, &w, &result, got)
                                          : 0);
    if (status)
        free(keep);
    else if (is_reference(&c) && g->sweep->fidelity)
        status = keep_exact(g, one, &w, keep);
    trim_exact(g, one);
    watch_free(&w);
    run_result_free(&result);
    return status;
}

void sample_result_free(sample_result *got)
{
    json_decref(got->line);
    *got = (sample_result){0};
}

/* ---- Lines ---- */

/* NaN where the line has none: an error that is not finite is left out. */
static double number_of(const json_t *line, const char *name)
{
    const json_t *value = json_object_get(line, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void totals_of_line(const json_t *line, totals *sum)
{
    *sum = (totals){.score = number_of(line, "score"),
                    .seconds = number_of(line, "seconds"),
                    .done = 1,
                    .nulls = json_integer_value(json_object_get(line, "null")),
                    .raised = json_object_get(line, "score_error") != NULL};
    if (!json_object_get(line, "top1"))
        return;
    sum->compared = 1;
    sum->same_first = json_integer_value(json_object_get(line, "top1"));
    sum->kl = number_of(line, "kl");
    for (int place = 0; place < ERROR_PLACES; place++)
        sum->errors[place] = number_of(line, error_place_names[place]);
}

void totals_add(totals *row, const totals *sample)
{
    row->score += sample->score;
    row->kl += sample->kl;
    row->seconds += sample->seconds;
    row->done += sample->done;
    row->nulls += sample->nulls;
    row->compared += sample->compared;
    row->same_first += sample->same_first;
    row->raised += sample->raised;
    for (int place = 0; place < ERROR_PLACES; place++)
        row->errors[place] += sample->errors[place];
}

/* wanted: NULL for nothing; it is let go of. */
static bool is_equal(const json_t *line, const char *name, json_t *wanted)
{
    const json_t *found = json_object_get(line, name);
    bool same = wanted ? json_equal(found, wanted) : !found;
    json_decref(wanted);
    return same;
}

bool sample_is_of_line(const group_sample *one, const json_t *line)
{
    const sized_text *document = &one->sample.document, *query = &one->sample.query;
    return json_is_number(json_object_get(line, "score")) &&
           json_is_number(json_object_get(line, "seconds")) &&
           is_equal(line, "label", json_incref(one->sample.label)) &&
           is_equal(line, "references", references_of(one)) &&
           is_equal(line, "document", json_text(document->bytes, document->count)) &&
           is_equal(line, "query", json_text(query->bytes, query->count));
}
