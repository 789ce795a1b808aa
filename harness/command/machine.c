/* Opens the device and the links that a command's flags name. See command.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/launch/control.h"

/* What a launcher's processes have found by themselves before they joined, like a bad flag, all of
 * them have as a rule: the first says so, and when it ends the launcher ends the others (Open MPI's
 * mpirun takes a second). Those who live on past this have found it alone. */
#define ALONE_SECONDS 3

static bool joined, leads; /* a launch, while it is open */

static void say(void)
{
    if (control_tell(fail_text()) || (joined && !leads && comm_agreed(fail_text())))
        return;
    int rank = joined ? 0 : launch_rank();
    if (rank == 0) {
        fprintf(stderr, "apbench: %s\n", fail_text());
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

/* 0, or -1 with a sentence when the links cannot serve the device, or nobody can start the ranks. */
static int check_links(const machine_flags *flags, const machine *m)
{
    const char *only = m->driver->device;
    if (only && strcmp(only, m->dev->name))
        return fail("--comm %s works with --device %s, not %s", m->driver->name, only, m->dev->name);
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
    if (m->driver->open(m->driver, m->dev, &m->most_hosts, &m->leader))
        return command_failed();
    joined = true;
    leads = m->leader;
    int opened = m->dev->open(m->dev, (int)flags->threads);
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
