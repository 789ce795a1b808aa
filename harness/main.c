/* apbench: the program. Finds the command and leaves the rest to it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "build_commit.h"
#include "harness/command/command.h"
#include "harness/error.h"
#include "kernels/device.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"speed", command_speed, "time prefill and decode over models x methods x hosts x lengths"},
    {"eval", command_eval, "run tasks, score answers, compare with exact attention"},
    {"generate", command_generate, "answer one prompt; --top K prints the best logits of each step"},
    {"logits", command_logits, "logits of every position of a text, on one device or against another"},
    {"data", command_data, "write benchmark tasks as the official JSONL files"},
    {"score", command_score, "score a file of predictions as the official scorers do"},
    {"heads", command_heads, "train retaining heads for a model, and measure them"},
    {"list", command_list, "methods, devices, comms, links, models, presets, tasks, columns"},
    {"table", command_table, "CSV to Markdown, beside the paper's figures"},
    {"plot", command_plot, "CSV to PNG and SVG"},
    {"info", command_info, "what this machine has, and its measured peaks"},
    {"check", command_check, "hold a method against flash and against its own cost formulas"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *to)
{
    fprintf(to, "apbench: compares distributed long-context attention methods on one transformer\n\n"
                "usage: apbench COMMAND [flags]; every command explains itself with --help\n\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].summary);
}

/* What was asked for on standard output must have got there. */
static int close_output(int exit_status)
{
    if (!fflush(stdout) && !ferror(stdout))
        return exit_status;
    fail("standard output cannot be written");
    return exit_status ? exit_status : command_failed();
}

int main(int argc, char **argv)
{
    signal(SIGCHLD, SIG_DFL); /* a parent may have it ignored: nobody learns how children ended */
    device_prepare(argv);
    const char *word = argc > 1 ? argv[1] : "--help";
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        print_usage(argc > 1 ? stdout : stderr);
        return argc > 1 ? 0 : 2;
    }
    if (!strcmp(word, "--version")) {
        printf("apbench 0.1.0 (%s)\n", BUILD_COMMIT);
        return 0;
    }
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, word))
            return close_output(commands[i].run(argc - 1, argv + 1));
    fail("there is no command '%s'; see 'apbench --help'", word);
    return command_misused();
}
