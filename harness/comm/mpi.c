/* mpi: one process a host, started by mpirun (or srun). Times are real: transfers progress during
 * compute only as far as the MPI library does that by itself (Open MPI between processes of one
 * machine hardly does), and the time inside a call is the exposed communication.
 *
 * Everything is non-blocking and polled, because a process that waits must sleep (ranks share cores
 * with the OpenMP threads of others) and must notice when another host has failed:
 * - A host whose body fails tells the others (TAG_FAILED) and goes to the closing agreement, where
 *   all processes of the launch learn who failed and why. If everybody gets there, run() fails
 *   everywhere with the same sentence and the launch lives on.
 * - A host that waits for a transfer and is still stuck GRACE seconds after such notice says so
 *   (TAG_STUCK); then the failed host prints its sentence and ends the launch: the transfer would
 *   stay half done in buffers that are gone.
 * Collectives with data are sent peer to peer, in pieces of at most 1 GiB: counts in MPI are ints,
 * and so a size that does not fit what a peer sends is found. The device's memory must be ordinary
 * memory. */
#include "harness/comm/calls.h"
#include "harness/error.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GRACE 2.0
enum { TAG_MESSAGE = 1, TAG_GATHER, TAG_EXCHANGE }; /* on a group's communicator */
enum { TAG_FAILED = 1, TAG_STUCK };                 /* on the control communicator */
enum { SENTENCE = 2100, NO_HANDLE = -1 };

/* A transfer that has been started and not yet waited for. */
typedef struct {
    int handle;
    transfer_kind kind;
    MPI_Request *requests;
    int *expected; /* bytes of each receive; -1: not a receive */
    int *peer;
    int count, capacity, open;
} transfer;

/* This process. */
static struct {
    bool joined, began_here;
    MPI_Comm control; /* all processes: agreements and notices */
    int rank, ranks;
    MPI_Comm *groups; /* by number of hosts; MPI_COMM_NULL: not made yet, or not a member */
    bool *made;
    size_t piece; /* bytes sent at a time */

    MPI_Comm group; /* of the run in progress */
    transfer *transfers;
    int transfer_count, transfer_capacity, next_handle;
    int failed_host; /* who told that it failed: the first of them, or -1 */
    double failed_at;
    bool *told;      /* [ranks] who has told */
    int stuck_at;    /* the failed host that we have told that we are stuck, or -1 */
    char *sentence;  /* of this host's own failure */
} here;

/* For tests: a small piece makes small messages go in several. */
size_t mpi_piece_bytes(size_t bytes)
{
    size_t old = here.piece;
    here.piece = bytes;
    return old;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Between two polls: at first only gives way to others, then sleeps a little. */
static void rest(double since, long sleep_ns)
{
    if (seconds_now() - since < 1e-3)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = sleep_ns}, NULL);
}

static int mpi_fail(const char *call, int code)
{
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    return fail("%s: MPI says %.*s", call, length, text);
}

static void end_launch(const char *sentence)
{
    fprintf(stderr, "apbench: %s\n", sentence);
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

/* ---- Notices of failure ---- */

/* Takes in what others have told. A stuck host ends the launch of a host that failed. */
static void take_notices(void)
{
    for (int there = 1; there;) {
        MPI_Status status;
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_FAILED, here.control, &there, &status);
        if (!there)
            break;
        MPI_Recv(NULL, 0, MPI_BYTE, status.MPI_SOURCE, TAG_FAILED, here.control,
                 MPI_STATUS_IGNORE);
        here.told[status.MPI_SOURCE] = true;
        if (here.failed_host < 0) {
            here.failed_host = status.MPI_SOURCE;
            here.failed_at = seconds_now();
        }
    }
    int stuck = 0;
    if (here.sentence)
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_STUCK, here.control, &stuck, MPI_STATUS_IGNORE);
    if (stuck)
        end_launch(here.sentence);
}

/* Called while a transfer does not end. */
static void complain_if_stuck(double since)
{
    double now = seconds_now();
    if (here.failed_host < 0 || now - since < GRACE || now - here.failed_at < GRACE)
        return;
    if (here.stuck_at < 0) {
        here.stuck_at = here.failed_host;
        MPI_Request request;
        MPI_Isend(NULL, 0, MPI_BYTE, here.stuck_at, TAG_STUCK, here.control, &request);
        MPI_Request_free(&request);
    } else if (now - here.failed_at > 5 * GRACE) { /* the failed host does not answer either */
        char text[80];
        snprintf(text, sizeof text, "host %d failed, and host %d waits for it", here.failed_host,
                 here.rank);
        end_launch(text);
    }
}

/* ---- Transfers ---- */

static transfer *new_transfer(transfer_kind kind, int handle)
{
    if (here.transfer_count == here.transfer_capacity) {
        here.transfer_capacity = here.transfer_capacity ? 2 * here.transfer_capacity : 8;
        here.transfers = realloc_or_die(here.transfers, (size_t)here.transfer_capacity,
                                        sizeof *here.transfers);
    }
    transfer *t = &here.transfers[here.transfer_count++];
    *t = (transfer){.handle = handle, .kind = kind};
    return t;
}

static void forget_transfer(transfer *t)
{
    free(t->requests);
    free(t->expected);
    free(t->peer);
    *t = here.transfers[--here.transfer_count];
}

static MPI_Request *add_request(transfer *t, int peer, int expected)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 4;
        t->requests = realloc_or_die(t->requests, (size_t)t->capacity, sizeof *t->requests);
        t->expected = realloc_or_die(t->expected, (size_t)t->capacity, sizeof *t->expected);
        t->peer = realloc_or_die(t->peer, (size_t)t->capacity, sizeof *t->peer);
    }
    t->expected[t->count] = expected;
    t->peer[t->count] = peer;
    t->open++;
    return &t->requests[t->count++];
}

static int piece_at(size_t done, size_t bytes)
{
    return (int)(bytes - done < here.piece ? bytes - done : here.piece);
}

/* A message in pieces; one of no bytes is sent too, so that sizes that differ are found. */
static int start_send(transfer *t, const void *data, size_t bytes, int peer, int tag)
{
    size_t done = 0;
    do {
        int piece = piece_at(done, bytes);
        int code = MPI_Isend((const char *)data + done, piece, MPI_BYTE, peer, tag, here.group,
                             add_request(t, peer, -1));
        if (code != MPI_SUCCESS)
            return mpi_fail(transfer_names[t->kind], code);
        done += (size_t)piece;
    } while (done < bytes);
    return 0;
}

static int start_recv(transfer *t, void *data, size_t bytes, int peer, int tag)
{
    size_t done = 0;
    do {
        int piece = piece_at(done, bytes);
        int code = MPI_Irecv((char *)data + done, piece, MPI_BYTE, peer, tag, here.group,
                             add_request(t, peer, piece));
        if (code != MPI_SUCCESS)
            return mpi_fail(transfer_names[t->kind], code);
        done += (size_t)piece;
    } while (done < bytes);
    return 0;
}

static int error_class(int code)
{
    int class = code;
    MPI_Error_class(code, &class);
    return class;
}

/* Ends the requests of t that are done; fails when a message was not as long as expected. */
static int poll_transfer(transfer *t)
{
    for (int i = 0; i < t->count; i++) {
        if (t->requests[i] == MPI_REQUEST_NULL)
            continue;
        int done;
        MPI_Status status;
        int code = MPI_Test(&t->requests[i], &done, &status);
        t->open -= t->requests[i] == MPI_REQUEST_NULL; /* over, well or badly */
        bool longer = code != MPI_SUCCESS && error_class(code) == MPI_ERR_TRUNCATE;
        if (longer || (code == MPI_SUCCESS && done && t->expected[i] >= 0)) {
            int bytes = 0;
            if (!longer)
                MPI_Get_count(&status, MPI_BYTE, &bytes);
            if (longer || bytes != t->expected[i])
                return fail("%s: it receives %d bytes from host %d, which sends %s",
                            transfer_names[t->kind], t->expected[i], t->peer[i],
                            longer ? "more" : "fewer");
        }
        if (code != MPI_SUCCESS)
            return mpi_fail(transfer_names[t->kind], code);
    }
    return 0;
}

/* Polls until the transfer is over. `deadline` and notices are looked at while it is not. */
static int finish(comm *c, transfer *t, const char *call)
{
    double since = seconds_now();
    for (;;) {
        if (poll_transfer(t) < 0)
            return -1;
        if (t->open == 0)
            return 0;
        take_notices();
        complain_if_stuck(since);
        if (check_deadline(c, call) < 0)
            return -1;
        rest(since, 50000);
    }
}

static int mpi_wait(comm *c, int handle)
{
    transfer *t = here.transfers;
    transfer *end = here.transfers + here.transfer_count;
    while (t < end && t->handle != handle)
        t++;
    if (t == end || handle == NO_HANDLE)
        return fail("wait: there is no transfer with handle %d to wait for", handle);
    c->dev->sync(c->dev); /* what was computed before counts as compute */
    timeline_entry *entry = timeline_pause(c->time, ENTRY_WAIT, t->kind);
    entry->handle = handle;
    int result = finish(c, t, transfer_names[t->kind]);
    timeline_resume(c->time, entry);
    if (result == 0)
        forget_transfer(t);
    return result;
}

/* ---- Calls ---- */

static int mpi_all_gather(comm *c, const void *send, void *recv, size_t bytes)
{
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_ALL_GATHER, here.next_handle++);
    timeline_entry *entry = post_all_gather(c, t->handle, bytes);
    char *own = (char *)recv + (size_t)c->rank * bytes;
    if (send != own && bytes)
        c->dev->copy(c->dev, own, send, bytes);
    int result = 0;
    for (int distance = 1; distance < c->size && result == 0; distance++) {
        int from = (c->rank - distance + c->size) % c->size, to = (c->rank + distance) % c->size;
        result = start_recv(t, (char *)recv + (size_t)from * bytes, bytes, from, TAG_GATHER);
        if (result == 0)
            result = start_send(t, send, bytes, to, TAG_GATHER);
    }
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : t->handle;
}

static int mpi_all_to_all(comm *c, const void *send, const size_t *send_at,
                          const size_t *send_bytes, void *recv, const size_t *recv_at,
                          const size_t *recv_bytes)
{
    if (send_bytes[c->rank] != recv_bytes[c->rank])
        return fail("all_to_all: it sends itself %zu bytes but receives %zu from itself",
                    send_bytes[c->rank], recv_bytes[c->rank]);
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_ALL_TO_ALL, here.next_handle++);
    timeline_entry *entry = post_all_to_all(c, t->handle, send_bytes);
    if (send_bytes[c->rank])
        c->dev->copy(c->dev, (char *)recv + recv_at[c->rank],
                     (const char *)send + send_at[c->rank], send_bytes[c->rank]);
    int result = 0;
    for (int distance = 1; distance < c->size && result == 0; distance++) {
        int from = (c->rank - distance + c->size) % c->size, to = (c->rank + distance) % c->size;
        result = start_recv(t, (char *)recv + recv_at[from], recv_bytes[from], from, TAG_EXCHANGE);
        if (result == 0)
            result = start_send(t, (const char *)send + send_at[to], send_bytes[to], to,
                                TAG_EXCHANGE);
    }
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : t->handle;
}

static int mpi_send_recv(comm *c, int to, const void *send, size_t send_bytes, int from,
                         void *recv, size_t recv_bytes)
{
    if (check_peer(c, "send_recv", "the receiver", to, true) < 0 ||
        check_peer(c, "send_recv", "the sender", from, true) < 0)
        return -1;
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_SEND_RECV, here.next_handle++);
    timeline_entry *entry = post_send_recv(c, t->handle, to, send_bytes, from);
    int result = from < 0 ? 0 : start_recv(t, recv, recv_bytes, from, TAG_MESSAGE);
    if (to >= 0 && result == 0)
        result = start_send(t, send, send_bytes, to, TAG_MESSAGE);
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : t->handle;
}

static int mpi_broadcast(comm *c, void *data, size_t bytes, int root)
{
    if (check_peer(c, "broadcast", "the root", root, false) < 0)
        return -1;
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_BROADCAST, here.next_handle++);
    timeline_entry *entry = post_broadcast(c, t->handle, bytes, root);
    int code = MPI_SUCCESS;
    for (size_t done = 0; done < bytes && code == MPI_SUCCESS;) {
        int piece = piece_at(done, bytes);
        code = MPI_Ibcast((char *)data + done, piece, MPI_BYTE, root, here.group,
                          add_request(t, root, -1));
        done += (size_t)piece;
    }
    timeline_resume(c->time, entry);
    return code == MPI_SUCCESS ? t->handle : mpi_fail("broadcast", code);
}

static int mpi_barrier(comm *c)
{
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_BARRIER, here.next_handle++);
    timeline_entry *entry = post_barrier(c, t->handle);
    int code = MPI_Ibarrier(here.group, add_request(t, -1, -1));
    timeline_resume(c->time, entry);
    return code == MPI_SUCCESS ? t->handle : mpi_fail("barrier", code);
}

static int mpi_reduce_max(comm *c, double *values, int count)
{
    c->dev->sync(c->dev);
    timeline_entry *entry = timeline_pause(c->time, ENTRY_PAUSE, 0);
    transfer *t = new_transfer(TRANSFER_BARRIER, NO_HANDLE); /* no POST entry, so no number */
    int code = MPI_Iallreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_MAX, here.group,
                              add_request(t, -1, -1));
    int result = code == MPI_SUCCESS ? finish(c, t, "reduce_max") : mpi_fail("reduce_max", code);
    timeline_resume(c->time, entry);
    if (result == 0)
        forget_transfer(t);
    return result;
}

static int mpi_replicated(comm *c, int (*work)(void *), void *argument, void *out, size_t bytes)
{
    (void)c, (void)out, (void)bytes;
    return work(argument);
}

/* ---- Agreements of the whole launch ---- */

/* Waits, mostly asleep, for a request on the control communicator. */
static int await_control(MPI_Request *request)
{
    double since = seconds_now();
    for (int done = 0;;) {
        int code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS)
            return mpi_fail("agreement of the launch", code);
        if (done)
            return 0;
        take_notices();
        rest(since, 500000);
    }
}

/* The communicator of the first `hosts` processes, made when first asked for. */
static int make_group(int hosts)
{
    if (here.made[hosts])
        return 0;
    MPI_Request request;
    int code = MPI_Ibarrier(here.control, &request); /* asleep until all have come */
    if (code == MPI_SUCCESS && await_control(&request) < 0)
        return -1;
    if (code == MPI_SUCCESS)
        code = MPI_Comm_split(here.control, here.rank < hosts ? 0 : MPI_UNDEFINED, here.rank,
                              &here.groups[hosts]);
    if (code != MPI_SUCCESS)
        return mpi_fail("making a group of hosts", code);
    here.made[hosts] = true;
    return 0;
}

/* This host's body has failed: the sentence is kept, the others hear of it, and what it has posted
 * must come to an end, since nobody may write into its buffers later. */
static void announce_failure(int hosts)
{
    here.sentence = format_text("host %d: %s", here.rank, fail_text());
    for (int rank = 0; rank < hosts; rank++) {
        if (rank == here.rank)
            continue;
        MPI_Request request;
        MPI_Isend(NULL, 0, MPI_BYTE, rank, TAG_FAILED, here.control, &request);
        MPI_Request_free(&request);
    }
    double since = seconds_now();
    while (here.transfer_count > 0) {
        transfer *t = &here.transfers[here.transfer_count - 1];
        if (poll_transfer(t) < 0 || seconds_now() - since > GRACE)
            end_launch(here.sentence);
        if (t->open == 0)
            forget_transfer(t);
        take_notices();
        rest(since, 50000);
    }
}

/* All processes learn whether the run went well; -1 with the first failed host's sentence if not. */
static int agree(int hosts)
{
    int own[2] = {here.sentence != NULL, here.stuck_at};
    int *all = alloc_or_die(2 * (size_t)here.ranks, sizeof *all);
    MPI_Request request;
    int code = MPI_Iallgather(own, 2, MPI_INT, all, 2, MPI_INT, here.control, &request);
    int result = code == MPI_SUCCESS ? await_control(&request) : mpi_fail("agreement", code);
    int first = -1;
    for (int rank = hosts - 1; rank >= 0 && result == 0; rank--) {
        if (all[2 * rank])
            first = rank;
        /* Notices that are still on their way must not be taken for those of a later run. */
        if (all[2 * rank] && rank != here.rank && here.rank < hosts && !here.told[rank])
            MPI_Recv(NULL, 0, MPI_BYTE, rank, TAG_FAILED, here.control, MPI_STATUS_IGNORE);
        if (all[2 * rank + 1] == here.rank)
            MPI_Recv(NULL, 0, MPI_BYTE, rank, TAG_STUCK, here.control, MPI_STATUS_IGNORE);
    }
    free(all);
    if (result < 0 || first < 0)
        return result;
    char sentence[SENTENCE] = "";
    if (here.rank == first)
        snprintf(sentence, sizeof sentence, "%s", here.sentence);
    code = MPI_Ibcast(sentence, SENTENCE, MPI_CHAR, first, here.control, &request);
    if (code != MPI_SUCCESS)
        return mpi_fail("agreement", code);
    return await_control(&request) < 0 ? -1 : fail("%s", sentence);
}

static int mpi_run(const comm_driver *driver, int hosts, device *dev, timeline *timelines,
                   int (*body)(comm *, void *), void *argument)
{
    if (hosts < 1 || hosts > here.ranks)
        return fail("--comm mpi: %d hosts are asked for, but %d process%s been started", hosts,
                    here.ranks, here.ranks == 1 ? " has" : "es have");
    if (!strcmp(dev->name, "cuda"))
        return fail("--comm mpi moves ordinary memory: use it with --device cpu");
    if (make_group(hosts) < 0)
        return -1;
    here.failed_host = here.stuck_at = -1;
    memset(here.told, 0, (size_t)here.ranks * sizeof *here.told);
    here.next_handle = 0;
    if (here.rank < hosts) {
        here.group = here.groups[hosts];
        timeline *time = &timelines[here.rank];
        time->dev = dev;
        time->flops_at = dev->flops;
        comm c = {.driver = driver, .rank = here.rank, .size = hosts, .dev = dev, .time = time};
        int result = body(&c, argument);
        if (result == 0 && here.transfer_count)
            result = fail("returned without waiting for its %s (handle %d)",
                          transfer_names[here.transfers[0].kind], here.transfers[0].handle);
        if (result < 0)
            announce_failure(hosts);
    }
    int result = agree(hosts);
    free(here.sentence);
    here.sentence = NULL;
    return result;
}

/* ---- The launch ---- */

static int mpi_open(const comm_driver *driver, int *ranks, bool *leader)
{
    (void)driver;
    int initialised = 0, level = 0;
    MPI_Initialized(&initialised);
    if (!initialised) {
        int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
        if (code != MPI_SUCCESS)
            return mpi_fail("--comm mpi", code);
        here.began_here = true;
    }
    MPI_Comm_dup(MPI_COMM_WORLD, &here.control);
    MPI_Comm_set_errhandler(here.control, MPI_ERRORS_RETURN); /* groups inherit it */
    MPI_Comm_rank(here.control, &here.rank);
    MPI_Comm_size(here.control, &here.ranks);
    here.groups = alloc_or_die((size_t)here.ranks + 1, sizeof *here.groups);
    here.made = alloc_or_die((size_t)here.ranks + 1, sizeof *here.made);
    here.told = alloc_or_die((size_t)here.ranks, sizeof *here.told);
    here.piece = (size_t)1 << 30;
    here.failed_host = here.stuck_at = -1;
    here.joined = true;
    *ranks = here.ranks;
    *leader = here.rank == 0;
    return 0;
}

static void mpi_close(const comm_driver *driver)
{
    (void)driver;
    if (!here.joined)
        return;
    for (int hosts = 1; hosts <= here.ranks; hosts++)
        if (here.made[hosts] && here.rank < hosts)
            MPI_Comm_free(&here.groups[hosts]);
    MPI_Comm_free(&here.control);
    free(here.groups);
    free(here.made);
    free(here.told);
    free(here.transfers);
    here.joined = false;
    if (here.began_here)
        MPI_Finalize();
}

static void mpi_abort(const comm_driver *driver)
{
    (void)driver;
    if (!here.joined)
        return;
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static int mpi_share(const comm_driver *driver, void *data, size_t bytes)
{
    (void)driver;
    for (size_t done = 0; done < bytes;) {
        int piece = piece_at(done, bytes);
        MPI_Request request;
        int code = MPI_Ibcast((char *)data + done, piece, MPI_BYTE, 0, here.control, &request);
        if (code != MPI_SUCCESS)
            return mpi_fail("sharing from the leading process", code);
        if (await_control(&request) < 0)
            return -1;
        done += (size_t)piece;
    }
    return 0;
}

const comm_driver mpi_driver = {
    .name = "mpi",
    .title = "one process a host over MPI (start with mpirun)",
    .open = mpi_open,
    .close = mpi_close,
    .abort = mpi_abort,
    .share = mpi_share,
    .run = mpi_run,
    .all_gather = mpi_all_gather,
    .all_to_all = mpi_all_to_all,
    .send_recv = mpi_send_recv,
    .broadcast = mpi_broadcast,
    .barrier = mpi_barrier,
    .wait = mpi_wait,
    .reduce_max = mpi_reduce_max,
    .replicated = mpi_replicated,
};
