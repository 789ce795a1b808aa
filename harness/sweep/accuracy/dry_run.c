/* `eval --dry-run`: the rows that a sweep would run and how much work each is. Samples are made and
 * rows judged as the sweep does it, but no weights are loaded and nothing runs or is written. */
#include <stdio.h>

#include "harness/error.h"
#include "harness/run/together.h"
#include "harness/sweep/accuracy.h"
#include "harness/sweep/accuracy/group.h"
#include "harness/sweep/accuracy/judge.h"
#include "harness/sweep/cells.h"

/* What rows add up to. */
typedef struct {
    int rows, running;
    int64_t samples, prompt_tokens, answer_tokens;
} work;

static void add_samples(const group *g, work *sum)
{
    sum->samples += g->count;
    for (int64_t i = 0; i < g->count; i++) {
        sum->prompt_tokens += g->samples[i].prompt.document + g->samples[i].prompt.query;
        sum->answer_tokens += g->samples[i].sample.tokens_to_generate;
    }
}

static void print_row(const group *g, const char *method_text, int hosts, const char *word,
                      const char *remark, const work *own, int number)
{
    char length[32];
    printf("%4d %-12s %7s %-16s %-42s %5d %7lld %9lld %8lld  %-11s %s\n", number, g->model->name,
           format_size(g->length, length, sizeof length), g->task->name, method_text, hosts,
           (long long)own->samples, (long long)own->prompt_tokens, (long long)own->answer_tokens,
           word, remark);
}

/* One method on one number of hosts. no_samples: why the group has none and `word` says what its rows
 * will be; NULL where it has. */
static void dry_row(const group *g, const char *method_text, int hosts, const char *word,
                    const char *no_samples, work *sum)
{
    char options[256];
    work own = {0};
    row_verdict verdict = {0};
    sum->rows++;
    if (no_samples) {
        print_row(g, method_text, hosts, word, no_samples, &own, sum->rows);
        return;
    }
    row_judge(g, method_text, hosts, &verdict);
    if (verdict.runs) {
        add_samples(g, &own);
        add_samples(g, sum);
        sum->running++;
        method_describe(&verdict.resolved, options, sizeof options);
    }
    print_row(g, method_text, hosts, verdict.word, verdict.runs ? options : verdict.reason, &own,
              sum->rows);
}

static int dry_group(const accuracy_sweep *s, group *g, work *sum)
{
    char reason[1024] = "";
    const char *word = cell_verdict_names[CELL_UNSUPPORTED];
    if (group_open(g)) {
        if (s->file)
            return -1;
        snprintf(reason, sizeof reason, "%s", fail_text());
        if (task_texts_check(g->task, s->haystack))
            word = "failed";
    }
    for (int h = 0; h < s->hosts.count; h++)
        for (int k = 0; k < s->methods.count; k++) {
            cell c;
            if (method_parse(s->methods.items[k], &c))
                return -1;
            int hosts = c.method->single_host ? 1 : (int)s->hosts.items[h];
            if ((c.method->single_host && h > 0) || hosts > s->most_hosts)
                continue; /* once, on one host; another launch's work */
            dry_row(g, s->methods.items[k], hosts, word, *reason ? reason : NULL, sum);
        }
    return 0;
}

/* Whether flash has to answer for the first tokens alone, since it is no row of its own. */
static bool needs_flash(const accuracy_sweep *s)
{
    bool found = !s->fidelity;
    for (int k = 0; k < s->methods.count && !found; k++) {
        cell c;
        found = !method_parse(s->methods.items[k], &c) && c.method->single_host;
    }
    return !found;
}

int accuracy_dry_run(accuracy_sweep *s)
{
    work sum = {0};
    int status = 0;
    if (s->leader)
        printf("%4s %-12s %7s %-16s %-42s %5s %7s %9s %8s  %-11s %s\n", "row", "model", "length",
               "task", "method", "hosts", "samples", "prompts", "answers", "status", "options");
    for (int m = 0; m < s->models.count && !status; m++) {
        model *described = model_open_together(s->driver, s->models.items[m], NULL, (int)s->layers,
                                               (uint64_t)s->seed, s->retaining_heads);
        if (!described)
            return -1;
        status = model_check_tokenizer(described);
        for (int l = 0; l < s->lengths.count && !status && s->leader; l++)
            for (int t = 0; t < s->task_count && !status; t++) {
                group g = {.sweep = s, .model = described, .task = s->tasks[t],
                           .length = s->lengths.items[l]};
                status = dry_group(s, &g, &sum);
                group_close(&g);
            }
        model_close(described);
    }
    if (!status && s->leader)
        printf("%d rows, of which %d run: %lld samples, %lld tokens in prompts, at most %lld in "
               "answers%s\n", sum.rows, sum.running, (long long)sum.samples,
               (long long)sum.prompt_tokens, (long long)sum.answer_tokens,
               needs_flash(s) ? "; and a prefill of each sample under flash" : "");
    return s->driver->agree(s->driver, status);
}
