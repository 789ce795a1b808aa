/* `apbench speed`: the sweep over models x methods x hosts x lengths. */
#include <stdio.h>
#include <string.h>

#include "build_commit.h"
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/machine/peaks.h"
#include "harness/sweep/preset.h"
#include "harness/sweep/profile.h"
#include "harness/sweep/progress.h"
#include "harness/sweep/speed.h"

static const char usage[] =
    "usage: apbench speed [--preset NAME] [flags]\n\n"
    "Times prefill (document and query to the first token) and decode of every combination, with\n"
    "random tokens, and appends a row a cell to --out. The same command resumes a sweep that was\n"
    "killed. With --comm sim, times of several hosts are projected over each --link. --profile CELL runs\n"
    "one cell for a profiler instead, between cudaProfilerStart and Stop, and writes no row.\n";

typedef struct {
    sweep_axes axes;
    machine_flags machine;
    text_list links;
    int64_t reps, warmup;
    const char *preset, *out, *profile;
    bool dry_run;
} speed_flags;

enum { MOST_REPETITIONS = 1000000 };

static int check_flags(const speed_flags *f, link_model *links)
{
    if (check_range("reps", f->reps, 1, MOST_REPETITIONS) ||
        check_range("warmup", f->warmup, 0, MOST_REPETITIONS) ||
        check_range("new-tokens", f->axes.new_tokens, 1, INT32_MAX) ||
        check_ranges("hosts", &f->axes.hosts, 1, MOST_HOSTS_OF_A_CELL) ||
        check_lengths(&f->axes.lengths, f->axes.query))
        return -1;
    for (int i = 0; i < f->links.count; i++)
        if (link_find(f->links.items[i], &links[i]))
            return fail_within("--link");
    return 0;
}

/* The paper's presets are whole models at great lengths. Where nothing of that fits, or it would take
 * more than a day, the user is more likely to want some layers of it. */
static int check_paper_preset(const speed_flags *f, const speed_sweep *s)
{
    if (!f->preset || strncmp(f->preset, "paper-", 6) || f->axes.layers)
        return 0;
    bool any = false;
    for (int i = 0; i < s->sweep->count; i++)
        any |= s->sweep->cells[i].verdict == CELL_RUNS;
    if (!any)
        return fail("nothing of preset %s fits into this machine's memory whole; run its first N "
                    "layers with --layers N (see --dry-run)", f->preset);
    char text[64];
    double expected = speed_expected(s);
    if (expected > 24 * 3600)
        return fail("preset %s would take about %s here; run its first N layers with --layers N "
                    "(see --dry-run)", f->preset, format_seconds(expected, text, sizeof text));
    return 0;
}

/* Everything once flags are parsed; the exit status. */
static int run(speed_flags *f, const machine *m, const link_model *links)
{
    sweep sweep;
    speed_sweep s = {
        .dev = m->dev,
        .driver = m->driver,
        .leader = m->leader,
        .sweep = &sweep,
        .axes = &f->axes,
        .links = links,
        .link_names = &f->links,
        .reps = f->reps,
        .warmup = f->warmup,
        .timeout = f->machine.timeout,
    };
    /* All processes judge by the leader's figures, so that they agree. What is free counts once
     * libraries and kernels are loaded, which takes device memory too. */
    double peak = m->leader ? peak_gemm(m->dev) : 0;
    size_t room, total;
    m->dev->memory(m->dev, &room, &total);
    double shared[2] = {(double)room, peak};
    identity_read(&s.id, m->dev);
    int status = m->driver->share(m->driver, shared, sizeof shared);
    room = (size_t)shared[0];
    s.gemm_peak = shared[1];
    bool made = !status, misused = false; /* a CELL can be told wrong only once there are cells */
    if (made)
        status = sweep_make(&f->axes, m->dev, room, m->driver->projected, m->most_hosts, &sweep);
    const sweep_cell *profiled = NULL;
    if (!status && f->profile) {
        profiled = profile_find(&sweep, f->profile);
        misused = !profiled;
        status = misused ? -1 : profile_check(&sweep, profiled);
    } else if (!status && !f->dry_run) {
        status = check_paper_preset(f, &s);
    }
    if (made)
        status = m->driver->agree(m->driver, status); /* a model may be missing on one machine */
    if (!status && m->leader && sweep.left_out)
        fprintf(stderr, "%d cell%s more hosts than the %d of this launch: left out\n",
                sweep.left_out, sweep.left_out == 1 ? " wants" : "s want", m->most_hosts);
    if (!status && f->dry_run) {
        if (m->leader)
            speed_dry_run(&s);
    } else if (!status && profiled) {
        status = profile_run(&s, profiled);
    } else if (!status) {
        if (m->leader) {
            s.records = records_open(f->out, RECORD_SPEED, BUILD_COMMIT);
            status = s.records ? 0 : -1;
        }
        status = m->driver->agree(m->driver, status);
        if (!status)
            status = speed_run(&s);
        if (s.records)
            records_close(s.records);
    }
    int exit_status = misused ? command_misused() : status ? machine_failed(m) : s.failed > 0;
    if (made)
        sweep_free(&sweep);
    return exit_status;
}

int command_speed(int argc, char **argv)
{
    static speed_flags f = {.machine = MACHINE_FLAGS_DEFAULT, .reps = 3, .warmup = 1};
    f.axes.query = 50;
    f.axes.new_tokens = 4;
    f.out = "results/local/speed.csv";
    parse_texts("smollm2", &f.axes.models);
    parse_texts("flash,ring,zigzag,ulysses,star,apb", &f.axes.methods);
    parse_sizes("1,4", &f.axes.hosts);
    parse_sizes("1K", &f.axes.lengths);
    parse_texts("eth100", &f.links);
    const flag table[] = {
        {"preset", FLAG_TEXT, &f.preset, "NAME", "flags to start from (apbench list presets)"},
        {"models", FLAG_TEXTS_OF(model_check_name), &f.axes.models, "LIST",
         "presets or Hugging Face directories"},
        {"methods", FLAG_TEXTS_OF(method_check_name), &f.axes.methods, "LIST",
         "NAME[:OPTION=VALUE...], comma between"},
        {"hosts", FLAG_SIZES, &f.axes.hosts, "LIST", "hosts that share a document"},
        {"lengths", FLAG_SIZES, &f.axes.lengths, "LIST", "document and query, tokens"},
        {"query", FLAG_SIZE, &f.axes.query, "N", "query tokens at the end of each length"},
        {"new-tokens", FLAG_SIZE, &f.axes.new_tokens, "N", "tokens to generate"},
        {"link", FLAG_TEXTS, &f.links, "LIST", "link models for --comm sim (apbench list links)"},
        {"reps", FLAG_SIZE, &f.reps, "N", "timed repetitions: the median counts"},
        {"warmup", FLAG_SIZE, &f.warmup, "N", "repetitions before them"},
        {"out", FLAG_TEXT, &f.out, "NAME.csv", "file to append to"},
        {"profile", FLAG_TEXT, &f.profile, "CELL",
         "run one cell for a profiler: its number in --dry-run, or part of its name"},
        {"dry-run", FLAG_SWITCH, &f.dry_run, NULL, "list the cells and what they would take"},
        MACHINE_FLAGS(f.machine),
    };
    int parsed = preset_options_parse(usage, table, FLAG_COUNT(table), argc, argv);
    if (parsed > 0)
        return 0;
    static link_model *links;
    links = alloc_or_die((size_t)f.links.count, sizeof *links);
    if (parsed || check_flags(&f, links))
        return command_misused();
    f.axes.layers = f.machine.layers;
    f.axes.seed = f.machine.seed;
    f.axes.retaining_heads = f.machine.retaining_heads;
    if (records_check_path(f.out))
        return command_misused();
    machine m;
    int opened = machine_open(&f.machine, &m);
    if (opened)
        return opened;
    int status = run(&f, &m, links);
    machine_close(&m);
    return status;
}
