/* What one host did and when: the parts of a layer (QKV, attention, ...) and its dealings with the
 * links, as a list of entries with device marks. Two readers share it: the virtual clock of `sim`,
 * which replays all hosts' timelines over a link model (comm/replay.h), and the breakdown by parts.
 * Recording an entry never waits for the device, so that virtual hosts leave no bubbles. */
#ifndef HARNESS_TIMELINE_H
#define HARNESS_TIMELINE_H
#include "kernels/device.h"

/* The paper's parts of a block (table 16). PART_OTHER is what lies outside all others. */
typedef enum {
    PART_QKV,
    PART_COMPRESS,
    PART_COMM, /* exposed communication: time spent waiting for a transfer */
    PART_ATTENTION,
    PART_O_PROJ,
    PART_FFN,
    PART_OTHER,
    PART_COUNT
} part;
extern const char *const part_names[PART_COUNT]; /* "qkv", "compress", ... */

/* A run has two phases after its start: prefill (document and query to the first token), decode. */
typedef enum { PHASE_START, PHASE_PREFILL_END, PHASE_DECODE_END } phase_mark;

typedef enum {
    ENTRY_PART_BEGIN, /* what = part */
    ENTRY_PART_END,
    ENTRY_PHASE,     /* what = phase_mark */
    ENTRY_POST,      /* a transfer was started: what = transfer_kind, handle = its number */
    ENTRY_WAIT,      /* waits for transfer `handle`; what = transfer_kind */
    ENTRY_REPLICATED, /* the host is charged from_mark to until_mark of host `from` */
    ENTRY_PAUSE      /* nobody's time: agreements and copies that the machine would not do */
} entry_kind;

typedef enum {
    TRANSFER_ALL_GATHER,
    TRANSFER_ALL_TO_ALL,
    TRANSFER_SEND_RECV,
    TRANSFER_BROADCAST,
    TRANSFER_BARRIER
} transfer_kind;

/* How readers tell exposed communication. In a projected run (sim) nothing between `before` and
 * `after` is charged: the host was parked, or data were copied that a link would have moved; a
 * wait costs what the link model says. In a measured run (mpi) the time between `before` and
 * `after` of a POST or WAIT is the exposed communication itself; only PAUSE entries are taken
 * out.
 *
 * Handles count up by one with every POST of a host, so they are unique within a timeline. */
typedef struct {
    entry_kind kind;
    int what;
    int handle;
    int to, from; /* send_recv: peers or -1; broadcast: to = root; replicated: from = who ran */
    int source_begin, source_end; /* replicated: the entries that host `from` made meanwhile */
    int64_t bytes; /* all_gather: a host's share; all_to_all: see peer_bytes; else payload */
    int64_t *peer_bytes;        /* all_to_all: bytes sent to each peer, owned by the timeline */
    device_mark before, after; /* the host's own time stands still between these two */
    device_mark from_mark, until_mark; /* ENTRY_REPLICATED */
} timeline_entry;

/* A range that a host has open on the profiler's time line (ranges.h). Leaves do not nest: together
 * they cover all of a host's time. */
typedef struct {
    const char *name;
    int64_t payload;
    bool leaf;
} timeline_range;
enum { TIMELINE_RANGES = 8 };

typedef struct {
    device *dev;
    bool parts; /* record parts: only in the instrumented repetition */
    bool untimed;      /* no marks: nobody will read times */
    bool projected;    /* of the links: waiting hands the thread to another host */
    bool synchronised; /* the device is waited for before a leaf range ends, so that it spans its work */
    timeline_entry *entries;
    int count, capacity;
    bool paused;          /* an ENTRY_PAUSE is open, */
    timeline_entry inner; /* and this one within it, which is no entry */
    double wall_start, deadline; /* seconds of the monotonic clock; deadline 0 = none */
    uint64_t flops, flops_at;   /* this host's share of dev->flops; the counter's last reading */
    int64_t tokens;             /* rows in hand, the payload of parts */
    timeline_range ranges[TIMELINE_RANGES];
    int range_count;
} timeline;

/* Forgets all entries, keeping the memory; or gives the memory back. Neither touches device marks
 * (other hosts' timelines may hold marks of the same device: dev->forget_marks is the caller's). */
void timeline_clear(timeline *);
void timeline_free(timeline *);

/* The hosts' clocks start (all together), or a phase ends. */
void timeline_phase(timeline *, phase_mark);

/* Appends an entry whose `before` mark is now; timeline_resume() sets its `after`. The pointer is
 * good until the next entry is appended. A pause within a pause is part of that one: nothing is
 * appended, so that time is taken out once. */
timeline_entry *timeline_pause(timeline *, entry_kind kind, int what);
void timeline_resume(timeline *, timeline_entry *);

/* Device seconds from the last PHASE_START to the last entry: of the host's own work, and of copies
 * that a link would have moved (or, where links are real, of transfers themselves). Waiting while
 * other virtual hosts ran and pauses are in neither. The device must have been synchronised. */
void timeline_work(const timeline *, double *own, double *transfers);

/* FLOPs that this host's own work has added to the device's counter since PHASE_START; replicated
 * work counts for every host, though one of them did it. */
uint64_t timeline_flops(timeline *);

/* A part begins or ends, and with it a leaf range of its name, payload `tokens`. Parts do not nest;
 * waiting inside a part is charged to PART_COMM by whoever reads the timeline. */
void part_begin(timeline *, part);
void part_end(timeline *, part);

/* RANGE(timeline, PART_FFN) { ... }: the one way to mark a part. No break or return inside. */
#define RANGE(timeline_, part_)                                                                    \
    for (int range_once_ = (part_begin(timeline_, part_), 1); range_once_;                         \
         range_once_ = (part_end(timeline_, part_), 0))

/* Ranges of this host alone, which no reader of the timeline sees: a host, a layer, and leaves for
 * what is no part. While a host waits its ranges are closed, since in `sim` the others then run on
 * the same thread; they open again when it goes on. */
void timeline_open(timeline *, const char *name, int64_t payload, bool leaf);
void timeline_close(timeline *);

/* LEAF(timeline, "setup") { ... }: what happens outside all parts. No break or return inside. */
#define LEAF(timeline_, name_)                                                                     \
    for (int leaf_once_ = (timeline_open(timeline_, name_, (timeline_)->tokens, true), 1);         \
         leaf_once_; leaf_once_ = (timeline_close(timeline_), 0))

/* Monotonic seconds, the clock of deadlines. */
double monotonic_seconds(void);
#endif
