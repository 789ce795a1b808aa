/* Several processes of one machine that share a sweep's work (eval --workers N). All walk the same
 * loops over models, lengths and rows, each opens the device and the model by itself, and each does
 * its own pieces of every row; process 0 leads: it decides, writes and prints. They are copies of the
 * one that the user started, made before it has opened anything, and talk over socket pairs:
 *
 * - share() and agree() of the driver below, which mean what they mean in a launch (comm.h);
 * - pieces (finished samples), which the leader takes in a thread of its own, so that they are
 *   written as they come and nobody waits for the leader's own sample;
 * - "enough": somebody has failed, so begin nothing more before the next agree().
 *
 * A worker that dies ends all within a second, with a sentence that names it and what it was at. One
 * that hangs is noticed at an agreement that has a deadline (workers_lost()). When the leader ends in
 * any way, the kernel kills the others. Nothing of this is for several machines, or for hosts of one
 * group: those are launches (harness/launch).
 *
 * All functions are for the thread that runs the sweep; without workers_start() they do what is left
 * to do for one process. */
#ifndef HARNESS_SWEEP_WORKERS_H
#define HARNESS_SWEEP_WORKERS_H
#include "harness/comm.h"

enum { MOST_WORKERS = 256 };

/* Makes count - 1 further processes; returns 0 in each, or -1 with a sentence when the machine does
 * not let that many be. No thread runs yet, no device and no OpenMP is open. */
int workers_start(int count);
int workers_count(void);  /* 1 without workers_start() */
int workers_number(void); /* this process's; 0 leads */

/* `alone` (links within one process) with share, agree, abort and close among the workers. agree()'s
 * sentence begins "worker N: ", as comm_agreed() knows it. The leader's close waits for the others. */
const comm_driver *workers_driver(const comm_driver *alone);

/* This process's part of `total` things that all share out: at least 1. */
int workers_part(int total);

/* What the leader does with pieces. The functions are called under a lock, one at a time, from any
 * thread. */
typedef struct {
    /* -1: no more are of use. */
    int (*take)(void *argument, const void *piece, size_t bytes);
    /* What a worker is at, for the sentence when it dies: "sample 3 of ...". */
    void (*name)(void *argument, int worker, char *text, size_t bytes);
    void *argument;
    /* When all shall have come to an agreement (monotonic seconds; 0: they take what they take). Who
     * has not `grace` seconds later, or after the leader where that is late itself, is stuck. */
    double deadline, grace;
} workers_intake;
/* In the leader: from now on pieces go there; NULL: there are none until it is called again. */
void workers_listen(const workers_intake *);

/* In the leader, after agree() has failed: whether that was because a worker is stuck, which the
 * sentence names with what it is at. The leader writes what it has and ends all, by abort(). */
bool workers_lost(void);

/* A finished piece for the leader's take(); returns when it is taken or under way. All that a worker
 * has handed in before an agree() are taken when the leader returns from that. */
void workers_hand_in(const void *piece, size_t bytes);
/* Whether some process has failed since the last agree(). */
bool workers_enough(void);

/* This process gives up with this sentence. True when that is taken care of: it has gone to the
 * leader, who prints it. */
bool workers_tell(const char *sentence);
#endif
