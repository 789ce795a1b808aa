/* `apbench eval`: tasks under methods, scored, and compared with exact attention. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "build_commit.h"
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/sweep/accuracy.h"
#include "harness/sweep/preset.h"
#include "harness/sweep/workers.h"
#include "methods/method.h"

static const char usage[] =
    "usage: apbench eval [--preset NAME] [flags]\n\n"
    "Runs each task's samples under each method, scores the answers as the benchmark does, and\n"
    "measures how far it is from flash on the same sample: KL and top-1 agreement of the first token,\n"
    "and the error of the last layer's output near a block's start, near its end, in the whole\n"
    "document and in the query. Appends a row a method, hosts, length and task to --out, every sample\n"
    "to a file beside it. The same command resumes a sweep that was killed.\n";

/* Residual streams of exact runs that a task and length may keep in host memory: 200 samples of 8K of
 * the default model, two of Llama-3.1-8B at 128K. */
#define EXACT_ROOM ((size_t)4 << 30)

static int check_flags(const accuracy_sweep *s)
{
    if (check_ranges("hosts", &s->hosts, 1, MOST_HOSTS_OF_A_CELL) ||
        (!s->file && check_ranges("lengths", &s->lengths, 1, MOST_SAMPLE_TOKENS)))
        return -1;
    if (s->file && (s->task_count != 1 || s->lengths.count != 1))
        return fail("--file holds samples of one task, run at one length: name them with --tasks "
                    "NAME and --lengths SIZE (found: %d tasks, %d lengths)", s->task_count,
                    s->lengths.count);
    return 0;
}

int command_eval(int argc, char **argv)
{
    static accuracy_sweep s = {.chat = true, .fidelity = true, .exact_room = EXACT_ROOM};
    machine_flags flags = MACHINE_FLAGS_DEFAULT;
    flags.workers = 1;
    static text_list names;
    const char *preset = NULL, *out = "results/local/accuracy.csv", *scorer = "official";
    bool no_chat = false, no_fidelity = false, dry_run = false;
    flags.seed = 42; /* RULER's */
    parse_texts("smollm2", &s.models);
    parse_texts("flash,star,apb", &s.methods);
    parse_sizes("4", &s.hosts);
    parse_texts("niah", &names);
    const flag table[] = {
        {"preset", FLAG_TEXT, &preset, "NAME", "flags to start from (apbench list presets)"},
        {"models", FLAG_TEXTS_OF(model_check_reader), &s.models, "LIST",
         "presets or Hugging Face directories"},
        {"methods", FLAG_TEXTS_OF(method_check_name), &s.methods, "LIST",
         "NAME[:OPTION=VALUE...], comma between"},
        {"hosts", FLAG_SIZES, &s.hosts, "LIST", "hosts that share a document"},
        {"lengths", FLAG_SIZES, &s.lengths, "LIST", "prompt and answer, tokens [1K]"},
        {"tasks", FLAG_TEXTS, &names, "LIST", "tasks or groups (apbench list tasks)"},
        {"samples", FLAG_SIZE, &s.samples, "N", "samples a task and length; 0 = 20, of --file all"},
        {"file", FLAG_TEXT, &s.file, "FILE", "official JSONL of one task instead of own samples"},
        {"limit", FLAG_SIZE, &s.limit, "N", "at most N samples a task and length; 0 = all"},
        {"haystack", FLAG_TEXT, &s.haystack, "FILE", "essay text instead of the Jargon File"},
        {"no-chat", FLAG_SWITCH, &no_chat, NULL, "leave out the model's chat template"},
        {"scorer", FLAG_TEXT, &scorer, "NAME", "official or apb: whose copy of InfiniteBench's"},
        {"no-fidelity", FLAG_SWITCH, &no_fidelity, NULL, "leave out what compares with flash"},
        {"workers", FLAG_SIZE, &flags.workers, "N", "processes of this machine that share the samples out"},
        {"out", FLAG_TEXT, &out, "NAME.csv", "file to append to"},
        {"dry-run", FLAG_SWITCH, &dry_run, NULL, "list the rows and how much work they would be"},
        MACHINE_FLAGS(flags),
    };
    int parsed = preset_options_parse(usage, table, FLAG_COUNT(table), argc, argv);
    if (parsed > 0)
        return 0;
    if (!parsed && !s.lengths.count && !s.file)
        parse_sizes("1K", &s.lengths);
    if (!parsed && !s.samples)
        s.samples = s.file ? INT64_MAX : 20;
    if (!parsed)
        s.task_count = task_find_all(names.items, names.count, &s.tasks);
    if (parsed || s.task_count < 0 || scorer_find(scorer, &s.scorer) ||
        check_flags(&s) || check_range("workers", flags.workers, 1, MOST_WORKERS))
        return command_misused();
    s.chat = !no_chat;
    s.fidelity = !no_fidelity;
    s.layers = flags.layers;
    s.seed = flags.seed;
    s.timeout = flags.timeout;
    s.retaining_heads = flags.retaining_heads;
    if (dry_run)
        flags.workers = 1;
    if (records_check_path(out))
        return command_misused();
    machine m;
    int opened = machine_open(&flags, &m);
    if (opened)
        return opened;
    s.dev = m.dev;
    s.driver = m.driver;
    s.most_hosts = m.most_hosts;
    s.leader = m.leader;
    s.apart = workers_count() > 1;
    s.threads = m.threads;
    s.exact_room /= (size_t)(workers_count() * (1 + m.dev->neighbours));
    identity_read(&s.id, m.dev);
    size_t total;
    m.dev->memory(m.dev, &s.room, &total); /* all have opened the device, none a model */
    s.room /= (size_t)workers_count();
    int status = m.driver->share(m.driver, &s.room, sizeof s.room); /* all judge alike */
    if (!status && s.haystack && access(s.haystack, R_OK))
        status = fail("--haystack %s: %s", s.haystack, strerror(errno));
    status = m.driver->agree(m.driver, status);
    if (!status && m.leader && !dry_run) {
        s.records = records_open(out, RECORD_ACCURACY, BUILD_COMMIT);
        status = s.records ? 0 : -1;
    }
    status = m.driver->agree(m.driver, status);
    if (!status)
        status = dry_run ? accuracy_dry_run(&s) : accuracy_run(&s);
    int exit_status = status ? machine_failed(&m) : s.failed > 0;
    if (s.records)
        records_close(s.records);
    machine_close(&m);
    return exit_status;
}
