/* From timelines to seconds. replay() is the virtual clock of `sim`: it plays all hosts'
 * timelines over a link model, after the run, so one run serves every link. replay_measured()
 * reads one host's timeline where the links were real (mpi) into the same result.
 *
 * The rules of the virtual clock:
 * - A host's clock advances by the device time between its entries (previous `after` to next
 *   `before`) and by replicated work; it stands still inside an entry. All clocks are 0 at
 *   PHASE_START: hosts start together, and entries before the (last) PHASE_START do not count.
 * - A message starts when both hosts have posted the transfer, what it depends on has arrived,
 *   the source's port out and the target's port in are free. Of several that wait for a port the
 *   one that was ready first goes first, but none holds a port idle that another could use.
 * - It holds both ports for bytes / bandwidth and has arrived `latency` after that. Latency does
 *   not hold the ports: wires and switches are a pipeline, so the next message follows at once
 *   (the L and G of LogGP, Alexandrov et al. 1995). Messages between nodes use the node's
 *   figures, those of a collective the link's `collectives` for a bandwidth if it has one.
 * - all_gather is a ring: in step s host r passes on the block that arrived in step s - 1, so
 *   alone it takes (H-1) (latency + bytes / bandwidth). all_to_all is pairwise: in round s host
 *   r sends to r + s, in order, so alone (H-1) bytes / bandwidth + latency. broadcast is a
 *   binomial tree. barrier ends latency x ceil(log2 H) after the last host has come
 *   (node_latency when the hosts fill more than one node). Messages of no bytes, and to oneself,
 *   take no time.
 * - A transfer is over for a host when all messages that it sends or receives in it have
 *   arrived. wait() sets the host's clock to max(clock, that time); the jump is exposed
 *   communication.
 * - While a transfer that a host has posted is not over for it, its own work takes `slowdown` times
 *   as long (1 where the link does not say): a real transfer takes multiprocessors and memory
 *   bandwidth from its posting on, waiting for the other side included. Replicated work, which
 *   belongs to phases that overlap nothing, is charged as it was.
 * - What the clock leaves out: posting costs nothing, switches have no limit of their own, and
 *   copies inside a host are free. */
#ifndef HARNESS_COMM_REPLAY_H
#define HARNESS_COMM_REPLAY_H
#include "harness/comm/link.h"
#include "harness/timeline.h"

enum { PHASE_PREFILL, PHASE_DECODE, PHASE_COUNT };

/* One host's times in seconds since PHASE_START. parts[phase] add up to the phase's length: what no
 * RANGE covered is PART_OTHER, waiting is PART_COMM wherever it happened. Without recorded parts
 * (timeline.parts) everything but PART_COMM is PART_OTHER. */
typedef struct {
    double prefill_end, decode_end;
    double parts[PHASE_COUNT][PART_COUNT];
} host_times;

/* times[hosts]. Fails when a timeline lacks a phase mark, or transfers do not match up (a
 * programmer's mistake: sim has matched them before). Takes about 1 microsecond a message. The
 * device must have been synchronised. */
int replay(const timeline *timelines, int hosts, const link_model *link, host_times *times);

/* The same from one measured timeline: posting and waiting count as PART_COMM with the time they
 * really took, pauses are taken out. */
int replay_measured(const timeline *, host_times *);

/* The last host counts: largest prefill_end and decode_end over hosts. parts: those of the host
 * that worked longest in the phase, waiting not counted. */
void slowest_host(const host_times *times, int hosts, host_times *slowest);
#endif
