/* nccl: one process a GPU. Processes meet over the control sockets (harness/launch), which carry
 * everything but the transfers themselves: NCCL's id, what the leader shares, the agreement on each
 * run, and the watchdog that ends the launch when a host dies or hangs.
 *
 * A group of hosts has two communicators (process.h), made when first asked for: the wide one of all
 * hosts comes first, all others are split off it. Processes outside a group wait on the control socket,
 * never in a kernel of NCCL.
 *
 * Communicators block: a non-blocking one makes a thread for each call of NCCL (its group.cc), and
 * what a call that hangs would need, another thread that ends the process, is there anyway. */
#include "harness/comm/nccl/process.h"

#include "harness/error.h"
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


nccl_process nccl_here = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- Errors and the watchdog ---- */

int nccl_check(ncclResult_t code, const char *call)
{
    if (code == ncclSuccess)
        return 0;
    const char *more = ncclGetLastError(NULL);
    return fail("%s: NCCL says %s%s%s", call, ncclGetErrorString(code), more && *more ? ": " : "",
                more ? more : "");
}

int nccl_check_cuda(cudaError_t code, const char *call)
{
    return code == cudaSuccess ? 0 : fail("%s: CUDA says %s", call, cudaGetErrorString(code));
}

void nccl_enter(void)
{
    pthread_mutex_lock(&nccl_here.lock);
    bool released = nccl_here.released;
    if (!released)
        return;
    pthread_mutex_unlock(&nccl_here.lock);
    for (;;)
        pause(); /* the process is about to end */
}

void nccl_leave(void)
{
    pthread_mutex_unlock(&nccl_here.lock);
}

/* Those of all groups, one behind another. */
static int communicators(void)
{
    return WIDTHS * (nccl_here.launch.size + 1);
}

static ncclComm_t *communicator(int i)
{
    return &nccl_here.groups[i / WIDTHS][i % WIDTHS];
}

/* In the watchdog's thread. While a call of NCCL is under way it will say itself what is wrong. */
static const char *find_trouble(void)
{
    static char sentence[256];
    const char *found = NULL;
    if (pthread_mutex_trylock(&nccl_here.lock))
        return NULL;
    for (int i = 0; i < communicators() && !found; i++) {
        ncclResult_t state = ncclSuccess;
        if (!*communicator(i) || ncclCommGetAsyncError(*communicator(i), &state) != ncclSuccess ||
            state == ncclSuccess || state == ncclInProgress)
            continue;
        snprintf(sentence, sizeof sentence, "NCCL says %s", ncclGetErrorString(state));
        found = sentence;
    }
    pthread_mutex_unlock(&nccl_here.lock);
    return found;
}

/* In a thread of the watchdog's: kernels that wait for other hosts end. */
static void release_links(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 500000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_mutex_timedlock(&nccl_here.lock, &until))
        return; /* a call hangs: the end of the process ends it */
    nccl_here.released = true;
    for (int i = 0; i < communicators(); i++)
        if (*communicator(i))
            ncclCommAbort(*communicator(i));
    pthread_mutex_unlock(&nccl_here.lock);
}

/* ---- Groups ---- */

static void make_streams(void)
{
    if (nccl_here.stream)
        return;
    int least, greatest;
    cuda_must(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities of streams");
    cuda_must(cudaStreamCreateWithPriority(&nccl_here.stream, cudaStreamNonBlocking, greatest),
              "making the comm stream");
    cuda_must(cudaEventCreateWithFlags(&nccl_here.ready, cudaEventDisableTiming),
              "making an event");
    cuda_must(cudaMalloc((void **)&nccl_here.token, sizeof *nccl_here.token), "cudaMalloc");
    cuda_must(cudaMemset(nccl_here.token, 0, sizeof *nccl_here.token), "cudaMemset");
}

/* What it leaves undefined NCCL chooses by itself, for communicators that are split off another, too. */
static ncclConfig_t configuration(int width)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    if (width == WIDE)
        return config;
    config.maxCTAs = NCCL_BLOCKS;
    /* On Hopper NCCL's blocks come in clusters of four, which need four free multiprocessors of one
     * GPC: those that attention leaves (kept_free) may lie anywhere. */
    config.cgaClusterSize = 1;
    return config;
}

static int make_world(void)
{
    int size = nccl_here.launch.size;
    ncclUniqueId id;
    memset(&id, 0, sizeof id);
    nccl_enter();
    int result =
        nccl_here.launch.rank == 0 ? nccl_check(ncclGetUniqueId(&id), "NCCL's id") : 0;
    nccl_leave();
    if (result < 0 || control_share(&id, sizeof id))
        return -1;
    ncclConfig_t config = configuration(WIDE);
    nccl_enter();
    result = nccl_check(ncclCommInitRankConfig(&nccl_here.groups[size][WIDE], size, id,
                                               nccl_here.launch.rank, &config),
                        "the communicator of all hosts");
    nccl_leave();
    return result;
}

/* One communicator of the first `hosts` ranks, called by all. */
static int split_world(int hosts, int width)
{
    int rank = nccl_here.launch.rank;
    ncclConfig_t config = configuration(width);
    nccl_enter();
    int result = nccl_check(ncclCommSplit(nccl_here.groups[nccl_here.launch.size][WIDE],
                                          rank < hosts ? 0 : NCCL_SPLIT_NOCOLOR, rank,
                                          &nccl_here.groups[hosts][width], &config),
                            "a communicator split off that of all hosts");
    nccl_leave();
    return result;
}

/* Called by all processes of the launch. A failure cannot be agreed upon, since the others may be
 * waiting inside NCCL: it ends the launch. */
static void make_group(int hosts)
{
    int size = nccl_here.launch.size, result = 0;
    if (hosts == 1 || nccl_here.made[hosts])
        return;
    if (!nccl_here.groups[size][WIDE])
        result = make_world();
    if (result == 0 && hosts < size)
        result = split_world(hosts, WIDE);
    if (result == 0)
        result = split_world(hosts, NARROW);
    if (result < 0)
        control_end(fail_text());
    nccl_here.made[hosts] = true;
}

/* ---- Runs ---- */

/* Waits until both streams have nothing left to do, for `seconds` at most; 0: for ever (the watchdog
 * looks after the deadline). */
static int drain(device *dev, double seconds)
{
    double since = monotonic_seconds();
    cudaStream_t streams[] = {nccl_here.stream, cuda_of(dev)->stream};
    for (int i = 0; i < 2; i++) {
        cudaError_t code;
        while ((code = cudaStreamQuery(streams[i])) == cudaErrorNotReady) {
            if (seconds > 0 && monotonic_seconds() - since > seconds)
                return fail("transfers do not end");
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        }
        if (code != cudaSuccess)
            return nccl_check_cuda(code, "waiting for the device");
    }
    return 0;
}

/* The body of this process's host. What it leaves behind on the device has ended, or the launch. */
static int run_host(const comm_driver *driver, int hosts, device *dev, timeline *time,
                    int (*body)(comm *, void *), void *argument)
{
    time->dev = dev;
    time->flops_at = dev->flops;
    nccl_here.group = nccl_here.groups[hosts];
    nccl_here.next_handle = 0;
    comm c = {.driver = driver, .rank = nccl_here.launch.rank, .size = hosts, .dev = dev,
              .time = time};
    int result = body(&c, argument);
    if (result == 0 && nccl_here.transfer_count)
        result = fail("returned without waiting for its %s (handle %d)",
                      transfer_names[nccl_here.transfers[0].kind], nccl_here.transfers[0].handle);
    char *sentence = result < 0 ? copy_text(fail_text()) : NULL;
    if (drain(dev, result < 0 ? GRACE_SECONDS_OF_CONTROL : 0)) {
        if (sentence)
            control_end(sentence); /* what it has posted waits for the others */
        result = -1;
    }
    while (nccl_here.transfer_count)
        nccl_forget_transfer(&nccl_here.transfers[nccl_here.transfer_count - 1]);
    cuda_of(dev)->kept_free = 0;
    if (sentence)
        fail("%s", sentence);
    free(sentence);
    return result;
}

static int nccl_run(const comm_driver *driver, int hosts, device *dev, timeline *timelines,
                    int (*body)(comm *, void *), void *argument)
{
    int ranks = nccl_here.launch.size, rank = nccl_here.launch.rank;
    if (hosts < 1 || hosts > ranks)
        return fail("--comm nccl: %d hosts are asked for, but %d process%s been started", hosts,
                    ranks, ranks == 1 ? " has" : "es have");
    control_run(hosts, monotonic_seconds(), timelines[0].deadline);
    make_streams();
    make_group(hosts);
    int result = rank < hosts ? run_host(driver, hosts, dev, &timelines[rank], body, argument) : 0;
    result = control_agree(result);
    control_run(0, 0, 0);
    return result;
}

/* ---- The launch ---- */

/* What ranks tell each other of their GPUs. */
typedef struct {
    char boot[40]; /* the machine, since it was started */
    cudaUUID_t gpu;
} seat;

static int fill_seat(seat *own, int ordinal)
{
    struct cudaDeviceProp properties;
    cudaError_t code = cudaGetDeviceProperties(&properties, ordinal);
    if (code != cudaSuccess)
        return fail("--comm nccl: GPU %d: %s", ordinal, cudaGetErrorString(code));
    own->gpu = properties.uuid;
    return 0;
}

/* Which of this machine's GPUs is this rank's, and whether any of the launch's is another's too. */
static int take_seats(device *dev)
{
    int rank = nccl_here.launch.rank, size = nccl_here.launch.size, gpus = 0;
    cudaError_t code = cudaGetDeviceCount(&gpus);
    if (code != cudaSuccess || !gpus)
        return cuda_no_gpu("--comm nccl", code);
    seat own = {0}, *all = alloc_or_die((size_t)size, sizeof *all);
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (file && !fgets(own.boot, sizeof own.boot, file))
        own.boot[0] = 0;
    if (file)
        fclose(file);
    int result = control_gather(&own, all, sizeof own), local = 0;
    for (int other = 0; other < rank && result == 0; other++)
        local += !memcmp(all[other].boot, own.boot, sizeof own.boot);
    dev->ordinal = nccl_here.launch.local_rank >= 0 ? nccl_here.launch.local_rank : local;
    if (result == 0)
        result = fill_seat(&own, dev->ordinal % gpus);
    if (result == 0)
        result = control_gather(&own, all, sizeof own);
    for (int a = 0; a < size && result == 0; a++)
        for (int b = 0; b < a; b++)
            nccl_here.shared_gpu |= !memcmp(&all[a].gpu, &all[b].gpu, sizeof all[a].gpu);
    free(all);
    return result;
}

static void nccl_close(const comm_driver *driver)
{
    (void)driver;
    if (!nccl_here.joined)
        return;
    nccl_enter();
    for (int i = 0; i < communicators(); i++) {
        ncclComm_t each = *communicator(i);
        *communicator(i) = NULL;
        if (each)
            ncclCommDestroy(each);
    }
    nccl_leave();
    control_close();
    for (int i = 0; i < nccl_here.spare_count; i++)
        cudaEventDestroy(nccl_here.spare[i]);
    if (nccl_here.stream) {
        cudaEventDestroy(nccl_here.ready);
        cudaFree(nccl_here.token);
        cudaStreamDestroy(nccl_here.stream);
    }
    free(nccl_here.spare);
    free(nccl_here.transfers);
    free(nccl_here.groups);
    free(nccl_here.made);
    nccl_here = (nccl_process){.lock = PTHREAD_MUTEX_INITIALIZER};
}

static int nccl_open(const comm_driver *driver, device *dev, int *ranks, bool *leader)
{
    (void)driver;
    static const control_hooks hooks = {.trouble = find_trouble, .release = release_links};
    launch *l = &nccl_here.launch;
    if (launch_read(l))
        return -1;
    /* Before control_open(), which starts the thread that looks at them. */
    nccl_here.groups = alloc_or_die((size_t)l->size + 1, sizeof *nccl_here.groups);
    nccl_here.made = alloc_or_die((size_t)l->size + 1, sizeof *nccl_here.made);
    if (control_open(l, &hooks))
        return -1;
    nccl_here.joined = true;
    if (take_seats(dev)) {
        if (l->size > 1)
            control_end(fail_text());
        return -1;
    }
    if (nccl_here.shared_gpu) {
        /* NCCL refuses two ranks of one machine on one GPU: they say to be of different ones. */
        char host[LAUNCH_COOKIE + 32];
        snprintf(host, sizeof host, "apbench-%s-%d", l->cookie, l->rank);
        setenv("NCCL_HOSTID", host, 1);
    }
    *ranks = l->size;
    *leader = l->rank == 0;
    return 0;
}

static void nccl_abort(const comm_driver *driver)
{
    (void)driver;
    control_end(NULL);
}

static int nccl_share(const comm_driver *driver, void *data, size_t bytes)
{
    (void)driver;
    return control_share(data, bytes);
}

static int nccl_agree(const comm_driver *driver, int status)
{
    (void)driver;
    return nccl_here.launch.size == 1 ? status : control_agree(status);
}

static const char *nccl_remark(const comm_driver *driver)
{
    (void)driver;
    return nccl_here.shared_gpu ? COMM_SHARED_GPU : NULL;
}

const comm_driver nccl_driver = {
    .name = "nccl",
    .title = "one process a GPU over NCCL (--spawn N, mpirun, srun)",
    .device = "cuda",
    .watches_time = true,
    .spawns = true,
    .open = nccl_open,
    .close = nccl_close,
    .abort = nccl_abort,
    .share = nccl_share,
    .agree = nccl_agree,
    .remark = nccl_remark,
    .run = nccl_run,
    .all_gather = nccl_all_gather,
    .all_to_all = nccl_all_to_all,
    .send_recv = nccl_send_recv,
    .broadcast = nccl_broadcast,
    .barrier = nccl_barrier,
    .wait = nccl_wait,
    .reduce_max = nccl_reduce_max,
    .replicated = nccl_replicated,
};
