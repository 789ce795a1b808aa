/* The error of the last layer's output by place: on made rows where every value is known, under exact and
 * approximate methods, and what is kept of exact runs. And what else a row makes of its samples: how it is
 * judged, which lines are theirs. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/run.h"
#include "harness/sweep/accuracy/judge.h"
#include "harness/sweep/accuracy/sample.h"
#include "harness/sweep/cells.h"

static device *open_device(void)
{
    device *dev = device_find("cpu");
    cr_assert(dev && !dev->open(dev, 0), "%s", fail_text());
    return dev;
}

/* ---- Made rows ---- */

enum { HIDDEN = 2, DOCUMENT = 40, QUERY = 3 };

/* A row whose error is `error`: (3, 4) has the norm 5, and (4, -3) stands at a right angle to it. */
static void put_row(float *x, int64_t row, double error)
{
    x[row * HIDDEN] = (float)(3 + 4 * error);
    x[row * HIDDEN + 1] = (float)(4 - 3 * error);
}

/* Host 1 of 2 keeps document rows 5..27 in two runs, 20 and 3 rows long, between rows that are dropped or
 * are no document, which are not numbers. The error of document row t is t / 64, exact in float32. */
Test(fidelity, places_of_made_rows)
{
    device *dev = open_device();
    comm links = {.driver = comm_find("sim"), .rank = 1, .size = 2, .dev = dev};
    cell c = {.hosts = 2, .document = DOCUMENT, .query = QUERY, .shape.hidden = HIDDEN};
    plan p = {0};
    plan_add(&p, SPAN_ANCHOR, TOKENS_DOCUMENT, 0, 2, 0, false);
    plan_add(&p, SPAN_ANCHOR, TOKENS_QUERY, 0, 2, 2, false);
    plan_add(&p, SPAN_LOCAL, TOKENS_DOCUMENT, 5, 20, 5, true);
    plan_add(&p, SPAN_LOCAL, TOKENS_DOCUMENT, 25, 3, 25, true);
    plan_add(&p, SPAN_PADDING, TOKENS_PADDING, 0, 4, 0, true);
    plan_add(&p, SPAN_QUERY, TOKENS_QUERY, 0, QUERY, DOCUMENT, false);

    float exact[(DOCUMENT + QUERY) * HIDDEN], kept[(DOCUMENT + QUERY) * HIDDEN];
    float *x = dev->alloc(dev, (size_t)p.rows * HIDDEN * sizeof *x);
    float *few = dev->alloc(dev, QUERY * HIDDEN * sizeof *few);
    for (int row = 0; row < DOCUMENT + QUERY; row++)
        put_row(exact, row, 0);
    memset(kept, 0, sizeof kept);
    for (int64_t i = 0; i < p.rows * HIDDEN; i++)
        x[i] = NAN;
    for (int row = 0; row < 23; row++)
        put_row(x, 4 + row, (5 + row) / 64.0);
    put_row(few, 0, 0);
    put_row(few, 1, 1);
    put_row(few, 2, 2);

    residual_watch w;
    residual_watch_open(&w, &c, exact, kept);
    cr_assert_eq(residual_watch_rows(&w, &links, &p, x), 0);
    double means[ERROR_PLACES];
    residual_watch_means(&w, means);
    /* Tenths: 2 rows of 20, and 1 of 3. Rows 5, 6 and 25 begin a run; 23, 24 and 27 end one. */
    cr_expect_float_eq(means[ERROR_START], (5 + 6 + 25) / 64.0 / 3, 1e-12);
    cr_expect_float_eq(means[ERROR_END], (23 + 24 + 27) / 64.0 / 3, 1e-12);
    cr_expect_float_eq(means[ERROR_DOCUMENT], 16 / 64.0, 1e-12);
    cr_expect(isnan(means[ERROR_QUERY]));
    cr_expect_eq(w.by_host[ERROR_DOCUMENT].rows, 0);
    cr_expect_eq(w.by_host[ERROR_PLACES + ERROR_DOCUMENT].rows, 23);
    cr_expect_arr_eq(kept + 5 * HIDDEN, x + 4 * HIDDEN, 23 * HIDDEN * sizeof *x);
    for (int i = 0; i < 5 * HIDDEN; i++)
        cr_expect_eq(kept[i], 0, "a row that is not kept on this host was written");

    /* The query's rows of one host count: all have the same. */
    cr_assert_eq(residual_watch_query(&w, &links, few), 0);
    links.rank = 0;
    cr_assert_eq(residual_watch_query(&w, &links, few), 0);
    residual_watch_means(&w, means);
    cr_expect_float_eq(means[ERROR_QUERY], 1, 1e-12);
    cr_expect_eq(w.by_host[ERROR_QUERY].rows + w.by_host[ERROR_PLACES + ERROR_QUERY].rows, QUERY);
    cr_expect_float_eq(means[ERROR_DOCUMENT], 16 / 64.0, 1e-12);
    cr_expect_arr_eq(kept + DOCUMENT * HIDDEN, few, sizeof *few * QUERY * HIDDEN);

    few[0] = NAN; /* a method's NaN is no error of 0 */
    residual_watch_close(&w);
    residual_watch_open(&w, &c, exact, NULL);
    cr_assert_eq(residual_watch_query(&w, &links, few), 0);
    residual_watch_means(&w, means);
    cr_expect(isnan(means[ERROR_QUERY]));
    residual_watch_close(&w);
    dev->free(dev, x);
    dev->free(dev, few);
}

/* More rows than are brought to the host at a time. Errors of halves: (2500 x 1/4 + 2500 x 3/4) / 5000. */
Test(fidelity, long_runs_in_pieces)
{
    enum { ROWS = 5000 };
    device *dev = open_device();
    comm links = {.driver = comm_find("sim"), .rank = 0, .size = 1, .dev = dev};
    cell c = {.hosts = 1, .document = ROWS, .query = 1, .shape.hidden = HIDDEN};
    plan p = {0};
    plan_add(&p, SPAN_LOCAL, TOKENS_DOCUMENT, 0, ROWS, 0, true);
    float *exact = alloc_or_die((ROWS + 1) * HIDDEN, sizeof *exact);
    float *x = dev->alloc(dev, ROWS * HIDDEN * sizeof *x);
    for (int row = 0; row < ROWS; row++) {
        put_row(exact, row, 0);
        put_row(x, row, row < ROWS / 2 ? 0.25 : 0.75);
        for (int i = row * HIDDEN; i < (row + 1) * HIDDEN; i++) { /* no two rows alike */
            exact[i] *= (float)(row + 1);
            x[i] *= (float)(row + 1);
        }
    }
    residual_watch w;
    double means[ERROR_PLACES];
    residual_watch_open(&w, &c, exact, NULL);
    cr_assert_eq(residual_watch_rows(&w, &links, &p, x), 0);
    residual_watch_means(&w, means);
    cr_expect_float_eq(means[ERROR_START], 0.25, 1e-12);
    cr_expect_float_eq(means[ERROR_END], 0.75, 1e-12);
    cr_expect_float_eq(means[ERROR_DOCUMENT], 0.5, 1e-12);
    cr_expect_eq(w.by_host[ERROR_START].rows, ROWS / 10);
    residual_watch_close(&w);
    dev->free(dev, x);
    free(exact);
}

/* ---- Samples of a sweep ---- */

typedef struct {
    accuracy_sweep sweep;
    group group;
} fixture;

/* Two random prompts in place of a task's samples: what is compared does not ask for an answer. */
static void open_fixture(fixture *f, const char *checkpoint, const char *methods)
{
    char *path = format_text("tests/data/checkpoints/%s", checkpoint);
    *f = (fixture){0};
    accuracy_sweep *s = &f->sweep;
    s->dev = open_device();
    s->driver = comm_find("sim");
    s->leader = true;
    s->fidelity = true;
    s->exact_room = (size_t)1 << 20;
    s->seed = 7;
    parse_texts(methods, &s->methods);
    group *g = &f->group;
    g->sweep = s;
    g->model = model_open(path, s->dev, 0, 1, NULL);
    cr_assert(g->model, "%s", fail_text());
    g->task = task_find("niah_single_1");
    g->count = 2;
    g->samples = alloc_or_die((size_t)g->count, sizeof *g->samples);
    for (int i = 0; i < g->count; i++) {
        task_sample *sample = &g->samples[i].sample;
        sample->tokens_to_generate = 3;
        sample->references = alloc_or_die(1, sizeof *sample->references);
        sample->references[0] = (sized_text){copy_text("42"), 2};
        sample->reference_count = 1;
        cr_assert_eq(prompt_random(g->model, 150 + 37 * i, 11, (uint64_t)i + 3, &g->samples[i].prompt),
                     0);
    }
    free(path);
}

static void close_fixture(fixture *f)
{
    model *m = (model *)f->group.model;
    group_close(&f->group);
    text_list_free(&f->sweep.methods);
    model_close(m);
    f->sweep.dev->close(f->sweep.dev);
}

static void run_one(fixture *f, const char *method, int hosts, int64_t index, sample_result *got)
{
    cell resolved;
    cr_assert_eq(sample_cell(&f->group, method, hosts, &f->group.samples[index], NULL, &resolved), 0,
                 "%s", fail_text());
    cr_assert_eq(sample_run(&f->group, method, hosts, &resolved, index, got), 0, "%s", fail_text());
}

static double number(const sample_result *got, const char *name)
{
    const json_t *value = json_object_get(got->line, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double error_of(const sample_result *got, error_place place)
{
    return number(got, error_place_names[place]);
}

static double by_host(const sample_result *got, int rank, error_place place)
{
    const json_t *host = json_array_get(json_object_get(got->line, "errors_by_host"), (size_t)rank);
    return json_number_value(json_array_get(host, (size_t)place));
}

/* Rounding only: float32 sums of at most a few hundred terms in another order, through a few layers of
 * rows of norm about 1, leave some 1e-7 to 1e-6 of a row. A key that is missing or seen twice, or a wrong
 * position, changes rows by 1e-3 and more (the approximate methods below). */
static const double rounding = 1e-5;

Test(fidelity, exact_methods_have_no_error)
{
    static const char *const methods[] = {"ring", "zigzag", "ulysses"};
    static const int hosts[] = {2, 4};
    fixture f;
    open_fixture(&f, "qwen2-tied-bf16", "flash,ring,zigzag,ulysses");
    for (int k = 0; k < 3; k++)
        for (int h = 0; h < 2; h++)
            for (int i = 0; i < f.group.count; i++) {
                sample_result got;
                run_one(&f, methods[k], hosts[h], i, &got);
                for (int place = 0; place < ERROR_PLACES; place++)
                    cr_expect_lt(error_of(&got, place), rounding, "%s of %s on %d hosts: %g",
                                 error_place_names[place], methods[k], hosts[h],
                                 error_of(&got, place));
                sample_result_free(&got);
            }
    close_fixture(&f);
}

/* Host 0 sees what flash sees. A later host does not see all that is before its block: its rows differ by
 * more than rounding could, most where the block begins, since rows further in see more of it. */
Test(fidelity, approximate_methods_lose_behind_the_first_block)
{
    static const char *const methods[] = {"star:anchor=8", "apb:anchor=14:passing=4"};
    fixture f;
    open_fixture(&f, "llama31-f16", "flash,star,apb");
    for (int k = 0; k < 2; k++) {
        sample_result got;
        run_one(&f, methods[k], 4, 1, &got);
        for (int place = ERROR_START; place <= ERROR_DOCUMENT; place++)
            cr_expect_lt(by_host(&got, 0, place), rounding, "%s: %g", methods[k],
                         by_host(&got, 0, place));
        for (int rank = 1; rank < 4; rank++) {
            cr_expect_gt(by_host(&got, rank, ERROR_DOCUMENT), 10 * rounding);
            cr_expect_gt(by_host(&got, rank, ERROR_START), 100 * rounding, "%s, host %d: %g",
                         methods[k], rank, by_host(&got, rank, ERROR_START));
            cr_expect_gt(by_host(&got, rank, ERROR_START), by_host(&got, rank, ERROR_END),
                         "%s, host %d: %g at the start, %g at the end", methods[k], rank,
                         by_host(&got, rank, ERROR_START), by_host(&got, rank, ERROR_END));
        }
        cr_expect_gt(error_of(&got, ERROR_QUERY), 100 * rounding);
        cr_expect_gt(error_of(&got, ERROR_START), error_of(&got, ERROR_DOCUMENT));
        sample_result_free(&got);
    }
    close_fixture(&f);
}

/* The row of flash leaves its rows to the others; where there is no room they are computed for each
 * sample, which gives the same; and nothing is compared where fidelity is not asked for. */
Test(fidelity, exact_rows_are_kept_within_their_room)
{
    static const char method[] = "star:anchor=8";
    fixture f;
    sample_result got, again;
    open_fixture(&f, "llama31-f16", "flash,star");
    group *g = &f.group;
    run_one(&f, "flash", 1, 0, &got);
    sample_result_free(&got);
    cr_assert(g->samples[0].exact_rows);
    float *left = g->samples[0].exact_rows;
    size_t bytes = g->exact_bytes;
    run_one(&f, method, 4, 0, &got);
    cr_expect_eq(g->samples[0].exact_rows, left);
    cr_expect_eq(g->exact_bytes, bytes);
    cr_expect_gt(error_of(&got, ERROR_QUERY), rounding);

    f.sweep.exact_room = bytes; /* none for the second sample */
    run_one(&f, "flash", 1, 1, &again);
    sample_result_free(&again);
    run_one(&f, method, 4, 1, &again);
    cr_expect_gt(error_of(&again, ERROR_QUERY), rounding);
    sample_result_free(&again);
    cr_expect_null(g->samples[1].exact_rows);
    cr_expect_eq(g->exact_bytes, bytes);
    run_one(&f, method, 4, 0, &again);
    cr_expect_eq(g->samples[0].exact_rows, left, "rows that fit are let go");
    sample_result_free(&again);

    f.sweep.exact_room = 0; /* nor for the first, once it is used again */
    run_one(&f, method, 4, 0, &again);
    cr_expect_null(g->samples[0].exact_rows);
    cr_expect_eq(g->exact_bytes, 0);
    sample_result_free(&again);
    run_one(&f, method, 4, 0, &again); /* computed anew */
    for (int place = 0; place < ERROR_PLACES; place++)
        cr_expect_eq(error_of(&again, place), error_of(&got, place));
    cr_expect_eq(number(&again, "kl"), number(&got, "kl"));
    sample_result_free(&again);
    sample_result_free(&got);

    f.sweep.fidelity = false;
    run_one(&f, method, 4, 0, &got);
    cr_expect_null(json_object_get(got.line, "kl"));
    cr_expect_null(json_object_get(got.line, "error_start"));
    sample_result_free(&got);
    close_fixture(&f);

    open_fixture(&f, "llama31-f16", "flash"); /* nobody will ask */
    run_one(&f, "flash", 1, 0, &got);
    cr_expect_null(f.group.samples[0].exact_rows);
    sample_result_free(&got);
    close_fixture(&f);
}

static void *no_room(device *dev, size_t bytes)
{
    (void)dev, (void)bytes;
    return NULL;
}

/* The reason says that it is not the method which does not fit. */
Test(fidelity, an_exact_run_without_room_is_named)
{
    fixture f;
    sample_result got;
    cell resolved;
    open_fixture(&f, "llama31-f16", "star");
    void *(*alloc)(device *, size_t) = f.sweep.dev->alloc;
    cr_assert_eq(sample_cell(&f.group, "star", 4, &f.group.samples[0], NULL, &resolved), 0);
    f.sweep.dev->alloc = no_room;
    cr_expect_eq(sample_run(&f.group, "star", 4, &resolved, 0, &got), -1);
    cr_expect(strstr(fail_text(), "flash, to compare with") && strstr(fail_text(), "out of memory"), "%s",
              fail_text());
    cr_expect_gt(got.wanted_bytes, 0);
    f.sweep.fidelity = false;
    cr_expect_eq(sample_run(&f.group, "star", 4, &resolved, 0, &got), -1);
    cr_expect_not(strstr(fail_text(), "flash"), "%s", fail_text());
    f.sweep.dev->alloc = alloc;
    close_fixture(&f);
}

/* The random compressor passes other keys of each sample, and of each seed of the sweep. */
Test(fidelity, samples_have_seeds_of_their_own)
{
    fixture f;
    cell cells[3];
    open_fixture(&f, "llama31-f16", "apb");
    f.group.samples[1].sample.number = 1;
    for (int i = 0; i < 3; i++) {
        f.sweep.seed = i < 2 ? 7 : 8;
        cr_assert_eq(sample_cell(&f.group, "apb:compressor=random", 4, &f.group.samples[i % 2], NULL,
                                 &cells[i]), 0, "%s", fail_text());
    }
    cr_expect_neq(cells[0].seed, cells[1].seed);
    cr_expect_neq(cells[0].seed, cells[2].seed);
    close_fixture(&f);
}

/* ---- Rows of samples ---- */

/* The first token's logits of a sample under a method, to be freed. */
static logits_trace first_token(fixture *f, const char *method, int hosts, int64_t index)
{
    const group_sample *one = &f->group.samples[index];
    cell c;
    logits_trace trace = {.vocab = f->group.model->config.shape.vocab, .most = 1};
    cr_assert_eq(sample_cell(&f->group, method, hosts, one, NULL, &c), 0, "%s", fail_text());
    run_request request = {.model = f->group.model, .cell = &c, .driver = f->sweep.driver,
                           .document = one->prompt.ids, .query = one->prompt.ids + one->prompt.document,
                           .new_tokens = 2, .untimed = true, .on_token = logits_trace_token,
                           .argument = &trace};
    run_result result = {0};
    cr_assert_eq(run_cell(&request, &result), 0, "%s", fail_text());
    run_result_free(&result);
    cr_assert_eq(trace.steps, 1, "two tokens were made, one is wanted");
    return trace;
}

/* Anchors carry what a sample has for them, and a stop id ends an answer and is none of it. */
Test(fidelity, samples_are_run_as_they_are)
{
    static const char apb[] = "apb:anchor=14:passing=4:compressor=recency";
    fixture f;
    sample_result got, carried;
    open_fixture(&f, "llama31-f16", "flash,apb");
    model *m = (model *)f.group.model;
    prompt *p = &f.group.samples[0].prompt;
    run_one(&f, apb, 4, 0, &got);
    p->anchor_query = alloc_or_die((size_t)p->query_in_anchor, sizeof *p->ids);
    memcpy(p->anchor_query, p->ids, (size_t)p->query_in_anchor * sizeof *p->ids);
    run_one(&f, apb, 4, 0, &carried);
    cr_expect_neq(number(&carried, "kl"), number(&got, "kl"));
    sample_result_free(&carried);
    sample_result_free(&got);

    logits_trace first = first_token(&f, "flash", 1, 1);
    m->config.stop_ids[0] = first.ids[0];
    m->config.stop_count = 1;
    run_one(&f, "flash", 1, 1, &got);
    cr_expect(!*json_string_value(json_object_get(got.line, "prediction")) && number(&got, "null") == 1);
    sample_result_free(&got);
    logits_trace_free(&first);
    close_fixture(&f);
}

/* The divergence is that of the method from flash, in nats: the other way round it is another. */
Test(fidelity, divergence_of_the_first_token)
{
    static const float even[] = {1, 1}, uneven[] = {-2, -2 + 1.0986123f}; /* halves; a quarter and the rest */
    cr_expect_float_eq(logits_kl(even, uneven, 2), 0.5 * log(2) + 0.5 * log(2 / 3.0), 1e-6);
    cr_expect_float_eq(logits_kl(uneven, even, 2), 0.25 * log(0.5) + 0.75 * log(1.5), 1e-6);
    cr_expect_eq(logits_kl(uneven, uneven, 2), 0);
    static const float ties[] = {0, 3, 3, -1};
    cr_expect_eq(logits_best(ties, 4), 1, "of equals the first");
    float broken[] = {NAN, 3, 3, -1};
    logits_trace good = {.vocab = 4, .steps = 1, .logits = (float *)ties}, bad = good;
    bad.logits = broken;
    cr_expect_eq(logits_difference(&good, &good), 0);
    cr_expect(isnan(logits_difference(&bad, &good)), "what is no number is no small difference");

    fixture f;
    sample_result got;
    open_fixture(&f, "llama31-f16", "flash,star");
    run_one(&f, "star:anchor=8", 4, 0, &got);
    logits_trace flash = first_token(&f, "flash", 1, 0), star = first_token(&f, "star:anchor=8", 4, 0);
    double found = number(&got, "kl"), expected = logits_kl(flash.logits, star.logits, flash.vocab);
    cr_expect(found > 0 && found == expected, "%g, expected %g", found, expected);
    cr_expect_neq(found, logits_kl(star.logits, flash.logits, flash.vocab));
    cr_expect_eq(number(&got, "top1"), logits_best(flash.logits, flash.vocab) ==
                                           logits_best(star.logits, star.vocab));
    logits_trace_free(&flash);
    logits_trace_free(&star);
    sample_result_free(&got);
    close_fixture(&f);
}

/* The shortest document decides on options and the longest on room, wherever they stand. */
Test(fidelity, rows_are_judged_by_their_shortest_and_longest)
{
    fixture f;
    open_fixture(&f, "llama31-f16", "apb");
    group *g = &f.group;
    for (int turned = 0; turned < 2; turned++) {
        row_verdict verdict;
        cell longest;
        run_memory memory;
        f.sweep.room = (size_t)1 << 40;
        row_judge(g, "apb:anchor=14", 4, &verdict);
        cr_assert(verdict.runs, "%s", verdict.reason);
        cr_expect_eq(method_option_value(&verdict.resolved, "passing"), 4, "an eighth of the shorter block");
        const group_sample *one = &g->samples[!turned];
        cr_assert_eq(sample_cell(g, "apb:anchor=14", 4, one, &verdict.resolved, &longest), 0);
        cr_expect_eq(method_option_value(&longest, "passing"), 4, "the row's, not its own");
        run_memory_plan(&g->model->config, g->model->layers, &longest, f.sweep.dev,
                        one->sample.tokens_to_generate, &memory);
        f.sweep.room = memory.weights + memory.shared + memory.zone_sum;
        row_judge(g, "apb:anchor=14", 4, &verdict);
        cr_expect(verdict.runs, "%s", verdict.reason);
        f.sweep.room--;
        row_judge(g, "apb:anchor=14", 4, &verdict);
        cr_expect(!verdict.runs && !strcmp(verdict.word, cell_verdict_names[CELL_TOO_BIG]), "%s",
                  verdict.word);
        group_sample swap = g->samples[0];
        g->samples[0] = g->samples[1];
        g->samples[1] = swap;
    }
    row_verdict lacked;
    f.sweep.room++;
    g->lacking = "out of memory: the weights";
    row_judge(g, "apb:anchor=14", 4, &lacked);
    cr_expect(!lacked.runs && !strcmp(lacked.word, "oom") && !strcmp(lacked.reason, g->lacking), "%s", lacked.word);
    close_fixture(&f);
}

/* A line is taken for a sample of the same texts and answers, whoever ran it, and for no other. */
Test(fidelity, lines_of_samples)
{
    static const char *const changed[] = {"document", "query", "references", "score", "seconds"};
    fixture f;
    sample_result got;
    open_fixture(&f, "llama31-f16", "star");
    f.sweep.fidelity = false;
    group_sample *one = &f.group.samples[0];
    one->sample.document = (sized_text){copy_bytes("a\0b", 3), 3};
    one->sample.query = (sized_text){copy_text("which?"), 6};
    run_one(&f, "star", 2, 0, &got);
    cr_expect(sample_is_of_line(one, got.line));
    cr_expect(number(&got, "score") == 0 && number(&got, "null") == 0, "a wrong answer is none");
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        json_t *other = json_deep_copy(got.line);
        json_object_set_new(other, changed[i], json_string("something else"));
        cr_expect_not(sample_is_of_line(one, other), "another %s", changed[i]);
        json_decref(other);
    }
    json_object_set_new(got.line, "label", json_integer(7));
    cr_expect_not(sample_is_of_line(one, got.line), "a label where the sample has none");
    sample_result_free(&got);
    close_fixture(&f);
}
