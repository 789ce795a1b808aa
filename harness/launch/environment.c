/* What launchers leave in the environment. See launch.h. */
#include "harness/launch/launch.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/fnv.h"

/* The names that one launcher uses. `sign` must be there for it to be this launcher. */
typedef struct {
    const char *launcher, *sign, *rank, *size, *local_rank;
    const char *local_size; /* equal to the size: all on this machine */
    const char *ids[3];     /* what sets one launch apart from others */
} dialect;

static const dialect dialects[] = {
    {"--spawn", "APBENCH_RANK", "APBENCH_RANK", "APBENCH_SIZE", "APBENCH_RANK", "APBENCH_SIZE", {0}},
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
     {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_hnp_uri"}},
    {"torchrun", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
     {"TORCHELASTIC_RUN_ID"}},
    {"srun", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", NULL,
     {"SLURM_JOB_ID", "SLURM_STEP_ID"}},
    {"mpirun", "PMI_RANK", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", {0}},
};
enum { DIALECTS = sizeof dialects / sizeof *dialects };

static const dialect *spoken(void)
{
    for (int i = 0; i < DIALECTS; i++)
        if (getenv(dialects[i].sign) && getenv(dialects[i].rank))
            return &dialects[i];
    return NULL;
}

const char *launch_started_by(void)
{
    const dialect *d = spoken();
    const char *size = d ? getenv(d->size) : NULL;
    /* A launcher of one process, such as `srun --pty bash`, leaves it free to --spawn ranks. */
    if (!d || (strcmp(d->launcher, "--spawn") && size && !strcmp(size, "1")))
        return NULL;
    return d->launcher;
}

int launch_rank(void)
{
    const dialect *d = spoken();
    int rank = d ? atoi(getenv(d->rank)) : 0;
    return rank > 0 ? rank : 0;
}

static int read_number(const char *name, int least, int most, int *value)
{
    const char *text = getenv(name);
    if (!text)
        return fail("%s is not set, though the launcher of this process should have", name);
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || errno || number < least || number > most)
        return fail("%s=%s is not a number from %d to %d", name, text, least, most);
    *value = (int)number;
    return 0;
}

/* APBENCH_COOKIE, or a hash of what sets this launch apart. */
static void find_cookie(const dialect *d, launch *l)
{
    const char *given = getenv("APBENCH_COOKIE");
    if (given) {
        snprintf(l->cookie, sizeof l->cookie, "%s", given);
        return;
    }
    uint64_t hash = FNV_START;
    for (int i = 0; i < 3; i++) {
        const char *id = d->ids[i] ? getenv(d->ids[i]) : NULL;
        if (id)
            hash = fnv1a(hash, id, strlen(id));
    }
    snprintf(l->cookie, sizeof l->cookie, "%016llx", (unsigned long long)hash);
}

/* "host:port" */
static int read_rendezvous(const char *text, launch *l)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    size_t length = colon ? (size_t)(colon - text) : 0;
    if (!length || length >= sizeof l->address || end == colon + 1 || *end || port < 1 ||
        port > 65535)
        return fail("APBENCH_RENDEZVOUS=%s is not of the form host:port", text);
    memcpy(l->address, text, length);
    l->address[length] = 0;
    l->port = (int)port;
    return 0;
}

/* The first host of Slurm's list: "gpu[003-004,9],login" -> "gpu003". */
static int first_of_nodes(const char *list, char *host, size_t bytes)
{
    size_t plain = strcspn(list, "[,");
    size_t number = list[plain] == '[' ? strcspn(list + plain + 1, "-,]") : 0;
    if (plain + number == 0 || plain + number >= bytes)
        return fail("SLURM_STEP_NODELIST=%s: no first host found; set APBENCH_RENDEZVOUS=host:port "
                    "to an address of rank 0", list);
    memcpy(host, list, plain);
    memcpy(host + plain, list + plain + 1, number);
    host[plain + number] = 0;
    return 0;
}

static int find_meeting(const dialect *d, launch *l)
{
    const char *given = getenv("APBENCH_RENDEZVOUS");
    if (given)
        return read_rendezvous(given, l);
    if (!strcmp(d->launcher, "torchrun")) {
        const char *address = getenv("MASTER_ADDR");
        if (!address || !*address || strlen(address) >= sizeof l->address)
            return fail("MASTER_ADDR is not set, though torchrun should have set it");
        snprintf(l->address, sizeof l->address, "%s", address);
        if (read_number("MASTER_PORT", 1, 65535, &l->port))
            return -1;
        /* torchrun's own store may listen on that port: ours is the next. */
        l->port += l->port < 65535 ? 1 : -1;
        return 0;
    }
    bool here = d->local_size && getenv(d->local_size) && atoi(getenv(d->local_size)) == l->size;
    const char *nodes = getenv("SLURM_STEP_NODELIST");
    bool slurm = !strcmp(d->launcher, "srun") && nodes;
    if (slurm && !strcmp(getenv("SLURM_STEP_NUM_NODES") ? getenv("SLURM_STEP_NUM_NODES") : "", "1"))
        here = true;
    if ((!here && !slurm) || !d->ids[0])
        return fail("%s does not tell where its ranks can meet: set APBENCH_RENDEZVOUS=host:port for "
                    "all of them, an address of rank 0's machine and a free port there",
                    d->launcher);
    snprintf(l->address, sizeof l->address, "127.0.0.1");
    if (!here && first_of_nodes(nodes, l->address, sizeof l->address))
        return -1;
    /* A port that all ranks work out alike, below those that systems hand out. */
    l->port = 20000 + (int)(fnv1a(FNV_START, l->cookie, strlen(l->cookie)) % 12000);
    return 0;
}

int launch_read(launch *l)
{
    *l = (launch){.size = 1, .local_rank = -1, .listener = -1};
    const dialect *d = spoken();
    if (!d)
        return 0;
    l->launcher = d->launcher;
    if (read_number(d->size, 1, LAUNCH_MOST_RANKS, &l->size) ||
        read_number(d->rank, 0, l->size - 1, &l->rank))
        return -1;
    if (d->local_rank && getenv(d->local_rank) &&
        read_number(d->local_rank, 0, l->size - 1, &l->local_rank))
        return -1;
    find_cookie(d, l);
    if (getenv("APBENCH_LISTENER") && l->rank == 0 && !strcmp(d->sign, "APBENCH_RANK") &&
        read_number("APBENCH_LISTENER", 0, INT_MAX, &l->listener))
        return -1;
    return l->size > 1 ? find_meeting(d, l) : 0;
}
