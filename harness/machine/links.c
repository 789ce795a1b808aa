/* Times transfers of the comm table. See links.h. */
#include "harness/machine/links.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

enum { REPETITIONS = 5, MOST_CALLS = 20 };
static const double enough_seconds = 0.02; /* of calls back to back in one repetition */

typedef struct {
    char *send, *receive; /* of this process */
    link_times *times;
    int count;
} links_request;

int links_distances(int hosts)
{
    int distances = 0;
    while (distances < LINK_DISTANCES && 1 << distances < hosts)
        distances++;
    return distances;
}

size_t links_bytes(int hosts, int64_t largest)
{
    return 2 * (size_t)hosts * (size_t)largest; /* all_to_all: to and from every host */
}

/* ---- Timing ---- */

/* One transfer, waited for: with a peer (-1: this host has none at this distance), or of all. */
typedef struct {
    transfer_kind kind;
    int peer;
    int64_t bytes;
} call;

static int wait_for(comm *c, int handle)
{
    return handle < 0 ? -1 : c->driver->wait(c, handle);
}

static int exchange_once(comm *c, const links_request *r, size_t bytes)
{
    size_t *at = alloc_or_die(2 * (size_t)c->size, sizeof *at), *all = at + c->size;
    for (int host = 0; host < c->size; host++) {
        at[host] = (size_t)host * bytes;
        all[host] = bytes;
    }
    int status = wait_for(c, c->driver->all_to_all(c, r->send, at, all, r->receive, at, all));
    free(at);
    return status;
}

static int transfer_once(comm *c, const links_request *r, const call *one)
{
    size_t bytes = (size_t)one->bytes;
    if (one->kind == TRANSFER_ALL_GATHER)
        return wait_for(c, c->driver->all_gather(c, r->send, r->receive, bytes));
    if (one->kind == TRANSFER_ALL_TO_ALL)
        return exchange_once(c, r, bytes);
    if (one->peer < 0)
        return 0;
    return wait_for(c, c->driver->send_recv(c, one->peer, r->send, bytes, one->peer, r->receive,
                                            bytes));
}

/* Seconds of one of `calls` transfers back to back, on this host, from when all are ready. */
static int time_calls(comm *c, const links_request *r, const call *one, int calls, double *seconds)
{
    if (wait_for(c, c->driver->barrier(c)))
        return -1;
    c->dev->sync(c->dev);
    double since = monotonic_seconds();
    for (int i = 0; i < calls; i++)
        if (transfer_once(c, r, one))
            return -1;
    c->dev->sync(c->dev);
    *seconds = (monotonic_seconds() - since) / calls;
    timeline_clear(c->time); /* nobody reads it */
    c->dev->forget_marks(c->dev);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The first call, which may make connections, and a second one, which tells how many to repeat, do not
 * count. */
static int time_call(comm *c, const links_request *r, const call *one, double *seconds)
{
    double all[REPETITIONS];
    for (int i = 0; i < 2; i++)
        if (time_calls(c, r, one, 1, &all[0]))
            return -1;
    if (c->driver->reduce_max(c, all, 1))
        return -1;
    double wanted = enough_seconds / fmax(all[0], 1e-9);
    int calls = wanted < 1 ? 1 : wanted > MOST_CALLS ? MOST_CALLS : (int)wanted;
    for (int i = 0; i < REPETITIONS; i++)
        if (time_calls(c, r, one, calls, &all[i]))
            return -1;
    if (c->driver->reduce_max(c, all, REPETITIONS))
        return -1;
    qsort(all, REPETITIONS, sizeof *all, by_value);
    *seconds = all[REPETITIONS / 2];
    return 0;
}

static int measure_body(comm *c, void *argument)
{
    const links_request *r = argument;
    for (int i = 0; i < r->count; i++) {
        link_times *t = &r->times[i];
        for (int k = 0; k < links_distances(c->size); k++) {
            int peer = c->rank ^ (1 << k);
            call pair = {.kind = TRANSFER_SEND_RECV, .peer = peer < c->size ? peer : -1, .bytes = t->bytes};
            if (time_call(c, r, &pair, &t->pair_s[k]))
                return -1;
        }
        call gather = {.kind = TRANSFER_ALL_GATHER, .bytes = t->bytes};
        call exchange = {.kind = TRANSFER_ALL_TO_ALL, .bytes = t->bytes};
        if (time_call(c, r, &gather, &t->gather_s) ||
            time_call(c, r, &exchange, &t->exchange_s))
            return -1;
    }
    return 0;
}

int links_measure(const comm_driver *driver, int hosts, device *dev, link_times *times, int count)
{
    int64_t largest = 0;
    for (int i = 0; i < count; i++)
        largest = times[i].bytes > largest ? times[i].bytes : largest;
    size_t bytes = links_bytes(hosts, largest);
    char *memory = dev->alloc(dev, bytes);
    if (!memory)
        fail("out of memory: %zu bytes wanted on the device for transfers of up to %lld", bytes,
             (long long)largest);
    if (driver->agree(driver, memory ? 0 : -1)) {
        if (memory)
            dev->free(dev, memory);
        return -1;
    }
    /* Memory that nobody has written to may not be there yet. */
    dev->random(dev, memory, true, (int64_t)(bytes / sizeof(float)), 1, 1);
    dev->sync(dev);
    links_request request = {memory, memory + bytes / 2, times, count};
    timeline *timelines = alloc_or_die((size_t)hosts, sizeof *timelines);
    int status = driver->run(driver, hosts, dev, timelines, measure_body, &request);
    for (int rank = 0; rank < hosts; rank++)
        timeline_free(&timelines[rank]);
    free(timelines);
    dev->sync(dev);
    dev->free(dev, memory);
    return status;
}

/* ---- Fitting ---- */

/* Sums over the points of one kind, each with weight 1 / seconds^2: n is latencies, m bytes, t seconds. */
typedef struct {
    double nn, nm, mm, nt, mt;
} sums;

/* Least squares of sum of ((n a + m b_k - t) / t)^2 with one b_k for each kind k: for any a,
 * b_k = (mt_k - a nm_k) / mm_k, and a from what this leaves of the other equation. */
int links_fit(const link_point *points, int count, link_model *link, double *worst)
{
    sums of[2] = {{0}};
    for (int i = 0; i < count; i++) {
        double n = points[i].latencies, m = points[i].bytes, t = points[i].seconds;
        sums *k = &of[points[i].collective];
        k->nn += n * n / (t * t);
        k->nm += n * m / (t * t);
        k->mm += m * m / (t * t);
        k->nt += n / t;
        k->mt += m / t;
    }
    double right = 0, left = 0;
    for (int k = 0; k < 2; k++) {
        if (!of[k].mm)
            continue;
        right += of[k].nt - of[k].nm * of[k].mt / of[k].mm;
        left += of[k].nn - of[k].nm * of[k].nm / of[k].mm;
    }
    if (!(left > 1e-9 * (of[0].nn + of[1].nn)))
        return fail("no link fits: transfers of one size do not tell latency and bandwidth apart");
    double latency = fmax(right / left, 0), per_byte[2] = {0};
    for (int k = 0; k < 2; k++) {
        if (!of[k].mm)
            continue;
        per_byte[k] = (of[k].mt - latency * of[k].nm) / of[k].mm;
        if (!(per_byte[k] > 0) || !isfinite(per_byte[k]) || !isfinite(latency))
            return fail("no link fits: times do not grow with bytes");
    }
    *link = (link_model){.name = "custom", .latency = latency};
    link->bandwidth = 1 / per_byte[of[0].mm ? 0 : 1];
    if (of[0].mm && of[1].mm)
        link->collectives = 1 / per_byte[1];
    *worst = 0;
    for (int i = 0; i < count; i++) {
        const link_point *p = &points[i];
        double fitted = p->latencies * latency + p->bytes * per_byte[p->collective];
        *worst = fmax(*worst, fabs(fitted / p->seconds - 1));
    }
    return 0;
}
