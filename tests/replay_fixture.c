/* See replay_fixture.h. */
#include "tests/replay_fixture.h"

#include "harness/error.h"

#include <criterion/criterion.h>

const link_model plain = {.name = "plain", .latency = 1, .bandwidth = 10};
char replay_memory[HOSTS][1 << 16];

void compute(comm *c, double seconds)
{
    ((clock_state *)c->dev->state)->now += seconds;
}

void wait_for(comm *c, int handle)
{
    cr_assert(handle >= 0, "%s", fail_text());
    cr_assert_eq(c->driver->wait(c, handle), 0, "%s", fail_text());
}

int gather(comm *c, size_t bytes)
{
    static char send[1 << 16];
    return c->driver->all_gather(c, send, replay_memory[c->rank], bytes);
}

int message(comm *c, int to, size_t send_bytes, int from, size_t recv_bytes)
{
    static char send[1 << 16];
    return c->driver->send_recv(c, to, send, send_bytes, from, replay_memory[c->rank], recv_bytes);
}

static void (*script)(comm *);

static int body(comm *c, void *unused)
{
    (void)unused;
    compute(c, 100); /* before the start: must not count */
    wait_for(c, c->driver->barrier(c));
    timeline_phase(c->time, PHASE_START);
    script(c);
    if (c->time->entries[c->time->count - 1].kind != ENTRY_PHASE) {
        timeline_phase(c->time, PHASE_PREFILL_END);
        timeline_phase(c->time, PHASE_DECODE_END);
    }
    compute(c, 100);
    return 0;
}

void record_hosts(played *p, int hosts, void (*what)(comm *))
{
    *p = (played){.state = {.copy_seconds = 7}, .hosts = hosts};
    p->dev = clock_device(&p->state);
    for (int rank = 0; rank < hosts; rank++)
        p->timelines[rank].parts = true;
    script = what;
    const comm_driver *sim = comm_find("sim");
    cr_assert_eq(sim->run(sim, hosts, &p->dev, p->timelines, body, NULL), 0, "%s", fail_text());
}

void release(played *p)
{
    for (int rank = 0; rank < p->hosts; rank++)
        timeline_free(&p->timelines[rank]);
}

void play(played *p, int hosts, const link_model *link, void (*what)(comm *))
{
    record_hosts(p, hosts, what);
    cr_assert_eq(replay(p->timelines, hosts, link, p->times), 0, "%s", fail_text());
}

void expect_ends(int hosts, const link_model *link, void (*what)(comm *), const double *ends)
{
    played p;
    play(&p, hosts, link, what);
    for (int rank = 0; rank < hosts; rank++) {
        cr_expect_float_eq(p.times[rank].prefill_end, ends[rank], 1e-9, "host %d: %.9g, not %.9g",
                           rank, p.times[rank].prefill_end, ends[rank]);
        double sum = 0;
        for (int i = 0; i < PART_COUNT; i++)
            sum += p.times[rank].parts[PHASE_PREFILL][i];
        cr_expect_float_eq(sum, p.times[rank].prefill_end, 1e-9, "host %d: parts add up to %.9g",
                           rank, sum);
    }
    release(&p);
}

/* ---- Scripts ---- */

void late_receiver(comm *c)
{
    if (c->rank == 0) {
        wait_for(c, message(c, 1, 100, -1, 0));
    } else {
        compute(c, 3);
        wait_for(c, message(c, -1, 0, 0, 100));
    }
}

void gather_once(comm *c)
{
    wait_for(c, gather(c, 100));
}

void exchange_once(comm *c)
{
    static char send[1 << 16];
    size_t at[HOSTS], bytes[HOSTS];
    for (int p = 0; p < c->size; p++) {
        at[p] = (size_t)p * 100;
        bytes[p] = 100;
    }
    wait_for(c, c->driver->all_to_all(c, send, at, bytes, replay_memory[c->rank], at, bytes));
}
