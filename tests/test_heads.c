/* Training retaining heads as a whole: learning a tiny set by heart, going on after a stop bit by bit,
 * files that come back as written, and what is read from samples and texts. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "tests/checkpoint.h"
#include "tests/heads_fixture.h"

/* ---- Training ---- */

static char *directory;

static void set_up(void)
{
    directory = temporary_directory();
}

static void tear_down(void)
{
    remove_directory(directory);
}

TestSuite(training, .init = set_up, .fini = tear_down, .timeout = 120);

static heads_prompts random_prompts(const model *m, int64_t count)
{
    heads_prompts all = {.items = alloc_or_die((size_t)count, sizeof *all.items), .count = count};
    for (int64_t i = 0; i < count; i++)
        all.items[i] = random_prompt(m, 100 + (uint64_t)i, 61 + 3 * i, 50 + 2 * i);
    return all;
}

/* The overlap in the last line of progress. */
static double overlap_said(void)
{
    char line[512];
    double overlap = NAN;
    fflush(stderr);
    for (FILE *said = cr_get_redirected_stderr(); fgets(line, sizeof line, said);) {
        const char *at = strstr(line, ", overlap ");
        overlap = at ? atof(at + strlen(", overlap ")) : overlap;
        if (!strncmp(line, "apbench: ", 9)) /* said when all is done */
            break;
    }
    return overlap;
}

/* Two prompts by heart. Untrained heads reach some 0.1; the labels of random ids jump from token to token,
 * so that even heads trained for long stay at 0.9. */
Test(training, learns_two_prompts_by_heart)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompts prompts = random_prompts(m, 2);
    char *out = format_text("%s/heads.safetensors", directory);
    train_settings s = {.width = 64, .parts = 1, .schedule = {.rate = 5e-3, .warm_up = 20, .steps = 600},
                        .save_every = 1000, .threads = 2, .seed = 1, .out = out};
    retaining_heads h, fresh;
    heads_make(&fresh, &m->config.shape, m->layers, 64);
    heads_fill(&fresh, 1);
    heads_measure before, after;
    cr_redirect_stderr();
    cr_assert_eq(heads_train(m, &prompts, &s, &h), 0, "%s", fail_text());
    double said = overlap_said();
    cr_assert_eq(heads_evaluate(m, NULL, 2, &prompts, &fresh, &before), 0, "%s", fail_text());
    cr_assert_eq(heads_evaluate(m, NULL, 2, &prompts, &h, &after), 0, "%s", fail_text());
    double untrained = heads_mean(&before, before.overlap, before.prompts);
    double trained = heads_mean(&after, after.overlap, after.prompts);
    cr_expect(untrained < 0.5, "untrained heads overlap by %g", untrained);
    cr_expect(trained > 0.8, "trained heads overlap by %g", trained);
    cr_expect_float_eq(said, trained, 0.1, "progress says %g of %g", said, trained);
    heads_measure_free(&before);
    heads_measure_free(&after);
    heads_free(&h);
    heads_free(&fresh);
    heads_prompts_free(&prompts);
    free(out);
    model_close(m);
    dev->close(dev);
}

static void *trained_bytes(const model *m, const heads_prompts *prompts, train_settings s,
                           const char *name, int64_t stop_after, size_t *bytes)
{
    int64_t stops = 0;
    char *out = format_text("%s/%s", directory, name);
    s.out = out;
    s.stop_after = stop_after;
    retaining_heads h;
    int status;
    while ((status = heads_train(m, prompts, &s, &h)) == 1) {
        stops++;
        heads_free(&h);
        char *state = format_text("%s.state", out);
        size_t count;
        free(read_file(state, &count)); /* it is there */
        free(state);
    }
    cr_assert_eq(status, 0, "%s", fail_text());
    cr_expect_eq(stops, stop_after ? (s.schedule.steps - 1) / stop_after : 0, "%d stops", (int)stops);
    heads_free(&h);
    void *content = read_file(out, bytes);
    free(out);
    return content;
}

static const train_settings short_training = {
    .parts = 4, .width = 16, .schedule = {.rate = 1e-3, .warm_up = 6, .steps = 17}, .save_every = 4, .threads = 2, .seed = 9};

Test(training, goes_on_to_the_same_bits)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompts prompts = random_prompts(m, 5);
    size_t whole, parts;
    void *a = trained_bytes(m, &prompts, short_training, "whole", 0, &whole);
    void *b = trained_bytes(m, &prompts, short_training, "parts", 7, &parts);
    cr_expect(whole == parts && !memcmp(a, b, whole), "stopping twice changed the heads");
    free(b);

    /* In a layout too, which gives other heads. */
    heads_layout apb = layout_of("apb:anchor=4:passing=3:compressor=query");
    train_settings in_blocks = short_training;
    in_blocks.layout = &apb;
    in_blocks.layout_text = "apb";
    for (int i = 0; i < prompts.count; i++) {
        heads_prompt *p = &prompts.items[i];
        p->document = p->positions;
        p->query = p->query_in_anchor = p->count - p->document;
    }
    void *c = trained_bytes(m, &prompts, in_blocks, "blocks", 0, &whole);
    void *d = trained_bytes(m, &prompts, in_blocks, "blocks in parts", 7, &parts);
    cr_expect(whole == parts && !memcmp(c, d, whole), "stopping twice changed the heads of a layout");
    cr_expect(memcmp(a, c, whole), "the layout changed nothing");
    free(c);
    free(d);

    /* Nor does it matter how many threads learn beside the model: every layer has prompts in order. */
    train_settings other = short_training;
    for (other.threads = 1; other.threads <= 7; other.threads += 3) {
        b = trained_bytes(m, &prompts, other, "others", 0, &parts);
        cr_expect(whole == parts && !memcmp(a, b, whole), "%d threads changed the heads", other.threads);
        free(b);
    }
    free(a);
    heads_prompts_free(&prompts);
    model_close(m);
    dev->close(dev);
}

Test(training, refuses_a_state_that_is_not_its_own)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompts prompts = random_prompts(m, 3);
    char *out = format_text("%s/heads", directory), *state = format_text("%s.state", out);
    train_settings s = short_training, other;
    s.out = out;
    s.stop_after = 3;
    retaining_heads h;
    cr_assert_eq(heads_train(m, &prompts, &s, &h), 1);
    heads_free(&h);
    for (int change = 0; change < 8; change++) {
        other = s;
        other.schedule.rate *= change == 0 ? 2 : 1;
        other.schedule.steps += change == 1;
        other.schedule.warm_up += change == 2;
        other.smoothness += change == 3;
        other.parts += change == 4;
        other.width += change == 5;
        other.seed += change == 6;
        other.layout_text = change == 7 ? "apb" : NULL;
        cr_assert_eq(heads_train(m, &prompts, &other, &h), -1, "change %d was taken", change);
        cr_expect(strstr(fail_text(), "another training"), "%s", fail_text());
        heads_free(&h);
    }

    size_t bytes;
    uint8_t *content = read_file(state, &bytes);
    content[bytes / 2] ^= 1;
    write_file(state, content, bytes);
    cr_assert_eq(heads_train(m, &prompts, &s, &h), -1);
    cr_expect(strstr(fail_text(), "damaged"), "%s", fail_text());
    heads_free(&h);
    content[bytes / 2] ^= 1;
    write_file(state, content, bytes - 1);
    cr_assert_eq(heads_train(m, &prompts, &s, &h), -1);
    cr_expect(strstr(fail_text(), "damaged"), "%s", fail_text());
    heads_free(&h);
    free(content);
    free(state);
    free(out);
    heads_prompts_free(&prompts);
    model_close(m);
    dev->close(dev);
}

/* ---- Files ---- */

/* What is written is read back as it was rounded, and a model takes it as its retaining heads. */
Test(training, files_come_back_and_models_take_them)
{
    device *dev;
    model *m = open_tiny(&dev);
    char *path = format_text("%s/heads.safetensors", directory);
    retaining_heads h, back;
    heads_make(&h, &m->config.shape, m->layers, 24);
    heads_fill(&h, 4);
    cr_assert_eq(heads_save(&h, path), 0, "%s", fail_text());
    cr_assert_eq(heads_load(&back, &m->config.shape, m->layers, path), 0, "%s", fail_text());
    size_t bytes = (size_t)(h.layers * heads_layer_size(&h)) * sizeof(float);
    double worst = 0;
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        worst = fmax(worst, fabs((double)h.values[i] - back.values[i]) / fabs(h.values[i]));
    cr_expect(worst > 0 && worst <= 0x1p-8, "bfloat16 keeps 8 bits, the worst is off by %g", worst);
    heads_round(&h);
    cr_assert_eq(back.width, 24);
    cr_expect(!memcmp(h.values, back.values, bytes));

    model *with = model_open(heads_checkpoint, dev, 0, 1, path);
    cr_assert(with, "%s", fail_text());
    cr_assert_eq(with->retaining_width, 24);
    for (int layer = 0; layer < m->layers; layer++) {
        size_t fc1 = (size_t)(h.width * h.inputs) * sizeof(float);
        size_t fc2 = (size_t)(h.kv_heads * h.width) * sizeof(float);
        cr_expect(!memcmp(with->layer[layer].retaining_fc1, heads_layer(&h, layer), fc1));
        cr_expect(!memcmp(with->layer[layer].retaining_fc2, heads_fc2(&h, layer), fc2));
    }
    model_close(with);
    heads_free(&back);
    model_shape wider = m->config.shape;
    wider.head_dim *= 2;
    cr_expect_eq(heads_load(&back, &wider, m->layers, path), -1);
    cr_expect_eq(heads_load(&back, &m->config.shape, m->layers + 1, path), -1);
    heads_free(&h);
    free(path);
    model_close(m);
    dev->close(dev);
}

/* ---- Prompts ---- */

/* All of a model that reading prompts asks for: words. */
static model *open_words(model *m)
{
    *m = (model){.name = "words", .tokens = tokenizer_open("tests/data/tasks")};
    cr_assert(m->tokens, "%s", fail_text());
    m->config.stop_ids[0] = 2;
    m->config.stop_count = 1;
    return m;
}

Test(training, prompts_are_split_where_rows_begin_to_look_back)
{
    model words, *m = open_words(&words);
    write_text(directory, "rows.jsonl",
               "{\"input_context\": \"grass is green and 4711 is the number. \", "
               "\"input_query\": \"What is the number?\", \"outputs\": [\"4711\"]}\n"
               "{\"input_context\": 5}\n"
               "not JSON\n");
    prompt_sources from = {.seed = 1};
    char *path = format_text("%s/rows.jsonl", directory);
    text_list_push(&from.data, path);
    heads_prompts answer, query;
    cr_assert_eq(heads_prompts_read(m, &from, &answer), 0, "%s", fail_text());
    from.from_query = true;
    cr_assert_eq(heads_prompts_read(m, &from, &query), 0, "%s", fail_text());
    cr_assert(answer.count == 1 && query.count == 1);
    const heads_prompt *a = answer.items, *q = query.items;
    token_list document = {0}, whole = {0};
    const char context[] = "grass is green and 4711 is the number. ";
    cr_assert(!tokenizer_encode(m->tokens, context, strlen(context), false, &document));
    cr_expect_eq(q->positions, (int64_t)document.count);
    cr_expect_eq(a->count, q->count);
    cr_assert(!tokenizer_encode(m->tokens, "What is the number?", 19, false, &whole));
    cr_expect_eq(a->positions, (int64_t)(document.count + whole.count));
    cr_expect(!memcmp(a->ids, document.ids, document.count * sizeof *a->ids));
    token_list marked = {0};
    for (int64_t t = 0; t < q->positions; t++)
        if (q->needle[t])
            token_list_push(&marked, q->ids[t]);
    size_t bytes;
    char *needle = tokenizer_decode(m->tokens, marked.ids, marked.count, false, &bytes);
    cr_expect(strstr(needle, "4711") && bytes <= 6, "'%s' is marked", needle);
    cr_expect(heads_prompts_hash(&answer) != heads_prompts_hash(&query));
    free(needle);
    token_list_free(&marked);
    token_list_free(&document);
    token_list_free(&whole);
    heads_prompts_free(&answer);
    heads_prompts_free(&query);
    text_list_free(&from.data);
    free(path);
    tokenizer_close(m->tokens);
}

Test(training, windows_of_text_have_the_lengths_asked_for)
{
    model words, *m = open_words(&words);
    char *text = alloc_or_die(20001, 1);
    for (int i = 0; i < 20000; i++)
        text[i] = "abc def ghij. klm\n"[i % 18];
    write_text(directory, "text", text);
    char *path = format_text("%s/text", directory);
    int64_t lengths[] = {100, 140};
    prompt_sources from = {.seed = 1, .windows = 50, .lengths = {lengths, 2}};
    text_list_push(&from.text, path);
    heads_prompts all, again;
    cr_assert_eq(heads_prompts_read(m, &from, &all), 0, "%s", fail_text());
    cr_assert_eq(heads_prompts_read(m, &from, &again), 0, "%s", fail_text());
    cr_expect_eq(heads_prompts_hash(&all), heads_prompts_hash(&again));
    cr_assert_eq(all.count, 50);
    int64_t least = 1000, most = 0;
    for (int i = 0; i < 50; i++) {
        int64_t count = all.items[i].count;
        least = count < least ? count : least;
        most = count > most ? count : most;
        cr_expect_eq(all.items[i].positions, count - 65);
    }
    cr_expect(least >= 100 && most <= 140 && most - least > 20, "%d to %d", (int)least, (int)most);
    from.lengths.items[1] = 1000000;
    heads_prompts_free(&again);
    cr_expect_eq(heads_prompts_read(m, &from, &again), -1);
    heads_prompts_free(&all);
    text_list_free(&from.text);
    free(path);
    free(text);
    tokenizer_close(m->tokens);
}
