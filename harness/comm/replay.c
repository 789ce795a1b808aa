/* Plays timelines over a link model. Hosts walk their entries until they wait for a transfer that has
 * not ended; transfers turn into messages of network.h as their two sides are posted and their
 * earlier steps arrive. See replay.h for the rules. */
#include "harness/comm/replay.h"

#include "harness/comm/calls.h"
#include "harness/comm/network.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = -1, BARRIER_ENDS = -2 };

/* A transfer from the side of one host: over when no message is missing. */
typedef struct {
    int64_t missing;
    double end;
} request;

typedef struct {
    const timeline *time;
    int next; /* entry */
    device_mark last; /* where its own time went on */
    double clock;
    part part;
    int phase; /* PHASE_COUNT: over */
    request *requests;
    int first_handle, posted;
    int waiting_for; /* request or NONE */
    int collective_calls;
    bool finished;
    host_times *times;
} host;

typedef struct {
    transfer_kind kind;
    int64_t bytes;
    int root, number;
    int posted;
    int64_t messages_left;
    int *request;                /* [hosts]; NONE: not posted */
    const int64_t **peer_bytes;  /* [hosts], all_to_all */
    /* [hosts]. all_gather: blocks that arrived, steps launched. all_to_all: rounds launched, rounds
     * that left, rounds that came in. broadcast: whether the data are there (arrived). */
    int *arrived, *launched, *left, *came;
} collective;

/* One side of a message between two hosts whose other side has not been posted. */
typedef struct half half;
struct half {
    bool is_send;
    int target;
    int64_t bytes;
    int request;
    half *next;
};

typedef struct {
    int hosts;
    const link_model *link;
    network *net;
    host *host;
    collective **collectives; /* by number; NULL: not begun, or over */
    int collective_capacity;
    half **halves; /* [hosts] by source, oldest first */
} player;

/* ---- A host's clock ---- */

static void charge(host *h, part what, double seconds)
{
    h->clock += seconds;
    h->times->parts[h->phase][what] += seconds;
}

/* How many messages a host sends and receives in a transfer. */
static int64_t messages_of(const player *p, const timeline_entry *e, int rank)
{
    switch (e->what) {
    case TRANSFER_SEND_RECV:
        return (e->to >= 0) + (e->from >= 0);
    case TRANSFER_BROADCAST: {
        int v = (rank - e->to + p->hosts) % p->hosts;
        return tree_children(v, p->hosts) + (v > 0);
    }
    case TRANSFER_BARRIER:
        return 1;
    default:
        return 2 * (int64_t)(p->hosts - 1);
    }
}

/* Another host did the work: the same seconds, spread over the parts that it recorded meanwhile. */
static void charge_replicated(player *p, host *h, const timeline_entry *e)
{
    device *dev = h->time->dev;
    const timeline_entry *entries = p->host[e->from].time->entries;
    device_mark last = e->from_mark;
    part now = h->part;
    for (int i = e->source_begin; i < e->source_end; i++) {
        charge(h, now, dev->between(dev, last, entries[i].before));
        last = entries[i].after;
        if (entries[i].kind == ENTRY_PART_BEGIN)
            now = (part)entries[i].what;
        else if (entries[i].kind == ENTRY_PART_END)
            now = h->part;
    }
    charge(h, now, dev->between(dev, last, e->until_mark));
}

static int phase_ends(host *h, phase_mark mark)
{
    int ending = mark == PHASE_PREFILL_END ? PHASE_PREFILL : PHASE_DECODE;
    if (h->phase != ending)
        return fail("a timeline whose phases end in the wrong order");
    if (ending == PHASE_PREFILL)
        h->times->prefill_end = h->clock;
    else
        h->times->decode_end = h->clock;
    h->phase++;
    h->finished = h->phase == PHASE_COUNT;
    return 0;
}

/* Walks the host's entries until it must wait or its last phase has ended. */
static int walk(player *p, int rank)
{
    host *h = &p->host[rank];
    device *dev = h->time->dev;
    while (!h->finished) {
        if (h->next == h->time->count)
            return fail("the timeline of host %d does not end its %s", rank,
                        h->phase == PHASE_PREFILL ? "prefill" : "decode");
        const timeline_entry *e = &h->time->entries[h->next++];
        charge(h, h->part, dev->between(dev, h->last, e->before));
        h->last = e->after;
        switch (e->kind) {
        case ENTRY_PART_BEGIN:
            h->part = (part)e->what;
            break;
        case ENTRY_PART_END:
            h->part = PART_OTHER;
            break;
        case ENTRY_PHASE:
            if (phase_ends(h, (phase_mark)e->what) < 0)
                return fail_within("host %d", rank);
            break;
        case ENTRY_POST: {
            request *r = &h->requests[h->posted++];
            *r = (request){.missing = messages_of(p, e, rank), .end = h->clock};
            network_alarm(p->net, h->clock, rank, h->next - 1);
            break;
        }
        case ENTRY_WAIT: {
            int index = e->handle - h->first_handle;
            if (index < 0 || index >= h->posted)
                return fail("the timeline of host %d waits for transfer %d, which it has not "
                            "posted since its start", rank, e->handle);
            if (h->requests[index].missing) {
                h->waiting_for = index;
                return 0;
            }
            if (h->requests[index].end > h->clock)
                charge(h, PART_COMM, h->requests[index].end - h->clock);
            break;
        }
        case ENTRY_REPLICATED:
            charge_replicated(p, h, e);
            break;
        case ENTRY_PAUSE:
            break;
        }
    }
    return 0;
}

/* A message of a host's transfer has arrived; after the last one the host may go on. */
static int message_done(player *p, int rank, int index, double now)
{
    host *h = &p->host[rank];
    request *r = &h->requests[index];
    if (--r->missing > 0)
        return 0;
    r->end = now;
    if (h->waiting_for != index)
        return 0;
    h->waiting_for = NONE;
    if (now > h->clock)
        charge(h, PART_COMM, now - h->clock);
    return walk(p, rank);
}

/* ---- Collectives ---- */

static collective *collective_new(int hosts, int number, const timeline_entry *e)
{
    collective *c = alloc_or_die(1, sizeof *c);
    c->kind = (transfer_kind)e->what;
    c->bytes = e->bytes;
    c->root = e->to;
    c->number = number;
    int64_t pairs = (int64_t)hosts * (hosts - 1);
    c->messages_left = c->kind == TRANSFER_BROADCAST ? hosts - 1
                       : c->kind == TRANSFER_BARRIER ? 1 : pairs;
    c->request = alloc_or_die(5 * (size_t)hosts, sizeof *c->request);
    c->arrived = c->request + hosts;
    c->launched = c->arrived + hosts;
    c->left = c->launched + hosts;
    c->came = c->left + hosts;
    for (int rank = 0; rank < hosts; rank++)
        c->request[rank] = NONE;
    if (c->kind == TRANSFER_ALL_TO_ALL)
        c->peer_bytes = alloc_or_die((size_t)hosts, sizeof *c->peer_bytes);
    return c;
}

static void collective_free(collective *c)
{
    if (c) {
        free(c->request);
        free(c->peer_bytes);
        free(c);
    }
}

static void launch(player *p, collective *c, int source, int target, int step, int64_t bytes)
{
    network_launch(p->net, (message){.source = source, .target = target, .bytes = bytes,
                                     .transfer = c, .step = step,
                                     .source_request = c->request[source],
                                     .target_request = c->request[target]});
}

/* all_gather: launches the steps of host r whose block has arrived. */
static void try_ring(player *p, collective *c, int r)
{
    int next = (r + 1) % p->hosts;
    if (c->request[r] == NONE || c->request[next] == NONE)
        return;
    while (c->launched[r] < p->hosts - 1 && c->launched[r] <= c->arrived[r])
        launch(p, c, r, next, c->launched[r]++, c->bytes);
}

/* all_to_all: launches the next round of host r when its ports are through with the last one. */
static void try_round(player *p, collective *c, int r)
{
    int round = c->launched[r] + 1;
    int target = (r + round) % p->hosts;
    if (round == p->hosts || c->left[r] < round - 1 || c->came[target] < round - 1 ||
        c->request[r] == NONE || c->request[target] == NONE)
        return;
    c->launched[r] = round;
    launch(p, c, r, target, round, c->peer_bytes[r][target]);
}

/* The host whose next message in an all_to_all goes to host r. */
static int next_source(const player *p, const collective *c, int r)
{
    return ((r - c->came[r] - 1) % p->hosts + p->hosts) % p->hosts;
}

static int from_root(const player *p, const collective *c, int rank)
{
    return (rank - c->root + p->hosts) % p->hosts;
}

/* broadcast: host `rank` has the data, and passes them on to the children that have posted. */
static void pass_on(player *p, collective *c, int rank)
{
    int v = from_root(p, c, rank);
    c->arrived[rank] = 1;
    for (int64_t distance = 1; v + distance < p->hosts; distance *= 2) {
        int child = (int)((rank + distance) % p->hosts);
        if (distance > v && c->request[child] != NONE)
            launch(p, c, rank, child, 0, c->bytes);
    }
}

static void posted_in_broadcast(player *p, collective *c, int rank)
{
    int v = from_root(p, c, rank);
    if (v == 0) {
        pass_on(p, c, rank);
        return;
    }
    int parent = (tree_parent(v) + c->root) % p->hosts;
    if (c->arrived[parent])
        launch(p, c, parent, rank, 0, c->bytes);
}

static void forget_collective(player *p, collective *c)
{
    p->collectives[c->number] = NULL;
    collective_free(c);
}

static collective *collective_at(player *p, int number, const timeline_entry *e)
{
    if (number >= p->collective_capacity) {
        int old = p->collective_capacity;
        p->collective_capacity = 2 * number + 64;
        p->collectives = realloc_or_die(p->collectives, (size_t)p->collective_capacity,
                                        sizeof *p->collectives);
        memset(p->collectives + old, 0,
               (size_t)(p->collective_capacity - old) * sizeof *p->collectives);
    }
    if (!p->collectives[number])
        p->collectives[number] = collective_new(p->hosts, number, e);
    return p->collectives[number];
}

static int post_collective(player *p, int rank, const timeline_entry *e, int index, double now)
{
    if (p->hosts == 1)
        return e->what == TRANSFER_BARRIER ? message_done(p, rank, index, now) : 0;
    collective *c = collective_at(p, p->host[rank].collective_calls++, e);
    if (c->kind != (transfer_kind)e->what || c->bytes != e->bytes || c->root != e->to)
        return fail("collective call %d of host %d is not that of the other hosts", c->number,
                    rank);
    c->request[rank] = index;
    c->posted++;
    switch (c->kind) {
    case TRANSFER_ALL_GATHER:
        try_ring(p, c, rank);
        try_ring(p, c, (rank + p->hosts - 1) % p->hosts);
        break;
    case TRANSFER_ALL_TO_ALL:
        c->peer_bytes[rank] = e->peer_bytes;
        try_round(p, c, rank);
        try_round(p, c, next_source(p, c, rank));
        break;
    case TRANSFER_BROADCAST:
        posted_in_broadcast(p, c, rank);
        break;
    default: /* barrier */
        if (c->posted == p->hosts)
            network_alarm(p->net, now + link_barrier_seconds(p->link, p->hosts), BARRIER_ENDS,
                          c->number);
    }
    return 0;
}

static int barrier_ends(player *p, int number, double now)
{
    collective *c = p->collectives[number];
    int result = 0;
    for (int rank = 0; rank < p->hosts && result == 0; rank++)
        result = message_done(p, rank, c->request[rank], now);
    forget_collective(p, c);
    return result;
}

/* ---- Messages between two hosts ---- */

static int post_half(player *p, int source, half side)
{
    half **link = &p->halves[source];
    while (*link && ((*link)->target != side.target || (*link)->is_send == side.is_send))
        link = &(*link)->next;
    half *other = *link;
    if (!other) {
        *link = alloc_or_die(1, sizeof **link);
        **link = side;
        return 0;
    }
    const half *send = side.is_send ? &side : other, *recv = side.is_send ? other : &side;
    network_launch(p->net, (message){.source = source, .target = side.target, .bytes = send->bytes,
                                     .source_request = send->request,
                                     .target_request = recv->request});
    *link = other->next;
    free(other);
    return 0;
}

/* ---- What happens ---- */

static int posted(player *p, int rank, int entry, double now)
{
    host *h = &p->host[rank];
    const timeline_entry *e = &h->time->entries[entry];
    int index = e->handle - h->first_handle;
    if (e->what != TRANSFER_SEND_RECV)
        return post_collective(p, rank, e, index, now);
    if (e->to >= 0)
        post_half(p, rank, (half){.is_send = true, .target = e->to, .bytes = e->bytes,
                                  .request = index});
    if (e->from >= 0)
        post_half(p, e->from, (half){.target = rank, .request = index});
    return 0;
}

static void left(player *p, const message *m)
{
    collective *c = m->transfer;
    if (!c || c->kind != TRANSFER_ALL_TO_ALL)
        return;
    c->left[m->source] = m->step;
    c->came[m->target] = m->step;
    try_round(p, c, m->source);
    try_round(p, c, next_source(p, c, m->target));
}

static int arrived(player *p, const message *m, double now)
{
    collective *c = m->transfer;
    if (c && c->kind == TRANSFER_ALL_GATHER) {
        c->arrived[m->target]++;
        try_ring(p, c, m->target);
    } else if (c && c->kind == TRANSFER_BROADCAST) {
        pass_on(p, c, m->target);
    }
    if (c && --c->messages_left == 0)
        forget_collective(p, c);
    return message_done(p, m->source, m->source_request, now) < 0
               ? -1 : message_done(p, m->target, m->target_request, now);
}

static int play(player *p)
{
    for (int rank = 0; rank < p->hosts; rank++)
        if (walk(p, rank) < 0)
            return -1;
    happening what;
    int result = 0;
    while (result == 0 && network_next(p->net, &what)) {
        switch (what.kind) {
        case HAPPENED_ALARM:
            result = what.host == BARRIER_ENDS ? barrier_ends(p, what.argument, what.time)
                                               : posted(p, what.host, what.argument, what.time);
            break;
        case HAPPENED_LEFT:
            left(p, &what.message);
            break;
        case HAPPENED_ARRIVED:
            result = arrived(p, &what.message, what.time);
            break;
        }
    }
    for (int rank = 0; rank < p->hosts && result == 0; rank++)
        if (!p->host[rank].finished)
            return fail("the timelines do not match: host %d waits for transfer %d for ever", rank,
                        p->host[rank].first_handle + p->host[rank].waiting_for);
    return result;
}

/* ---- Setting up ---- */

/* The last PHASE_START of a timeline, or NONE with a sentence. */
static int find_start(const timeline *time)
{
    for (int i = time->count - 1; i >= 0; i--)
        if (time->entries[i].kind == ENTRY_PHASE && time->entries[i].what == PHASE_START)
            return i;
    fail("a timeline without a start");
    return NONE;
}

static int set_out(host *h, const timeline *time, host_times *times)
{
    *times = (host_times){0};
    *h = (host){.time = time, .part = PART_OTHER, .waiting_for = NONE, .times = times};
    int start = find_start(time);
    if (start == NONE)
        return -1;
    h->next = start + 1;
    h->last = time->entries[start].after;
    int posts = 0;
    for (int i = h->next; i < time->count; i++) {
        if (time->entries[i].kind != ENTRY_POST)
            continue;
        if (posts == 0)
            h->first_handle = time->entries[i].handle;
        if (time->entries[i].handle != h->first_handle + posts)
            return fail("a timeline whose transfers are not numbered in order");
        posts++;
    }
    h->requests = alloc_or_die((size_t)posts, sizeof *h->requests);
    return 0;
}

int replay(const timeline *timelines, int hosts, const link_model *link, host_times *times)
{
    player p = {.hosts = hosts, .link = link, .net = network_new(hosts, link)};
    p.host = alloc_or_die((size_t)hosts, sizeof *p.host);
    p.halves = alloc_or_die((size_t)hosts, sizeof *p.halves);
    int result = 0;
    for (int rank = 0; rank < hosts && result == 0; rank++)
        if (set_out(&p.host[rank], &timelines[rank], &times[rank]) < 0)
            result = fail_within("replay: host %d", rank);
    if (result == 0 && play(&p) < 0)
        result = fail_within("replay");
    for (int rank = 0; rank < hosts; rank++) {
        free(p.host[rank].requests);
        for (half *side = p.halves[rank], *next; side; side = next) {
            next = side->next;
            free(side);
        }
    }
    for (int i = 0; i < p.collective_capacity; i++)
        collective_free(p.collectives[i]);
    free(p.collectives);
    free(p.halves);
    free(p.host);
    network_free(p.net);
    return result;
}

int replay_measured(const timeline *time, host_times *times)
{
    host h;
    int result = set_out(&h, time, times);
    device *dev = time->dev;
    while (result == 0 && !h.finished) {
        if (h.next == time->count) {
            result = fail("the timeline does not end its %s",
                          h.phase == PHASE_PREFILL ? "prefill" : "decode");
            break;
        }
        const timeline_entry *e = &time->entries[h.next++];
        charge(&h, h.part, dev->between(dev, h.last, e->before));
        h.last = e->after;
        if (e->kind == ENTRY_PART_BEGIN)
            h.part = (part)e->what;
        else if (e->kind == ENTRY_PART_END)
            h.part = PART_OTHER;
        else if (e->kind == ENTRY_POST || e->kind == ENTRY_WAIT)
            charge(&h, PART_COMM, dev->between(dev, e->before, e->after));
        else if (e->kind == ENTRY_PHASE)
            result = phase_ends(&h, (phase_mark)e->what);
    }
    free(h.requests);
    return result < 0 ? fail_within("measured timeline") : 0;
}

void slowest_host(const host_times *times, int hosts, host_times *slowest)
{
    *slowest = times[0];
    for (int rank = 1; rank < hosts; rank++) {
        if (times[rank].prefill_end > slowest->prefill_end) {
            slowest->prefill_end = times[rank].prefill_end;
            memcpy(slowest->parts[PHASE_PREFILL], times[rank].parts[PHASE_PREFILL],
                   sizeof slowest->parts[PHASE_PREFILL]);
        }
        if (times[rank].decode_end > slowest->decode_end) {
            slowest->decode_end = times[rank].decode_end;
            memcpy(slowest->parts[PHASE_DECODE], times[rank].parts[PHASE_DECODE],
                   sizeof slowest->parts[PHASE_DECODE]);
        }
    }
}
