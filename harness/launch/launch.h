/* The launch: which of how many processes this one is, and where the others are to be found. Ranks
 * are started by apbench itself (--spawn N), by mpirun, srun or torchrun; none of their libraries is
 * needed, only what they put into the environment.
 *
 *     --spawn N   copies of this program on this machine
 *     mpirun      OMPI_COMM_WORLD_* (Open MPI), PMI_RANK (MPICH and its kin)
 *     torchrun    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
 *     srun        SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID
 *
 * All ranks meet at rank 0's address: APBENCH_RENDEZVOUS=host:port where it is set, else what the
 * launcher tells. */
#ifndef HARNESS_LAUNCH_LAUNCH_H
#define HARNESS_LAUNCH_LAUNCH_H

enum { LAUNCH_COOKIE = 64, LAUNCH_MOST_RANKS = 65536 };

typedef struct {
    const char *launcher; /* "--spawn", "mpirun", ...; NULL when this process is alone */
    int rank, size;
    int local_rank; /* among the launch's processes on this machine; -1: the launcher does not say */
    char address[256];
    int port;
    int listener; /* rank 0 of --spawn: the socket it listens on already; else -1 */
    char cookie[LAUNCH_COOKIE]; /* what all processes of this launch know and strangers need not */
} launch;

/* Fills *launch from the environment; alone: rank 0 of 1. -1 with a sentence when what the launcher
 * left there makes no sense or does not tell where to meet. */
int launch_read(launch *);

/* "mpirun", ... when a launcher has started this process as one rank of several, or --spawn as one of
 * any number; else NULL. */
const char *launch_started_by(void);

/* This process's rank as its launcher tells it; 0 when it is alone or the launcher talks nonsense. */
int launch_rank(void);

/* Starts `ranks` copies of this program, with the same arguments, as ranks of one launch, and waits
 * for them: the exit status to end with. They die with this process, and what they are told is in
 * their environment. Only rank 0 has standard input. Must be called before any thread or CUDA
 * call. When one fails, the others have SUPERVISOR_SECONDS to end by themselves. */
int launch_spawn(int ranks);
#define SUPERVISOR_SECONDS 5.0
#endif
