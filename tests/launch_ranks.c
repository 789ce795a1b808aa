/* The launch and its control sockets without any links: tests/check_launch.sh starts this with one
 * word that says what to try, alone (it then spawns four ranks of itself) or under a launcher. Rank 0
 * prints what went well; the exit status tells the rest. */
#include "harness/comm/place.h"
#include "harness/error.h"
#include "harness/launch/control.h"
#include "harness/launch/join.h"
#include "harness/timeline.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static launch here;

static int expect_agreement(int status, const char *sentence)
{
    int result = control_agree(status);
    if (!sentence)
        return result;
    if (result == 0)
        return fail("an agreement went well that should not have");
    return strcmp(fail_text(), sentence) ? fail("not '%s' but '%s'", sentence, fail_text()) : 0;
}

static int try_share(size_t bytes)
{
    unsigned char *data = alloc_or_die(bytes, 1);
    for (size_t i = 0; i < bytes && here.rank == 0; i++)
        data[i] = (unsigned char)(i * 31 + (i >> 13));
    int result = control_share(data, bytes);
    for (size_t i = 0; i < bytes && !result; i++)
        if (data[i] != (unsigned char)(i * 31 + (i >> 13)))
            result = fail("share: byte %zu of %zu is wrong", i, bytes);
    free(data);
    return result;
}

static int try_reduce(int group, int round)
{
    double values[2] = {here.rank * 1.5 + round, -here.rank - 1.0};
    if (control_reduce_max(group, values, 2))
        return -1;
    if (values[0] != (group - 1) * 1.5 + round || values[1] != -1)
        return fail("reduce_max over %d: %g and %g", group, values[0], values[1]);
    return 0;
}

static int try_gather(void)
{
    int own[3] = {here.rank, here.rank * here.rank, -here.rank};
    int *all = alloc_or_die((size_t)here.size, sizeof own);
    int result = control_gather(own, all, sizeof own);
    for (int rank = 0; rank < here.size && !result; rank++)
        if (all[3 * rank] != rank || all[3 * rank + 1] != rank * rank || all[3 * rank + 2] != -rank)
            result = fail("gather: what rank %d gave is wrong", rank);
    free(all);
    return result;
}

/* A rank fails while the others of its group reduce; processes outside wait in the agreement. */
static int try_failure_within(int failing, int group)
{
    char sentence[80];
    snprintf(sentence, sizeof sentence, "host %d: the moon is full", failing);
    int status = 0;
    if (here.rank == failing)
        status = fail("the moon is full");
    for (int round = 0; here.rank < group && !status && round < 2; round++)
        status = try_reduce(group, round);
    return expect_agreement(status, sentence);
}

static int together(void)
{
    for (int round = 0; round < 3; round++) {
        if (try_share(0) || try_share(1) || try_share(10 << 20) || try_share(12345) || try_gather())
            return -1;
        for (int group = 1; group <= here.size; group++) {
            int status = 0;
            for (int i = 0; i < 50 && here.rank < group && !status; i++)
                status = try_reduce(group, i);
            if (expect_agreement(status, NULL))
                return -1;
        }
        int last = here.size - 1;
        char sentence[80];
        snprintf(sentence, sizeof sentence, "host %d: the moon is full", last);
        if (expect_agreement(here.rank == last ? fail("the moon is full") : 0, sentence) ||
            expect_agreement(fail("the moon is full"), "host 0: the moon is full") ||
            try_failure_within(1, here.size) || try_failure_within(0, here.size - 1))
            return -1;
    }
    return 0;
}

/* From here on the launch does not survive. */

static int one_dies(int which)
{
    comm_place("tiny ring, 4 hosts, length 1K", 7);
    usleep(1000000); /* for a beat to tell the place */
    if (here.rank == which)
        raise(SIGKILL);
    return control_agree(0);
}

static int one_is_stuck(int signal_or_0)
{
    comm_place("tiny ring, 4 hosts, length 1K", 3);
    control_run(here.size, monotonic_seconds(), monotonic_seconds() + 4);
    usleep(1000000); /* for a beat to tell the place */
    if (here.rank == 1 && signal_or_0)
        raise(signal_or_0);
    else if (here.rank == 1)
        pause();
    comm_place(NULL, 4);
    return control_agree(0);
}

static int all_are_slow(void)
{
    comm_place("tiny ring, 4 hosts, length 1K", 3);
    control_run(here.size, monotonic_seconds(), monotonic_seconds() + 1.5);
    pause();
    return 0;
}

/* Outside a run the others come, however late; the launch goes on. So it does when they begin late a
 * run in which one has failed: it takes them 0.5 s. */
static int others_come_late(bool to_a_run)
{
    if (here.rank != 2)
        usleep((useconds_t)((GRACE_SECONDS_OF_CONTROL + 1.5) * 1e6));
    if (to_a_run)
        control_run(here.size, monotonic_seconds(), 0);
    if (here.rank == 2)
        return expect_agreement(fail("no such file"), "host 2: no such file");
    if (to_a_run)
        usleep(500000);
    return expect_agreement(0, "host 2: no such file");
}

static int others_wait_for_ever(void)
{
    control_run(here.size, monotonic_seconds(), 0);
    if (here.rank != 2)
        pause();
    return control_agree(fail("the moon is full"));
}

static int one_gives_up(void)
{
    if (here.rank != 3)
        return control_agree(0);
    fail("the moon is full");
    if (!control_tell(fail_text()))
        fprintf(stderr, "apbench: %s\n", fail_text());
    control_end(NULL);
}

/* The launch's end may come to the leader as soon as another has told, or before it does. */
static int all_give_up(bool leader_is_last)
{
    control_agree(fail("the moon is full"));
    if ((here.rank == 0) == leader_is_last)
        usleep(300000);
    if (!control_tell(fail_text()))
        fprintf(stderr, "apbench: %s\n", fail_text());
    control_end(NULL);
}

static bool is_stopped(pid_t process)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
    FILE *file = fopen(path, "r");
    bool read = file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1;
    if (file)
        fclose(file);
    return read && state == 'T';
}

/* Rank 1 gives up, and tells a leader that has stopped and is killed then, or is not. */
static int tell_a_stopped_leader(bool kill_it)
{
    pid_t own = getpid(), all[16];
    if (here.size > 16 || control_gather(&own, all, sizeof own))
        return -1;
    if (here.rank == 0)
        raise(SIGSTOP);
    if (here.rank != 1)
        return control_agree(0);
    while (!is_stopped(all[0]))
        usleep(10000);
    control_tell("the moon is full");
    if (kill_it)
        kill(all[0], SIGKILL);
    control_end(NULL);
}

static const char *in_trouble(void)
{
    return here.rank == 1 ? "the link is torn" : NULL;
}

static void never_released(void)
{
    pause();
}

/* Rank 1 joins as it should, then talks nonsense. */
static int talk_nonsense(void)
{
    int fd;
    char text[64] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    if (join_follow(&here, 20, &fd))
        return -1;
    if (send(fd, text, sizeof text, MSG_NOSIGNAL) < 0)
        return fail("it cannot be sent");
    sleep(1);
    return 0;
}

static int try_word(const char *word)
{
    control_hooks hooks = {0};
    if (!strcmp(word, "trouble"))
        hooks.trouble = in_trouble;
    if (!strcmp(word, "hang"))
        hooks.release = never_released;
    if (!strcmp(word, "early") && here.rank == 2)
        return fail("it ends before it has joined");
    if (!strcmp(word, "nonsense") && here.rank == 1)
        return talk_nonsense();
    if (control_open(&here, &hooks))
        return -1;
    return !strcmp(word, "together") ? together()
           : !strcmp(word, "killed") || !strcmp(word, "hang") ? one_dies(2)
           : !strcmp(word, "leader") ? one_dies(0)
           : !strcmp(word, "stuck") ? one_is_stuck(0)
           : !strcmp(word, "stopped") ? one_is_stuck(SIGSTOP)
           : !strcmp(word, "slow") ? all_are_slow()
           : !strcmp(word, "late") ? others_come_late(false)
           : !strcmp(word, "late-run") ? others_come_late(true)
           : !strcmp(word, "alone") ? others_wait_for_ever()
           : !strcmp(word, "tell") ? one_gives_up()
           : !strcmp(word, "all-tell") ? all_give_up(false)
           : !strcmp(word, "all-tell-leader") ? all_give_up(true)
           : !strcmp(word, "tell-dead") ? tell_a_stopped_leader(true)
           : !strcmp(word, "tell-stopped") ? tell_a_stopped_leader(false)
           : !strcmp(word, "trouble") || !strcmp(word, "nonsense") ? (pause(), 0)
           : !strcmp(word, "early") ? 0
                                      : fail("'%s' is nothing to try", word);
}

int main(int count, char **words)
{
    const char *word = count > 1 ? words[1] : "together";
    if (!launch_started_by())
        return launch_spawn(4);
    int result = launch_read(&here);
    if (!result)
        result = try_word(word);
    if (result < 0)
        fprintf(stderr, "launch_ranks: rank %d: %s\n", here.rank, fail_text());
    else if (here.rank == 0)
        printf("%s with %d ranks: good\n", word, here.size);
    control_close();
    return result < 0;
}
