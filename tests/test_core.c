/* The core against Hugging Face's float32 logits, exact methods against flash, and each method's
 * cost formulas against the counters of a run. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#include "harness/error.h"
#include "harness/run/prompt.h"
#include "harness/run/run.h"
#include "harness/sweep/compare.h"

static device *open_device(void)
{
    device *dev = device_find("cpu");
    cr_assert(dev && !dev->open(dev, 0), "%s", fail_text());
    return dev;
}

static model *open_checkpoint(const char *name, device *dev)
{
    char *path = format_text("tests/data/checkpoints/%s", name);
    model *m = model_open(path, dev, 0, 1, NULL);
    cr_assert(m, "%s", fail_text());
    free(path);
    return m;
}

/* Resolves `method_text` for a prompt; false when the method cannot run it. */
static bool make_cell(const model *m, const char *method_text, int hosts, const prompt *p, cell *c)
{
    *c = (cell){.hosts = hosts, .seed = 7};
    cr_assert_eq(method_parse(method_text, c), 0, "%s", fail_text());
    cell_from_model(c, &m->config, m);
    prompt_to_cell(p, c);
    return !c->method->resolve || !c->method->resolve(c);
}

/* kept: the run is untimed and shares this with others; NULL: neither. */
static logits_trace run_as(const model *m, const cell *c, const prompt *p, int tokens, run_kept *kept,
                           run_result *result)
{
    logits_trace t = {.vocab = m->config.shape.vocab, .most = tokens};
    run_request request = {
        .model = m,
        .cell = c,
        .driver = comm_find("sim"),
        .document = p->ids,
        .query = p->ids + p->document,
        .anchor_query = p->anchor_query,
        .new_tokens = tokens,
        .untimed = kept != NULL,
        .kept = kept,
        .on_token = logits_trace_token,
        .argument = &t,
    };
    run_result own = {0};
    result = result ? result : &own;
    cr_assert_eq(run_cell(&request, result), 0, "%s", fail_text());
    if (result == &own)
        run_result_free(&own);
    return t;
}

static logits_trace run(const model *m, const cell *c, const prompt *p, int tokens, run_result *result)
{
    return run_as(m, c, p, tokens, NULL, result);
}

/* Rounding only: float32 sums of at most a few hundred terms in another order, through a few
 * layers. Logits of order 1 differ by some 1e-6; a wrong mask or position shifts them by 1e-2. */
static const double rounding = 2e-5;

Test(core, exact_methods_equal_flash)
{
    static const int64_t lengths[] = {9, 18, 70, 131};
    device *dev = open_device();
    model *m = open_checkpoint("qwen2-tied-bf16", dev);
    for (int l = 0; l < 4; l++) {
        prompt p;
        cr_assert_eq(prompt_random(m, lengths[l], 1 + lengths[l] / 10, 3, &p), 0);
        cell c;
        cr_assert(make_cell(m, "flash", 1, &p, &c));
        logits_trace exact = run(m, &c, &p, 6, NULL);
        for (int i = 0; i < method_count; i++) {
            const method *one = method_table[i];
            for (int hosts = 1; one->exact && hosts <= (one->single_host ? 1 : 8); hosts++) {
                if (!make_cell(m, one->name, hosts, &p, &c))
                    continue;
                logits_trace t = run(m, &c, &p, 6, NULL);
                double d = logits_difference(&t, &exact);
                cr_expect_lt(d, rounding, "%s on %d hosts, length %d: logits differ by %g",
                             one->name, hosts, (int)lengths[l], d);
                cr_expect_arr_eq(t.ids, exact.ids, 6 * sizeof *t.ids);
                logits_trace_free(&t);
            }
        }
        logits_trace_free(&exact);
        prompt_free(&p);
    }
    model_close(m);
}

/* Where they leave nothing out, the approximate methods are exact: star on one host, apb when all
 * keys are passed and no anchor stands in front. */
Test(core, approximate_methods_in_their_exact_limits)
{
    device *dev = open_device();
    model *m = open_checkpoint("llama31-f16", dev);
    for (int64_t length = 44; length <= 130; length += 43) {
        prompt p;
        cr_assert_eq(prompt_random(m, length, 5, 3, &p), 0);
        cell c;
        cr_assert(make_cell(m, "flash", 1, &p, &c));
        logits_trace exact = run(m, &c, &p, 4, NULL);
        cr_assert(make_cell(m, "star", 1, &p, &c));
        logits_trace star = run(m, &c, &p, 4, NULL);
        cr_expect_lt(logits_difference(&star, &exact), rounding);
        logits_trace_free(&star);
        for (int hosts = 1; hosts <= 5; hosts++) {
            static const char *const compressors[] = {"recency", "query", "random", "sink",
                                                      "query:recent=3"};
            for (int k = 0; k < 5; k++) {
                char text[128];
                snprintf(text, sizeof text, "apb:anchor=0:passing=%d:compressor=%s",
                         (int)ceil_div(p.document, hosts), compressors[k]);
                cr_assert(make_cell(m, text, hosts, &p, &c), "%s", fail_text());
                logits_trace apb = run(m, &c, &p, 4, NULL);
                double d = logits_difference(&apb, &exact);
                cr_expect_lt(d, rounding, "%s on %d hosts, length %d: %g", text, hosts, (int)length,
                             d);
                logits_trace_free(&apb);
            }
        }
        logits_trace_free(&exact);
        prompt_free(&p);
    }
    model_close(m);
}

/* apb whose passed keys all are a block's last is apb with recency, bit by bit where the compressor carries
 * no rows of its own; query carries the query's, which changes the order of sums. Fewer of them are neither. */
Test(core, apb_of_recent_keys_alone_is_recency)
{
    static const char *const others[] = {"random:recent=6", "sink:recent=6", "query:recent=6",
                                         "random", "random:recent=3"};
    device *dev = open_device();
    model *m = open_checkpoint("llama31-f16", dev);
    prompt p;
    cr_assert_eq(prompt_random(m, 130, 5, 3, &p), 0);
    for (int hosts = 2; hosts <= 5; hosts++) {
        cell c;
        cr_assert(make_cell(m, "apb:anchor=8:passing=6:compressor=recency", hosts, &p, &c), "%s", fail_text());
        logits_trace recency = run(m, &c, &p, 4, NULL);
        for (int k = 0; k < 5; k++) {
            char text[128];
            snprintf(text, sizeof text, "apb:anchor=8:passing=6:compressor=%s", others[k]);
            cr_assert(make_cell(m, text, hosts, &p, &c), "%s", fail_text());
            logits_trace other = run(m, &c, &p, 4, NULL);
            double d = logits_difference(&other, &recency);
            if (k < 2)
                cr_expect_eq(d, 0, "%s on %d hosts: %g", text, hosts, d);
            else if (k == 2)
                cr_expect_lt(d, rounding, "%s on %d hosts: %g", text, hosts, d);
            else
                cr_expect_gt(d, 10 * rounding, "%s on %d hosts: %g", text, hosts, d);
            logits_trace_free(&other);
        }
        logits_trace_free(&recency);
    }
    prompt_free(&p);
    model_close(m);
}

/* Untimed virtual hosts leave query phase and decode to one of them, over all hosts' keys at once: the
 * same sums in another order. All of them share device memory, which grows with them. */
Test(core, untimed_hosts_answer_alike)
{
    static const char *const methods[] = {"flash", "ring", "zigzag", "ulysses", "star", "apb:compressor=query",
                                          "apb:compressor=recency:anchor=0:reference_mask=1", "star:reference_mask=1"};
    device *dev = open_device();
    model *m = open_checkpoint("qwen2-tied-bf16", dev);
    int compared = 0;
    run_kept kept = {0};
    for (int i = 0; i < 8; i++)
        for (int hosts = 1; hosts <= 5; hosts++) {
            prompt p;
            cr_assert_eq(prompt_random(m, 111 + 4 * hosts, 7, 3, &p), 0); /* positions grow as well */
            cell c;
            if (make_cell(m, methods[i], hosts, &p, &c)) {
                run_result result = {0};
                logits_trace timed = run(m, &c, &p, 6, NULL);
                logits_trace untimed = run_as(m, &c, &p, 6, &kept, &result);
                double d = logits_difference(&untimed, &timed);
                cr_expect_lt(d, rounding, "%s on %d hosts: logits differ by %g", methods[i], hosts, d);
                cr_expect_arr_eq(untimed.ids, timed.ids, 6 * sizeof *timed.ids);
                cr_expect_eq(result.count, 6);
                cr_expect_gt(result.wall_s, 0);
                logits_trace_free(&timed);
                logits_trace_free(&untimed);
                run_result_free(&result);
                compared++;
            }
            prompt_free(&p);
        }
    cr_expect_gt(compared, 25);
    run_kept_free(&kept);
    model_close(m);
}

/* The formulas of cost() are closed forms: they must equal what the device and the links counted,
 * host by host, to the last FLOP and byte. A method that cannot run the cell is left out. */
static void expect_cost(const model *m, const char *method_text, int hosts, int64_t length)
{
    prompt p;
    cr_assert_eq(prompt_random(m, length, 4, 3, &p), 0);
    cell c;
    if (make_cell(m, method_text, hosts, &p, &c)) {
        run_result result = {0};
        logits_trace t = run(m, &c, &p, 1, &result);
        logits_trace_free(&t);
        for (int rank = 0; rank < hosts; rank++) {
            method_cost cost = {0};
            cr_expect_geq(result.flops, result.host_flops[rank], "%s: not the host with the most", method_text);
            cr_expect_geq(result.bytes_sent, result.host_bytes_sent[rank]);
            c.method->cost(&c, m->dev, rank, &cost);
            cr_expect_eq(result.host_flops[rank], cost_flops(&c, &cost),
                         "%s, host %d of %d, length %d: %.0f FLOPs, formula %.0f", method_text, rank,
                         hosts, (int)length, result.host_flops[rank], cost_flops(&c, &cost));
            cr_expect_eq(plan_check(&c, m->dev, rank), 0, "%s, host %d of %d, length %d: %s", method_text,
                         rank, hosts, (int)length, fail_text());
            cr_expect_eq(result.host_bytes_sent[rank], c.shape.layers * cost.bytes_sent,
                         "%s, host %d of %d, length %d: %.0f bytes, formula %.0f", method_text, rank,
                         hosts, (int)length, result.host_bytes_sent[rank],
                         c.shape.layers * cost.bytes_sent);
        }
        run_result_free(&result);
    }
    prompt_free(&p);
}

Test(core, cost_equals_counters)
{
    static const char *const methods[] = {
        "star:anchor=3", "apb:anchor=4:passing=3", "apb:anchor=4:passing=3:compressor=random", "apb:anchor=0:passing=2:compressor=sink",
        "apb:anchor=5:passing=0", "apb:anchor=3:passing=2:query_in_anchor=0",
    };
    device *dev = open_device();
    model *m = open_checkpoint("yi-sharded-f32", dev);
    for (int64_t length = 60; length <= 101; length += 41)
        for (int hosts = 1; hosts <= 8; hosts++) {
            for (int i = 0; i < method_count; i++)
                expect_cost(m, method_table[i]->name, hosts, length);
            for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
                expect_cost(m, methods[i], hosts, length);
        }
    model_close(m);
}

/* star with a plan and costs that a case spoils. */
static const char *spoilt;

static void spoilt_plan(const cell *c, const device *dev, int rank, plan *p)
{
    method_find("star")->plan(c, dev, rank, p);
    if (!strcmp(spoilt, "tokens"))
        plan_add(p, SPAN_LOCAL, TOKENS_DOCUMENT, c->document - 3, 4, 0, true);
    else if (!strcmp(spoilt, "query"))
        plan_add(p, SPAN_QUERY, TOKENS_QUERY, 0, c->query + 1, c->document, false);
    else if (!strcmp(spoilt, "owner"))
        p->owner = c->hosts;
    else if (!strcmp(spoilt, "work"))
        p->work_bytes = 512;
}

static void spoilt_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    method_find("star")->cost(c, dev, rank, cost);
    cost->linear_rows += !strcmp(spoilt, "rows");
    cost->kv_bytes -= !strcmp(spoilt, "kept");
}

Test(core, plans_that_contradict_costs_are_told)
{
    static const char *const cases[][2] = {
        {"tokens", "plan() takes tokens 87 to 90 of the document, which has 90"},
        {"query", "plan() takes tokens 0 to 4 of the query, which has 4"},
        {"owner", "plan() has host 3 own new keys, but the hosts are 0 to 2"},
        {"work", "plan() wants 512 work bytes, cost() says 0"},
        {"rows", "plan() has 60 rows, cost() says 61"},
        {"kept", "plan() caches 480 bytes a layer, cost() says 479"},
    };
    method own = *method_find("star");
    own.plan = spoilt_plan;
    own.cost = spoilt_cost;
    cell c = {.method = &own, .options = {OPTION_AUTO}, .hosts = 3, .document = 90, .query = 4,
              .shape = {.heads = 1, .kv_heads = 1, .head_dim = 2}};
    device *dev = open_device();
    spoilt = "nothing";
    cr_expect_eq(plan_check(&c, dev, 1), 0, "%s", fail_text());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spoilt = cases[i][0];
        cr_expect_eq(plan_check(&c, dev, 1), -1, "%s", spoilt);
        cr_expect_str_eq(fail_text(), cases[i][1]);
    }
}

Test(core, spans_beyond_a_plans_room_end_the_program, .signal = SIGABRT)
{
    plan p = {0};
    for (int i = 0; i <= PLAN_SPANS; i++)
        plan_add(&p, SPAN_LOCAL, TOKENS_DOCUMENT, i, 1, i, true);
}

/* The same of compressors that score with retaining heads, which random weights come with. */
Test(core, cost_of_retaining_heads_equals_counters)
{
    static const char *const methods[] = {"apb:anchor=4:passing=3:compressor=retaining",
                                          "apb:anchor=4:passing=3:compressor=norm",
                                          "apb:anchor=0:passing=2:compressor=norm:pool=0"};
    model *m = model_open("tiny", open_device(), 0, 1, NULL);
    cr_assert(m && m->retaining_width > 0, "%s", fail_text());
    for (int hosts = 1; hosts <= 5; hosts++)
        for (int i = 0; i < 3; i++)
            expect_cost(m, methods[i], hosts, 87);
    model_close(m);
}

static logits_trace run_apb(const model *m, const char *method_text, const prompt *p)
{
    cell c;
    cr_assert(make_cell(m, method_text, 3, p, &c), "%s", fail_text());
    return run(m, &c, p, 2, NULL);
}

static bool same_logits(const logits_trace *a, const logits_trace *b)
{
    return a->steps == b->steps && !memcmp(a->logits, b->logits, (size_t)a->steps * (size_t)a->vocab *
                                                                     sizeof *a->logits);
}

/* What anchors carry in place of the query's beginning. With l_a = p0 + l' the anchor is document[0, p0)
 * and what is carried: the document's own next ids make it the anchor without a query, to the bit. */
Test(core, anchors_carry_what_they_are_given)
{
    device *dev = open_device();
    model *m = open_checkpoint("llama31-f16", dev);
    prompt p;
    cr_assert_eq(prompt_random(m, 100, 8, 3, &p), 0, "%s", fail_text());
    p.head_tokens = 5;
    p.query_in_anchor = 6;
    const char *with = "apb:anchor=11:passing=4:compressor=recency",
               *without = "apb:anchor=11:passing=4:compressor=recency:query_in_anchor=0";
    logits_trace usual = run_apb(m, with, &p), plain = run_apb(m, without, &p);
    cr_expect(!same_logits(&usual, &plain), "the query in the anchor has no effect");

    p.anchor_query = alloc_or_die(6, sizeof *p.anchor_query);
    memcpy(p.anchor_query, p.ids + p.document, 6 * sizeof *p.ids);
    logits_trace same = run_apb(m, with, &p);
    cr_expect(same_logits(&same, &usual), "the query's own ids are not the query's");
    memcpy(p.anchor_query, p.ids + 5, 6 * sizeof *p.ids);
    logits_trace document = run_apb(m, with, &p);
    cr_expect(same_logits(&document, &plain), "the document's ids are not the anchor without a query");
    memcpy(p.anchor_query, p.ids + p.document + 2, 6 * sizeof *p.ids); /* it begins later */
    logits_trace later = run_apb(m, with, &p);
    cr_expect(!same_logits(&later, &usual) && !same_logits(&later, &plain));
    p.query_in_anchor = 0;
    logits_trace none = run_apb(m, with, &p);
    cr_expect(same_logits(&none, &plain), "nothing is not nothing");

    logits_trace *traces[] = {&usual, &plain, &same, &document, &later, &none};
    for (size_t i = 0; i < sizeof traces / sizeof *traces; i++)
        logits_trace_free(traces[i]);
    prompt_free(&p);
    model_close(m);
    dev->close(dev);
}
