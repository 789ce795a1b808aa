/* `apbench logits`: the logits of every position of a text, into a file, or compared between two
 * devices: how far rounding (bfloat16 against float32) carries what the model says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/run/positions.h"
#include "harness/run/prompt.h"
#include "harness/run/prompt_file.h"
#include "harness/sweep/compare.h"
#include "harness/whole_file.h"

static const char usage[] =
    "usage: apbench logits --prompt-file FILE [flags]\n\n"
    "Runs a text through the model under exact attention on one host and makes the logits of all its\n"
    "positions. --out writes them as a NumPy file, float32 [positions, vocabulary]. --against runs the\n"
    "same on a second device and prints how the two differ: agreement of the best token, KL(first ||\n"
    "second) in nats, and the largest difference of a logit.\n";

typedef struct {
    const char *name, *file, *out, *against;
    int64_t tokens;
    machine_flags flags;
} logits_flags;

/* What is known of positions that both devices have done. */
typedef struct {
    int64_t positions, agreed, worst_position;
    double kl_sum, kl_most, difference_most, logit_most;
} comparison;

/* Rows of both, [rows, vocab], from position `first` on. */
static void compare_rows(const float *a, const float *b, int64_t first, int64_t rows, int vocab,
                         comparison *all)
{
    double *kl = alloc_or_die((size_t)rows * 3, sizeof *kl), *apart = kl + rows, *size = apart + rows;
    int64_t agreed = 0;
#pragma omp parallel for reduction(+ : agreed)
    for (int64_t i = 0; i < rows; i++) {
        const float *p = a + i * vocab, *q = b + i * vocab;
        kl[i] = logits_kl(p, q, vocab);
        for (int v = 0; v < vocab; v++) {
            double d = fabs((double)p[v] - q[v]);
            apart[i] = d > apart[i] || isnan(d) ? d : apart[i];
            size[i] = fmax(size[i], fabs((double)p[v]));
        }
        agreed += logits_best(p, vocab) == logits_best(q, vocab);
    }
    for (int64_t i = 0; i < rows; i++) {
        all->kl_sum += kl[i];
        if (kl[i] > all->kl_most || isnan(kl[i])) {
            all->kl_most = kl[i];
            all->worst_position = first + i;
        }
        if (apart[i] > all->difference_most || isnan(apart[i]))
            all->difference_most = apart[i];
        all->logit_most = fmax(all->logit_most, size[i]);
    }
    all->positions += rows;
    all->agreed += agreed;
    free(kl);
}

/* Version 1.0 of NumPy's format: magic, length of the header, the header as a Python literal padded to
 * 64 bytes, then the data. */
static int write_header(FILE *out, int64_t positions, int vocab)
{
    char header[128];
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = sizeof header - 10, header[9] = 0;
    int length = snprintf(header + 10, sizeof header - 10,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }",
                          (long long)positions, vocab);
    header[10 + length] = ' ';
    header[sizeof header - 1] = '\n';
    return fwrite(header, 1, sizeof header, out) == sizeof header ? 0 : -1;
}

/* All positions once: to the file and into the comparison, whichever is wanted. */
static int walk(positions *first, positions *second, FILE *out, comparison *all)
{
    int vocab = first->model->config.shape.vocab;
    int64_t step = first->most_rows;
    if (second && second->most_rows < step)
        step = second->most_rows;
    size_t chunk = (size_t)step * (size_t)vocab;
    float *a = alloc_or_die(chunk, sizeof *a), *b = second ? alloc_or_die(chunk, sizeof *b) : NULL;
    int status = out && write_header(out, first->count, vocab) ? -1 : 0;
    for (int64_t at = 0; at < first->count && !status; at += step) {
        int64_t rows = first->count - at < step ? first->count - at : step;
        size_t values = (size_t)rows * (size_t)vocab;
        positions_logits(first, at, rows, a);
        if (out && fwrite(a, sizeof *a, values, out) != values)
            status = -1;
        if (second) {
            positions_logits(second, at, rows, b);
            compare_rows(a, b, at, rows, vocab, all);
        }
    }
    free(a);
    free(b);
    return status;
}

static void print_comparison(const logits_flags *f, const comparison *all)
{
    printf("positions   %lld\n", (long long)all->positions);
    printf("top-1       %.3f %% agree (%lld differ)\n",
           100 * (double)all->agreed / (double)all->positions,
           (long long)(all->positions - all->agreed));
    printf("KL(%s || %s)  mean %.6g, largest %.6g nats at position %lld\n", f->flags.device,
           f->against, all->kl_sum / (double)all->positions, all->kl_most,
           (long long)all->worst_position);
    printf("difference  at most %.6g, of logits up to %.6g\n", all->difference_most,
           all->logit_most);
}

/* The file appears whole or not at all. */
static int walk_into_file(const logits_flags *f, positions *first, positions *second,
                          comparison *all)
{
    if (!f->out)
        return walk(first, second, NULL, all);
    whole_file out;
    if (whole_file_open(&out, f->out))
        return -1;
    return whole_file_close(&out, walk(first, second, out.file, all));
}

/* The text's ids, cut to --tokens. */
static int read_ids(const logits_flags *f, const model *m, prompt *p)
{
    size_t bytes;
    char *text = read_prompt_file(f->file, &bytes);
    int status = text ? prompt_from_text(m, text, bytes, false, 1, p) : -1;
    free(text);
    int64_t count = p->document + p->query;
    if (!status && f->tokens > count)
        status = fail("--tokens %lld: %s has only %lld", (long long)f->tokens, f->file,
                      (long long)count);
    if (!status && f->tokens > 0)
        p->document = f->tokens - p->query;
    return status;
}

/* Both devices are open. */
static int run(const logits_flags *f, device *dev, device *against)
{
    device *devices[] = {dev, against};
    model *models[2] = {0};
    positions done[2] = {0};
    prompt p = {0};
    int status = f->out ? whole_file_check(f->out) : 0, count = against ? 2 : 1, opened = 0;
    for (int i = 0; i < count && !status; i++) {
        models[i] = model_open(f->name, devices[i], (int)f->flags.layers, (uint64_t)f->flags.seed, NULL);
        status = models[i] ? 0 : -1;
    }
    if (!status)
        status = read_ids(f, models[0], &p);
    for (; opened < count && !status; opened++)
        status = positions_open(models[opened], p.ids, p.document + p.query, &done[opened]);
    if (status && opened)
        opened--; /* the one that could not be has closed itself */
    comparison all = {0};
    if (!status)
        status = walk_into_file(f, &done[0], against ? &done[1] : NULL, &all);
    if (!status && against)
        print_comparison(f, &all);
    else if (!status)
        printf("%s: float32 [%lld, %d]\n", f->out, (long long)done[0].count,
               models[0]->config.shape.vocab);
    for (int i = 0; i < opened; i++)
        positions_close(&done[i]);
    prompt_free(&p);
    for (int i = 0; i < count; i++)
        model_close(models[i]);
    return status;
}

int command_logits(int argc, char **argv)
{
    logits_flags f = {.name = "smollm2", .flags = MACHINE_FLAGS_DEFAULT};
    const flag table[] = {
        {"model", FLAG_TEXT_OF(model_check_reader), &f.name, "NAME",
         "Hugging Face directory, or smollm2"},
        {"prompt-file", FLAG_TEXT, &f.file, "FILE", "the text, or - for standard input"},
        {"tokens", FLAG_SIZE, &f.tokens, "N", "only its first N tokens; 0 = all"},
        {"device", FLAG_TEXT, &f.flags.device, "NAME", "device (apbench list devices)"},
        {"against", FLAG_TEXT, &f.against, "NAME", "a second device to compare with"},
        {"out", FLAG_TEXT, &f.out, "FILE", "NumPy file to write"},
        {"threads", FLAG_SIZE, &f.flags.threads, "N", "threads of a device; 0 = all cores"},
        {"layers", FLAG_SIZE, &f.flags.layers, "N", "run only the first N layers; 0 = all"},
        {"seed", FLAG_SIZE, &f.flags.seed, "N", "seed of random weights"},
    };
    int parsed = options_parse(usage, table, FLAG_COUNT(table), argc, argv, NULL);
    if (parsed > 0)
        return 0;
    if (!parsed && !f.file)
        parsed = fail("give the text with --prompt-file FILE");
    if (!parsed && !f.out && !f.against)
        parsed = fail("give --out FILE, --against DEVICE or both: there is nothing to do else");
    if (!parsed && f.tokens == 1)
        parsed = fail("--tokens 1: at least 2");
    device *dev = parsed ? NULL : device_find(f.flags.device);
    device *against = dev && f.against ? device_find(f.against) : NULL;
    if (dev && dev == against)
        parsed = fail("--against %s: that is --device as well; it must be another one", f.against);
    if (parsed || !dev || (f.against && !against) ||
        check_range("threads", f.flags.threads, 0, MOST_THREADS) ||
        check_range("layers", f.flags.layers, 0, MOST_LAYERS))
        return command_misused();
    if (dev->open(dev, (int)f.flags.threads))
        return command_failed();
    int status = against ? against->open(against, (int)f.flags.threads) : 0;
    if (!status) {
        status = run(&f, dev, against);
        if (against)
            against->close(against);
    }
    dev->close(dev);
    return status ? command_failed() : 0;
}
