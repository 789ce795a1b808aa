/* Measured links of a launch: how long messages between pairs of hosts, all_gathers and all_to_alls
 * take, what messages cost attention beside them, and the link model (comm/link.h) that fits them, so
 * that `sim` can project over these links. */
#ifndef HARNESS_MACHINE_LINKS_H
#define HARNESS_MACHINE_LINKS_H
#include "harness/comm.h"
#include "harness/comm/link.h"

enum { LINK_DISTANCES = 16 }; /* 1, 2, 4, ... hosts apart: enough for LAUNCH_MOST_RANKS */

typedef struct {
    int64_t bytes; /* of a message; of a host's share of an all_gather */
    double pair_s[LINK_DISTANCES]; /* hosts r and r ^ 2^i send to each other at the same time */
    double gather_s;               /* all hosts - 1 steps */
    double exchange_s; /* all_to_all, `bytes` to every host */
} link_times;

/* How many distances there are among `hosts`. */
int links_distances(int hosts);

/* Device bytes that measuring sizes up to `largest` takes on each host. */
size_t links_bytes(int hosts, int64_t largest);

/* Fills times[count], whose bytes are set. Each is the median of a few repetitions, of the slowest host
 * in each; fast calls are repeated back to back, so that what is timed is not the start. Called by
 * all processes; real links only. -1 with a sentence. */
int links_measure(const comm_driver *, int hosts, device *, link_times *times, int count);

/* What attention beside a transfer takes, on the slowest host. */
typedef struct {
    int64_t rows;  /* causal, 32/8 heads of 128 */
    int64_t bytes; /* of the message */
    double alone_s, beside_s;
    double slowdown; /* beside / alone of the host that suffers most, at least 1 */
    double left_s; /* how much longer than attention the transfer took, on the host where it was least */
} link_slowdown;

/* Measures attention alone and with a send_recv posted before it, to the next host round a ring, that takes
 * two to four times as long: what methods overlap. Medians of a few repetitions. byte_seconds: of a
 * message's byte, as measured. `room`: bytes of device memory that it may take; the transfer is shorter
 * where they are few. Called by all processes; real links only. -1 with a sentence. */
int links_slowdown(const comm_driver *, int hosts, device *, double byte_seconds, size_t room,
                   link_slowdown *);

/* A transfer that was timed: `latencies` messages one behind another, `bytes` through a host's port. */
typedef struct {
    bool collective;
    double latencies, bytes, seconds;
} link_point;

/* Fits seconds = latencies x latency + bytes / bandwidth to `count` points, by least squares of relative
 * errors, so that small messages count as much as large ones; no latency below 0. Where there are both
 * kinds of points, they share the latency, and collectives have a bandwidth of their own. *worst: the
 * largest relative error. -1 with a sentence when times do not grow with bytes. */
int links_fit(const link_point *, int count, link_model *, double *worst);
#endif
