/* The list of methods, and the options that ride on a method's name: `apb:anchor=4K`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/options.h"
#include "methods/method.h"

extern const method flash, ring, zigzag, ulysses, star, apb;
const method *const method_table[] = {&flash, &ring, &zigzag, &ulysses, &star, &apb};
const int method_count = sizeof method_table / sizeof *method_table;

const method *method_find(const char *name)
{
    char names[256] = "";
    for (int i = 0; i < method_count; i++) {
        if (!strcmp(method_table[i]->name, name))
            return method_table[i];
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", method_table[i]->name);
    }
    fail("there is no method '%s'; there are %s", name, names);
    return NULL;
}

/* The index of `word` in "a|b|c", -1 when it is not there. */
static int choice_index(const char *choices, const char *word)
{
    size_t length = strlen(word);
    int index = 0;
    for (const char *at = choices;; index++) {
        size_t here = strcspn(at, "|");
        if (here == length && !strncmp(at, word, length))
            return index;
        if (!at[here])
            return -1;
        at += here + 1;
    }
}

static void choice_name(const char *choices, int64_t index, char *text, size_t bytes)
{
    while (index-- > 0)
        choices += strcspn(choices, "|") + 1;
    snprintf(text, bytes, "%.*s", (int)strcspn(choices, "|"), choices);
}

static int parse_option(const method_option *option, const char *value, int64_t *out)
{
    if (option->default_value == OPTION_AUTO && !strcmp(value, "auto")) {
        *out = OPTION_AUTO; /* as method_describe() writes it */
        return 0;
    }
    if (option->kind == OPTION_TOKENS)
        return parse_size(value, out);
    const char *choices = option->kind == OPTION_BOOL ? "0|1" : option->choices;
    *out = choice_index(choices, value);
    return *out < 0 ? fail("'%s' is none of %s", value, choices) : 0;
}

int method_parse(const char *text, cell *c)
{
    char *copy = copy_text(text), *rest = copy;
    const char *name = strsep(&rest, ":");
    const method *m = c->method = method_find(name);
    int status = m ? 0 : -1;
    for (int i = 0; m && i < m->option_count; i++)
        c->options[i] = m->options[i].default_value;
    while (!status && rest) {
        char *value = strsep(&rest, ":"), *key = strsep(&value, "=");
        const method_option *option = NULL;
        for (int i = 0; i < m->option_count; i++)
            if (!strcmp(m->options[i].name, key))
                option = &m->options[i];
        if (!option)
            status = fail("method %s has no option '%s'; see 'apbench list methods'", name, key);
        else if (!value)
            status = fail("method %s: option %s needs a value, %s=...", name, key, key);
        else if (parse_option(option, value, &c->options[option - m->options]))
            status = fail_within("method %s, option %s", name, key);
    }
    free(copy);
    return status;
}

int method_check_name(const char *text)
{
    cell unused;
    return method_parse(text, &unused);
}

void method_option_text(const method_option *option, int64_t value, char *text, size_t bytes)
{
    if (value == OPTION_AUTO)
        snprintf(text, bytes, "auto");
    else if (option->kind == OPTION_CHOICE)
        choice_name(option->choices, value, text, bytes);
    else
        snprintf(text, bytes, "%lld", (long long)value);
}

void method_describe(const cell *c, char *text, size_t bytes)
{
    size_t used = 0;
    *text = 0;
    for (int i = 0; i < c->method->option_count && used < bytes; i++) {
        const method_option *option = &c->method->options[i];
        char value[64];
        bool later = i >= c->method->option_count - c->method->later_options;
        if (later && c->options[i] == option->default_value)
            continue;
        method_option_text(option, c->options[i], value, sizeof value);
        used += (size_t)snprintf(text + used, bytes - used, "%s%s=%s", used ? ":" : "", option->name,
                                 value);
    }
}

int64_t method_option_value(const cell *c, const char *name)
{
    for (int i = 0; i < c->method->option_count; i++)
        if (!strcmp(c->method->options[i].name, name))
            return c->options[i];
    fprintf(stderr, "apbench: method %s has no option %s\n", c->method->name, name);
    abort();
}
