/* The sentence that explains a failure, and allocation that ends the program rather than return
 * NULL. See error.h. */
#include "harness/error.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char sentence[2048];

int fail(const char *format, ...)
{
    char fresh[sizeof sentence]; /* the arguments may point into the old sentence */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fresh, sizeof fresh, format, arguments);
    va_end(arguments);
    memcpy(sentence, fresh, sizeof fresh);
    return -1;
}

int fail_within(const char *format, ...)
{
    char prefix[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    char rest[sizeof sentence];
    memcpy(rest, sentence, sizeof rest);
    return fail("%s: %s", prefix, rest);
}

const char *fail_text(void)
{
    return sentence;
}

static void die(size_t count, size_t size)
{
    fprintf(stderr, "apbench: out of host memory (%zu x %zu bytes wanted)\n", count, size);
    exit(1);
}

void *alloc_or_die(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size ? size : 1);
    if (!block)
        die(count, size);
    return block;
}

void *realloc_or_die(void *block, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        die(count, size);
    size_t bytes = count * size;
    block = realloc(block, bytes ? bytes : 1);
    if (!block)
        die(count, size);
    return block;
}

char *copy_bytes(const char *text, size_t bytes)
{
    char *copy = alloc_or_die(bytes + 1, 1);
    memcpy(copy, text, bytes);
    return copy;
}

char *copy_text(const char *text)
{
    return copy_bytes(text, strlen(text));
}

char *format_text(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = alloc_or_die((size_t)bytes + 1, 1);
    va_start(arguments, format);
    vsnprintf(text, (size_t)bytes + 1, format, arguments);
    va_end(arguments);
    return text;
}
