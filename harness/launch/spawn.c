/* --spawn N: ranks of a launch started by the program itself. The process that the user started only
 * supervises; every rank is a child, so that one may crash in any way without taking its exit
 * status away. Ranks talk among themselves (control.h) and end by themselves when one dies; the
 * supervisor ends what has not. See launch.h. */
#include "harness/launch/launch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness/error.h"
#include "harness/timeline.h"

/* This process's own arguments, as the kernel has them; NULL with a sentence. */
static char **read_arguments(void)
{
    FILE *file = fopen("/proc/self/cmdline", "rb");
    char *text = NULL;
    size_t used = 0, got = 0;
    do {
        text = realloc_or_die(text, used + 65537, 1);
        used += got = file ? fread(text + used, 1, 65536, file) : 0;
    } while (got);
    if (file)
        fclose(file);
    if (!used) {
        free(text);
        fail("--spawn: /proc/self/cmdline cannot be read");
        return NULL;
    }
    text[used] = 0;
    size_t count = 0;
    for (size_t i = 0; i < used; i++)
        count += !text[i];
    char **arguments = alloc_or_die(count + 2, sizeof *arguments);
    char *next = text;
    for (size_t i = 0; i < count; i++, next += strlen(next) + 1)
        arguments[i] = next;
    return arguments;
}

/* A socket on a port of 127.0.0.1 that is free; -1 with a sentence. */
static int open_listener(int *port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, bytes) ||
        listen(listener, SOMAXCONN) || getsockname(listener, (struct sockaddr *)&here, &bytes)) {
        fail("--spawn: a socket on 127.0.0.1: %s", strerror(errno));
        if (listener >= 0)
            close(listener);
        return -1;
    }
    *port = ntohs(here.sin_port);
    return listener;
}

static void set_number(const char *name, int value)
{
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    setenv(name, text, 1);
}

/* In the child. Does not return. */
static void become_rank(int rank, int listener, char **arguments, pid_t supervisor)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor)
        _exit(1); /* it died before that was in force */
    set_number("APBENCH_RANK", rank);
    if (rank == 0) {
        fcntl(listener, F_SETFD, 0); /* stays open over exec */
        set_number("APBENCH_LISTENER", listener);
    } else {
        int nothing = open("/dev/null", O_RDONLY);
        dup2(nothing, STDIN_FILENO);
        close(nothing);
    }
    execv("/proc/self/exe", arguments);
    fprintf(stderr, "apbench: --spawn: /proc/self/exe: %s\n", strerror(errno));
    _exit(1);
}

/* Waits for all; statuses[rank] as waitpid() gives them. */
static void supervise(const pid_t *ranks, int *statuses, int count)
{
    int left = count, first_bad = -1;
    double bad_at = 0;
    bool killed = false;
    while (left > 0) {
        int status;
        pid_t ended = waitpid(-1, &status, first_bad < 0 ? 0 : WNOHANG);
        if (ended < 0 && errno != EINTR)
            return;
        int rank = 0;
        while (ended > 0 && rank < count && ranks[rank] != ended)
            rank++;
        if (ended > 0 && rank < count) {
            statuses[rank] = status;
            left--;
            if (status && first_bad < 0) {
                first_bad = rank;
                bad_at = monotonic_seconds();
            }
            continue;
        }
        if (first_bad < 0 || ended > 0)
            continue;
        if (!killed && monotonic_seconds() - bad_at > SUPERVISOR_SECONDS) {
            killed = true;
            status = statuses[first_bad];
            fprintf(stderr, "apbench: host %d ended with %s %d, and %.0f s later %d other%s still "
                    "there: killed\n", first_bad, WIFSIGNALED(status) ? "signal" : "status",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                    SUPERVISOR_SECONDS, left, left == 1 ? " was" : "s were");
            for (rank = 0; rank < count; rank++)
                if (statuses[rank] < 0)
                    kill(ranks[rank], SIGKILL);
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

/* Rank 0's status, unless that was good and another's was not. */
static int exit_status_of(const int *statuses, int count)
{
    if (statuses[0] && WIFEXITED(statuses[0]))
        return WEXITSTATUS(statuses[0]);
    for (int rank = 0; rank < count; rank++)
        if (statuses[rank])
            return 1;
    return 0;
}

int launch_spawn(int count)
{
    if (count < 1 || count > LAUNCH_MOST_RANKS) {
        fprintf(stderr, "apbench: --spawn %d is out of range: 1 to %d\n", count, LAUNCH_MOST_RANKS);
        return 2;
    }
    unsigned char random[16];
    char cookie[LAUNCH_COOKIE] = "";
    int port = 0, listener = open_listener(&port);
    char **arguments = read_arguments();
    if (listener < 0 || !arguments ||
        getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        fprintf(stderr, "apbench: %s\n", fail_text());
        return 1;
    }
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(cookie + 2 * i, 3, "%02x", random[i]);
    char meeting[64];
    snprintf(meeting, sizeof meeting, "127.0.0.1:%d", port);
    setenv("APBENCH_RENDEZVOUS", meeting, 1);
    setenv("APBENCH_COOKIE", cookie, 1);
    set_number("APBENCH_SIZE", count);
    fflush(NULL);
    pid_t *ranks = alloc_or_die((size_t)count, sizeof *ranks), supervisor = getpid();
    int *statuses = alloc_or_die((size_t)count, sizeof *statuses), started = 0;
    for (; started < count; started++) {
        statuses[started] = -1;
        ranks[started] = fork();
        if (ranks[started] == 0)
            become_rank(started, listener, arguments, supervisor);
        if (ranks[started] < 0)
            break;
    }
    close(listener);
    if (started < count) {
        fprintf(stderr, "apbench: --spawn: process %d of %d: %s\n", started + 1, count,
                strerror(errno));
        for (int rank = 0; rank < started; rank++)
            kill(ranks[rank], SIGKILL);
    }
    supervise(ranks, statuses, started);
    int status = started < count ? 1 : exit_status_of(statuses, count);
    free(ranks);
    free(statuses);
    free(arguments[0]);
    free(arguments);
    return status;
}
