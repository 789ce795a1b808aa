/* Processes that share a sweep's work: pieces come to the leader once each and before the agreement,
 * all processes hear the same verdict, a failure stops the others early, a worker that dies ends all
 * with its name, and one that hangs is named when an agreement's time is over. Each test is the leader
 * of its own workers; a worker's part of a test ends in _exit(), so that only the leader reports. */
#include "harness/error.h"
#include "harness/sweep/workers.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern const comm_driver sim_driver;

enum { PIECES = 200, LONGEST = 100000 };

typedef struct {
    int64_t number;
    char filling[LONGEST];
} piece;

typedef struct {
    int times[PIECES], wrong, stop_after, taken;
} taken;

static int take(void *argument, const void *bytes, size_t count)
{
    taken *all = argument;
    const piece *p = bytes;
    size_t filled = count - sizeof p->number;
    bool good = p->number >= 0 && p->number < PIECES &&
                filled == (size_t)(p->number * 997 % LONGEST);
    for (size_t i = 0; good && i < filled; i++)
        good = p->filling[i] == (char)(p->number + (int64_t)i);
    all->wrong += !good;
    if (good)
        all->times[p->number]++;
    return ++all->taken == all->stop_after ? fail("the disk is full") : 0;
}

static void name(void *argument, int worker, char *text, size_t bytes)
{
    (void)argument;
    snprintf(text, bytes, "piece of worker %d", worker);
}

static void hand_in(int64_t number)
{
    piece p = {.number = number};
    size_t filled = (size_t)(number * 997 % LONGEST);
    for (size_t i = 0; i < filled; i++)
        p.filling[i] = (char)(number + (int64_t)i);
    workers_hand_in(&p, sizeof p.number + filled);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* No process of this one's is left. */
static void expect_no_children(void)
{
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_expect_eq(errno, ECHILD);
}

/* A worker is done with a test. */
static void leave_if_worker(const comm_driver *driver)
{
    if (!workers_number())
        return;
    driver->close(driver);
    _exit(0);
}

Test(workers, alone)
{
    taken all = {0};
    cr_assert_eq(workers_start(1), 0);
    cr_expect_eq(workers_count(), 1);
    cr_expect_eq(workers_number(), 0);
    cr_expect_eq(workers_part(7), 7);
    workers_listen(&(workers_intake){take, name, &all, 0, 0});
    hand_in(5);
    cr_expect_eq(all.times[5], 1);
    cr_expect_not(workers_enough());
    all.stop_after = 2;
    hand_in(6);
    cr_expect(workers_enough());
    cr_expect_not(workers_tell("nobody to tell"));
    cr_expect_eq(workers_start(0), -1);
    cr_expect_eq(workers_start(MOST_WORKERS + 1), -1);
}

Test(workers, pieces_come_once_and_before_the_agreement, .timeout = 30)
{
    enum { WORKERS = 5, ROUNDS = 4 };
    cr_assert_eq(workers_start(WORKERS), 0, "%s", fail_text());
    const comm_driver *driver = workers_driver(&sim_driver);
    for (int round = 0; round < ROUNDS; round++) {
        static taken all;
        all = (taken){0};
        if (!workers_number())
            workers_listen(&(workers_intake){take, name, &all, 0, 0});
        int64_t first = workers_number() ? -1 : round; /* what the leader knows, all know */
        if (driver->share(driver, &first, sizeof first))
            _exit(3);
        for (int64_t i = first; i < PIECES; i++)
            if (i % WORKERS == workers_number())
                hand_in(i);
        if (driver->agree(driver, 0))
            _exit(4);
        if (workers_number())
            continue;
        workers_listen(NULL);
        cr_expect_eq(all.wrong, 0);
        for (int i = 0; i < PIECES; i++)
            cr_expect_eq(all.times[i], i >= round, "piece %d in round %d came %d times", i, round,
                         all.times[i]);
    }
    leave_if_worker(driver);
    driver->close(driver);
    cr_expect_eq(workers_count(), 1);
    expect_no_children();
}

/* 16 cores among 5: 4 3 3 3 3; one among three: one each. */
Test(workers, parts, .timeout = 30)
{
    cr_assert_eq(workers_start(5), 0, "%s", fail_text());
    const comm_driver *driver = workers_driver(&sim_driver);
    int number = workers_number();
    bool good = workers_part(16) == 3 + (number == 0) && workers_part(1) == 1 &&
                workers_part(5) == 1 && workers_count() == 5;
    int status = driver->agree(driver, good ? 0 : fail("parts"));
    leave_if_worker(driver);
    cr_expect_eq(status, 0, "%s", fail_text());
    driver->close(driver);
}

/* The failure of the lowest number is everybody's verdict, the sentence with it; the next agreement
 * knows nothing of it. */
Test(workers, all_hear_the_same_verdict, .timeout = 30)
{
    cr_assert_eq(workers_start(4), 0, "%s", fail_text());
    const comm_driver *driver = workers_driver(&sim_driver);
    int number = workers_number(), status = 0;
    if (number >= 2)
        status = fail("no model %d", number);
    status = driver->agree(driver, status);
    bool same = status == -1 && !strcmp(fail_text(), "worker 2: no model 2") &&
                !strcmp(comm_agreed(fail_text()), "no model 2");
    status = driver->agree(driver, same ? 0 : fail("another verdict: %d %s", status, fail_text()));
    cr_expect(number || status == 0, "%s", fail_text());
    leave_if_worker(driver);
    driver->close(driver);
}

/* Whoever fails, the others do not go on to their ends: each has 10 s of work, in pieces of 10 ms. */
static void fail_in(int failing)
{
    cr_assert_eq(workers_start(3), 0, "%s", fail_text());
    const comm_driver *driver = workers_driver(&sim_driver);
    int status = 0, done = 0;
    for (; done < 1000 && !status && !workers_enough(); done++) {
        pause_ms(10);
        if (workers_number() == failing && done == 5)
            status = fail("a bad sample");
    }
    status = driver->agree(driver, status);
    bool early = driver->agree(driver, done < 500 ? 0 : fail("%d pieces", done)) == 0;
    bool fresh = !workers_enough();
    fresh = driver->agree(driver, fresh ? 0 : fail("a failure of old")) == 0;
    leave_if_worker(driver);
    cr_expect_eq(status, -1);
    cr_expect(early && fresh, "%s", fail_text());
    driver->close(driver);
}

Test(workers, a_failure_of_the_leader_stops_the_others, .timeout = 30)
{
    fail_in(0);
}

Test(workers, a_failure_of_a_worker_stops_the_others, .timeout = 30)
{
    fail_in(2);
}

/* What cannot be taken (a full disk) stops all as well. */
Test(workers, a_piece_that_cannot_be_taken_stops_all, .timeout = 30)
{
    static taken all = {.stop_after = 30};
    cr_assert_eq(workers_start(3), 0, "%s", fail_text());
    const comm_driver *driver = workers_driver(&sim_driver);
    if (!workers_number())
        workers_listen(&(workers_intake){take, name, &all, 0, 0});
    driver->agree(driver, 0);
    int done = 0;
    while (done < 1000 && !workers_enough()) {
        pause_ms(10);
        hand_in(done++ % PIECES);
    }
    int status = driver->agree(driver, done < 500 ? 0 : fail("%d pieces", done));
    leave_if_worker(driver);
    cr_expect_eq(status, 0, "%s", fail_text());
    driver->abort(driver);
    expect_no_children();
}

/* ---- Workers that hang ---- */

/* The verdict of three, of whom the last comes `late` ms after the others; -1: it is stopped. */
static int agree_late(long late, double deadline, double grace)
{
    static taken all;
    cr_assert_eq(workers_start(3), 0, "%s", fail_text());
    const comm_driver *driver = workers_driver(&sim_driver);
    double by = deadline > 0 ? monotonic_seconds() + deadline : 0;
    if (!workers_number())
        workers_listen(&(workers_intake){take, name, &all, by, grace});
    if (workers_number() == 2 && late < 0)
        raise(SIGSTOP);
    if (workers_number() == 2)
        pause_ms(late);
    int status = driver->agree(driver, 0);
    leave_if_worker(driver);
    if (status)
        driver->abort(driver);
    else
        driver->close(driver);
    expect_no_children();
    return status;
}

Test(workers, who_hangs_is_named_after_the_grace, .timeout = 20)
{
    double began = monotonic_seconds();
    cr_expect_eq(agree_late(-1, 0.3, 0.4), -1);
    double seconds = monotonic_seconds() - began;
    cr_expect_str_eq(fail_text(), "worker 2 is stuck at piece of worker 2: timeout");
    cr_expect(workers_lost());
    cr_expect(seconds >= 0.7 && seconds < 5, "%g s", seconds);
}

/* The deadline has passed when the leader itself comes: the others have the grace all the same. */
Test(workers, who_comes_within_the_grace_is_waited_for, .timeout = 40)
{
    cr_expect_eq(agree_late(500, 1e-6, 30), 0, "%s", fail_text());
    cr_expect_not(workers_lost());
}

Test(workers, without_a_deadline_all_are_waited_for, .timeout = 40)
{
    cr_expect_eq(agree_late(500, 0, 1e-6), 0, "%s", fail_text());
    cr_expect_not(workers_lost());
}

/* More seconds than a clock counts to. */
Test(workers, a_deadline_may_be_far_away, .timeout = 40)
{
    cr_expect_eq(agree_late(100, 1e300, 1e300), 0, "%s", fail_text());
}

/* ---- Ends ---- */

typedef void (*ending)(const comm_driver *, int pipe);

/* Runs a leader of three in a process of its own and returns how that ended; what it said on standard
 * error goes to `said`. All processes hold the pipe's other end: reading to its end waits for all. */
static int end_of(ending body, char *said, size_t bytes)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t leader = fork();
    if (leader == 0) {
        close(ends[0]);
        dup2(ends[1], STDERR_FILENO);
        if (workers_start(3))
            _exit(9);
        body(workers_driver(&sim_driver), ends[1]);
        _exit(8);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], said + used, bytes - 1 - used)) > 0)
        used += (size_t)got;
    said[used] = 0;
    close(ends[0]);
    int status;
    cr_assert_eq(waitpid(leader, &status, 0), leader);
    return status;
}

/* The leader of such three exits with `code`, and that is all that was said. */
static void expect_end(ending body, int code, const char *sentence)
{
    char said[1000];
    int status = end_of(body, said, sizeof said);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == code);
    cr_expect_str_eq(said, sentence);
}

static void killed_at_work(const comm_driver *driver, int unused)
{
    (void)unused;
    static taken all;
    if (!workers_number())
        workers_listen(&(workers_intake){take, name, &all, 0, 0});
    driver->agree(driver, 0);
    if (workers_number() == 2)
        raise(SIGKILL);
    for (;;) /* busy: the leader too */
        pause_ms(1000);
}

Test(workers, a_worker_that_dies_ends_all, .timeout = 20)
{
    expect_end(killed_at_work, 1,
               "apbench: worker 2 was killed by signal 9 (Killed) at piece of worker 2\n");
}

static void exits_at_an_agreement(const comm_driver *driver, int unused)
{
    (void)unused;
    if (workers_number() == 1)
        _exit(7);
    driver->agree(driver, 0);
    _exit(2);
}

Test(workers, a_worker_that_ends_is_not_waited_for, .timeout = 20)
{
    expect_end(exits_at_an_agreement, 1, "apbench: worker 1 ended with status 7 between rows\n");
}

static void tells(const comm_driver *driver, int unused)
{
    (void)unused;
    if (workers_number() == 1) {
        workers_tell("there is no such file");
        driver->abort(driver);
    }
    driver->agree(driver, 0);
    _exit(2);
}

Test(workers, what_a_worker_tells_is_said, .timeout = 20)
{
    expect_end(tells, 1, "apbench: worker 1: there is no such file\n");
}

static void leader_is_killed(const comm_driver *driver, int unused)
{
    (void)driver, (void)unused;
    if (!workers_number()) {
        pause_ms(100);
        raise(SIGKILL);
    }
    for (;;)
        pause_ms(1000);
}

/* end_of() returns only when no process holds the pipe any more. */
Test(workers, the_end_of_the_leader_ends_all, .timeout = 20)
{
    char said[1000];
    int status = end_of(leader_is_killed, said, sizeof said);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cr_expect_str_eq(said, "");
}

static void fails_alike(const comm_driver *driver, int unused)
{
    (void)unused;
    if (workers_number()) {
        workers_tell("no such method");
        driver->abort(driver);
    }
    pause_ms(100); /* the leader comes to the same, a little later */
    fprintf(stderr, "apbench: no such method\n");
    driver->abort(driver);
    _exit(2);
}

Test(workers, what_all_find_is_said_once, .timeout = 20)
{
    expect_end(fails_alike, 2, "apbench: no such method\n");
}
