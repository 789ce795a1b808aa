/* The program itself, but for one rank of mpirun whose cpu device is lame: tests/check_mpi_alone.sh
 * starts it to see what a launch does when one of its processes fails by itself.
 *
 *     mpi_lame RANK closed COMMAND...   that rank's device does not open
 *     mpi_lame RANK BYTES COMMAND...    it has no memory for an allocation of more bytes than that
 *     mpi_lame RANK after:N COMMAND...  it has none after its first N allocations
 *     mpi_lame RANK free:N COMMAND...   its machine says that N bytes are free, and gives what is asked */
#include "harness/command/command.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *(*whole_alloc)(device *, size_t);
static size_t most_bytes = SIZE_MAX, most_calls = SIZE_MAX, calls, said_free;

static void *lame_alloc(device *dev, size_t bytes)
{
    return bytes > most_bytes || calls++ >= most_calls ? NULL : whole_alloc(dev, bytes);
}

static void lame_memory(device *dev, size_t *free_bytes, size_t *total_bytes)
{
    (void)dev;
    *free_bytes = *total_bytes = said_free;
}

static int lame_open(device *dev, int threads)
{
    (void)dev, (void)threads;
    return fail("device cpu: the moon is full");
}

int main(int count, char **words)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    device *cpu = device_find("cpu");
    if (count < 4 || !rank || !cpu)
        return 3;
    if (!strcmp(words[1], rank)) {
        whole_alloc = cpu->alloc;
        if (!strcmp(words[2], "closed")) {
            cpu->open = lame_open;
        } else if (!strncmp(words[2], "free:", 5)) {
            said_free = (size_t)strtoull(words[2] + 5, NULL, 10);
            cpu->memory = lame_memory;
        } else if (!strncmp(words[2], "after:", 6)) {
            most_calls = (size_t)strtoull(words[2] + 6, NULL, 10);
            cpu->alloc = lame_alloc;
        } else {
            most_bytes = (size_t)strtoull(words[2], NULL, 10);
            cpu->alloc = lame_alloc;
        }
    }
    device_prepare(words);
    if (!strcmp(words[3], "speed"))
        return command_speed(count - 3, words + 3);
    if (!strcmp(words[3], "eval"))
        return command_eval(count - 3, words + 3);
    if (!strcmp(words[3], "info"))
        return command_info(count - 3, words + 3);
    return !strcmp(words[3], "generate") ? command_generate(count - 3, words + 3) : 3;
}
