/* `apbench heads train` and `apbench heads eval`: retaining heads of a model, learned from what later
 * rows of its own prompts look at, how well they find it, and what methods really pass on. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/heads/passed.h"
#include "harness/heads/train.h"

enum { MOST_STEPS = 1 << 30, MOST_WIDTH = 1 << 16, MOST_PARTS = 64, DEFAULT_WINDOWS = 200 };

typedef struct {
    const char *name, *labels;
    machine_flags flags;
    prompt_sources sources;
    train_settings train;
    text_list layouts;
    heads_layout *parsed; /* [layouts.count] */
    int64_t width, parts, held_out, seed, hosts, passed;
} heads_flags;

/* Both commands share what they read and where it runs. */
#define HEADS_FLAGS(f)                                                                                \
    {"model", FLAG_TEXT_OF(model_check_reader), &(f).name, "NAME",                                    \
     "Hugging Face directory, or smollm2"},                                                           \
    {"data", FLAG_TEXTS, &(f).sources.data, "FILES", "samples as `apbench data` writes them"},        \
    {"text", FLAG_TEXTS, &(f).sources.text, "FILES", "plain texts, read in windows"},                 \
    {"windows", FLAG_SIZE, &(f).sources.windows, "N", "windows of each text"},                        \
    {"lengths", FLAG_SIZES, &(f).sources.lengths, "LEAST,MOST", "tokens of a window [512,1536]"},     \
    {"labels", FLAG_TEXT, &(f).labels, "ROWS", "whose attention is learned: answer or query (both)"}, \
    {"layout", FLAG_TEXTS, &(f).layouts, "METHODS",                                                   \
     "features as this method's hosts see the document (apb:compressor=query)"},                      \
    {"hosts", FLAG_SIZE, &(f).hosts, "N", "hosts of the layout"},                                     \
    {"retaining-heads", FLAG_TEXT, &(f).flags.retaining_heads, "FILE",                                \
     "heads, also those that a layout's compressor uses (default: the model's own)"},                 \
    {"device", FLAG_TEXT, &(f).flags.device, "NAME", "device of the model (apbench list devices)"},   \
    {"threads", FLAG_SIZE, &(f).flags.threads, "N",                                                   \
     "threads of the device, and that learn; 0 = all cores, and one less"},                           \
    {"layers", FLAG_SIZE, &(f).flags.layers, "N", "only the first N layers; 0 = all"},                \
    {"seed", FLAG_SIZE, &(f).seed, "N", "seed of first weights, order and windows"}

static heads_flags defaults(void)
{
    heads_flags f = {.name = "smollm2", .labels = "answer",
                     .flags = MACHINE_FLAGS_DEFAULT, .seed = 1, .hosts = 8};
    f.sources.windows = DEFAULT_WINDOWS;
    f.train.save_every = 100;
    return f;
}

static void flags_free(heads_flags *f)
{
    text_list_free(&f->sources.data);
    text_list_free(&f->sources.text);
    text_list_free(&f->layouts);
    free(f->parsed);
    free(f->sources.lengths.items);
}

/* With --passed each layout passes so many keys. */
static int parse_layouts(heads_flags *f)
{
    if (check_range("hosts", f->hosts, 1, MOST_HOSTS_OF_A_CELL))
        return -1;
    f->parsed = alloc_or_die((size_t)f->layouts.count + 1, sizeof *f->parsed);
    for (int i = 0; i < f->layouts.count; i++) {
        char **text = &f->layouts.items[i];
        if (f->passed) {
            char *whole = format_text("%s:passing=%lld", *text, (long long)f->passed);
            free(*text);
            *text = whole;
        }
        if (heads_layout_parse(*text, (int)f->hosts, (uint64_t)f->seed, &f->parsed[i]))
            return fail_within("--layout %s", *text);
    }
    return 0;
}

static int check_sources(heads_flags *f)
{
    if (!f->sources.data.count && !f->sources.text.count)
        return fail("give prompts with --data FILES, --text FILES or both");
    if (strcmp(f->labels, "answer") && strcmp(f->labels, "query"))
        return fail("--labels: '%s' is neither answer nor query", f->labels);
    if (!f->sources.lengths.count) {
        f->sources.lengths.items = alloc_or_die(2, sizeof(int64_t));
        f->sources.lengths.items[0] = 512;
        f->sources.lengths.items[1] = 1536;
        f->sources.lengths.count = 2;
    }
    int cores = omp_get_num_procs(); /* one of them feeds the device */
    f->train.threads = f->flags.threads ? (int)f->flags.threads : cores > 1 ? cores - 1 : 1;
    f->sources.from_query = !strcmp(f->labels, "query");
    f->sources.seed = (uint64_t)f->seed;
    return prompt_sources_check(&f->sources) ||
                   check_range("threads", f->flags.threads, 0, MOST_THREADS) ||
                   check_range("layers", f->flags.layers, 0, MOST_LAYERS) ||
                   check_range("windows", f->sources.windows, 1, MOST_STEPS) || parse_layouts(f)
               ? -1
               : 0;
}

/* Leaves out prompts that some layout cannot run (blocks too short for its anchor), so that all layouts are
 * measured on the same ones. */
static int keep_those_that_run(const heads_flags *f, const model *m, heads_prompts *prompts)
{
    int64_t kept = 0, all = prompts->count;
    char *reason = NULL;
    for (int64_t i = 0; i < all; i++) {
        heads_prompt *p = &prompts->items[i];
        bool runs = true;
        for (int l = 0; l < f->layouts.count && runs; l++) {
            cell c;
            runs = !heads_layout_cell(&f->parsed[l], m, p, &c);
            if (!runs && !reason)
                reason = format_text("%s, prompt %lld: %s", f->layouts.items[l], (long long)i + 1,
                                     fail_text());
        }
        if (runs) {
            prompts->items[kept++] = *p;
        } else {
            free(p->ids);
            free(p->needle);
        }
    }
    prompts->count = kept;
    int status = kept ? 0 : fail("no prompt runs in the layout: %s", reason);
    if (kept && kept < all)
        fprintf(stderr, "apbench: %lld of %lld prompts are left out; %s\n", (long long)(all - kept),
                (long long)all, reason);
    free(reason);
    return status;
}

/* Opens the model and reads the prompts; what is open must be closed in any case. */
static int open_all(const heads_flags *f, device *dev, model **m, heads_prompts *prompts)
{
    *m = model_open(f->name, dev, (int)f->flags.layers, (uint64_t)f->seed, f->flags.retaining_heads);
    if (!*m || heads_prompts_read(*m, &f->sources, prompts))
        return -1;
    return f->layouts.count ? keep_those_that_run(f, *m, prompts) : 0;
}

/* ---- What is printed ---- */

static double layer_mean(const heads_measure *m, const double *sums, int layer, int64_t prompts)
{
    double sum = 0;
    for (int h = 0; h < m->kv_heads; h++)
        sum += sums[layer * m->kv_heads + h];
    return prompts ? sum / m->kv_heads / (double)prompts : NAN;
}

static void print_row(const char *name, double overlap, bool needles, double recall, double label)
{
    printf("%-6s %8.3f", name, overlap);
    if (needles)
        printf(" %14.3f %16.3f", recall, label);
    printf("\n");
}

static void print_measure(const heads_measure *m)
{
    bool needles = m->with_needles > 0;
    printf("%lld prompts, %lld of them with needles; top 10 %% of positions, mean over KV heads "
           "(random: 0.100)\n",
           (long long)m->prompts, (long long)m->with_needles);
    printf("layer   overlap%s\n", needles ? "  needle recall  recall by labels" : "");
    for (int i = 0; i < m->layers; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        print_row(name, layer_mean(m, m->overlap, i, m->prompts), needles,
                  layer_mean(m, m->recall, i, m->with_needles),
                  layer_mean(m, m->label_recall, i, m->with_needles));
    }
    print_row("mean", heads_mean(m, m->overlap, m->prompts), needles,
              heads_mean(m, m->recall, m->with_needles),
              heads_mean(m, m->label_recall, m->with_needles));
}

static int evaluate_and_print(const heads_flags *f, const model *m, const heads_prompts *prompts,
                              const retaining_heads *heads)
{
    for (int i = 0; i < f->layouts.count || !i; i++) {
        heads_measure measure;
        const heads_layout *layout = f->layouts.count ? &f->parsed[i] : NULL;
        if (heads_evaluate(m, layout, f->train.threads, prompts, heads, &measure))
            return -1;
        if (layout)
            printf("%s, %lld hosts\n", f->layouts.items[i], (long long)f->hosts);
        print_measure(&measure);
        heads_measure_free(&measure);
    }
    return 0;
}

static void print_passed_row(const char *name, const passed_measure *m, int layer, int layers)
{
    double shares[PASSED_SHARES] = {0}, any = 0;
    for (int which = 0; which < PASSED_SHARES; which++) {
        int64_t prompts = which >= PASSED_NEEDLES ? m->with_needles : m->prompts;
        for (int i = layer * m->kv_heads; i < (layer + layers) * m->kv_heads; i++)
            shares[which] += m->sums[which][i] / (double)prompts / (layers * m->kv_heads);
    }
    for (int i = layer; i < layer + layers; i++)
        any += m->any_head[i] / (double)m->with_needles / layers;
    printf("%-6s %10.3f %10.3f", name, shares[PASSED_LABELS], shares[PASSED_LABELS_BEST]);
    if (m->with_needles)
        printf(" %10.3f %10.3f %10.3f", shares[PASSED_NEEDLES], any, shares[PASSED_NEEDLES_BEST]);
    printf("\n");
}

static void print_passed(const char *layout, int64_t hosts, const passed_measure *m)
{
    printf("%s, %lld hosts: %lld keys of each block and KV head are passed; %lld prompts (random: %.3f)\n",
           layout, (long long)hosts, (long long)m->passing, (long long)m->prompts,
           m->chance / (double)m->prompts);
    printf("tokens of answers: %lld, of them %lld in the anchor and %lld in the last block, which is not read; "
           "%lld prompts have others\n",
           (long long)m->needle_tokens, (long long)m->in_anchor, (long long)m->in_last_block,
           (long long)m->with_needles);
    printf("layer  top labels  by labels%s\n", m->with_needles ? "    needles   any head  by labels" : "");
    for (int i = 0; i < m->layers; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        print_passed_row(name, m, i, 1);
    }
    print_passed_row("mean", m, 0, m->layers);
}

static int measure_and_print_passed(const heads_flags *f, const model *m, const heads_prompts *prompts)
{
    for (int i = 0; i < f->layouts.count; i++) {
        passed_measure measure;
        if (heads_measure_passed(m, &f->parsed[i], f->train.threads, prompts, &measure))
            return -1;
        print_passed(f->layouts.items[i], f->hosts, &measure);
        passed_measure_free(&measure);
    }
    return 0;
}

/* ---- train ---- */

/* Every k-th prompt, so that all sources are in both; `held` has `wanted` of them. The items move, the
 * ids stay where they are. */
static int hold_out(heads_prompts *all, int64_t wanted, heads_prompts *held)
{
    *held = (heads_prompts){0};
    if (wanted >= all->count)
        return fail("--held-out %lld leaves no prompt to train on: there are %lld", (long long)wanted,
                    (long long)all->count);
    if (!wanted)
        return 0;
    held->items = alloc_or_die((size_t)wanted, sizeof *held->items);
    int64_t kept = 0;
    for (int64_t i = 0; i < all->count; i++)
        if (held->count < wanted && i >= held->count * all->count / wanted)
            held->items[held->count++] = all->items[i];
        else
            all->items[kept++] = all->items[i];
    all->count = kept;
    return 0;
}

static int check_warm_up(const schedule *s)
{
    if (s->warm_up < s->steps)
        return 0;
    return fail("--warm-up %lld: it must end before the last of %lld steps", (long long)s->warm_up,
                (long long)s->steps);
}

static int train(heads_flags *f, device *dev)
{
    model *m = NULL;
    heads_prompts prompts = {0}, held = {0};
    retaining_heads heads = {0};
    int status = open_all(f, dev, &m, &prompts);
    if (!status)
        status = hold_out(&prompts, f->held_out, &held);
    if (!status) {
        schedule *s = &f->train.schedule;
        s->steps = s->steps ? s->steps : prompts.count;
        s->warm_up = s->warm_up ? s->warm_up : s->steps / 10;
        status = check_warm_up(s);
    }
    char *layout = NULL;
    if (!status && f->layouts.count) {
        char *used = model_heads_path(f->name, m->directory, f->flags.retaining_heads);
        layout = format_text("%s, %lld hosts, heads %s", f->layouts.items[0], (long long)f->hosts,
                             used ? strrchr(used, '/') ? strrchr(used, '/') : used : "");
        free(used);
        f->train.layout = f->parsed;
        f->train.layout_text = layout;
    }
    if (!status)
        status = heads_train(m, &prompts, &f->train, &heads);
    free(layout);
    if (!status)
        fprintf(stderr, "apbench: wrote %s\n", f->train.out);
    if (!status && held.count)
        status = evaluate_and_print(f, m, &held, &heads);
    heads_free(&heads);
    heads_prompts_free(&held);
    heads_prompts_free(&prompts);
    if (m)
        model_close(m);
    return status;
}

static int check_train(heads_flags *f)
{
    if (!(f->train.schedule.rate > 0) || f->train.schedule.rate > 1)
        return fail("--rate %g: it must be above 0 and at most 1", f->train.schedule.rate);
    if (f->train.smoothness > 1)
        return fail("--smoothness %g: it must be at most 1", f->train.smoothness);
    if (!f->train.out)
        return fail("--out is missing");
    if (f->layouts.count > 1)
        return fail("--layout takes one method to train in, not %d", f->layouts.count);
    if (f->train.schedule.steps && check_warm_up(&f->train.schedule))
        return -1;
    f->train.width = (int)f->width;
    f->train.parts = (int)f->parts;
    f->train.seed = (uint64_t)f->seed;
    return check_range("width", f->width, 1, MOST_WIDTH) ||
                   check_range("parts", f->parts, 1, MOST_PARTS) ||
                   check_range("steps", f->train.schedule.steps, 0, MOST_STEPS) ||
                   check_range("save-every", f->train.save_every, 1, MOST_STEPS)
               ? -1
               : 0;
}

/* ---- Commands ---- */

static int run_on_device(heads_flags *f, int (*body)(heads_flags *, device *))
{
    device *dev = device_find(f->flags.device);
    if (!dev)
        return command_misused();
    if (dev->open(dev, (int)f->flags.threads))
        return command_failed();
    int status = body(f, dev);
    dev->close(dev);
    return status ? command_failed() : 0;
}

static int command_train(int argc, char **argv)
{
    heads_flags f = defaults();
    f.width = 144;
    f.parts = 4;
    f.train.schedule.rate = 1e-3;
    f.held_out = 32;
    const flag table[] = {
        HEADS_FLAGS(f),
        {"out", FLAG_TEXT, &f.train.out, "FILE", "heads to write (safetensors, bfloat16)"},
        {"width", FLAG_SIZE, &f.width, "N", "hidden width of the heads"},
        {"steps", FLAG_SIZE, &f.train.schedule.steps, "N", "prompts learned from; 0 = each once"},
        {"warm-up", FLAG_SIZE, &f.train.schedule.warm_up, "N", "steps of rising rate; 0 = a tenth of all"},
        {"rate", FLAG_NUMBER, &f.train.schedule.rate, "X", "largest learning rate (Locret: 5e-4)"},
        {"parts", FLAG_SIZE, &f.parts, "N", "updates a prompt, each from every N-th position (Locret: 1)"},
        {"smoothness", FLAG_NUMBER, &f.train.smoothness, "X", "weight of steps between neighbours (Locret: 0.0025)"},
        {"held-out", FLAG_SIZE, &f.held_out, "N", "prompts kept apart and measured at the end"},
        {"save-every", FLAG_SIZE, &f.train.save_every, "N", "steps between states (OUT.state)"},
        {"stop-after", FLAG_SIZE, &f.train.stop_after, "N", "leave after N steps; 0 = run to the end"},
        {"time-limit", FLAG_NUMBER, &f.train.time_limit, "SECONDS", "leave after so long; 0 = run to the end"},
    };
    int parsed = options_parse(
        "usage: apbench heads train --model M --data FILES --text FILES --out FILE [flags]\n\n"
        "Trains retaining heads after Locret's recipe: labels from the frozen model's attention, one\n"
        "prompt a step; the loss leaves out a prompt's level, and steps are in units of features. The same\n"
        "command goes on after an interruption, to the same result.\n",
        table, FLAG_COUNT(table), argc, argv, NULL);
    int status = 0;
    if (!parsed)
        parsed = check_train(&f) || check_sources(&f) ? -1 : 0;
    if (parsed <= 0)
        status = parsed ? command_misused() : run_on_device(&f, train);
    flags_free(&f);
    return status;
}

static int evaluate(heads_flags *f, device *dev)
{
    model *m = NULL;
    heads_prompts prompts = {0};
    retaining_heads heads = {0};
    int status = open_all(f, dev, &m, &prompts);
    char *path = status ? NULL : model_heads_path(f->name, m->directory, f->flags.retaining_heads);
    if (!status && f->passed) {
        status = measure_and_print_passed(f, m, &prompts);
    } else {
        if (!status && !path)
            status = fail("give the heads with --retaining-heads FILE");
        if (!status)
            status = heads_load(&heads, &m->config.shape, m->layers, path);
        if (!status)
            status = evaluate_and_print(f, m, &prompts, &heads);
    }
    free(path);
    heads_free(&heads);
    heads_prompts_free(&prompts);
    if (m)
        model_close(m);
    return status;
}

static int command_evaluate(int argc, char **argv)
{
    heads_flags f = defaults();
    const flag table[] = {
        HEADS_FLAGS(f),
        {"passed", FLAG_SIZE, &f.passed, "L_P", "measure what the layouts pass on, L_P keys of a block"},
    };
    int parsed = options_parse(
        "usage: apbench heads eval --model M --retaining-heads FILE --data FILES [flags]\n\n"
        "Prints, by layer and in the mean, which share of the top 10 % of positions by label the heads\n"
        "find (overlap), and which share of the tokens of answers that stand in the document (needle\n"
        "recall; recall by labels: what heads would find that gave the labels themselves). With --passed:\n"
        "which share of a block's L_P largest labels (top labels) and of the tokens of answers (needles)\n"
        "its compressor passes on, for each method of --layout (apb:compressor=query,\n"
        "apb:compressor=random); no heads are needed but those that a method uses.\n",
        table, FLAG_COUNT(table), argc, argv, NULL);
    int status = 0;
    if (!parsed)
        parsed = check_sources(&f);
    if (!parsed && f.passed && !f.layouts.count)
        parsed = fail("--passed needs a method that passes keys on: --layout apb");
    if (parsed <= 0)
        status = parsed ? command_misused() : run_on_device(&f, evaluate);
    flags_free(&f);
    return status;
}

int command_heads(int argc, char **argv)
{
    static const char usage[] =
        "usage: apbench heads train|eval [flags]; each explains itself with --help\n\n"
        "Retaining heads, APB's compressor: train them for a model, or measure them.\n";
    const char *word = argc > 1 ? argv[1] : "";
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
        printf("%s", usage);
        return 0;
    }
    if (!strcmp(word, "train")) {
        argv[1] = "heads train"; /* as the parser's sentences name the command */
        return command_train(argc - 1, argv + 1);
    }
    if (!strcmp(word, "eval")) {
        argv[1] = "heads eval";
        return command_evaluate(argc - 1, argv + 1);
    }
    if (*word)
        fail("heads: '%s' is neither train nor eval; see 'apbench heads --help'", word);
    else
        fail("heads wants a word, train or eval; see 'apbench heads --help'");
    return command_misused();
}
