/* See comm_cases.h. Byte i of a message is a hash of (tag, i), and a tag tells call, source and
 * target, so a byte at the wrong place or from the wrong message shows. */
#include "tests/comm_cases.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

static uint8_t pattern(int64_t tag, size_t i)
{
    uint64_t x = (uint64_t)tag * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u;
    return (uint8_t)((x ^ (x >> 29)) * 0x94d049bb133111ebu >> 56);
}

static int64_t tag_of(int call, int source, int target)
{
    return ((int64_t)call * 4096 + source) * 4096 + target;
}

static void put(comm *c, void *at, int64_t tag, size_t bytes)
{
    uint8_t *host = alloc_or_die(bytes, 1);
    for (size_t i = 0; i < bytes; i++)
        host[i] = pattern(tag, i);
    c->dev->upload(c->dev, at, host, bytes);
    free(host);
}

static int expect(comm *c, const void *at, int64_t tag, size_t bytes, const char *what)
{
    uint8_t *host = alloc_or_die(bytes, 1);
    c->dev->download(c->dev, host, at, bytes);
    size_t i = 0;
    while (i < bytes && host[i] == pattern(tag, i))
        i++;
    free(host);
    return i == bytes ? 0 : fail("%s: byte %zu of %zu is wrong", what, i, bytes);
}

static void *take(comm *c, size_t bytes)
{
    void *memory = c->dev->alloc(c->dev, bytes ? bytes : 1);
    uint8_t *poison = alloc_or_die(bytes, 1);
    memset(poison, 0xee, bytes);
    if (memory)
        c->dev->upload(c->dev, memory, poison, bytes);
    free(poison);
    return memory;
}

static void drop(comm *c, void *memory)
{
    c->dev->free(c->dev, memory);
}

/* What a host sends in call `call` of the mixed case; also the sizes of the others. */
static const size_t sizes[] = {0, 1, 7, 4096, 100003};
enum { SIZES = sizeof sizes / sizeof *sizes };

static int check_gathered(comm *c, const char *recv, int call, size_t bytes)
{
    for (int host = 0; host < c->size; host++)
        if (expect(c, recv + (size_t)host * bytes, tag_of(call, host, 0), bytes, "all_gather") < 0)
            return -1;
    return 0;
}

static int case_all_gather(comm *c, void *unused)
{
    (void)unused;
    int result = 0;
    for (int call = 0; call < 2 * SIZES && result == 0; call++) {
        size_t bytes = sizes[call / 2];
        bool in_place = call % 2;
        char *recv = take(c, bytes * (size_t)c->size);
        char *send = in_place ? recv + (size_t)c->rank * bytes : take(c, bytes);
        put(c, send, tag_of(call, c->rank, 0), bytes);
        int64_t sent = c->bytes_sent;
        int handle = c->driver->all_gather(c, send, recv, bytes);
        result = handle < 0 ? -1 : c->driver->wait(c, handle);
        if (result == 0)
            result = check_gathered(c, recv, call, bytes);
        if (result == 0 && c->bytes_sent - sent != (int64_t)bytes * (c->size - 1))
            result = fail("all_gather counts %lld bytes as sent",
                          (long long)(c->bytes_sent - sent));
        if (!in_place)
            drop(c, send);
        drop(c, recv);
    }
    return result;
}

/* Each host's block goes once round the ring, one step ahead of its check. */
static int case_ring(comm *c, void *unused)
{
    (void)unused;
    enum { BYTES = 5000 };
    int next = (c->rank + 1) % c->size, previous = (c->rank + c->size - 1) % c->size;
    void *now = take(c, BYTES), *coming = take(c, BYTES);
    put(c, now, tag_of(0, c->rank, 0), BYTES);
    int result = 0;
    for (int step = 0; step < c->size && result == 0; step++) {
        int handle = c->driver->send_recv(c, next, now, BYTES, previous, coming, BYTES);
        int owner = (c->rank - step + c->size) % c->size;
        result = handle < 0 ? -1 : expect(c, now, tag_of(0, owner, 0), BYTES, "ring");
        if (result == 0)
            result = c->driver->wait(c, handle);
        void *swap = now;
        now = coming;
        coming = swap;
    }
    if (result == 0)
        result = expect(c, now, tag_of(0, c->rank, 0), BYTES, "ring after a whole round");
    int64_t sent = c->size == 1 ? 0 : (int64_t)BYTES * c->size; /* to oneself is not sent */
    if (result == 0 && c->bytes_sent != sent)
        result = fail("the ring counts %lld bytes as sent", (long long)c->bytes_sent);
    drop(c, now);
    drop(c, coming);
    return result;
}

/* A line from host 0 to the last: the ends have one neighbour; messages of growing size, whose
 * waits come last first, so that the k-th send has to match the k-th receive. */
static int case_line(comm *c, void *unused)
{
    (void)unused;
    int to = c->rank + 1 < c->size ? c->rank + 1 : -1, from = c->rank - 1;
    void *send[SIZES], *recv[SIZES];
    int handles[SIZES], result = 0;
    for (int k = 0; k < SIZES; k++) {
        send[k] = take(c, sizes[k]);
        recv[k] = take(c, sizes[k]);
        put(c, send[k], tag_of(k, c->rank, to), sizes[k]);
    }
    for (int k = 0; k < SIZES && result == 0; k++) {
        handles[k] = c->driver->send_recv(c, to, send[k], sizes[k], from, recv[k], sizes[k]);
        result = handles[k] < 0 ? -1 : 0;
    }
    for (int k = SIZES - 1; k >= 0 && result == 0; k--) {
        result = c->driver->wait(c, handles[k]);
        if (result == 0 && from >= 0)
            result = expect(c, recv[k], tag_of(k, from, c->rank), sizes[k], "line");
    }
    for (int k = 0; k < SIZES; k++) {
        drop(c, send[k]);
        drop(c, recv[k]);
    }
    return result;
}

/* Uneven parts, some empty, at places in an order of their own. */
static size_t part_bytes(int source, int target)
{
    int size = (source * 7 + target * 13) % 50;
    return size % 5 == 0 ? 0 : (size_t)size * 40;
}

typedef struct {
    char *send, *recv;
    size_t *at; /* [4][hosts]: send_at, send_bytes, recv_at, recv_bytes */
    int64_t sent;
} exchange;

static void exchange_begin(comm *c, exchange *x, int call)
{
    size_t hosts = (size_t)c->size, send_total = 0, recv_total = 0;
    x->at = alloc_or_die(4 * hosts, sizeof *x->at);
    x->sent = 0;
    for (size_t p = 0; p < hosts; p++) {
        size_t reversed = hosts - 1 - p;
        x->at[p] = send_total;
        x->at[hosts + p] = part_bytes(c->rank, (int)p);
        send_total += x->at[hosts + p] + 3;
        x->at[2 * hosts + reversed] = recv_total;
        x->at[3 * hosts + reversed] = part_bytes((int)reversed, c->rank);
        recv_total += x->at[3 * hosts + reversed] + 5;
        if ((int)p != c->rank)
            x->sent += (int64_t)x->at[hosts + p];
    }
    x->send = take(c, send_total);
    x->recv = take(c, recv_total);
    for (size_t p = 0; p < hosts; p++)
        put(c, x->send + x->at[p], tag_of(call, c->rank, (int)p), x->at[hosts + p]);
}

static int exchange_start(comm *c, exchange *x)
{
    size_t hosts = (size_t)c->size;
    return c->driver->all_to_all(c, x->send, x->at, x->at + hosts, x->recv, x->at + 2 * hosts,
                                 x->at + 3 * hosts);
}

static int exchange_check(comm *c, const exchange *x, int call)
{
    size_t hosts = (size_t)c->size;
    for (size_t p = 0; p < hosts; p++) {
        const char *part = x->recv + x->at[2 * hosts + p];
        size_t bytes = x->at[3 * hosts + p];
        if (expect(c, part, tag_of(call, (int)p, c->rank), bytes, "all_to_all") < 0)
            return -1;
        static const uint8_t untouched[5] = {0xee, 0xee, 0xee, 0xee, 0xee};
        uint8_t behind[5];
        c->dev->download(c->dev, behind, part + bytes, sizeof behind);
        if (memcmp(behind, untouched, sizeof untouched))
            return fail("all_to_all wrote behind the part of host %zu", p);
    }
    return 0;
}

static void exchange_end(comm *c, exchange *x)
{
    drop(c, x->send);
    drop(c, x->recv);
    free(x->at);
}

static int case_all_to_all(comm *c, void *unused)
{
    (void)unused;
    exchange x;
    exchange_begin(c, &x, 0);
    int handle = exchange_start(c, &x);
    int result = handle < 0 ? -1 : c->driver->wait(c, handle);
    if (result == 0)
        result = exchange_check(c, &x, 0);
    if (result == 0 && c->bytes_sent != x.sent)
        result = fail("all_to_all counts %lld bytes as sent, not %lld", (long long)c->bytes_sent,
                      (long long)x.sent);
    exchange_end(c, &x);
    return result;
}

static int case_broadcast(comm *c, void *unused)
{
    (void)unused;
    enum { BYTES = 3001 };
    void *data = take(c, BYTES);
    int result = 0;
    for (int root = 0; root < c->size && result == 0; root++) {
        put(c, data, tag_of(root, c->rank, 0), BYTES);
        int handle = c->driver->broadcast(c, data, BYTES, root);
        result = handle < 0 ? -1 : c->driver->wait(c, handle);
        if (result == 0)
            result = expect(c, data, tag_of(root, root, 0), BYTES, "broadcast");
    }
    /* Every host is the root once, and each broadcast is received H - 1 times; by symmetry each
     * host has sent H - 1 payloads in all. */
    if (result == 0 && c->bytes_sent != (int64_t)BYTES * (c->size - 1))
        result = fail("broadcasts count %lld bytes as sent", (long long)c->bytes_sent);
    drop(c, data);
    return result;
}

static int case_reduce_max(comm *c, void *unused)
{
    (void)unused;
    for (int round = 0; round < 3; round++) {
        double values[2] = {c->rank * 1.5 + round, -c->rank - 1.0};
        if (c->driver->reduce_max(c, values, 2) < 0)
            return -1;
        if (values[0] != (c->size - 1) * 1.5 + round || values[1] != -1)
            return fail("reduce_max gives %g and %g", values[0], values[1]);
    }
    return 0;
}

typedef struct {
    comm *comm;
    void *out;
    int call;
} replicated_work;

static int make_result(void *argument)
{
    replicated_work *work = argument;
    put(work->comm, work->out, tag_of(work->call, 0, 0), 600);
    return 0;
}

/* Results must be right though hosts overwrite theirs before others have come for them. */
static int case_replicated(comm *c, void *unused)
{
    (void)unused;
    void *out = take(c, 600);
    int result = 0;
    for (int call = 0; call < 6 && result == 0; call++) {
        replicated_work work = {c, out, call};
        result = c->driver->replicated(c, make_result, &work, out, 600);
        if (result == 0)
            result = expect(c, out, tag_of(call, 0, 0), 600, "replicated");
        put(c, out, -1, 600);
        if (result == 0 && call == 3) {
            int handle = c->driver->barrier(c);
            result = handle < 0 ? -1 : c->driver->wait(c, handle);
        }
    }
    drop(c, out);
    return result;
}

/* Everything in flight at once, waited for in another order on each host. */
static int case_mixed(comm *c, void *unused)
{
    (void)unused;
    enum { GATHER, RING, EXCHANGE, BROADCAST, BARRIER, GATHER_AGAIN, RING_BACK, KINDS };
    enum { BYTES = 2345 };
    uint32_t random = 12345u + (uint32_t)c->rank;
    int next = (c->rank + 1) % c->size, previous = (c->rank + c->size - 1) % c->size;
    int result = 0;
    for (int round = 0; round < 10 && result == 0; round++) {
        void *send = take(c, BYTES), *gathered = take(c, (size_t)BYTES * (size_t)c->size);
        void *again = take(c, (size_t)BYTES * (size_t)c->size);
        void *from_previous = take(c, BYTES), *from_next = take(c, BYTES);
        void *shared = take(c, BYTES);
        int root = round % c->size;
        put(c, send, tag_of(round, c->rank, 0), BYTES);
        put(c, shared, tag_of(round, c->rank, 0), BYTES);
        exchange x;
        exchange_begin(c, &x, round);
        const comm_driver *d = c->driver;
        int handles[KINDS] = {
            d->all_gather(c, send, gathered, BYTES),
            d->send_recv(c, next, send, BYTES, previous, from_previous, BYTES),
            exchange_start(c, &x),
            d->broadcast(c, shared, BYTES, root),
            d->barrier(c),
            d->all_gather(c, send, again, BYTES),
            d->send_recv(c, previous, send, BYTES, next, from_next, BYTES),
        };
        int order[KINDS];
        for (int i = 0; i < KINDS; i++) {
            random = random * 1664525u + 1013904223u;
            int at = (int)((random >> 16) % (uint32_t)(i + 1));
            order[i] = order[at];
            order[at] = i;
        }
        for (int i = 0; i < KINDS && result == 0; i++) {
            int kind = order[i];
            if (handles[kind] < 0 || d->wait(c, handles[kind]) < 0)
                result = -1;
            else if (kind == GATHER)
                result = check_gathered(c, gathered, round, BYTES);
            else if (kind == GATHER_AGAIN)
                result = check_gathered(c, again, round, BYTES);
            else if (kind == RING)
                result = expect(c, from_previous, tag_of(round, previous, 0), BYTES, "forward");
            else if (kind == RING_BACK)
                result = expect(c, from_next, tag_of(round, next, 0), BYTES, "backward");
            else if (kind == EXCHANGE)
                result = exchange_check(c, &x, round);
            else if (kind == BROADCAST)
                result = expect(c, shared, tag_of(round, root, 0), BYTES, "broadcast");
        }
        exchange_end(c, &x);
        drop(c, send), drop(c, gathered), drop(c, again);
        drop(c, from_previous), drop(c, from_next), drop(c, shared);
    }
    return result;
}

const comm_case comm_cases[] = {
    {"all_gather", case_all_gather}, {"ring", case_ring},
    {"line", case_line},             {"all_to_all", case_all_to_all},
    {"broadcast", case_broadcast},   {"reduce_max", case_reduce_max},
    {"replicated", case_replicated}, {"mixed", case_mixed},
};
const int comm_case_count = sizeof comm_cases / sizeof *comm_cases;
