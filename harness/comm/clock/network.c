/* Ports, queues and the heap of events. See network.h. */
#include "harness/comm/clock/network.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    message content;
    uint64_t number; /* they are counted as they come */
    bool holds_ports;
    double latency, duration;
} flight;

typedef struct {
    double time;
    uint64_t order; /* of causing, for events of the same time */
    happening_kind kind;
    int host, argument; /* alarms */
    int flight;         /* else: index into flights */
} event;

/* One port of a host: what holds it, and the flights that wait for it in the order they came. */
typedef struct {
    bool busy;
    int *waiting;
    int count, capacity;
} port;

struct network {
    int hosts;
    const link_model *link;
    double now;
    uint64_t caused, launched;
    event *heap;
    size_t heap_count, heap_capacity;
    flight *flights;
    int *free_flights; /* indices not in use */
    int flight_capacity, free_count;
    port *out, *in; /* [hosts] */
};

/* ---- Events, a binary heap ---- */

static bool before(const event *a, const event *b)
{
    return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static void push(network *net, event fresh)
{
    if (net->heap_count == net->heap_capacity) {
        net->heap_capacity = net->heap_capacity ? 2 * net->heap_capacity : 256;
        net->heap = realloc_or_die(net->heap, net->heap_capacity, sizeof *net->heap);
    }
    fresh.order = net->caused++;
    size_t at = net->heap_count++;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(&fresh, &net->heap[parent]))
            break;
        net->heap[at] = net->heap[parent];
        at = parent;
    }
    net->heap[at] = fresh;
}

static event pop(network *net)
{
    event first = net->heap[0], last = net->heap[--net->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= net->heap_count)
            break;
        if (child + 1 < net->heap_count && before(&net->heap[child + 1], &net->heap[child]))
            child++;
        if (!before(&net->heap[child], &last))
            break;
        net->heap[at] = net->heap[child];
        at = child;
    }
    net->heap[at] = last;
    return first;
}

/* ---- Flights ---- */

static int take_flight(network *net)
{
    if (net->free_count == 0) {
        int old = net->flight_capacity;
        net->flight_capacity = old ? 2 * old : 64;
        net->flights =
            realloc_or_die(net->flights, (size_t)net->flight_capacity, sizeof *net->flights);
        net->free_flights = realloc_or_die(net->free_flights, (size_t)net->flight_capacity,
                                           sizeof *net->free_flights);
        for (int i = net->flight_capacity - 1; i >= old; i--)
            net->free_flights[net->free_count++] = i;
    }
    return net->free_flights[--net->free_count];
}

static void start(network *net, int index)
{
    const flight *f = &net->flights[index];
    if (f->holds_ports) {
        net->out[f->content.source].busy = true;
        net->in[f->content.target].busy = true;
    }
    push(net, (event){.time = net->now + f->duration, .kind = HAPPENED_LEFT, .flight = index});
}

static void enqueue(port *p, int index)
{
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 4;
        p->waiting = realloc_or_die(p->waiting, (size_t)p->capacity, sizeof *p->waiting);
    }
    p->waiting[p->count++] = index;
}

static void remove_from(port *p, int index)
{
    int at = 0;
    while (p->waiting[at] != index)
        at++;
    p->count--;
    memmove(p->waiting + at, p->waiting + at + 1, (size_t)(p->count - at) * sizeof *p->waiting);
}

/* The first flight in this port's queue whose both ports are free; -1: none. */
static int first_to_start(const network *net, const port *p)
{
    for (int i = 0; i < p->count; i++) {
        const message *content = &net->flights[p->waiting[i]].content;
        if (!net->out[content->source].busy && !net->in[content->target].busy)
            return p->waiting[i];
    }
    return -1;
}

/* Starts what waits for these two ports, which are free now: of all flights the one that came first. */
static void start_waiting(network *net, const port *out, const port *in)
{
    for (;;) {
        int index = first_to_start(net, out), other = first_to_start(net, in);
        if (index < 0 || (other >= 0 && net->flights[other].number < net->flights[index].number))
            index = other;
        if (index < 0)
            return;
        remove_from(&net->out[net->flights[index].content.source], index);
        remove_from(&net->in[net->flights[index].content.target], index);
        start(net, index);
    }
}

static double bandwidth_of(const link_model *link, bool near, bool collective)
{
    if (!near)
        return link->node_bandwidth;
    return collective && link->collectives > 0 ? link->collectives : link->bandwidth;
}

void network_launch(network *net, message content)
{
    const link_model *link = net->link;
    int index = take_flight(net);
    flight *f = &net->flights[index];
    *f = (flight){.content = content, .number = net->launched++};
    if (content.bytes > 0 && content.source != content.target) {
        bool near = link->hosts_per_node == 0 || content.source / link->hosts_per_node ==
                                                     content.target / link->hosts_per_node;
        f->holds_ports = true;
        f->latency = near ? link->latency : link->node_latency;
        f->duration = (double)content.bytes / bandwidth_of(link, near, content.collective);
    }
    port *out = &net->out[content.source], *in = &net->in[content.target];
    if (f->holds_ports && (out->busy || in->busy)) {
        enqueue(out, index);
        enqueue(in, index);
    } else {
        start(net, index);
    }
}

void network_alarm(network *net, double time, int host, int argument)
{
    push(net, (event){.time = time, .kind = HAPPENED_ALARM, .host = host, .argument = argument,
                      .flight = -1});
}

bool network_next(network *net, happening *what)
{
    if (net->heap_count == 0)
        return false;
    event e = pop(net);
    net->now = e.time;
    *what = (happening){.kind = e.kind, .time = e.time, .host = e.host, .argument = e.argument};
    if (e.kind == HAPPENED_ALARM)
        return true;
    flight f = net->flights[e.flight];
    what->message = f.content;
    if (e.kind == HAPPENED_ARRIVED) {
        net->free_flights[net->free_count++] = e.flight;
        return true;
    }
    push(net, (event){.time = net->now + f.latency, .kind = HAPPENED_ARRIVED, .flight = e.flight});
    if (f.holds_ports) {
        port *out = &net->out[f.content.source], *in = &net->in[f.content.target];
        out->busy = false;
        in->busy = false;
        start_waiting(net, out, in);
    }
    return true;
}

network *network_new(int hosts, const link_model *link)
{
    network *net = alloc_or_die(1, sizeof *net);
    net->hosts = hosts;
    net->link = link;
    net->out = alloc_or_die((size_t)hosts, sizeof *net->out);
    net->in = alloc_or_die((size_t)hosts, sizeof *net->in);
    return net;
}

void network_free(network *net)
{
    for (int host = 0; host < net->hosts; host++) {
        free(net->out[host].waiting);
        free(net->in[host].waiting);
    }
    free(net->out);
    free(net->in);
    free(net->heap);
    free(net->flights);
    free(net->free_flights);
    free(net);
}

double link_barrier_seconds(const link_model *link, int hosts)
{
    int rounds = 0;
    for (int64_t reached = 1; reached < hosts; reached *= 2)
        rounds++;
    bool near = link->hosts_per_node == 0 || hosts <= link->hosts_per_node;
    return rounds * (near ? link->latency : link->node_latency);
}
