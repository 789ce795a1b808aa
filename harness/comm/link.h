/* Link models: what the links between hosts cost, for the virtual clock of `sim` (replay.h). A
 * model is a handful of numbers, from the preset table or written out as text. */
#ifndef HARNESS_COMM_LINK_H
#define HARNESS_COMM_LINK_H

/* Every host has one port out and one in. A message of m bytes holds both for m / bandwidth and is
 * there `latency` after that. Messages of collectives (all calls but send_recv) may have a bandwidth of
 * their own: real ones may take more of a device than send_recv, which runs beside compute
 * (comm/nccl/process.h). Hosts may be grouped into nodes (host / hosts_per_node): messages
 * between nodes go through the same two ports at node_bandwidth and node_latency. Bandwidths are
 * per host and direction, so a network card that a node's hosts share is to be divided by them. */
typedef struct {
    const char *name, *title;
    double latency;        /* seconds a message */
    double bandwidth;      /* bytes a second */
    double collectives;    /* the same within all_gather, all_to_all and broadcast; 0: as bandwidth */
    int hosts_per_node;    /* 0: all hosts are in one node */
    double node_latency;   /* between nodes; unused when hosts_per_node is 0 */
    double node_bandwidth; /* of all messages */
    double slowdown; /* of a host's compute beside a transfer of its own, at least 1; 0 is 1: none */
    const char *source; /* where the figures come from, and which are nominal */
} link_model;

extern const link_model link_table[];
extern const int link_count;

/* Fills *link from a preset's name, or from
 *     custom:latency=5us:bandwidth=50G[:hosts_per_node=8:node_latency=8us:node_bandwidth=25G]
 *         [:collectives=60G][:slowdown=1.1]
 * where latencies take s, ms, us or ns (seconds without a unit) and bandwidths, `collectives` among them, K,
 * M, G or T bytes a second in powers of ten; compute beside a transfer takes `slowdown` times as long
 * (replay.h). A preset may be changed the same way: nvlink4:hosts_per_node=4:... The parsed link's name is
 * its preset's; `text` itself is what the CSV should show. -1 with a sentence that quotes the faulty part. */
int link_find(const char *text, link_model *link);

/* Writes a link of one node out as link_find() reads it: "custom:latency=5us:bandwidth=50G", four
 * digits, with `collectives` and the slowdown if there are any. Returns text, which LINK_TEXT bytes hold. */
enum { LINK_TEXT = 128 };
char *link_write(const link_model *, char *text, int bytes);
#endif
