/* The commands of the program, and the flags that several of them share: which model on which
 * device over which links. A command returns the program's exit status: 0 it did what was asked,
 * 2 the command line itself is wrong, which is known before anything runs, 1 all else that fails;
 * the last two through command_misused() and command_failed(), which print the sentence that fail()
 * left. */
#ifndef HARNESS_COMMAND_H
#define HARNESS_COMMAND_H
#include "harness/comm.h"
#include "harness/model/model.h"
#include "harness/options.h"

int command_speed(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_data(int argc, char **argv);
int command_score(int argc, char **argv);
int command_list(int argc, char **argv);
int command_table(int argc, char **argv);
int command_plot(int argc, char **argv);
int command_info(int argc, char **argv);
int command_check(int argc, char **argv);
int command_logits(int argc, char **argv);
int command_heads(int argc, char **argv);

/* -1 with a sentence when a flag's value is out of its range. */
int check_range(const char *flag, int64_t value, int64_t least, int64_t most);
int check_ranges(const char *flag, const size_list *values, int64_t least, int64_t most);
/* The same of --lengths of random prompts, each with a query of --query. */
int check_lengths(const size_list *lengths, int64_t query);
enum { MOST_THREADS = 4096, MOST_LAYERS = 100000, MOST_HOSTS_OF_A_CELL = 65536,
       MOST_SAMPLE_TOKENS = 1 << 30 };

/* Both print the sentence; of the processes of a launch one does. */
int command_failed(void);
int command_misused(void);

/* Flags of every command that runs a model. */
typedef struct {
    const char *device, *comm, *retaining_heads;
    int64_t threads, layers, seed, spawn;
    int64_t workers; /* processes that share the samples out; a flag of eval alone */
    double timeout;
} machine_flags;
#define MACHINE_FLAGS_DEFAULT {.device = "cpu", .comm = "sim", .seed = 1}
#define MACHINE_FLAGS(m)                                                                           \
    {"device", FLAG_TEXT, &(m).device, "NAME", "device (apbench list devices)"},                   \
    {"comm", FLAG_TEXT, &(m).comm, "NAME", "links between hosts (apbench list comms)"},            \
    {"spawn", FLAG_SIZE, &(m).spawn, "N", "start N ranks here for --comm nccl; 0 = a launcher has"}, \
    {"threads", FLAG_SIZE, &(m).threads, "N", "threads of the device; 0 = all cores"},             \
    {"layers", FLAG_SIZE, &(m).layers, "N", "run only the first N layers; 0 = all"},               \
    {"seed", FLAG_SIZE, &(m).seed, "N", "seed of random weights, prompts and samples"},            \
    {"retaining-heads", FLAG_TEXT, &(m).retaining_heads, "FILE", "weights of retaining heads"},    \
    {"timeout", FLAG_NUMBER, &(m).timeout, "SECONDS", "longest time for a cell; 0 = no limit"}

/* The device and the links that the flags name, opened. */
typedef struct {
    device *dev;
    const comm_driver *driver;
    int most_hosts; /* ranks of the launch; INT_MAX for sim */
    bool leader;    /* this process prints and writes */
    int threads;    /* of the device; with workers those of all together */
} machine;
/* 0, or the exit status after saying why not. With --spawn, in the process that the user started,
 * it ends the program with the ranks' exit status. With workers it returns in each of them. */
int machine_open(const machine_flags *, machine *);
void machine_close(machine *);

/* A command that runs on this machine cannot go on: command_failed(), and unless all processes have
 * agreed on that, the others are ended. */
int machine_failed(const machine *);
#endif
