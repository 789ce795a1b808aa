/* The core against Hugging Face's float32 logits, exact methods against flash, and each method's
 * cost formulas against the counters of a run. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>

#include "harness/error.h"
#include "harness/model/prompt.h"
#include "harness/model/run.h"

enum { MOST_TOKENS = 16 };

typedef struct {
    int vocab, steps;
    int32_t ids[MOST_TOKENS];
    float *logits; /* [steps, vocab] */
} trace;

static void on_token(void *argument, int step, int32_t id, const float *logits)
{
    trace *t = argument;
    cr_assert_lt(step, MOST_TOKENS);
    t->steps = step + 1;
    t->ids[step] = id;
    t->logits = realloc_or_die(t->logits, (size_t)t->steps * t->vocab, sizeof(float));
    memcpy(t->logits + (size_t)step * t->vocab, logits, (size_t)t->vocab * sizeof(float));
}

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

static trace run(const model *m, const cell *c, const prompt *p, int tokens, run_result *result)
{
    trace t = {.vocab = m->config.shape.vocab};
    run_request request = {
        .model = m,
        .cell = c,
        .driver = comm_find("sim"),
        .document = p->ids,
        .query = p->ids + p->document,
        .new_tokens = tokens,
        .on_token = on_token,
        .argument = &t,
    };
    run_result own = {0};
    result = result ? result : &own;
    cr_assert_eq(run_cell(&request, result), 0, "%s", fail_text());
    if (result == &own)
        run_result_free(&own);
    return t;
}

/* The largest difference over all steps, in units of the logits' spread. */
static double difference(const trace *a, const trace *b)
{
    double most = 0, largest = 0;
    cr_assert_eq(a->steps, b->steps);
    for (size_t i = 0; i < (size_t)a->steps * a->vocab; i++) {
        most = fmax(most, fabs((double)a->logits[i] - b->logits[i]));
        largest = fmax(largest, fabs(b->logits[i]));
    }
    return most / largest;
}

/* Rounding only: float32 sums of at most a few hundred terms in another order, through a few
 * layers. Logits of order 1 differ by some 1e-6; a wrong mask or position shifts them by 1e-2. */
static const double rounding = 2e-5;

Test(core, exact_methods_equal_flash)
{
    static const char *const methods[] = {"ring", "zigzag", "ulysses"};
    static const int64_t lengths[] = {9, 18, 70, 131};
    device *dev = open_device();
    model *m = open_checkpoint("qwen2-tied-bf16", dev);
    for (int l = 0; l < 4; l++) {
        prompt p;
        cr_assert_eq(prompt_random(m, lengths[l], 1 + lengths[l] / 10, 3, &p), 0);
        cell c;
        cr_assert(make_cell(m, "flash", 1, &p, &c));
        trace exact = run(m, &c, &p, 6, NULL);
        for (int i = 0; i < 3; i++)
            for (int hosts = 1; hosts <= 8; hosts++) {
                if (!make_cell(m, methods[i], hosts, &p, &c))
                    continue;
                trace t = run(m, &c, &p, 6, NULL);
                double d = difference(&t, &exact);
                cr_expect_lt(d, rounding, "%s on %d hosts, length %d: logits differ by %g",
                             methods[i], hosts, (int)lengths[l], d);
                cr_expect_arr_eq(t.ids, exact.ids, 6 * sizeof *t.ids);
                free(t.logits);
            }
        free(exact.logits);
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
        trace exact = run(m, &c, &p, 4, NULL);
        cr_assert(make_cell(m, "star", 1, &p, &c));
        trace star = run(m, &c, &p, 4, NULL);
        cr_expect_lt(difference(&star, &exact), rounding);
        free(star.logits);
        for (int hosts = 1; hosts <= 5; hosts++) {
            static const char *const compressors[] = {"recency", "query", "random", "sink"};
            for (int k = 0; k < 4; k++) {
                char text[128];
                snprintf(text, sizeof text, "apb:anchor=0:passing=%d:compressor=%s",
                         (int)ceil_div(p.document, hosts), compressors[k]);
                cr_assert(make_cell(m, text, hosts, &p, &c), "%s", fail_text());
                trace apb = run(m, &c, &p, 4, NULL);
                double d = difference(&apb, &exact);
                cr_expect_lt(d, rounding, "%s on %d hosts, length %d: %g", text, hosts, (int)length,
                             d);
                free(apb.logits);
            }
        }
        free(exact.logits);
        prompt_free(&p);
    }
    model_close(m);
}

/* The formulas of cost() are closed forms: they must equal what the device and the links counted,
 * host by host, to the last FLOP and byte. */
Test(core, cost_equals_counters)
{
    static const char *const methods[] = {
        "flash", "ring", "zigzag", "ulysses", "star", "star:anchor=3", "apb:anchor=4:passing=3",
        "apb:anchor=4:passing=3:compressor=random", "apb:anchor=0:passing=2:compressor=sink",
        "apb:anchor=5:passing=0", "apb:anchor=3:passing=2:query_in_anchor=0",
    };
    device *dev = open_device();
    model *m = open_checkpoint("yi-sharded-f32", dev);
    for (int64_t length = 60; length <= 101; length += 41)
        for (int hosts = 1; hosts <= 8; hosts++)
            for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                prompt p;
                cr_assert_eq(prompt_random(m, length, 4, 3, &p), 0);
                cell c;
                if (make_cell(m, methods[i], hosts, &p, &c)) {
                    run_result result = {0};
                    free(run(m, &c, &p, 1, &result).logits);
                    for (int rank = 0; rank < hosts; rank++) {
                        method_cost cost = {0};
                        c.method->cost(&c, dev, rank, &cost);
                        cr_expect_eq(result.host_flops[rank], cost_flops(&c, &cost),
                                     "%s, host %d of %d, length %d: %.0f FLOPs, formula %.0f",
                                     methods[i], rank, hosts, (int)length, result.host_flops[rank],
                                     cost_flops(&c, &cost));
                        cr_expect_eq(result.host_bytes_sent[rank],
                                     c.shape.layers * cost.bytes_sent,
                                     "%s, host %d of %d, length %d: %.0f bytes, formula %.0f",
                                     methods[i], rank, hosts, (int)length,
                                     result.host_bytes_sent[rank],
                                     c.shape.layers * cost.bytes_sent);
                    }
                    run_result_free(&result);
                }
                prompt_free(&p);
            }
    model_close(m);
}
