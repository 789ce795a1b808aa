/* The leader's thread: takes what workers send, and ends all when one of them dies. See workers.h. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness/error.h"
#include "harness/sweep/workers/state.h"

/* How long the leader waits before it ends all for a worker's sake: it may be ending by itself, of the
 * same Ctrl-C or the same bad file. */
static const double death_seconds = 0.2, tell_seconds = 1.0;

void workers_tell_enough(void)
{
    if (workers.failed)
        return;
    workers.failed = true;
    for (int i = 1; i < workers.count; i++)
        if (!workers.all[i].arrived && !workers.all[i].lost)
            workers_send(&workers.all[i].link, MESSAGE_ENOUGH, NULL, 0);
}

void workers_take_piece(const void *piece, size_t bytes)
{
    if (workers.listening && workers.intake.take(workers.intake.argument, piece, bytes))
        workers_tell_enough();
}

void workers_kill_and_reap(void)
{
    for (int i = 1; i < workers.count; i++)
        if (workers.all[i].pid)
            kill(workers.all[i].pid, SIGKILL);
    for (int i = 1; i < workers.count; i++)
        if (workers.all[i].pid && waitpid(workers.all[i].pid, NULL, 0) >= 0)
            workers.all[i].pid = 0;
}

static void take_message(int number, const message *m)
{
    worker *from = &workers.all[number];
    const char *sentence;
    pthread_mutex_lock(&workers.lock);
    switch (m->kind) {
    case MESSAGE_PIECE:
        workers_take_piece(m->body, m->bytes);
        break;
    case MESSAGE_AGREE:
        from->arrived = true;
        from->status = workers_verdict(m, &sentence);
        free(from->sentence);
        from->sentence = from->status ? copy_text(sentence) : NULL;
        if (from->status)
            workers_tell_enough();
        pthread_cond_signal(&workers.came);
        break;
    case MESSAGE_TELL:
        free(from->sentence);
        from->sentence = copy_text(m->body);
        break;
    case MESSAGE_BYE:
        from->bye = true;
        pthread_cond_signal(&workers.came);
        break;
    }
    pthread_mutex_unlock(&workers.lock);
}

static void sleep_seconds(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))},
              NULL);
}

/* Ends all processes, unless the leader is at that by itself. */
static void end_over(int number)
{
    worker *lost = &workers.all[number];
    char at[512] = "";
    int status = 0;
    sleep_seconds(lost->sentence && !lost->arrived ? tell_seconds : death_seconds);
    pthread_mutex_lock(&workers.lock);
    if (!workers.ending) {
        if (workers.listening)
            workers.intake.name(workers.intake.argument, number, at, sizeof at);
        const char *where = *at ? " at " : " between rows";
        bool known = lost->pid > 0;
        if (known) { /* it has let go of its socket: it is at its end */
            kill(lost->pid, SIGKILL);
            known = waitpid(lost->pid, &status, 0) == lost->pid;
        }
        lost->pid = 0;
        if (lost->sentence && !lost->arrived)
            fprintf(stderr, "apbench: worker %d: %s\n", number, lost->sentence);
        else if (known && WIFSIGNALED(status))
            fprintf(stderr, "apbench: worker %d was killed by signal %d (%s)%s%s\n", number,
                    WTERMSIG(status), strsignal(WTERMSIG(status)), where, at);
        else
            fprintf(stderr, "apbench: worker %d ended with status %d%s%s\n", number,
                    WEXITSTATUS(status), where, at);
        workers_kill_and_reap();
        _exit(1);
    }
    pthread_mutex_unlock(&workers.lock);
}

/* Reads what has come from one worker. */
static void take_from(int number)
{
    worker *from = &workers.all[number];
    message *m;
    int got;
    while ((got = connection_read(&from->link, &m)) > 0) {
        take_message(number, m);
        message_drop(m);
    }
    if (got == 0)
        return;
    pthread_mutex_lock(&workers.lock);
    from->lost = true;
    bool expected = from->bye || workers.ending;
    pthread_mutex_unlock(&workers.lock);
    if (!expected)
        end_over(number);
}

void *workers_take_in(void *unused)
{
    (void)unused;
    struct pollfd *polled = alloc_or_die((size_t)workers.count, sizeof *polled);
    for (;;) {
        polled[0] = (struct pollfd){.fd = workers.wake, .events = POLLIN};
        for (int i = 1; i < workers.count; i++)
            polled[i] = (struct pollfd){.fd = workers.all[i].lost ? -1 : workers.all[i].link.fd,
                                        .events = POLLIN};
        if (poll(polled, (nfds_t)workers.count, -1) < 0)
            continue; /* interrupted */
        if (polled[0].revents)
            break;
        for (int i = 1; i < workers.count; i++)
            if (polled[i].revents)
                take_from(i);
    }
    free(polled);
    return NULL;
}
