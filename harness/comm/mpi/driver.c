/* mpi: one process a host, started by mpirun (or srun). Times are real: transfers progress during
 * compute only as far as the MPI library does that by itself (Open MPI between processes of one
 * machine hardly does), and the time inside a call is the exposed communication.
 *
 * Everything is non-blocking and polled, because a process that waits must sleep (ranks share cores
 * with the OpenMP threads of others) and must notice when another host has failed:
 * - A host whose body fails tells the others (TAG_FAILED) and goes to the closing agreement, where
 *   all processes of the launch learn who failed and why. If everybody gets there, run() fails
 *   everywhere with the same sentence and the launch lives on.
 * - A host that waits for a transfer and is still stuck GRACE_SECONDS after such notice says so
 *   (TAG_STUCK); then the failed host prints its sentence and ends the launch: the transfer would
 *   stay half done in buffers that are gone.
 * Collectives with data are sent peer to peer, in pieces of at most 1 GiB: counts in MPI are ints,
 * and so a size that does not fit what a peer sends is found. The device's memory must be ordinary
 * memory. */
#include "harness/comm/mpi/process.h"
#include "harness/error.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TAG_FAILED = 1, TAG_STUCK }; /* on the control communicator */
enum { SENTENCE = 2100 };

mpi_process mpi_here;

size_t mpi_piece_bytes(size_t bytes)
{
    size_t old = mpi_here.piece;
    mpi_here.piece = bytes;
    return old;
}

int mpi_piece_at(size_t done, size_t bytes)
{
    return (int)(bytes - done < mpi_here.piece ? bytes - done : mpi_here.piece);
}

void mpi_rest(double since, long sleep_ns)
{
    if (monotonic_seconds() - since < 1e-3)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = sleep_ns}, NULL);
}

int mpi_fail(const char *call, int code)
{
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    return fail("%s: MPI says %.*s", call, length, text);
}

void mpi_end_launch(const char *sentence)
{
    fprintf(stderr, "apbench: %s\n", sentence);
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

/* ---- Notices of failure ---- */

/* Ends the launch when this host has failed and another waits for it. */
static void answer_stuck(void)
{
    int stuck = 0;
    if (mpi_here.sentence)
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_STUCK, mpi_here.control, &stuck, MPI_STATUS_IGNORE);
    if (stuck)
        mpi_end_launch(mpi_here.sentence);
}

void mpi_take_notices(void)
{
    for (int there = 1; there;) {
        MPI_Status status;
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_FAILED, mpi_here.control, &there, &status);
        if (!there)
            break;
        MPI_Recv(NULL, 0, MPI_BYTE, status.MPI_SOURCE, TAG_FAILED, mpi_here.control,
                 MPI_STATUS_IGNORE);
        mpi_here.told[status.MPI_SOURCE] = true;
        if (mpi_here.failed_host < 0) {
            mpi_here.failed_host = status.MPI_SOURCE;
            mpi_here.failed_at = monotonic_seconds();
        }
    }
    answer_stuck();
}

void mpi_complain_if_stuck(double since)
{
    double now = monotonic_seconds();
    double known = now - mpi_here.failed_at;
    if (mpi_here.failed_host < 0 || now - since < GRACE_SECONDS || known < GRACE_SECONDS)
        return;
    if (mpi_here.stuck_at < 0) {
        mpi_here.stuck_at = mpi_here.failed_host;
        MPI_Request request;
        MPI_Isend(NULL, 0, MPI_BYTE, mpi_here.stuck_at, TAG_STUCK, mpi_here.control, &request);
        MPI_Request_free(&request);
    } else if (known > 5 * GRACE_SECONDS) { /* the failed host does not answer either */
        char text[80];
        snprintf(text, sizeof text, "host %d failed, and host %d waits for it",
                 mpi_here.failed_host, mpi_here.rank);
        mpi_end_launch(text);
    }
}

/* ---- Agreements of the whole launch ---- */

/* Waits, mostly asleep, for a request on the control communicator. Failures that others tell
 * meanwhile may be of a run that this process has yet to come to: they are left for then. */
static int await_control(MPI_Request *request)
{
    double since = monotonic_seconds();
    for (int done = 0;;) {
        int code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS)
            return mpi_fail("agreement of the launch", code);
        if (done)
            return 0;
        answer_stuck();
        mpi_rest(since, 500000);
    }
}

/* The communicator of the first `hosts` processes, made when first asked for, and anew behind a run
 * that failed: in the old one may be what was sent to a host that did not get to receiving it. */
static int make_group(int hosts)
{
    if (mpi_here.made[hosts])
        return 0;
    MPI_Comm old = mpi_here.groups[hosts];
    MPI_Request request;
    int code = MPI_Ibarrier(mpi_here.control, &request); /* asleep until all have come */
    if (code == MPI_SUCCESS && await_control(&request) < 0)
        return -1;
    if (code == MPI_SUCCESS)
        code = MPI_Comm_split(mpi_here.control, mpi_here.rank < hosts ? 0 : MPI_UNDEFINED,
                              mpi_here.rank, &mpi_here.groups[hosts]);
    if (code != MPI_SUCCESS)
        return mpi_fail("making a group of hosts", code);
    if (old != MPI_COMM_NULL)
        MPI_Comm_free(&old);
    mpi_here.made[hosts] = true;
    return 0;
}

/* This host's body has failed: the sentence is kept, the others hear of it, and what it has posted
 * must come to an end, since nobody may write into its buffers later. */
static void announce_failure(int hosts)
{
    mpi_here.sentence = format_text("host %d: %s", mpi_here.rank, fail_text());
    for (int rank = 0; rank < hosts; rank++) {
        if (rank == mpi_here.rank)
            continue;
        MPI_Request request;
        MPI_Isend(NULL, 0, MPI_BYTE, rank, TAG_FAILED, mpi_here.control, &request);
        MPI_Request_free(&request);
    }
    double since = monotonic_seconds();
    while (mpi_here.transfer_count > 0) {
        transfer *t = &mpi_here.transfers[mpi_here.transfer_count - 1];
        if (mpi_poll_transfer(t) < 0 || monotonic_seconds() - since > GRACE_SECONDS)
            mpi_end_launch(mpi_here.sentence);
        if (t->open == 0)
            mpi_forget_transfer(t);
        mpi_take_notices();
        mpi_rest(since, 50000);
    }
}

/* All processes learn whether what they did went well; -1 with the first failed host's sentence if
 * not. hosts: of the run that is over, whose failures have been told; 0: of none. */
static int agree(int hosts)
{
    int own[2] = {mpi_here.sentence != NULL, mpi_here.stuck_at};
    int *all = alloc_or_die(2 * (size_t)mpi_here.ranks, sizeof *all);
    MPI_Request request;
    int code = MPI_Iallgather(own, 2, MPI_INT, all, 2, MPI_INT, mpi_here.control, &request);
    int result = code == MPI_SUCCESS ? await_control(&request) : mpi_fail("agreement", code);
    int first = -1;
    for (int rank = mpi_here.ranks - 1; rank >= 0 && result == 0; rank--) {
        if (all[2 * rank])
            first = rank;
        /* Notices that are still on their way must not be taken for those of a later run. */
        if (all[2 * rank] && rank != mpi_here.rank && mpi_here.rank < hosts && !mpi_here.told[rank])
            MPI_Recv(NULL, 0, MPI_BYTE, rank, TAG_FAILED, mpi_here.control, MPI_STATUS_IGNORE);
        if (all[2 * rank + 1] == mpi_here.rank)
            MPI_Recv(NULL, 0, MPI_BYTE, rank, TAG_STUCK, mpi_here.control, MPI_STATUS_IGNORE);
    }
    free(all);
    if (result < 0 || first < 0)
        return result;
    char sentence[SENTENCE] = "";
    if (mpi_here.rank == first)
        snprintf(sentence, sizeof sentence, "%s", mpi_here.sentence);
    code = MPI_Ibcast(sentence, SENTENCE, MPI_CHAR, first, mpi_here.control, &request);
    if (code != MPI_SUCCESS)
        return mpi_fail("agreement", code);
    return await_control(&request) < 0 ? -1 : fail("%s", sentence);
}

static int mpi_run(const comm_driver *driver, int hosts, device *dev, timeline *timelines,
                   int (*body)(comm *, void *), void *argument)
{
    if (hosts < 1 || hosts > mpi_here.ranks)
        return fail("--comm mpi: %d hosts are asked for, but %d process%s been started", hosts,
                    mpi_here.ranks, mpi_here.ranks == 1 ? " has" : "es have");
    if (make_group(hosts) < 0)
        return -1;
    mpi_here.failed_host = mpi_here.stuck_at = -1;
    memset(mpi_here.told, 0, (size_t)mpi_here.ranks * sizeof *mpi_here.told);
    mpi_here.next_handle = 0;
    if (mpi_here.rank < hosts) {
        mpi_here.group = mpi_here.groups[hosts];
        timeline *time = &timelines[mpi_here.rank];
        time->dev = dev;
        time->flops_at = dev->flops;
        comm c = {.driver = driver, .rank = mpi_here.rank, .size = hosts, .dev = dev, .time = time};
        int result = body(&c, argument);
        if (result == 0 && mpi_here.transfer_count)
            result = fail("returned without waiting for its %s (handle %d)",
                          transfer_names[mpi_here.transfers[0].kind], mpi_here.transfers[0].handle);
        if (result < 0)
            announce_failure(hosts);
    }
    int result = agree(hosts);
    mpi_here.made[hosts] = result == 0;
    free(mpi_here.sentence);
    mpi_here.sentence = NULL;
    return result;
}

static int mpi_agree(const comm_driver *driver, int status)
{
    (void)driver;
    if (mpi_here.ranks == 1)
        return status;
    mpi_here.failed_host = mpi_here.stuck_at = -1;
    if (status < 0)
        mpi_here.sentence = format_text("host %d: %s", mpi_here.rank, fail_text());
    int result = agree(0);
    free(mpi_here.sentence);
    mpi_here.sentence = NULL;
    return result;
}

/* ---- The launch ---- */

/* The cores that fall to this rank of those on its machine: of each that it may run on, its part,
 * when all ranks that may do so get the same. */
static double part_of_cores(const cpu_set_t *sets, int ranks, int own)
{
    double part = 0;
    for (int core = 0; core < CPU_SETSIZE; core++) {
        int users = 0;
        for (int rank = 0; rank < ranks; rank++)
            users += CPU_ISSET(core, &sets[rank]) != 0;
        part += CPU_ISSET(core, &sets[own]) ? 1.0 / users : 0;
    }
    return part + 1e-6; /* three thirds are one */
}

/* Ranks of one machine share its memory and, unless each is bound to its own, its cores: how many
 * there are beside this one, or on the machine that has the most, and how many threads each takes. */
static int meet_neighbours(device *dev)
{
    MPI_Comm machine;
    int code = MPI_Comm_split_type(mpi_here.control, MPI_COMM_TYPE_SHARED, mpi_here.rank,
                                   MPI_INFO_NULL, &machine);
    if (code != MPI_SUCCESS)
        return mpi_fail("--comm mpi: counting the ranks of a machine", code);
    int there, own;
    MPI_Comm_size(machine, &there);
    MPI_Comm_rank(machine, &own);
    cpu_set_t *sets = alloc_or_die((size_t)there, sizeof *sets);
    int known = !sched_getaffinity(0, sizeof sets[own], &sets[own]);
    code = MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, sets, sizeof *sets, MPI_BYTE, machine);
    if (code == MPI_SUCCESS)
        code = MPI_Allreduce(MPI_IN_PLACE, &known, 1, MPI_INT, MPI_MIN, machine);
    int most[] = {there, 0};
    if (known) { /* not on a machine of more cores than a set holds: there nothing is said of them */
        double part = part_of_cores(sets, there, own);
        most[1] = part < 1 || dev->threads > part;
        if (dev->threads == 0)
            dev->threads = part < 1 ? 1 : (int)part;
    }
    free(sets);
    MPI_Comm_free(&machine);
    if (code == MPI_SUCCESS)
        code = MPI_Allreduce(MPI_IN_PLACE, most, 2, MPI_INT, MPI_MAX, mpi_here.control);
    dev->neighbours = most[0] - 1;
    mpi_here.shared_cores = most[1];
    return code == MPI_SUCCESS ? 0 : mpi_fail("--comm mpi: what ranks of a machine share", code);
}

static int mpi_open(const comm_driver *driver, device *dev, int *ranks, bool *leader)
{
    (void)driver;
    int initialised = 0, level = 0;
    MPI_Initialized(&initialised);
    if (!initialised) {
        int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
        if (code != MPI_SUCCESS)
            return mpi_fail("--comm mpi", code);
        mpi_here.began_here = true;
    }
    MPI_Comm_dup(MPI_COMM_WORLD, &mpi_here.control);
    MPI_Comm_set_errhandler(mpi_here.control, MPI_ERRORS_RETURN); /* groups inherit it */
    MPI_Comm_rank(mpi_here.control, &mpi_here.rank);
    MPI_Comm_size(mpi_here.control, &mpi_here.ranks);
    mpi_here.groups = alloc_or_die((size_t)mpi_here.ranks + 1, sizeof *mpi_here.groups);
    for (int hosts = 0; hosts <= mpi_here.ranks; hosts++)
        mpi_here.groups[hosts] = MPI_COMM_NULL;
    mpi_here.made = alloc_or_die((size_t)mpi_here.ranks + 1, sizeof *mpi_here.made);
    mpi_here.told = alloc_or_die((size_t)mpi_here.ranks, sizeof *mpi_here.told);
    mpi_here.piece = (size_t)1 << 30;
    mpi_here.failed_host = mpi_here.stuck_at = -1;
    mpi_here.joined = true;
    *ranks = mpi_here.ranks;
    *leader = mpi_here.rank == 0;
    return meet_neighbours(dev);
}

static void mpi_close(const comm_driver *driver)
{
    (void)driver;
    if (!mpi_here.joined)
        return;
    for (int hosts = 1; hosts <= mpi_here.ranks; hosts++)
        if (mpi_here.groups[hosts] != MPI_COMM_NULL)
            MPI_Comm_free(&mpi_here.groups[hosts]);
    MPI_Comm_free(&mpi_here.control);
    free(mpi_here.groups);
    free(mpi_here.made);
    free(mpi_here.told);
    free(mpi_here.transfers);
    mpi_here.joined = false;
    if (mpi_here.began_here)
        MPI_Finalize();
}

static void mpi_abort(const comm_driver *driver)
{
    (void)driver;
    if (!mpi_here.joined)
        return;
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static int mpi_share(const comm_driver *driver, void *data, size_t bytes)
{
    (void)driver;
    for (size_t done = 0; done < bytes;) {
        int piece = mpi_piece_at(done, bytes);
        MPI_Request request;
        int code = MPI_Ibcast((char *)data + done, piece, MPI_BYTE, 0, mpi_here.control, &request);
        if (code != MPI_SUCCESS)
            return mpi_fail("sharing from the leading process", code);
        if (await_control(&request) < 0)
            return -1;
        done += (size_t)piece;
    }
    return 0;
}

static const char *mpi_remark(const comm_driver *driver)
{
    (void)driver;
    return mpi_here.shared_cores ? COMM_SHARED_CORES : NULL;
}

const comm_driver mpi_driver = {
    .name = "mpi",
    .title = "one process a host over MPI (start with mpirun)",
    .device = "cpu", /* MPI gets pointers to ordinary memory */
    .open = mpi_open,
    .close = mpi_close,
    .abort = mpi_abort,
    .share = mpi_share,
    .agree = mpi_agree,
    .remark = mpi_remark,
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
