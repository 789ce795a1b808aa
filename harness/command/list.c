/* `apbench list`: what the program knows, straight from its tables. */
#include <stdio.h>
#include <string.h>

#include "datasets/task.h"
#include "harness/command/command.h"
#include "harness/comm/link.h"
#include "harness/error.h"
#include "harness/sweep/preset.h"
#include "harness/records/records.h"
#include "methods/method.h"

static void list_methods(void)
{
    for (int i = 0; i < method_count; i++) {
        const method *m = method_table[i];
        printf("%-10s %-10s %s: %s\n", m->name, m->title, m->exact ? "exact" : "approximate",
               m->summary);
        for (int k = 0; k < m->option_count; k++) {
            const method_option *o = &m->options[k];
            printf("    %s=%s  %s", o->name,
                   o->kind == OPTION_TOKENS ? "TOKENS" : o->kind == OPTION_BOOL ? "0|1" : o->choices,
                   o->help);
            char value[64];
            method_option_text(o, o->default_value, value, sizeof value);
            if (o->default_value == OPTION_AUTO) /* help says what that is */
                printf("\n");
            else
                printf(" [%s]\n", value);
        }
    }
}

static void list_devices(void)
{
    for (int i = 0; i < device_count; i++)
        printf("%-10s %s\n", device_table[i]->name, device_table[i]->title);
}

static void list_comms(void)
{
    for (int i = 0; i < comm_count; i++)
        printf("%-10s %s\n", comm_table[i]->name, comm_table[i]->title);
}

static void list_links(void)
{
    for (int i = 0; i < link_count; i++) {
        const link_model *l = &link_table[i];
        printf("%-12s %s: %.3g GB/s each way, %.3g us", l->name, l->title, l->bandwidth / 1e9,
               l->latency * 1e6);
        if (l->hosts_per_node)
            printf("; between nodes of %d: %.3g GB/s, %.3g us", l->hosts_per_node,
                   l->node_bandwidth / 1e9, l->node_latency * 1e6);
        printf("\n    %s\n", l->source);
    }
}

static void list_models(void)
{
    for (int i = 0; i < model_preset_count; i++)
        printf("%-14s %s\n", model_presets[i].name, model_presets[i].summary);
    printf("DIRECTORY      any Llama, Qwen2.5 or Yi checkpoint in Hugging Face layout\n");
}

static void list_presets(void)
{
    for (int i = 0; i < preset_count; i++)
        printf("%-5s --preset %-14s %s\n    %s\n", preset_table[i].command, preset_table[i].name,
               preset_table[i].summary, preset_table[i].flags);
}

static void list_tasks(void)
{
    for (int i = 0; i < task_count; i++)
        printf("%-20s %-14s %s%s\n", tasks[i].name, tasks[i].benchmark, tasks[i].summary,
               tasks[i].generator ? "" : " (from its official file)");
    printf("niah, qa, ruler, infinitebench: groups of every generated task of them\n");
}

static void list_columns(void)
{
    record_columns_print(stdout);
}

static const struct {
    const char *name;
    void (*print)(void);
} lists[] = {
    {"methods", list_methods}, {"devices", list_devices}, {"comms", list_comms},
    {"links", list_links},     {"models", list_models},   {"presets", list_presets},
    {"tasks", list_tasks},     {"columns", list_columns},
};
enum { LISTS = sizeof lists / sizeof *lists };

int command_list(int argc, char **argv)
{
    static const char usage[] = "usage: apbench list methods|devices|comms|links|models|presets|"
                                "tasks|columns\n";
    static text_list words;
    int parsed = options_parse(usage, NULL, 0, argc, argv, &words);
    if (parsed > 0)
        return 0;
    if (!parsed && words.count != 1)
        parsed = fail("list wants one word; see 'apbench list --help'");
    if (parsed)
        return command_misused();
    for (int i = 0; i < LISTS; i++)
        if (!strcmp(lists[i].name, words.items[0])) {
            lists[i].print();
            text_list_free(&words);
            return 0;
        }
    fail("'%s' is nothing that can be listed; see 'apbench list --help'", words.items[0]);
    return command_misused();
}
