/* `apbench check METHOD`: holds a method against flash and against its own cost formulas. The first
 * thing to run after writing a method. */
#include <stdio.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/run/prompt.h"
#include "harness/run/run.h"
#include "harness/run/together.h"
#include "harness/sweep/compare.h"

static const char usage[] =
    "usage: apbench check METHOD[:OPTION=VALUE...] [flags]\n\n"
    "Runs the method and flash on the same random prompts. An exact method must give flash's tokens\n"
    "and its logits up to --tolerance (largest difference by largest logit); of an approximate one\n"
    "the distance is shown. FLOPs and bytes sent must equal cost() on every host, and so must the rows\n"
    "and bytes of its plan.\n";

typedef struct {
    const machine *machine;
    const model *model;
    const char *method_text;
    int64_t tokens, query, seed;
    double tolerance, timeout; /* seconds a run; 0 = no limit */
    int failed;
} checker;

static int run(const checker *k, const cell *c, const prompt *p, logits_trace *trace,
               run_result *result)
{
    *trace = (logits_trace){.vocab = k->model->config.shape.vocab, .most = (int)k->tokens};
    run_request request = {
        .model = k->model,
        .cell = c,
        .driver = k->machine->driver,
        .document = p->ids,
        .query = p->ids + p->document,
        .new_tokens = k->tokens,
        .deadline = k->timeout > 0 ? monotonic_seconds() + k->timeout : 0,
        .on_token = logits_trace_token,
        .argument = trace,
    };
    return run_cell(&request, result);
}

static int make_cell(const checker *k, const char *method_text, int hosts, const prompt *p, cell *c)
{
    *c = (cell){.hosts = hosts, .seed = (uint64_t)k->seed};
    if (method_parse(method_text, c))
        return -1;
    cell_from_model(c, &k->model->config, k->model);
    prompt_to_cell(p, c);
    return c->method->resolve ? c->method->resolve(c) : 0;
}

/* How the line of a cell begins. */
static void print_cell(int64_t length, int hosts)
{
    printf("%8lld tokens, %3d %s ", (long long)length, hosts, hosts == 1 ? "host: " : "hosts:");
}

/* Plans are held against cost() before anything runs: a plan that is wrong may write where it should not. */
static bool plans_agree(const checker *k, const cell *c)
{
    for (int rank = 0; rank < c->hosts; rank++) {
        if (!plan_check(c, k->machine->dev, rank))
            continue;
        if (k->machine->leader) {
            print_cell(c->document + c->query, c->hosts);
            printf("WRONG; host %d: %s\n", rank, fail_text());
        }
        return false;
    }
    return true;
}

/* Hosts of this process whose counted FLOPs or bytes differ from the formulas. The leading process says so
 * of its own; others leave the sentence, for agree(). */
static int cost_mismatches(const checker *k, const cell *c, const run_result *result)
{
    int wrong = 0;
    for (int rank = 0; rank < c->hosts; rank++) {
        if (!result->host_flops[rank])
            continue; /* another process's host */
        method_cost cost = {0};
        c->method->cost(c, k->machine->dev, rank, &cost);
        double flops = cost_flops(c, &cost), bytes = c->shape.layers * cost.bytes_sent;
        if (result->host_flops[rank] == flops && result->host_bytes_sent[rank] == bytes)
            continue;
        wrong++;
        fail("counted %.0f FLOPs and %.0f bytes, cost() says %.0f and %.0f", result->host_flops[rank],
             result->host_bytes_sent[rank], flops, bytes);
        if (k->machine->leader)
            printf("    host %d: %s\n", rank, fail_text());
    }
    return wrong;
}

/* wrong: some host's cost() differs. */
static void judge(checker *k, const cell *c, const logits_trace *exact, const logits_trace *trace,
                  bool wrong)
{
    double difference = logits_difference(trace, exact);
    int same = 0;
    while (same < exact->steps && same < trace->steps && trace->ids[same] == exact->ids[same])
        same++;
    bool far = c->method->exact && (!(difference <= k->tolerance) || same < exact->steps);
    char most[48] = "";
    if (far)
        snprintf(most, sizeof most, " (an exact method's may by %.2g)", k->tolerance);
    print_cell(c->document + c->query, c->hosts);
    printf("%s; logits differ by %.2g%s, first token's KL %.2g, %d of %d tokens as flash%s\n",
           far || wrong ? "WRONG" : "ok", difference, most,
           logits_kl(exact->logits, trace->logits, exact->vocab), same, exact->steps,
           wrong ? "; cost() differs from the counters" : "");
    k->failed += far || wrong;
}

static int check_one(checker *k, int64_t length, int hosts)
{
    prompt p;
    if (prompt_random(k->model, length, k->query, (uint64_t)k->seed, &p))
        return -1;
    cell c, exact_cell;
    logits_trace exact = {0}, trace = {0};
    run_result exact_result = {0}, result = {0};
    int status = 0;
    bool show = k->machine->leader;
    if (make_cell(k, k->method_text, hosts, &p, &c)) {
        if (show) {
            print_cell(length, hosts);
            printf("unsupported: %s\n", fail_text());
        }
    } else if (!plans_agree(k, &c)) {
        k->failed++;
    } else if (make_cell(k, "flash", 1, &p, &exact_cell) ||
               run(k, &exact_cell, &p, &exact, &exact_result) || run(k, &c, &p, &trace, &result)) {
        status = -1;
    } else {
        const comm_driver *driver = k->machine->driver;
        int wrong = cost_mismatches(k, &c, &result);
        bool elsewhere = driver->agree(driver, !show && wrong ? -1 : 0) != 0;
        if (show && elsewhere)
            printf("    %s\n", fail_text());
        if (show)
            judge(k, &c, &exact, &trace, wrong || elsewhere);
    }
    logits_trace_free(&exact);
    logits_trace_free(&trace);
    run_result_free(&exact_result);
    run_result_free(&result);
    prompt_free(&p);
    return status;
}

int command_check(int argc, char **argv)
{
    machine_flags flags = MACHINE_FLAGS_DEFAULT;
    const char *name = "smollm2";
    static size_list hosts, lengths;
    double tolerance = 0;
    checker k = {.tokens = 4, .query = 20};
    parse_sizes("1,2,3,4,8", &hosts);
    parse_sizes("611,1K", &lengths);
    static text_list words;
    const flag table[] = {
        {"model", FLAG_TEXT_OF(model_check_name), &name, "NAME", "preset or Hugging Face directory"},
        {"hosts", FLAG_SIZES, &hosts, "LIST", "hosts that share a document"},
        {"lengths", FLAG_SIZES, &lengths, "LIST", "document and query, tokens"},
        {"query", FLAG_SIZE, &k.query, "N", "query tokens at the end of each length"},
        {"new-tokens", FLAG_SIZE, &k.tokens, "N", "tokens to generate and compare"},
        {"tolerance", FLAG_NUMBER, &tolerance, "X", "0 = 1e-4 in float32, 0.05 in bfloat16"},
        MACHINE_FLAGS(flags),
    };
    int parsed = options_parse(usage, table, FLAG_COUNT(table), argc, argv, &words);
    if (parsed > 0)
        return 0;
    if (!parsed && words.count != 1)
        parsed = fail("check wants one method; see 'apbench check --help'");
    if (!parsed)
        parsed = check_range("new-tokens", k.tokens, 1, INT32_MAX) ||
                 check_ranges("hosts", &hosts, 1, MOST_HOSTS_OF_A_CELL) ||
                 check_lengths(&lengths, k.query);
    cell probe = {0};
    if (parsed || method_parse(words.items[0], &probe))
        return command_misused();
    machine m;
    int opened = machine_open(&flags, &m);
    if (opened)
        return opened;
    model *model = model_open_together(m.driver, name, m.dev, (int)flags.layers,
                                       (uint64_t)flags.seed, flags.retaining_heads);
    k.machine = &m;
    k.model = model;
    k.method_text = words.items[0];
    k.seed = flags.seed;
    k.timeout = flags.timeout;
    k.tolerance = tolerance > 0 ? tolerance : m.dev->act_bytes == 4 ? 1e-4 : 0.05;
    int status = model ? 0 : -1;
    for (int l = 0; l < lengths.count && !status; l++)
        for (int h = 0; h < hosts.count && !status; h++)
            if (hosts.items[h] <= m.most_hosts)
                status = check_one(&k, lengths.items[l], (int)hosts.items[h]);
            else if (m.leader)
                printf("%8lld tokens, %3lld hosts: left out, the launch has %d\n",
                       (long long)lengths.items[l], (long long)hosts.items[h], m.most_hosts);
    int exit_status = status ? machine_failed(&m) : k.failed > 0;
    model_close(model);
    machine_close(&m);
    return exit_status;
}
