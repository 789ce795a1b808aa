/* The mpi driver under mpirun: tests/check_mpi_links.sh starts this with one word that says what to
 * try. Rank 0 prints what went well; the exit status tells the rest. */
#include "harness/comm.h"
#include "harness/comm/replay.h"
#include "harness/error.h"
#include "harness/launch/launch.h"
#include "tests/comm_cases.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t mpi_piece_bytes(size_t bytes);

static const comm_driver *mpi;
static device *dev;
static int ranks;
static bool leader;

static int run_hosts(int hosts, int (*body)(comm *, void *), void *argument)
{
    timeline *timelines = alloc_or_die((size_t)hosts, sizeof *timelines);
    int result = mpi->run(mpi, hosts, dev, timelines, body, argument);
    for (int rank = 0; rank < hosts; rank++)
        timeline_free(&timelines[rank]);
    free(timelines);
    return result;
}

/* Every call on every group of the launch, with whole messages and with messages in pieces. */
static int try_cases(void)
{
    for (int pass = 0; pass < 2; pass++) {
        size_t whole = mpi_piece_bytes(pass ? 1000 : (size_t)1 << 30);
        for (int hosts = 1; hosts <= ranks; hosts++) {
            for (int i = 0; i < comm_case_count; i++)
                if (run_hosts(hosts, comm_cases[i].body, NULL) < 0)
                    return fail_within("%s on %d hosts%s", comm_cases[i].name, hosts,
                                       pass ? " in pieces" : "");
        }
        mpi_piece_bytes(whole);
    }
    return 0;
}

static int wait_for(comm *c, int handle)
{
    return handle < 0 ? -1 : c->driver->wait(c, handle);
}

/* All hosts, or some, fail where nobody waits for them; the launch goes on. */
static int some_fail(comm *c, void *argument)
{
    if (wait_for(c, c->driver->barrier(c)) < 0)
        return -1;
    int first = *(int *)argument;
    return c->rank >= first ? fail("the moon is full") : 0;
}

static int sizes_differ(comm *c, void *unused)
{
    (void)unused;
    char data[64] = {0};
    if (c->rank == 0)
        return wait_for(c, c->driver->send_recv(c, 1, data, 20, -1, NULL, 0));
    return c->rank > 1 ? 0 : wait_for(c, c->driver->send_recv(c, -1, NULL, 0, 0, data, 30));
}

static int expect_failed_run(int hosts, int (*body)(comm *, void *), void *argument,
                             const char *sentence)
{
    if (run_hosts(hosts, body, argument) == 0)
        return fail("a run went well that should have failed");
    return strcmp(fail_text(), sentence) ? fail("not '%s' but '%s'", sentence, fail_text()) : 0;
}

/* The last host of a group fails at once; the first has sent to it, alone or to all, which needs no
 * answer. */
static int first_sends_last_fails(comm *c, void *to_all)
{
    char data[20];
    memset(data, 'x', sizeof data);
    int last = c->size - 1;
    if (c->rank == last)
        return fail("the moon is full");
    if (c->rank)
        return 0;
    return wait_for(c, *(bool *)to_all
                           ? c->driver->broadcast(c, data, sizeof data, 0)
                           : c->driver->send_recv(c, last, data, sizeof data, -1, NULL, 0));
}

/* The same calls in a run that nobody fails in: nothing comes of what has not been received. */
static int first_sends_to_last(comm *c, void *unused)
{
    (void)unused;
    char data[20];
    int last = c->size - 1;
    memset(data, c->rank ? 0 : 'y', sizeof data);
    if (c->rank == 0 && wait_for(c, c->driver->send_recv(c, last, data, sizeof data, -1, NULL, 0)))
        return -1;
    if (c->rank == last && wait_for(c, c->driver->send_recv(c, -1, NULL, 0, 0, data, sizeof data)))
        return -1;
    if (c->rank == last && data[0] != 'y')
        return fail("what was sent in an earlier run is received: %c", data[0]);
    return wait_for(c, c->driver->broadcast(c, data, sizeof data, 0)) ||
                   wait_for(c, c->driver->barrier(c))
               ? -1
               : 0;
}

static int try_left_messages(void)
{
    char sentence[80];
    for (int hosts = 2; hosts <= ranks; hosts++)
        for (bool to_all = false;; to_all = true) {
            snprintf(sentence, sizeof sentence, "host %d: the moon is full", hosts - 1);
            if (expect_failed_run(hosts, first_sends_last_fails, &to_all, sentence) ||
                run_hosts(hosts, first_sends_to_last, NULL))
                return -1;
            if (to_all)
                break;
        }
    return 0;
}

static int try_failed_runs(void)
{
    int all = 0, last = ranks - 1;
    char sentence[80];
    snprintf(sentence, sizeof sentence, "host %d: the moon is full", last);
    for (int round = 0; round < 3; round++)
        if (expect_failed_run(ranks, some_fail, &all, "host 0: the moon is full") < 0 ||
            expect_failed_run(ranks, some_fail, &last, sentence) < 0 ||
            expect_failed_run(ranks - 1, some_fail, &all, "host 0: the moon is full") < 0 ||
            expect_failed_run(ranks, sizes_differ, NULL,
                              "host 1: send_recv: it receives 30 bytes from host 0, which sends "
                              "fewer") < 0 ||
            run_hosts(ranks, comm_cases[0].body, NULL) < 0)
            return -1;
    if (run_hosts(ranks + 1, some_fail, &all) == 0)
        return fail("more hosts than processes");
    snprintf(sentence, sizeof sentence,
             "--comm mpi: %d hosts are asked for, but %d processes have been started", ranks + 1,
             ranks);
    return strcmp(fail_text(), sentence) ? -1 : 0;
}

static int first_fails(comm *c, void *unused)
{
    (void)unused;
    return c->rank ? 0 : fail("the moon is full");
}

/* The first host fails in a run that others have not come to yet: what it has shared before goes from
 * one to the next, and takes its time. (With few ranks it goes to each by itself.) */
static int try_early_failures(void)
{
    for (int late = 1; late < ranks; late++) {
        int shared = 0;
        if (run_hosts(ranks, comm_cases[0].body, NULL))
            return -1;
        if (launch_rank() == late)
            usleep(100000);
        if (mpi->share(mpi, &shared, sizeof shared) ||
            expect_failed_run(ranks, first_fails, NULL, "host 0: the moon is full"))
            return -1;
    }
    return 0;
}

/* One host fails while the others wait for it: the launch must end, with its sentence. */
static int one_leaves_others_stuck(comm *c, void *unused)
{
    (void)unused;
    if (wait_for(c, c->driver->barrier(c)) < 0)
        return -1;
    if (c->rank == 2)
        return fail("the moon is full");
    return wait_for(c, c->driver->barrier(c));
}

/* One host is killed; mpirun must end the launch. */
static int one_dies(comm *c, void *unused)
{
    if (c->rank == 1)
        raise(SIGKILL);
    return one_leaves_others_stuck(c, unused);
}

/* Nobody answers: the deadline ends it. */
static int one_is_late(comm *c, void *unused)
{
    (void)unused;
    if (c->rank == 1)
        sleep(3);
    if (c->rank == 0)
        c->time->deadline = 1;
    return wait_for(c, c->driver->barrier(c));
}

/* Share, timing of waits, processes outside the group. */
static int late_host(comm *c, void *argument)
{
    if (wait_for(c, c->driver->barrier(c)) < 0)
        return -1;
    timeline_phase(c->time, PHASE_START);
    RANGE(c->time, PART_FFN)
    if (c->rank == 1)
        usleep(300000);
    int status = wait_for(c, c->driver->barrier(c));
    timeline_phase(c->time, PHASE_PREFILL_END);
    timeline_phase(c->time, PHASE_DECODE_END);
    return status < 0 ? -1 : replay_measured(c->time, argument);
}

static int try_clock(void)
{
    int shared[3] = {0};
    if (leader)
        memcpy(shared, (int[]){4, 5, 6}, sizeof shared);
    if (mpi->share(mpi, shared, sizeof shared) < 0)
        return -1;
    if (shared[0] != 4 || shared[2] != 6)
        return fail("share");
    host_times times = {0};
    if (run_hosts(2, late_host, &times) < 0)
        return -1;
    /* Host 0 waits for the 0.3 s that host 1 sleeps; others are not in the group. Only lower
     * bounds: the machine may be busy. */
    double comm_seconds = times.parts[PHASE_PREFILL][PART_COMM];
    if (leader && (comm_seconds < 0.25 || comm_seconds > times.prefill_end + 1e-9))
        return fail("host 0 waited %g of %g s", comm_seconds, times.prefill_end);
    return 0;
}

/* More than 2^31 bytes from host to host; not part of `make test`, since it takes 9 GB. */
static int large(comm *c, void *unused)
{
    (void)unused;
    size_t bytes = ((size_t)1 << 31) + 12345;
    unsigned char *send = c->dev->alloc(c->dev, bytes), *recv = c->dev->alloc(c->dev, bytes);
    if (!send || !recv)
        return fail("no memory");
    for (size_t i = 0; i < bytes; i++)
        send[i] = (unsigned char)((i >> 12) * 31 + i + (size_t)c->rank);
    int other = 1 - c->rank;
    int result = wait_for(c, c->driver->send_recv(c, other, send, bytes, other, recv, bytes));
    for (size_t i = 0; i < bytes && result == 0; i++)
        if (recv[i] != (unsigned char)((i >> 12) * 31 + i + (size_t)other))
            result = fail("byte %zu is wrong", i);
    c->dev->free(c->dev, send);
    c->dev->free(c->dev, recv);
    return result;
}

int main(int count, char **words)
{
    const char *word = count > 1 ? words[1] : "cases";
    mpi = comm_find("mpi");
    dev = device_find("cpu");
    if (!mpi || !dev || dev->open(dev, 1) < 0 || mpi->open(mpi, dev, &ranks, &leader) < 0) {
        fprintf(stderr, "mpi_comm: %s\n", fail_text());
        return 2;
    }
    int result = !strcmp(word, "cases")    ? try_cases()
                 : !strcmp(word, "failed") ? try_failed_runs()
                 : !strcmp(word, "left")   ? try_left_messages()
                 : !strcmp(word, "early")  ? try_early_failures()
                 : !strcmp(word, "clock")  ? try_clock()
                 : !strcmp(word, "stuck")  ? run_hosts(ranks, one_leaves_others_stuck, NULL)
                 : !strcmp(word, "killed") ? run_hosts(ranks, one_dies, NULL)
                 : !strcmp(word, "late")   ? run_hosts(ranks, one_is_late, NULL)
                 : !strcmp(word, "large")  ? run_hosts(2, large, NULL)
                                           : fail("'%s' is nothing to try", word);
    if (result < 0)
        fprintf(stderr, "mpi_comm: %s\n", fail_text());
    else if (leader)
        printf("%s with %d ranks: good\n", word, ranks);
    mpi->close(mpi);
    dev->close(dev);
    return result < 0;
}
