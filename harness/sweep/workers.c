/* Processes that share a sweep's work, and the messages between them. See workers.h. Framing and
 * queues are those of the control sockets of launches (launch/message.h). What the leader does with
 * what comes is in workers/intake.c. */
#include "harness/sweep/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness/error.h"
#include "harness/sweep/workers/state.h"

workers_state workers = {.count = 1, .leader.fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER,
                         .came = PTHREAD_COND_INITIALIZER, .wake = -1};

int workers_count(void)
{
    return workers.count;
}

int workers_number(void)
{
    return workers.number;
}

int workers_part(int total)
{
    int part = total / workers.count + (workers.number < total % workers.count);
    return part > 0 ? part : 1;
}

/* ---- Messages ---- */

void workers_send(connection *link, message_kind kind, const void *bytes, size_t count)
{
    message *m = message_copy(kind, bytes, count);
    connection_queue(link, m);
    message_drop(m);
    while (link->queued && connection_write(link) == 0)
        if (link->queued)
            poll(&(struct pollfd){.fd = link->fd, .events = POLLOUT}, 1, -1);
}

/* A worker without its leader has nothing to do and nobody to tell. */
static message *receive(void)
{
    message *m;
    int got;
    while ((got = connection_read(&workers.leader, &m)) == 0)
        poll(&(struct pollfd){.fd = workers.leader.fd, .events = POLLIN}, 1, -1);
    if (got < 0)
        _exit(1);
    return m;
}

/* The next message of this kind from the leader. "Enough" is no news to who waits for the others. */
static message *expect(message_kind kind)
{
    message *m = receive();
    while (m->kind == MESSAGE_ENOUGH) {
        message_drop(m);
        m = receive();
    }
    if (m->kind == (int)kind)
        return m;
    fail("the leader sent message %d where %d belongs: they are not at the same place of the sweep",
         m->kind, kind);
    workers_tell(fail_text());
    _exit(1);
}

/* status, then the sentence with its 0 */
static void send_verdict(connection *link, int status, const char *sentence)
{
    size_t bytes = strlen(sentence) + 1;
    char *body = alloc_or_die(sizeof status + bytes, 1);
    memcpy(body, &status, sizeof status);
    memcpy(body + sizeof status, sentence, bytes);
    workers_send(link, MESSAGE_AGREE, body, sizeof status + bytes);
    free(body);
}

int workers_verdict(const message *m, const char **sentence)
{
    int status;
    memcpy(&status, m->body, sizeof status);
    *sentence = m->body + sizeof status;
    return status;
}

/* ---- Starting ---- */

/* In the child. */
static void become_worker(int number, int socket, pid_t leader)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != leader)
        _exit(1); /* it died before that was in force */
    for (int i = 1; i < number; i++) /* the leader's ends: held here they would hide its end */
        connection_close(&workers.all[i].link);
    free(workers.all);
    workers.all = NULL;
    workers.number = number;
    connection_open(&workers.leader, socket);
    int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    close(nothing);
}

int workers_start(int count)
{
    if (count < 1 || count > MOST_WORKERS)
        return fail("--workers %d is out of range: 1 to %d", count, MOST_WORKERS);
    if (count == 1)
        return 0;
    workers.count = count;
    workers.all = alloc_or_die((size_t)count, sizeof *workers.all);
    pid_t leader = getpid();
    fflush(NULL); /* what is in a buffer would be written by all */
    for (int number = 1; number < count; number++) {
        int ends[2] = {-1, -1};
        pid_t pid = -1;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0)
            pid = fork();
        if (pid == 0) {
            close(ends[0]);
            become_worker(number, ends[1], leader);
            return 0;
        }
        if (pid < 0) {
            fail("--workers %d: process %d could not be started: %s", count, number + 1,
                 strerror(errno));
            workers.count = number;
            workers_kill_and_reap();
            return -1;
        }
        close(ends[1]);
        workers.all[number] = (worker){.pid = pid};
        connection_open(&workers.all[number].link, ends[0]);
    }
    workers.wake = eventfd(0, EFD_CLOEXEC);
    if (workers.wake < 0 || pthread_create(&workers.thread, NULL, workers_take_in, NULL)) {
        fail("--workers %d: no thread could be started", count);
        workers_kill_and_reap();
        return -1;
    }
    return 0;
}

/* ---- The driver ---- */

static int share(const comm_driver *driver, void *data, size_t bytes)
{
    (void)driver;
    if (workers.number == 0) {
        pthread_mutex_lock(&workers.lock);
        for (int i = 1; i < workers.count; i++)
            workers_send(&workers.all[i].link, MESSAGE_SHARE, data, bytes);
        pthread_mutex_unlock(&workers.lock);
        return 0;
    }
    message *m = expect(MESSAGE_SHARE);
    int status = m->bytes == bytes ? 0
                                   : fail("the leader shares %zu bytes where %zu are expected",
                                          m->bytes, bytes);
    if (!status && bytes)
        memcpy(data, m->body, bytes);
    message_drop(m);
    return status;
}

/* The first who has not come to the agreement; 0: all have. */
static int missing(void)
{
    for (int i = 1; i < workers.count; i++)
        if (!workers.all[i].arrived)
            return i;
    return 0;
}

/* The leader, under the lock: waits for all; -1 when one is stuck. */
static int wait_for_all(void)
{
    const workers_intake *in = &workers.intake;
    double latest = fmax(in->deadline, monotonic_seconds()) + in->grace;
    latest = fmin(latest, 1e12); /* which time_t has, and nobody lives to see */
    struct timespec until = {(time_t)latest, (long)(1e9 * (latest - floor(latest)))};
    int status = 0;
    while (missing() && status != ETIMEDOUT)
        status = in->deadline > 0 ? pthread_cond_clockwait(&workers.came, &workers.lock,
                                                           CLOCK_MONOTONIC, &until)
                                  : pthread_cond_wait(&workers.came, &workers.lock);
    if (!missing())
        return 0;
    char at[512];
    in->name(in->argument, missing(), at, sizeof at);
    workers.stuck = true;
    return fail("worker %d is stuck at %s: timeout", missing(), at);
}

/* The leader, under the lock: who failed first, by number. */
static int lead_agreement(void)
{
    int first = -1;
    for (int i = workers.count - 1; i >= 0; i--)
        if (workers.all[i].status)
            first = i;
    char *sentence = first < 0 ? copy_text("")
                               : format_text("worker %d: %s", first, workers.all[first].sentence);
    workers.failed = false;
    for (int i = 0; i < workers.count; i++) {
        workers.all[i].arrived = false;
        workers.all[i].status = 0;
        free(workers.all[i].sentence);
        workers.all[i].sentence = NULL;
        if (i > 0)
            send_verdict(&workers.all[i].link, first < 0 ? 0 : -1, sentence);
    }
    int status = first < 0 ? 0 : fail("%s", sentence);
    free(sentence);
    return status;
}

static int agree(const comm_driver *driver, int status)
{
    (void)driver;
    if (workers.number == 0) {
        pthread_mutex_lock(&workers.lock);
        workers.all[0].status = status;
        workers.all[0].sentence = status ? copy_text(fail_text()) : NULL;
        if (status)
            workers_tell_enough();
        status = wait_for_all() ? -1 : lead_agreement();
        pthread_mutex_unlock(&workers.lock);
        return status;
    }
    send_verdict(&workers.leader, status, status ? fail_text() : "");
    message *m = expect(MESSAGE_AGREE);
    const char *sentence;
    status = workers_verdict(m, &sentence);
    if (status)
        fail("%s", sentence);
    message_drop(m);
    workers.over = false;
    return status;
}

/* From now on a worker's end is no news. */
static void leave_thread(void)
{
    pthread_mutex_lock(&workers.lock);
    workers.ending = true;
    pthread_mutex_unlock(&workers.lock);
    uint64_t one = 1;
    while (write(workers.wake, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_join(workers.thread, NULL);
    close(workers.wake);
}

/* One process again. */
static void forget_workers(void)
{
    for (int i = 1; i < workers.count; i++) {
        connection_close(&workers.all[i].link);
        free(workers.all[i].sentence);
    }
    free(workers.all[0].sentence);
    free(workers.all);
    workers.all = NULL;
    workers.count = 1;
}

static void abort_all(const comm_driver *driver)
{
    (void)driver;
    if (workers.number)
        _exit(1);
    if (workers.count == 1)
        return;
    leave_thread();
    workers_kill_and_reap();
    forget_workers();
}

static bool all_left(void)
{
    for (int i = 1; i < workers.count; i++)
        if (!workers.all[i].bye)
            return false;
    return true;
}

static void close_workers(const comm_driver *driver)
{
    (void)driver;
    if (workers.number) {
        workers_send(&workers.leader, MESSAGE_BYE, NULL, 0);
        connection_close(&workers.leader);
        return;
    }
    if (workers.count == 1)
        return;
    pthread_mutex_lock(&workers.lock);
    while (!all_left())
        pthread_cond_wait(&workers.came, &workers.lock);
    pthread_mutex_unlock(&workers.lock);
    leave_thread();
    for (int i = 1; i < workers.count; i++)
        waitpid(workers.all[i].pid, NULL, 0);
    forget_workers();
}

const comm_driver *workers_driver(const comm_driver *alone)
{
    workers.driver = *alone;
    workers.driver.share = share;
    workers.driver.agree = agree;
    workers.driver.abort = abort_all;
    workers.driver.close = close_workers;
    return &workers.driver;
}

/* ---- Pieces ---- */

void workers_listen(const workers_intake *intake)
{
    pthread_mutex_lock(&workers.lock);
    workers.listening = intake != NULL;
    if (workers.count == 1)
        workers.failed = false; /* there are no agreements */
    workers.intake = intake ? *intake : (workers_intake){0};
    pthread_mutex_unlock(&workers.lock);
}

bool workers_lost(void)
{
    return workers.stuck;
}

void workers_hand_in(const void *piece, size_t bytes)
{
    if (workers.number) {
        workers_send(&workers.leader, MESSAGE_PIECE, piece, bytes);
        return;
    }
    pthread_mutex_lock(&workers.lock);
    workers_take_piece(piece, bytes);
    pthread_mutex_unlock(&workers.lock);
}

bool workers_enough(void)
{
    if (workers.number) {
        message *m;
        int got = workers.over ? 0 : connection_read(&workers.leader, &m);
        if (got < 0 || (got > 0 && m->kind != MESSAGE_ENOUGH))
            _exit(1);
        if (got > 0)
            message_drop(m);
        workers.over |= got > 0;
        return workers.over;
    }
    pthread_mutex_lock(&workers.lock);
    bool failed = workers.failed;
    pthread_mutex_unlock(&workers.lock);
    return failed;
}

bool workers_tell(const char *sentence)
{
    if (!workers.number)
        return false;
    workers_send(&workers.leader, MESSAGE_TELL, sentence, strlen(sentence) + 1);
    return true;
}
