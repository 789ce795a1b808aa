/* Measured links of a launch: how long messages between pairs of hosts and all_gathers take, and the
 * link model (comm/link.h) that fits them, so that `sim` can project over these links. */
#ifndef HARNESS_MACHINE_LINKS_H
#define HARNESS_MACHINE_LINKS_H
#include "harness/comm.h"
#include "harness/comm/link.h"

enum { LINK_DISTANCES = 16 }; /* 1, 2, 4, ... hosts apart: enough for LAUNCH_MOST_RANKS */

typedef struct {
    int64_t bytes; /* of a message; of a host's share of an all_gather */
    double pair_s[LINK_DISTANCES]; /* hosts r and r ^ 2^i send to each other at the same time */
    double gather_s;               /* all hosts - 1 steps */
} link_times;

/* How many distances there are among `hosts`. */
int links_distances(int hosts);

/* Device bytes that measuring sizes up to `largest` takes on each host. */
size_t links_bytes(int hosts, int64_t largest);

/* Fills times[count], whose bytes are set. Each is the median of a few repetitions, of the slowest host
 * in each; fast calls are repeated back to back, so that what is timed is not the start. Called by
 * all processes; real links only. -1 with a sentence. */
int links_measure(const comm_driver *, int hosts, device *, link_times *times, int count);

/* Fits seconds = latency + bytes / bandwidth to `count` points, by least squares of relative errors, so
 * that small messages count as much as large ones; no latency below 0. *worst: the largest relative
 * error. -1 with a sentence when times do not grow with bytes. */
int links_fit(const double *bytes, const double *seconds, int count, link_model *, double *worst);
#endif
