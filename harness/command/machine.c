/* Opens the device and the links that a command's flags name. See command.h. */
#include <stdio.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/launch/control.h"
#include "harness/run/prompt.h"
#include "harness/sweep/workers.h"

/* What a launcher's processes have found by themselves before they joined, like a bad flag, all of
 * them have as a rule: the first says so, and when it ends the launcher ends the others (Open MPI's
 * mpirun takes a second). Those who live on past this have found it alone. */
#define ALONE_SECONDS 3

static bool joined, leads; /* a launch, while it is open */

static void say(void)
{
    bool all_know = joined && !leads && comm_agreed(fail_text());
    if (control_tell(fail_text()) || all_know || workers_tell(fail_text()))
        return;
    int rank = joined ? 0 : launch_rank();
    if (rank == 0) {
        /* What the leader of workers has found is nobody else's: the user knows of one process. */
        bool own = !strncmp(fail_text(), "worker 0: ", 10);
        fprintf(stderr, "apbench: %s\n", own ? comm_agreed(fail_text()) : fail_text());
        return;
    }
    sleep(ALONE_SECONDS);
    fprintf(stderr, "apbench: host %d: %s\n", rank, fail_text());
}

int command_failed(void)
{
    say();
    return 1;
}

int command_misused(void)
{
    say();
    return 2;
}

int machine_failed(const machine *m)
{
    bool agreed = comm_agreed(fail_text()) != NULL;
    int status = command_failed();
    if (m->most_hosts != 1 && !agreed)
        m->driver->abort(m->driver);
    return status;
}

int check_range(const char *flag, int64_t value, int64_t least, int64_t most)
{
    if (value >= least && value <= most)
        return 0;
    return fail("--%s %lld is out of range: %lld to %lld", flag, (long long)value, (long long)least,
                (long long)most);
}

int check_ranges(const char *flag, const size_list *values, int64_t least, int64_t most)
{
    for (int i = 0; i < values->count; i++)
        if (check_range(flag, values->items[i], least, most))
            return -1;
    return 0;
}

int check_lengths(const size_list *lengths, int64_t query)
{
    for (int i = 0; i < lengths->count; i++)
        if (prompt_check_length(lengths->items[i], query))
            return -1;
    return 0;
}

/* 0, or -1 with a sentence when the links cannot serve the device, or nobody can start the ranks. */
static int check_links(const machine_flags *flags, const machine *m)
{
    const char *only = m->driver->device;
    if (only && strcmp(only, m->dev->name))
        return fail("--comm %s works with --device %s, not %s", m->driver->name, only, m->dev->name);
    if (flags->workers > 1 && !m->driver->projected)
        return fail("--workers %lld: the processes of --comm %s run each sample together; workers are "
                    "for --comm sim",
                    (long long)flags->workers, m->driver->name);
    if (!flags->spawn)
        return 0;
    if (check_range("spawn", flags->spawn, 1, LAUNCH_MOST_RANKS))
        return -1;
    if (!m->driver->spawns)
        return fail("--spawn starts processes for --comm nccl, not %s", m->driver->name);
    const char *launcher = launch_started_by();
    if (launcher && strcmp(launcher, "--spawn"))
        return fail("--spawn %lld: %s has started this process as a rank already",
                    (long long)flags->spawn, launcher);
    return 0;
}

/* Cores that this process may run on. */
static int cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) ? 0 : CPU_COUNT(&set);
    return count > 0 ? count : (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* Nothing that has threads or a device may be open yet. */
static int start_workers(const machine_flags *flags, machine *m)
{
    if (workers_start((int)flags->workers))
        return -1;
    m->driver = workers_driver(m->driver);
    omp_set_num_threads(workers_part(cores())); /* of what is no device's */
    return 0;
}

/* Opens the device with this process's part of the threads. */
static int open_device(machine *m)
{
    if (workers_count() == 1) {
        int status = m->dev->open(m->dev, m->dev->threads);
        m->threads = m->dev->threads;
        return status;
    }
    int all = m->dev->threads ? m->dev->threads : cores();
    int status = m->dev->open(m->dev, workers_part(all));
    m->threads = m->dev->on_cores ? all : m->dev->threads;
    return status;
}

/* Ranks of a launcher that these links do not join: few who start them want that. */
static void note_ranks_apart(const machine *m)
{
    const char *launcher = launch_started_by();
    if (m->driver->projected && launcher && launch_rank() == 0)
        fprintf(stderr, "apbench: %s has started several processes, and each runs all hosts by itself: "
                "--comm mpi or nccl would make each a host\n", launcher);
}

static void close_links(machine *m)
{
    m->driver->close(m->driver);
    joined = false;
}

int machine_open(const machine_flags *flags, machine *m)
{
    if (check_range("threads", flags->threads, 0, MOST_THREADS) ||
        check_range("layers", flags->layers, 0, MOST_LAYERS))
        return command_misused();
    *m = (machine){.dev = device_find(flags->device), .driver = comm_find(flags->comm)};
    if (!m->dev || !m->driver || check_links(flags, m))
        return command_misused();
    if (flags->spawn && !launch_started_by())
        exit(launch_spawn((int)flags->spawn)); /* nothing is open yet: this process supervises */
    if (flags->workers > 1 && start_workers(flags, m))
        return command_failed();
    m->dev->threads = (int)flags->threads;
    if (m->driver->open(m->driver, m->dev, &m->most_hosts, &m->leader))
        return command_failed();
    m->leader &= workers_number() == 0;
    joined = true;
    leads = m->leader;
    if (m->leader)
        note_ranks_apart(m);
    int opened = open_device(m);
    if (m->driver->agree(m->driver, opened)) {
        int status = command_failed();
        if (!opened)
            m->dev->close(m->dev);
        close_links(m);
        return status;
    }
    return 0;
}

void machine_close(machine *m)
{
    m->dev->close(m->dev);
    close_links(m);
}
