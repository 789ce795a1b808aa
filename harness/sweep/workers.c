/* Processes that share a sweep's work, and the messages between them. See workers.h. Framing and
 * queues are those of the control sockets of launches (launch/message.h). */
#include "harness/sweep/workers.h"

#include <errno.h>
#include <fcntl.h>
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
#include "harness/launch/message.h"

/* How long the leader waits before it ends all for a worker's sake: it may be ending by itself, of the
 * same Ctrl-C or the same bad file. */
static const double death_seconds = 0.2, tell_seconds = 1.0;

typedef struct {
    pid_t pid; /* 0: reaped, or never there */
    connection link;
    bool arrived; /* at the agreement under way */
    int status;
    char *sentence; /* of a failure there, or of its end; NULL: none */
    bool bye, lost;
} worker;

static struct {
    int count, number;
    comm_driver driver;
    connection leader; /* of a worker */
    bool over;         /* of a worker: "enough" has come */

    /* Of the leader. The lock guards all below but `thread`, and every write to a worker. */
    worker *all; /* [count], the first is the leader's own and has no link */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t came;
    workers_intake intake;
    bool listening, failed, ending;
    int wake;
} us = {.count = 1, .leader.fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER,
        .came = PTHREAD_COND_INITIALIZER, .wake = -1};

int workers_count(void)
{
    return us.count;
}

int workers_number(void)
{
    return us.number;
}

int workers_part(int total)
{
    int part = total / us.count + (us.number < total % us.count);
    return part > 0 ? part : 1;
}

/* ---- Messages ---- */

/* Returns when the message is written; what cannot be has a reader that is gone, which is noticed
 * where it is read from. */
static void send_message(connection *link, message_kind kind, const void *bytes, size_t count)
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
    while ((got = connection_read(&us.leader, &m)) == 0)
        poll(&(struct pollfd){.fd = us.leader.fd, .events = POLLIN}, 1, -1);
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
    send_message(link, MESSAGE_AGREE, body, sizeof status + bytes);
    free(body);
}

static int read_verdict(const message *m, const char **sentence)
{
    int status;
    memcpy(&status, m->body, sizeof status);
    *sentence = m->body + sizeof status;
    return status;
}

/* ---- The leader's thread ---- */

/* Under the lock: who has not come to the agreement shall begin nothing more. */
static void tell_enough(void)
{
    if (us.failed)
        return;
    us.failed = true;
    for (int i = 1; i < us.count; i++)
        if (!us.all[i].arrived && !us.all[i].lost)
            send_message(&us.all[i].link, MESSAGE_ENOUGH, NULL, 0);
}

/* Under the lock. */
static void take_piece(const void *piece, size_t bytes)
{
    if (us.listening && us.intake.take(us.intake.argument, piece, bytes))
        tell_enough();
}

static void kill_and_reap(void)
{
    for (int i = 1; i < us.count; i++)
        if (us.all[i].pid)
            kill(us.all[i].pid, SIGKILL);
    for (int i = 1; i < us.count; i++)
        if (us.all[i].pid && waitpid(us.all[i].pid, NULL, 0) >= 0)
            us.all[i].pid = 0;
}

static void take_message(int number, const message *m)
{
    worker *from = &us.all[number];
    const char *sentence;
    pthread_mutex_lock(&us.lock);
    switch (m->kind) {
    case MESSAGE_PIECE:
        take_piece(m->body, m->bytes);
        break;
    case MESSAGE_AGREE:
        from->arrived = true;
        from->status = read_verdict(m, &sentence);
        free(from->sentence);
        from->sentence = from->status ? copy_text(sentence) : NULL;
        if (from->status)
            tell_enough();
        pthread_cond_signal(&us.came);
        break;
    case MESSAGE_TELL:
        free(from->sentence);
        from->sentence = copy_text(m->body);
        break;
    case MESSAGE_BYE:
        from->bye = true;
        pthread_cond_signal(&us.came);
        break;
    }
    pthread_mutex_unlock(&us.lock);
}

static void sleep_seconds(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))},
              NULL);
}

/* Ends all processes, unless the leader is at that by itself. */
static void end_over(int number)
{
    worker *lost = &us.all[number];
    char at[512] = "";
    int status = 0;
    sleep_seconds(lost->sentence && !lost->arrived ? tell_seconds : death_seconds);
    pthread_mutex_lock(&us.lock);
    if (!us.ending) {
        if (us.listening)
            us.intake.name(us.intake.argument, number, at, sizeof at);
        const char *where = *at ? " at " : " between rows";
        kill(lost->pid, SIGKILL); /* it has let go of its socket: it is at its end */
        bool known = lost->pid && waitpid(lost->pid, &status, 0) == lost->pid;
        lost->pid = 0;
        if (lost->sentence && !lost->arrived)
            fprintf(stderr, "apbench: worker %d: %s\n", number, lost->sentence);
        else if (known && WIFSIGNALED(status))
            fprintf(stderr, "apbench: worker %d was killed by signal %d (%s)%s%s\n", number,
                    WTERMSIG(status), strsignal(WTERMSIG(status)), where, at);
        else
            fprintf(stderr, "apbench: worker %d ended with status %d%s%s\n", number,
                    WEXITSTATUS(status), where, at);
        kill_and_reap();
        _exit(1);
    }
    pthread_mutex_unlock(&us.lock);
}

/* Reads what has come from one worker. */
static void take_from(int number)
{
    worker *from = &us.all[number];
    message *m;
    int got;
    while ((got = connection_read(&from->link, &m)) > 0) {
        take_message(number, m);
        message_drop(m);
    }
    if (got == 0)
        return;
    pthread_mutex_lock(&us.lock);
    from->lost = true;
    bool expected = from->bye || us.ending;
    pthread_mutex_unlock(&us.lock);
    if (!expected)
        end_over(number);
}

static void *take_in(void *unused)
{
    (void)unused;
    struct pollfd *polled = alloc_or_die((size_t)us.count, sizeof *polled);
    for (;;) {
        polled[0] = (struct pollfd){.fd = us.wake, .events = POLLIN};
        for (int i = 1; i < us.count; i++)
            polled[i] = (struct pollfd){.fd = us.all[i].lost ? -1 : us.all[i].link.fd,
                                        .events = POLLIN};
        if (poll(polled, (nfds_t)us.count, -1) < 0)
            continue; /* interrupted */
        if (polled[0].revents)
            break;
        for (int i = 1; i < us.count; i++)
            if (polled[i].revents)
                take_from(i);
    }
    free(polled);
    return NULL;
}

/* ---- Starting ---- */

/* In the child. */
static void become_worker(int number, int socket, pid_t leader)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != leader)
        _exit(1); /* it died before that was in force */
    for (int i = 1; i < number; i++) /* the leader's ends: held here they would hide its end */
        connection_close(&us.all[i].link);
    free(us.all);
    us.all = NULL;
    us.number = number;
    connection_open(&us.leader, socket);
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
    us.count = count;
    us.all = alloc_or_die((size_t)count, sizeof *us.all);
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
            us.count = number;
            kill_and_reap();
            return -1;
        }
        close(ends[1]);
        us.all[number] = (worker){.pid = pid};
        connection_open(&us.all[number].link, ends[0]);
    }
    us.wake = eventfd(0, EFD_CLOEXEC);
    if (us.wake < 0 || pthread_create(&us.thread, NULL, take_in, NULL)) {
        fail("--workers %d: no thread could be started", count);
        kill_and_reap();
        return -1;
    }
    return 0;
}

/* ---- The driver ---- */

static int share(const comm_driver *driver, void *data, size_t bytes)
{
    (void)driver;
    if (us.number == 0) {
        pthread_mutex_lock(&us.lock);
        for (int i = 1; i < us.count; i++)
            send_message(&us.all[i].link, MESSAGE_SHARE, data, bytes);
        pthread_mutex_unlock(&us.lock);
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

static bool all_arrived(void)
{
    for (int i = 1; i < us.count; i++)
        if (!us.all[i].arrived)
            return false;
    return true;
}

/* The leader, under the lock: who failed first, by number. */
static int lead_agreement(void)
{
    int first = -1;
    for (int i = us.count - 1; i >= 0; i--)
        if (us.all[i].status)
            first = i;
    char *sentence = first < 0 ? copy_text("")
                               : format_text("worker %d: %s", first, us.all[first].sentence);
    us.failed = false;
    for (int i = 0; i < us.count; i++) {
        us.all[i].arrived = false;
        us.all[i].status = 0;
        free(us.all[i].sentence);
        us.all[i].sentence = NULL;
        if (i > 0)
            send_verdict(&us.all[i].link, first < 0 ? 0 : -1, sentence);
    }
    int status = first < 0 ? 0 : fail("%s", sentence);
    free(sentence);
    return status;
}

static int agree(const comm_driver *driver, int status)
{
    (void)driver;
    if (us.number == 0) {
        pthread_mutex_lock(&us.lock);
        us.all[0].status = status;
        us.all[0].sentence = status ? copy_text(fail_text()) : NULL;
        if (status)
            tell_enough();
        while (!all_arrived())
            pthread_cond_wait(&us.came, &us.lock);
        status = lead_agreement();
        pthread_mutex_unlock(&us.lock);
        return status;
    }
    send_verdict(&us.leader, status, status ? fail_text() : "");
    message *m = expect(MESSAGE_AGREE);
    const char *sentence;
    status = read_verdict(m, &sentence);
    if (status)
        fail("%s", sentence);
    message_drop(m);
    us.over = false;
    return status;
}

/* From now on a worker's end is no news. */
static void leave_thread(void)
{
    pthread_mutex_lock(&us.lock);
    us.ending = true;
    pthread_mutex_unlock(&us.lock);
    uint64_t one = 1;
    while (write(us.wake, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_join(us.thread, NULL);
    close(us.wake);
}

/* One process again. */
static void forget_workers(void)
{
    for (int i = 1; i < us.count; i++) {
        connection_close(&us.all[i].link);
        free(us.all[i].sentence);
    }
    free(us.all);
    us.all = NULL;
    us.count = 1;
}

static void abort_all(const comm_driver *driver)
{
    (void)driver;
    if (us.number)
        _exit(1);
    if (us.count == 1)
        return;
    leave_thread();
    kill_and_reap();
    forget_workers();
}

static bool all_left(void)
{
    for (int i = 1; i < us.count; i++)
        if (!us.all[i].bye)
            return false;
    return true;
}

static void close_workers(const comm_driver *driver)
{
    (void)driver;
    if (us.number) {
        send_message(&us.leader, MESSAGE_BYE, NULL, 0);
        connection_close(&us.leader);
        return;
    }
    if (us.count == 1)
        return;
    pthread_mutex_lock(&us.lock);
    while (!all_left())
        pthread_cond_wait(&us.came, &us.lock);
    pthread_mutex_unlock(&us.lock);
    leave_thread();
    for (int i = 1; i < us.count; i++)
        waitpid(us.all[i].pid, NULL, 0);
    forget_workers();
}

const comm_driver *workers_driver(const comm_driver *alone)
{
    us.driver = *alone;
    us.driver.share = share;
    us.driver.agree = agree;
    us.driver.abort = abort_all;
    us.driver.close = close_workers;
    return &us.driver;
}

/* ---- Pieces ---- */

void workers_listen(const workers_intake *intake)
{
    pthread_mutex_lock(&us.lock);
    us.listening = intake != NULL;
    if (us.count == 1)
        us.failed = false; /* there are no agreements */
    us.intake = intake ? *intake : (workers_intake){0};
    pthread_mutex_unlock(&us.lock);
}

void workers_hand_in(const void *piece, size_t bytes)
{
    if (us.number) {
        send_message(&us.leader, MESSAGE_PIECE, piece, bytes);
        return;
    }
    pthread_mutex_lock(&us.lock);
    take_piece(piece, bytes);
    pthread_mutex_unlock(&us.lock);
}

bool workers_enough(void)
{
    if (us.number) {
        message *m;
        int got = us.over ? 0 : connection_read(&us.leader, &m);
        if (got < 0 || (got > 0 && m->kind != MESSAGE_ENOUGH))
            _exit(1);
        if (got > 0)
            message_drop(m);
        us.over |= got > 0;
        return us.over;
    }
    pthread_mutex_lock(&us.lock);
    bool failed = us.failed;
    pthread_mutex_unlock(&us.lock);
    return failed;
}

bool workers_tell(const char *sentence)
{
    if (!us.number)
        return false;
    send_message(&us.leader, MESSAGE_TELL, sentence, strlen(sentence) + 1);
    return true;
}
