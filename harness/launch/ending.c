/* How a launch ends before its time: what the watchdog looks at, who says the one sentence, and the
 * way out of the process. See control.h for the rules. */
#include "harness/launch/state.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/error.h"
#include "harness/timeline.h"

static const double pass_on_seconds = 2;  /* for the leader to end all, once asked */
static const double trouble_seconds = 1.5; /* a death explains a broken transfer better: wait for it */
static const double quiet_seconds = 2;    /* without a beat: too long at a deadline */
static const double leader_seconds = 3;   /* past the deadline, for the leader to act */
static const double closing_seconds = 60; /* for all to come to the end */

/* ---- The way out ---- */

void ending_say(const char *sentence)
{
    if (sentence && *sentence && !control.said)
        fprintf(stderr, "apbench: %s\n", sentence);
    control.said = true;
}

static pthread_mutex_t release_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t release_done = PTHREAD_COND_INITIALIZER;
static bool released;

static void *release(void *unused)
{
    (void)unused;
    control.hooks.release();
    pthread_mutex_lock(&release_lock);
    released = true;
    pthread_cond_signal(&release_done);
    pthread_mutex_unlock(&release_lock);
    return NULL;
}

/* Lets go of the links in a thread of its own, since that may hang, and ends the process. */
static _Noreturn void leave(void)
{
    pthread_t thread;
    if (control.hooks.release && !pthread_create(&thread, NULL, release, NULL)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)RELEASE_SECONDS;
        pthread_mutex_lock(&release_lock);
        while (!released && !pthread_cond_timedwait(&release_done, &release_lock, &until)) {
        }
        pthread_mutex_unlock(&release_lock);
    }
    _exit(1);
}

/* Writes what is queued, for half a second at most. */
static void flush_queues(void)
{
    double until = monotonic_seconds() + 0.5;
    for (bool left = true; left && monotonic_seconds() < until;) {
        left = false;
        for (int i = 0; i < control.peer_count; i++) {
            connection *link = &control.peers[i].link;
            if (link->fd >= 0 && connection_write(link))
                connection_close(link);
            left |= link->fd >= 0 && link->queued;
        }
        if (left)
            poll(NULL, 0, 5);
    }
}

_Noreturn void ending_lead(const char *sentence)
{
    ending_say(sentence);
    message *end = message_copy(MESSAGE_END, NULL, 0);
    for (int i = 0; i < control.peer_count; i++)
        connection_queue(&control.peers[i].link, end);
    flush_queues();
    leave();
}

_Noreturn void ending_leave(const char *sentence)
{
    if (sentence && control.rank == 1)
        ending_say(sentence);
    leave();
}

/* ---- What ends a launch ---- */

/* Ends the launch with what befell `p`; `when` stands behind the place. */
static _Noreturn void end_over(const peer *p, const char *what, const char *when)
{
    char where[PLACE_CELL + 64];
    char *sentence = format_text("host %d %s%s%s", p->rank, what,
                                 place_describe(&p->where, where, sizeof where), when);
    if (control.leader)
        ending_lead(sentence);
    ending_leave(sentence);
}

void ending_lost(peer *p)
{
    bool expected = p->bye || (!control.leader && control.closing);
    connection_close(&p->link);
    if (!expected)
        end_over(p, fail_text(), "");
}

/* The leader: the time of a run is over. Names the host that is silent, or else behind. */
static _Noreturn void end_late(double now)
{
    char when[80], text[80], where[PLACE_CELL + 64];
    snprintf(when, sizeof when, ": timeout, %.1f s after the run began", now - control.since);
    for (int rank = 1; rank < control.size; rank++) {
        peer *p = &control.peers[rank];
        if (p->link.fd < 0 || now - p->heard < quiet_seconds)
            continue;
        snprintf(text, sizeof text, "has been silent for %.1f s", now - p->heard);
        end_over(p, text, when);
    }
    run_place own = comm_place_now();
    peer behind = {.rank = control.rank, .where = own};
    uint32_t most = own.steps;
    for (int rank = 1; rank < control.group; rank++) {
        const run_place *there = &control.peers[rank].where;
        most = there->steps > most ? there->steps : most;
        if (there->steps < behind.where.steps)
            behind = control.peers[rank];
    }
    if (behind.where.steps < most)
        end_over(&behind, "is stuck", when);
    ending_lead(format_text("not done%s%s", place_describe(&own, where, sizeof where), when));
}

static void watch_silence(double now)
{
    for (int i = 0; i < control.peer_count; i++) {
        peer *p = &control.peers[i];
        char text[80];
        snprintf(text, sizeof text, "has been silent for %.0f s", now - p->heard);
        if (p->link.fd >= 0 && !p->bye && now - p->heard > SILENCE_SECONDS)
            end_over(p, text, "");
    }
}

/* Trouble on the links that stays, though nobody has died, is this host's failure. */
static void watch_links(double now)
{
    const char *trouble = control.hooks.trouble ? control.hooks.trouble() : NULL;
    if (!trouble || control.end_asked) {
        control.trouble_at = 0;
    } else if (control.trouble_at <= 0) {
        control.trouble_at = now;
    } else if (now - control.trouble_at > trouble_seconds) {
        control.end_asked = true;
        control.end_sentence = format_text("host %d: %s", control.rank, trouble);
    }
}

/* control_end() was called, or the links are in trouble. */
static void follow_request(double now)
{
    if (control.leader)
        ending_lead(control.end_sentence);
    const char *text = control.end_sentence ? control.end_sentence : "";
    if (control.end_at <= 0) {
        control.end_at = now;
        message *end = message_copy(MESSAGE_END, text, strlen(text) + 1);
        connection_queue(&control.peers[0].link, end);
        message_drop(end);
    } else if (now - control.end_at > pass_on_seconds) {
        ending_say(text);
        leave();
    }
}

void ending_watch(double now)
{
    watch_links(now);
    if (control.end_asked)
        follow_request(now);
    watch_silence(now);
    double waits_since = control.failed_at > control.since ? control.failed_at : control.since;
    if (control.leader && control.group && control.failed_at > 0 &&
        now - waits_since > GRACE_SECONDS_OF_CONTROL) {
        int rank = control.failed_rank;
        ending_lead(format_text("host %d: %s", rank, hub_sentence(control.pending[rank])));
    }
    if (control.group && control.deadline > 0 && now > control.deadline) {
        if (control.leader)
            end_late(now);
        if (now > control.deadline + leader_seconds)
            end_over(&control.peers[0], "does not answer", ": timeout");
    }
    if (control.closing && now - control.closing_at > closing_seconds)
        ending_lead("not all hosts have come to the end of the launch");
}
