/* The accuracy sweep: models x lengths x tasks, and a row a method and hosts. See accuracy.h. What a
 * row does with its samples is in accuracy/samples.h. */
#include "harness/sweep/accuracy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/model/names.h"
#include "harness/run/together.h"
#include "harness/sweep/accuracy/group.h"
#include "harness/sweep/accuracy/judge.h"
#include "harness/sweep/accuracy/samples.h"
#include "harness/sweep/cells.h"
#include "harness/sweep/progress.h"
#include "harness/sweep/workers.h"

/* ---- Rows ---- */

/* Who made the samples. Those of a file say so themselves: it may be one that apbench data wrote. */
static const char *generator_of(const group *g)
{
    bool official = g->sweep->file != NULL;
    for (int64_t i = 0; i < g->count; i++)
        official = official && g->samples[i].sample.official;
    return official ? "official" : "apbench";
}

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
    record_text(row, ACCURACY_GENERATOR, generator_of(g));
    record_text(row, ACCURACY_SCORER, scorer_names[s->scorer]);
    if (s->limit)
        record_integer(row, ACCURACY_LIMIT, s->limit);
    record_integer(row, ACCURACY_THREADS, s->threads);
    char *weights = model_weights(g->model->origin, c->uses_heads ? g->model->heads_hash : 0);
    record_text(row, ACCURACY_WEIGHTS, weights);
    free(weights);
    record_text(row, ACCURACY_SOURCE, s->file ? s->file : s->haystack ? s->haystack : "");
    record_integer(row, ACCURACY_CHAT, s->chat);
    record_integer(row, ACCURACY_FIDELITY, s->fidelity);
    record_text(row, ACCURACY_VARIANT, colon ? colon + 1 : "");
    record_integer(row, ACCURACY_MODEL_LAYERS, g->model->config.shape.layers);
    record_integer(row, ACCURACY_WORKERS, workers_count());
    record_text(row, ACCURACY_MACHINE, s->id.machine);
    record_text(row, ACCURACY_GPU, s->id.gpu);
    record_text(row, ACCURACY_DRIVER, s->id.driver);
    record_text(row, ACCURACY_LIBRARIES, s->id.libraries);
}

/* What a row is to the time that is left: as much as its length. */
static double expected_of(const group *g)
{
    return g->length > 0 ? (double)g->length : 1;
}

/* Why all processes have given up. A row does not depend on how many workers there are, so it does not
 * say which of them it was; of hosts it does, which may be different machines. */
static const char *reason_of(const accuracy_sweep *s)
{
    const char *agreed = s->apart ? comm_agreed(fail_text()) : NULL;
    return agreed ? agreed : fail_text();
}

/* A row that is not run after all. */
static void leave_out(const group *g, progress *progress)
{
    progress->total--;
    progress->expected_left -= expected_of(g);
}

/* What the samples came to. */
static void fill_results(const group *g, const totals *sum, record *row)
{
    char raised[100] = "";
    if (sum->raised)
        snprintf(raised, sizeof raised, "the %s scorer raises on %lld answer%s: counted 0",
                 scorer_names[g->sweep->scorer], (long long)sum->raised, sum->raised == 1 ? "" : "s");
    const char *remarks[] = {comm_remark(g->sweep->driver), raised, g->broken ? g->broken : ""};
    char *detail = copy_text("");
    for (int i = 0; i < 3; i++) {
        char *longer = format_text("%s%s%s", detail, *detail && *remarks[i] ? "; " : "", remarks[i]);
        free(detail);
        detail = longer;
    }
    record_text(row, ACCURACY_DETAIL, detail);
    free(detail);
    record_number(row, ACCURACY_SCORE, score_percent(sum->score, sum->done));
    record_integer(row, ACCURACY_NULLS, sum->nulls);
    record_number(row, ACCURACY_SECONDS, sum->seconds);
    if (!sum->compared)
        return;
    record_number(row, ACCURACY_KL, sum->kl / (double)sum->compared);
    record_number(row, ACCURACY_TOP1, (double)sum->same_first / (double)sum->compared);
    for (int place = 0; place < ERROR_PLACES; place++)
        record_number(row, ACCURACY_ERROR_START + place, sum->errors[place] / (double)sum->compared);
}

/* Runs one method on the group's samples and writes the row. */
static int run_row(group *g, const char *method_text, int hosts, progress *progress)
{
    accuracy_sweep *s = g->sweep;
    row_verdict verdict;
    record row;
    char label[512], length[32];
    totals sum = {0};
    size_t wanted_bytes = 0;
    int64_t ran = 0;
    double start = monotonic_seconds(), expected = expected_of(g);
    g->deadline = s->timeout > 0 ? start + s->timeout : 0;
    row_judge(g, method_text, hosts, &verdict);
    int status = verdict.runs ? 0 : -1;
    fill_row(g, &verdict.resolved, method_text, &row);
    bool wanted = !s->records || !records_done(s->records, &row, verdict.runs);
    if (s->driver->share(s->driver, &wanted, sizeof wanted)) {
        record_clear(&row);
        return -1;
    }
    if (!wanted) {
        s->already++;
        leave_out(g, progress);
        record_clear(&row);
        return 0;
    }
    snprintf(label, sizeof label, "%s %s, %d host%s, %s of %s", g->model->name, method_text, hosts,
             hosts == 1 ? "" : "s", g->task->name, format_size(g->length, length, sizeof length));
    const row_samples samples = {g,    method_text, hosts,    &verdict.resolved,
                                 &row, label,       progress, expected};
    if (!status && row_samples_run(&samples, &sum, &ran, &wanted_bytes)) {
        snprintf(verdict.word, sizeof verdict.word, "%s",
                 wanted_bytes ? cell_verdict_names[CELL_OOM] : "failed");
        snprintf(verdict.reason, sizeof verdict.reason, "%s", fail_text());
        s->failed += !wanted_bytes;
        status = -1;
    }
    record_text(&row, ACCURACY_STATUS, verdict.word);
    record_text(&row, ACCURACY_DETAIL, verdict.reason);
    char line[2048] = "", before[64] = "";
    if (sum.done > ran)
        snprintf(before, sizeof before, ", %lld sample%s from before", (long long)(sum.done - ran),
                 sum.done - ran == 1 ? "" : "s");
    if (status) {
        snprintf(line, sizeof line, "%s: %s: %s", label, verdict.word, verdict.reason);
    } else if (s->leader) {
        fill_results(g, &sum, &row);
        snprintf(line, sizeof line, "%s: %s, score %.2f%s%s%s%s", label, verdict.word,
                 score_percent(sum.score, sum.done), before, g->broken ? " (" : "",
                 g->broken ? g->broken : "", g->broken ? ")" : "");
    }
    /* What was there before took no time now, nor does a row that is not run. */
    double share = !verdict.runs ? 0 : !status && sum.done ? (double)ran / (double)sum.done : 1;
    status = s->records ? records_append(s->records, &row) : 0;
    record_clear(&row);
    progress->expected_left -= expected * (1 - share);
    progress_report(progress, expected * share, monotonic_seconds() - start, line);
    if (!status && workers_lost()) /* nobody is there to go on with */
        status = fail("%s", verdict.reason);
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

/* Rows for a task and length of which no sample can be made: the sweep goes on. Where a text is missing
 * they have failed, so that the next call tries them again, when it may be there. */
static int refuse_group(group *g, progress *progress)
{
    accuracy_sweep *s = g->sweep;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", reason_of(s));
    bool lacking = s->driver->agree(s->driver, task_texts_check(g->task, s->haystack));
    const char *word = lacking ? "failed" : cell_verdict_names[CELL_UNSUPPORTED];
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
            record_integer(&row, ACCURACY_SAMPLES, group_samples_wanted(s));
            record_text(&row, ACCURACY_STATUS, word);
            record_text(&row, ACCURACY_DETAIL, reason);
            s->failed += lacking;
            if (s->records && !records_done(s->records, &row, false))
                status = records_append(s->records, &row);
            record_clear(&row);
            char line[1200];
            snprintf(line, sizeof line, "%s %s: %s: %s", g->model->name, s->methods.items[k], word,
                     reason);
            progress->expected_left -= expected_of(g);
            progress_report(progress, 0, 0, line);
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
                leave_out(g, progress);
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
    *lacking = copy_text(reason_of(s));
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
    for (int l = 0; l < s->lengths.count; l++)
        progress.expected_left += expected_of(&(group){.length = s->lengths.items[l]}) * rows *
                                  s->models.count * s->task_count;
    int status = 0;
    for (int m = 0; m < s->models.count && !status; m++) {
        char *lacking = NULL;
        model *loaded = open_model(s, s->models.items[m], &lacking);
        if (!loaded)
            return -1;
        run_kept kept = {0};
        status = model_check_tokenizer(loaded);
        for (int l = 0; l < s->lengths.count && !status; l++)
            for (int t = 0; t < s->task_count && !status; t++) {
                group g = {.sweep = s,
                           .model = loaded,
                           .kept = &kept,
                           .task = s->tasks[t],
                           .length = s->lengths.items[l],
                           .lacking = lacking};
                status = run_group(&g, &progress);
            }
        run_kept_free(&kept);
        model_close(loaded);
        free(lacking);
    }
    if (!status && s->leader && s->already && !progress.done)
        fprintf(stderr, "%d row%s in the file already: nothing to run\n", s->already,
                s->already == 1 ? " is" : "s are");
    /* The exit status is the same everywhere: see speed_run(). */
    return status ? status : s->driver->share(s->driver, &s->failed, sizeof s->failed);
}
