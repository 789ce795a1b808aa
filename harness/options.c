/* Parsing of flags, sizes and comma lists. See options.h. */
#include "harness/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

int parse_size(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int64_t unit = 1;
    if (*end == 'K' || *end == 'k')
        unit = 1 << 10, end++;
    else if (*end == 'M' || *end == 'm')
        unit = 1 << 20, end++;
    else if (*end == 'G' || *end == 'g')
        unit = 1 << 30, end++;
    if (!isdigit((unsigned char)text[0]) || *end || errno || number > INT64_MAX / unit)
        return fail("'%s' is not a size: a whole number of at least 0, with K, M or G behind it for "
                    "binary thousands", text);
    *value = number * unit;
    return 0;
}

char *format_size(int64_t value, char *text, int bytes)
{
    if (value && value % (1 << 30) == 0)
        snprintf(text, (size_t)bytes, "%lldG", (long long)(value >> 30));
    else if (value && value % (1 << 20) == 0)
        snprintf(text, (size_t)bytes, "%lldM", (long long)(value >> 20));
    else if (value && value % (1 << 10) == 0)
        snprintf(text, (size_t)bytes, "%lldK", (long long)(value >> 10));
    else
        snprintf(text, (size_t)bytes, "%lld", (long long)value);
    return text;
}

void text_list_push(text_list *list, const char *text)
{
    list->items = realloc_or_die(list->items, (size_t)list->count + 1, sizeof *list->items);
    list->items[list->count++] = copy_text(text);
}

void text_list_free(text_list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (text_list){0};
}

int parse_texts(const char *text, text_list *list)
{
    text_list fresh = {0};
    for (const char *at = text;;) {
        size_t length = strcspn(at, ",");
        if (!length) {
            text_list_free(&fresh);
            return fail("'%s' has an empty item in its comma list", text);
        }
        char *item = copy_bytes(at, length);
        text_list_push(&fresh, item);
        free(item);
        if (!at[length])
            break;
        at += length + 1;
    }
    *list = fresh;
    return 0;
}

int parse_sizes(const char *text, size_list *list)
{
    text_list texts;
    if (parse_texts(text, &texts))
        return -1;
    int64_t *items = alloc_or_die((size_t)texts.count, sizeof *items);
    int status = 0;
    for (int i = 0; i < texts.count && !status; i++)
        status = parse_size(texts.items[i], &items[i]);
    if (status)
        free(items);
    else
        *list = (size_list){items, texts.count};
    text_list_free(&texts);
    return status;
}

static int parse_number(const char *text, double *value)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !isfinite(number) || number < 0)
        return fail("'%s' is not a number of at least 0", text);
    *value = number;
    return 0;
}

static int store_texts(const flag *f, const char *value)
{
    text_list fresh;
    if (parse_texts(value, &fresh))
        return -1;
    for (int i = 0; i < fresh.count; i++)
        if (f->kind.check && f->kind.check(fresh.items[i])) {
            text_list_free(&fresh);
            return -1;
        }
    text_list_free(f->value);
    *(text_list *)f->value = fresh;
    return 0;
}

static int store(const flag *f, const char *value)
{
    int status = 0;
    switch (f->kind.value) {
    case VALUE_TEXTS: status = store_texts(f, value); break;
    case VALUE_SIZE: status = parse_size(value, f->value); break;
    case VALUE_SIZES: {
        int64_t *before = ((size_list *)f->value)->items;
        status = parse_sizes(value, f->value);
        if (!status)
            free(before);
        break;
    }
    case VALUE_NUMBER: status = parse_number(value, f->value); break;
    case VALUE_SWITCH: *(bool *)f->value = true; break;
    case VALUE_TEXT:
        status = f->kind.check ? f->kind.check(value) : 0;
        *(const char **)f->value = value;
    }
    return status ? fail_within("--%s", f->name) : 0;
}

static const char *default_text(const flag *f, char *text, int bytes)
{
    char size[32];
    flag_value kind = f->kind.value;
    text[0] = 0;
    if (kind == VALUE_TEXT && *(const char **)f->value) {
        snprintf(text, (size_t)bytes, "%s", *(const char **)f->value);
    } else if (kind == VALUE_SIZE && *(int64_t *)f->value) {
        format_size(*(int64_t *)f->value, text, bytes);
    } else if (kind == VALUE_NUMBER && *(double *)f->value > 0) {
        snprintf(text, (size_t)bytes, "%g", *(double *)f->value);
    } else if (kind == VALUE_TEXTS || kind == VALUE_SIZES) {
        int count = kind == VALUE_TEXTS ? ((text_list *)f->value)->count
                                        : ((size_list *)f->value)->count;
        for (int i = 0, at = 0; i < count && at < bytes; i++)
            at += snprintf(text + at, (size_t)(bytes - at), "%s%s", i ? "," : "",
                           kind == VALUE_TEXTS
                               ? ((text_list *)f->value)->items[i]
                               : format_size(((size_list *)f->value)->items[i], size, sizeof size));
    }
    return text;
}

static void print_help(const char *usage, const flag *flags, int flag_count)
{
    printf("%s\n", usage);
    for (int i = 0; i < flag_count; i++) {
        char head[64], value[256];
        snprintf(head, sizeof head, "--%s%s%s", flags[i].name, flags[i].argument ? " " : "",
                 flags[i].argument ? flags[i].argument : "");
        default_text(&flags[i], value, sizeof value);
        printf("  %-22s %s%s%s%s\n", head, flags[i].help, *value ? " [" : "", value,
               *value ? "]" : "");
    }
}

/* --model where the command has --models, and the like, is told which. */
static int no_such_flag(const flag *flags, int flag_count, const char *word, const char *command)
{
    const char *meant = NULL;
    size_t length = strcspn(word + 2, "=");
    for (int k = 0; k < flag_count && !meant; k++) {
        size_t own = strlen(flags[k].name), both = own < length ? own : length;
        if (both >= 4 && !strncmp(flags[k].name, word + 2, both))
            meant = flags[k].name;
    }
    if (meant)
        return fail("there is no flag %s, but --%s; see 'apbench %s --help'", word, meant, command);
    return fail("there is no flag %s; see 'apbench %s --help'", word, command);
}

int options_parse(const char *usage, const flag *flags, int flag_count, int argc, char **argv,
                  text_list *positional)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            print_help(usage, flags, flag_count);
            return 1;
        }
        if (strncmp(word, "--", 2)) {
            if (!positional || !*word)
                return fail("'%s' is not expected here; see 'apbench %s --help'", word, argv[0]);
            text_list_push(positional, word);
            continue;
        }
        size_t length = strcspn(word + 2, "=");
        const flag *f = NULL;
        for (int k = 0; k < flag_count && !f; k++)
            if (strlen(flags[k].name) == length && !strncmp(flags[k].name, word + 2, length))
                f = &flags[k];
        if (!f)
            return no_such_flag(flags, flag_count, word, argv[0]);
        const char *value = word[2 + length] ? word + 2 + length + 1 : NULL;
        if (f->kind.value == VALUE_SWITCH && value)
            return fail("--%s takes no value, but '%s' was given", f->name, value);
        if (f->kind.value != VALUE_SWITCH && !value) {
            if (++i == argc)
                return fail("--%s needs a value (%s)", f->name, f->argument);
            value = argv[i];
        }
        if (value && !*value)
            return fail("--%s needs a value (%s), but '' was given", f->name, f->argument);
        if (store(f, value))
            return -1;
    }
    return 0;
}
