/* What the tests of the virtual clock stand on. Virtual hosts run a script on a device whose clock only
 * moves where the script computes (and in copies, which must not count), then their timelines are
 * replayed. The plain link has latency 1 s and 10 bytes a second, so 100 bytes take 11 s. Times are sums
 * of a few doubles: compared within 1e-9. */
#ifndef TESTS_REPLAY_FIXTURE_H
#define TESTS_REPLAY_FIXTURE_H
#include "harness/comm.h"
#include "harness/comm/replay.h"
#include "tests/clock_device.h"

enum { HOSTS = 16 };
extern const link_model plain;
extern char replay_memory[HOSTS][1 << 16]; /* what is sent does not matter here */

/* What scripts are made of. */
void compute(comm *, double seconds);
void wait_for(comm *, int handle);
int gather(comm *, size_t bytes);
int message(comm *, int to, size_t send_bytes, int from, size_t recv_bytes);

typedef struct {
    clock_state state;
    device dev;
    int hosts;
    timeline timelines[HOSTS];
    host_times times[HOSTS];
} played;

void record_hosts(played *, int hosts, void (*script)(comm *));
void release(played *);
/* Records and replays. */
void play(played *, int hosts, const link_model *, void (*script)(comm *));
/* Runs and replays, then compares each host's prefill_end. */
void expect_ends(int hosts, const link_model *, void (*script)(comm *), const double *ends);

/* Scripts that several suites run: an all-gather and an all-to-all of 100 bytes, and a message whose
 * receiver posts late. */
void gather_once(comm *);
void exchange_once(comm *);
void late_receiver(comm *);

#define ENDS(...) ((const double[]){__VA_ARGS__})
#endif
