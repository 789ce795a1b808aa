/* What a transfer costs attention beside it. See links.h.
 *
 * Attention is queued behind the posting of a send_recv round a ring, as methods do; both are then under
 * way, and the marks before and behind attention on the compute stream tell what it took. */
#include "harness/machine/links.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/machine/peaks.h"

enum { WARMUPS = 2, REPETITIONS = 7, HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, MOST_ROWS = 16384 };
static const double enough_seconds = 2e-3; /* of attention; slow devices take fewer rows */

typedef struct {
    attn_call attention;
    char *messages; /* [2][bytes], to the next host and from the one before */
    link_slowdown *result;
} request;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds)
{
    qsort(seconds, REPETITIONS, sizeof *seconds, by_value);
    return seconds[REPETITIONS / 2];
}

static int start_together(comm *c)
{
    int handle = c->driver->barrier(c);
    if (handle < 0 || c->driver->wait(c, handle))
        return -1;
    c->dev->sync(c->dev);
    return 0;
}

/* Attention once, alone or behind the posting of the transfer: its seconds, and those from its end to
 * the transfer's. */
static int time_once(comm *c, const request *r, bool beside, double *seconds, double *left)
{
    device *dev = c->dev;
    int handle = -1;
    if (start_together(c))
        return -1;
    if (beside) {
        size_t bytes = (size_t)r->result->bytes;
        handle = c->driver->send_recv(c, (c->rank + 1) % c->size, r->messages, bytes,
                                      (c->rank + c->size - 1) % c->size, r->messages + bytes, bytes);
        if (handle < 0)
            return -1;
    }
    device_mark before = dev->mark(dev);
    dev->attention(dev, &r->attention);
    device_mark after = dev->mark(dev);
    if (beside && c->driver->wait(c, handle))
        return -1;
    device_mark over = dev->mark(dev);
    dev->sync(dev);
    *seconds = dev->between(dev, before, after);
    *left = dev->between(dev, after, over);
    timeline_clear(c->time); /* nobody reads it */
    dev->forget_marks(dev);
    return 0;
}

static int time_both(comm *c, void *argument)
{
    request *r = argument;
    double seconds[2][REPETITIONS], left[2][REPETITIONS], unused;
    for (int i = -WARMUPS; i < REPETITIONS; i++) /* in turn, so that clocks drift for both */
        for (int beside = 0; beside < 2; beside++)
            if (time_once(c, r, beside, i < 0 ? &unused : &seconds[beside][i],
                          i < 0 ? &unused : &left[beside][i]))
                return -1;
    double alone = median(seconds[0]), with = median(seconds[1]);
    double most[] = {alone, with, with / alone, -median(left[1])};
    if (c->driver->reduce_max(c, most, 4))
        return -1;
    r->result->alone_s = most[0];
    r->result->beside_s = most[1];
    r->result->slowdown = fmax(most[2], 1);
    r->result->left_s = -most[3];
    return 0;
}

/* Rows whose attention takes long enough on this device, and its seconds; 0 rows: no memory. */
static int64_t choose_rows(device *dev, double *seconds)
{
    for (int64_t rows = 128;; rows *= 2) {
        double rate = peak_attention(dev, rows, HEADS, KV_HEADS, HEAD_DIM);
        if (rate <= 0)
            return 0;
        *seconds = 2.0 * (double)rows * (double)rows * HEADS * HEAD_DIM / rate;
        if (*seconds >= enough_seconds || rows >= MOST_ROWS)
            return rows;
    }
}

int links_slowdown(const comm_driver *driver, int hosts, device *dev, double byte_seconds, size_t room,
                   link_slowdown *result)
{
    struct {
        int64_t rows, bytes;
    } chosen = {0, 0};
    double seconds = 0;
    chosen.rows = choose_rows(dev, &seconds);
    if (driver->agree(driver, chosen.rows ? 0 : fail("no memory for attention beside transfers")))
        return -1;
    chosen.bytes = 4096;
    while ((double)chosen.bytes * byte_seconds < 2 * seconds &&
           2 * 2 * chosen.bytes <= (int64_t)room)
        chosen.bytes *= 2;
    if (driver->share(driver, &chosen, sizeof chosen)) /* the leader's choice */
        return -1;
    *result = (link_slowdown){.rows = chosen.rows, .bytes = chosen.bytes};

    request r = {.result = result};
    attn_segment segment;
    size_t both = 2 * (size_t)chosen.bytes;
    char *attention =
        causal_attention(dev, chosen.rows, HEADS, KV_HEADS, HEAD_DIM, &segment, &r.attention);
    r.messages = attention ? dev->alloc(dev, both) : NULL;
    int status = driver->agree(driver, r.messages ? 0 : fail("out of memory: attention over %lld rows "
                                                             "beside a transfer of %lld bytes a host",
                                                             (long long)chosen.rows,
                                                             (long long)chosen.bytes));
    if (!status) {
        uint64_t counted = dev->flops;
        dev->random(dev, r.messages, true, (int64_t)(both / sizeof(float)), 1, 1);
        dev->sync(dev);
        timeline *timelines = alloc_or_die((size_t)hosts, sizeof *timelines);
        status = driver->run(driver, hosts, dev, timelines, time_both, &r);
        for (int rank = 0; rank < hosts; rank++)
            timeline_free(&timelines[rank]);
        free(timelines);
        dev->sync(dev);
        dev->flops = counted;
    }
    if (r.messages)
        dev->free(dev, r.messages);
    if (attention)
        dev->free(dev, attention);
    return status;
}
