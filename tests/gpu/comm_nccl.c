/* The nccl links, on one GPU that all ranks share or on a GPU for each: data of every call, every method against sim, and
 * every way in which a launch can end. Without arguments it starts itself once for each of its parts,
 * which spawn their ranks:
 *
 *     whole   8 ranks: the cases of tests/comm_cases.c on groups of 1, 2, 3, 4 and 8, then all methods
 *             on 2, 4 and 8 hosts under nccl and, in the leading process, under sim: same tokens.
 *             `whole N` starts N ranks instead: as many as there are GPUs, for real links, with groups
 *             of every size up to N
 *     failed  4 ranks: runs that fail and leave the launch alive
 *     clock   2 ranks: a late host shows as the other's exposed communication
 *     killed, stuck, leaves   4 ranks: a rank dies, hangs, or fails while others wait for it
 *
 * Every collective costs 10-17 ms on a shared GPU, so there are few. --small (compute-sanitizer) runs
 * the cases in this process, as one rank. */
#include "harness/comm.h"
#include "harness/comm/replay.h"
#include "harness/error.h"
#include "harness/launch/launch.h"
#include "harness/run/prompt.h"
#include "harness/run/run.h"
#include "tests/comm_cases.h"

#include <cuda_runtime_api.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const comm_driver *nccl;
static device *dev;
static int ranks = 1, failures;
static bool leader = true, shared; /* the ranks have one GPU */

static void verdict(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void verdict(bool good, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    failures += !good;
    if (leader)
        printf("%s %s\n", good ? "ok" : "not ok", text);
    fflush(stdout);
}

static int run_hosts(int hosts, int (*body)(comm *, void *), void *argument, double deadline)
{
    timeline *timelines = alloc_or_die((size_t)hosts, sizeof *timelines);
    for (int rank = 0; rank < hosts; rank++)
        timelines[rank].deadline = deadline > 0 ? monotonic_seconds() + deadline : 0;
    int result = nccl->run(nccl, hosts, dev, timelines, body, argument);
    for (int rank = 0; rank < hosts; rank++)
        timeline_free(&timelines[rank]);
    free(timelines);
    dev->forget_marks(dev);
    return result;
}

static int wait_for(comm *c, int handle)
{
    return handle < 0 ? -1 : c->driver->wait(c, handle);
}

/* ---- Data ---- */

static void try_cases(void)
{
    for (int hosts = 1; hosts <= ranks; hosts++) {
        if (shared && hosts > 4 && hosts < 8) /* every collective takes milliseconds there */
            continue;
        for (int i = 0; i < comm_case_count; i++) {
            double since = monotonic_seconds();
            int result = run_hosts(hosts, comm_cases[i].body, NULL, 60);
            verdict(result == 0, "nccl %s on %d hosts%s%s (%.2f s)", comm_cases[i].name, hosts,
                    result ? ": " : "", result ? fail_text() : "", monotonic_seconds() - since);
        }
    }
}

static void try_share(void)
{
    enum { BYTES = 1 << 20 };
    unsigned char *data = alloc_or_die(BYTES, 1);
    for (int i = 0; i < BYTES && leader; i++)
        data[i] = (unsigned char)(i * 7 + (i >> 9));
    int result = nccl->share(nccl, data, BYTES);
    for (int i = 0; i < BYTES && !result; i++)
        if (data[i] != (unsigned char)(i * 7 + (i >> 9)))
            result = fail("byte %d is wrong", i);
    result = nccl->agree(nccl, result); /* only the leader prints */
    verdict(result == 0, "nccl share%s%s", result ? ": " : "", result ? fail_text() : "");
    free(data);
}

/* ---- Methods ---- */

enum { NEW_TOKENS = 4 };

typedef struct {
    int32_t ids[NEW_TOKENS];
    float *logits; /* [NEW_TOKENS, vocab] */
    int vocab;
} answer;

static void keep_token(void *argument, int step, int32_t id, const float *logits)
{
    answer *a = argument;
    a->ids[step] = id;
    memcpy(a->logits + (size_t)step * (size_t)a->vocab, logits, (size_t)a->vocab * sizeof *logits);
}

static int run_under(const comm_driver *driver, const model *m, const cell *c, const prompt *p,
                     answer *a)
{
    run_request request = {
        .model = m,
        .cell = c,
        .driver = driver,
        .document = p->ids,
        .query = p->ids + p->document,
        .new_tokens = NEW_TOKENS,
        .on_token = leader ? keep_token : NULL,
        .argument = a,
        .deadline = monotonic_seconds() + 60,
    };
    run_result result = {0};
    int status = run_cell(&request, &result);
    run_result_free(&result);
    dev->forget_marks(dev);
    return status;
}

/* sim and nccl give the same bits for the same shapes: the same operations in the same order. */
static void compare(const char *name, const answer *ours, const answer *theirs, double seconds)
{
    int different = 0, token = -1;
    float most = 0;
    for (int i = 0; i < NEW_TOKENS * ours->vocab; i++) {
        float gap = ours->logits[i] - theirs->logits[i];
        gap = gap < 0 ? -gap : gap;
        different += !(gap == 0);
        most = gap > most ? gap : most;
    }
    for (int step = NEW_TOKENS - 1; step >= 0; step--)
        if (ours->ids[step] != theirs->ids[step])
            token = step;
    if (token >= 0)
        verdict(false, "nccl %s: token %d is %d, under sim %d (%d logits differ, by up to %g)", name,
                token, ours->ids[token], theirs->ids[token], different, most);
    else
        verdict(true, "nccl %s: tokens %d %d %d %d as under sim; %d of %d logits differ, by up to %g "
                "(%.2f s)", name, ours->ids[0], ours->ids[1], ours->ids[2], ours->ids[3], different,
                NEW_TOKENS * ours->vocab, most, seconds);
}

static int try_cell(const model *m, const prompt *p, const char *text, int hosts)
{
    cell c = {.hosts = hosts, .seed = 1};
    if (method_parse(text, &c))
        return -1;
    prompt_to_cell(p, &c);
    cell_from_model(&c, &m->config, m);
    char name[160];
    snprintf(name, sizeof name, "%s on %d hosts", text, hosts);
    if (c.method->resolve && c.method->resolve(&c)) {
        verdict(false, "nccl %s: %s", name, fail_text());
        return 0;
    }
    size_t bytes = (size_t)(NEW_TOKENS * m->config.shape.vocab) * sizeof(float);
    answer ours = {.vocab = m->config.shape.vocab, .logits = alloc_or_die(bytes, 1)};
    answer theirs = {.vocab = m->config.shape.vocab, .logits = alloc_or_die(bytes, 1)};
    double since = monotonic_seconds();
    int status = run_under(nccl, m, &c, p, &ours);
    double seconds = monotonic_seconds() - since;
    if (!status && leader)
        status = run_under(comm_find("sim"), m, &c, p, &theirs);
    if (status)
        verdict(false, "nccl %s: %s", name, fail_text());
    else
        compare(name, &ours, &theirs, seconds);
    free(ours.logits);
    free(theirs.logits);
    return 0;
}

static void try_methods(void)
{
    static const char *const more[] = {"apb:compressor=random", "apb:compressor=recency:anchor=0",
                                       "apb:compressor=norm", "star:anchor=64"};
    static const int hosts[] = {2, 4, 8};
    model *m = model_open("small", dev, 2, 1, NULL);
    prompt p = {0};
    if (!m || prompt_random(m, 2048 + 13, 50, 1, &p)) {
        verdict(false, "nccl methods: %s", fail_text());
        return;
    }
    for (int h = 0; h < 3 && hosts[h] <= ranks; h++) {
        for (int i = 0; i < method_count; i++)
            if (!method_table[i]->single_host)
                try_cell(m, &p, method_table[i]->name, hosts[h]);
        for (size_t i = 0; i < sizeof more / sizeof *more; i++)
            try_cell(m, &p, more[i], hosts[h]);
    }
    prompt_free(&p);
    model_close(m);
}

/* ---- Failures ---- */

static int some_fail(comm *c, void *argument)
{
    if (wait_for(c, c->driver->barrier(c)) < 0)
        return -1;
    int first = *(int *)argument;
    return c->rank >= first ? fail("the moon is full") : 0;
}

static int forgets_to_wait(comm *c, void *unused)
{
    (void)unused;
    return c->driver->barrier(c) < 0 ? -1 : 0;
}

static int bad_peer(comm *c, void *unused)
{
    (void)unused;
    return c->driver->send_recv(c, c->size, NULL, 0, -1, NULL, 0) < 0 ? -1 : 0;
}

static int bad_wait(comm *c, void *unused)
{
    (void)unused;
    return c->driver->wait(c, 7);
}

static void expect_failed(int hosts, int (*body)(comm *, void *), void *argument,
                          const char *sentence)
{
    int result = run_hosts(hosts, body, argument, 60);
    bool good = result < 0 && !strcmp(fail_text(), sentence);
    verdict(good, "nccl fails with '%s'%s%s", sentence, good ? "" : " but: ",
            good ? "" : result < 0 ? fail_text() : "it went well");
}

static void try_failed(void)
{
    int all = 0, last = ranks - 1;
    for (int round = 0; round < 2; round++) {
        expect_failed(ranks, some_fail, &all, "host 0: the moon is full");
        expect_failed(ranks, some_fail, &last, "host 3: the moon is full");
        expect_failed(ranks - 1, some_fail, &all, "host 0: the moon is full");
        expect_failed(2, forgets_to_wait, NULL,
                      "host 0: returned without waiting for its barrier (handle 0)");
        expect_failed(ranks, bad_peer, NULL,
                      "host 0: send_recv: the receiver is host 4, but the hosts are 0 to 3");
        expect_failed(1, bad_wait, NULL,
                      "host 0: wait: there is no transfer with handle 7 to wait for");
    }
    expect_failed(5, some_fail, &all,
                  "--comm nccl: 5 hosts are asked for, but 4 processes have been started");
    verdict(!run_hosts(ranks, comm_cases[0].body, NULL, 60), "nccl goes on after failed runs");
}

/* Host 0 waits for the 0.3 s that host 1's CPU sleeps. Only lower bounds: the machine may be busy. */
static int late_host(comm *c, void *argument)
{
    if (wait_for(c, c->driver->barrier(c)) < 0)
        return -1;
    timeline_phase(c->time, PHASE_START);
    if (c->rank == 1)
        usleep(300000);
    int status = wait_for(c, c->driver->barrier(c));
    timeline_phase(c->time, PHASE_PREFILL_END);
    timeline_phase(c->time, PHASE_DECODE_END);
    c->dev->sync(c->dev);
    return status < 0 ? -1 : replay_measured(c->time, argument);
}

static void try_clock(void)
{
    host_times times = {0};
    int warm = run_hosts(2, comm_cases[0].body, NULL, 60);
    int result = warm ? warm : run_hosts(2, late_host, &times, 60);
    double exposed = times.parts[PHASE_PREFILL][PART_COMM];
    if (leader)
        verdict(!result && exposed > 0.25 && exposed < times.prefill_end + 1e-9,
                "nccl: of %.3f s host 0 waited %.3f for a host 0.3 s late%s%s", times.prefill_end,
                exposed, result ? ": " : "", result ? fail_text() : "");
}

/* ---- Launches that end; the parent looks at what they say ---- */

static int meet(comm *c, void *unused)
{
    (void)unused;
    return wait_for(c, c->driver->barrier(c));
}

static int one_leaves(comm *c, void *argument)
{
    comm_place("small ring, 4 hosts, length 1K", 7);
    if (wait_for(c, c->driver->barrier(c)) < 0)
        return -1;
    c->dev->sync(c->dev);
    usleep(600000); /* for a beat to tell the place */
    const char *word = argument;
    if (c->rank == 2) {
        printf("at %.3f\n", monotonic_seconds());
        fflush(stdout);
        if (!strcmp(word, "leaves"))
            return fail("the moon is full");
        if (!strcmp(word, "killed"))
            raise(SIGKILL);
        pause();
    }
    comm_place(NULL, 8);
    int status = wait_for(c, c->driver->barrier(c));
    c->dev->sync(c->dev); /* the kernel waits for host 2, and this for the kernel */
    return status;
}

/* Starts this program with the word and checks how it ends: status, one sentence, soon enough. */
static void expect_end(const char *program, const char *word, double most, const char *sentence)
{
    char command[4200], line[1024], said[1024] = "nothing";
    snprintf(command, sizeof command, "timeout -k 5 60 '%s' %s 2>&1", program, word);
    FILE *output = popen(command, "r");
    double at = 0;
    int count = 0;
    while (output && fgets(line, sizeof line, output)) {
        if (sscanf(line, "at %lf", &at) == 1)
            continue;
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "apbench: ", 9) && count++ == 0)
            snprintf(said, sizeof said, "%s", line + 9);
        else
            printf("     %s\n", line);
    }
    int status = output ? pclose(output) : -1;
    double took = monotonic_seconds() - at;
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 1 && count == 1 && at > 0 &&
                took < most && strstr(said, sentence);
    verdict(good, "nccl %s: status %d, %.1f s after it (at most %.0f), %d sentences: %s%s%s", word,
            WIFEXITED(status) ? WEXITSTATUS(status) : -1, took, most, count, said,
            good ? "" : "; expected: ", good ? "" : sentence);
}

static void pass_on(const char *program, const char *word)
{
    char command[4200], line[4096];
    snprintf(command, sizeof command, "timeout -k 5 300 '%s' %s 2>&1", program, word);
    FILE *output = popen(command, "r");
    while (output && fgets(line, sizeof line, output)) {
        failures += !strncmp(line, "not ok ", 7);
        fputs(line, stdout);
        fflush(stdout);
    }
    int status = output ? pclose(output) : -1;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        verdict(false, "nccl %s: ended with status %d", word,
                WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static int try_all(void)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        return 1;
    program[length] = 0;
    pass_on(program, "whole");
    pass_on(program, "failed");
    pass_on(program, "clock");
    expect_end(program, "killed", 6,
               "host 2 died in cell `small ring, 4 hosts, length 1K`, layer 7");
    expect_end(program, "stuck", 9, "host 2 is stuck in cell `small ring, 4 hosts, length 1K`, layer 7: timeout");
    expect_end(program, "leaves", 11, "host 2: the moon is full");
    return failures > 0;
}

/* ---- A rank ---- */

static int open_all(void)
{
    nccl = comm_find("nccl");
    dev = device_find("cuda");
    if (!nccl || !dev || nccl->open(nccl, dev, &ranks, &leader) || dev->open(dev, 0)) {
        fprintf(stderr, "apbench: %s\n", fail_text());
        return -1;
    }
    return 0;
}

static int be_rank(const char *word)
{
    if (open_all())
        return 2;
    if (!strcmp(word, "whole")) {
        int gpus = 0;
        cudaGetDeviceCount(&gpus);
        const char *remark = nccl->remark(nccl);
        shared = gpus < ranks;
        verdict(shared ? remark && !strcmp(remark, COMM_SHARED_GPU) : !remark,
                "nccl: %d ranks on %d GPUs are marked as \"%s\"", ranks, gpus, remark ? remark : "");
        try_share();
        try_cases();
        try_methods();
    } else if (!strcmp(word, "failed")) {
        try_failed();
    } else if (!strcmp(word, "clock")) {
        try_clock();
    } else {
        run_hosts(ranks, meet, NULL, 60); /* communicators are made now */
        run_hosts(ranks, one_leaves, (void *)word, !strcmp(word, "stuck") ? 4 : 0);
        verdict(false, "nccl %s: the run came back: %s", word, fail_text());
    }
    dev->close(dev);
    nccl->close(nccl);
    return failures > 0;
}

int main(int count, char **words)
{
    const char *word = count > 1 ? words[1] : "";
    int whole = count > 2 ? atoi(words[2]) : 8;
    if (launch_started_by())
        return be_rank(word);
    if (*word && strcmp(word, "--small"))
        return launch_spawn(!strcmp(word, "whole") ? whole : !strcmp(word, "clock") ? 2 : 4);
    int gpus = 0;
    if (cudaGetDeviceCount(&gpus) != cudaSuccess || !gpus)
        return 77;
    if (!*word)
        return try_all();
    if (open_all())
        return 2;
    try_cases();
    dev->close(dev);
    nccl->close(nccl);
    return failures > 0;
}
