/* Reading of JSON that nobody vouches for. See json_file.h. */
#include "harness/model/json_file.h"

#include "harness/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *printable_name(char *printable, const char *name)
{
    size_t bytes = strlen(name), limit = PRINTABLE_BYTES - 12;
    bool cut = bytes > limit;
    if (cut) {
        bytes = limit;
        while (bytes && ((unsigned char)name[bytes] & 0xC0) == 0x80) /* not inside a character */
            bytes--;
    }
    for (size_t i = 0; i < bytes; i++)
        printable[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7F ? '?' : name[i];
    strcpy(printable + bytes, cut ? "..." : "");
    return printable;
}

int open_regular_file(const char *path, int64_t *bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return fail("%s: cannot be opened: %s", path, strerror(errno));
    struct stat status;
    if (fstat(file, &status)) {
        fail("%s: cannot be examined: %s", path, strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        fail("%s: is %s, where a regular file is wanted", path,
             S_ISDIR(status.st_mode) ? "a directory" : "a pipe or a device");
    } else {
        *bytes = status.st_size;
        return file;
    }
    close(file);
    return -1;
}

json_t *parse_json_object(const char *path, const char *part, const char *text, size_t bytes)
{
    json_error_t error;
    char what[PRINTABLE_BYTES];
    const char *zero = memchr(text, 0, bytes);
    if (zero) { /* jansson passes over NUL bytes between tokens */
        fail("%s: %sis not valid JSON: byte %td is NUL", path, part, zero - text);
        return NULL;
    }
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!value) {
        fail("%s: %sis not valid JSON: %s (line %d, column %d)", path, part,
             printable_name(what, error.text), error.line, error.column);
        return NULL;
    }
    if (!json_is_object(value)) {
        fail("%s: %sholds no JSON object at its outermost level", path, part);
        json_decref(value);
        return NULL;
    }
    return value;
}

json_t *read_json_file(const char *path, int64_t limit)
{
    int64_t bytes;
    int file = open_regular_file(path, &bytes);
    if (file < 0)
        return NULL;
    json_t *value = NULL;
    if (bytes > limit) {
        fail("%s: has %lld bytes, more than the %lld that such a file may have", path,
             (long long)bytes, (long long)limit);
    } else {
        char *text = alloc_or_die((size_t)bytes + 1, 1);
        int64_t have = 0;
        ssize_t got = 1;
        while (have < bytes && (got = read(file, text + have, (size_t)(bytes - have))) > 0)
            have += got;
        if (got < 0)
            fail("%s: cannot be read: %s", path, strerror(errno));
        else
            value = parse_json_object(path, "", text, (size_t)have);
        free(text);
    }
    close(file);
    return value;
}

/* The member, or NULL when it is missing or null. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

static const char *kind_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER: return "a whole number";
    case JSON_REAL: return "a fraction";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    default: return "null";
    }
}

static int absent(const char *path, const char *key, bool required)
{
    return required ? fail("%s: has no \"%s\"", path, key) : 0;
}

int json_integer_member(const char *path, const json_t *object, const char *key, bool required,
                        int64_t least, int64_t most, int64_t *value)
{
    const json_t *found = member(object, key);
    if (!found)
        return absent(path, key, required);
    if (!json_is_integer(found))
        return fail("%s: \"%s\" is %s, where a whole number is wanted", path, key,
                    kind_name(found));
    int64_t number = json_integer_value(found);
    if (number < least || number > most)
        return fail("%s: \"%s\" is %lld, outside of %lld to %lld", path, key, (long long)number,
                    (long long)least, (long long)most);
    *value = number;
    return 0;
}

int json_number_member(const char *path, const json_t *object, const char *key, bool required,
                       double least, double most, double *value)
{
    const json_t *found = member(object, key);
    if (!found)
        return absent(path, key, required);
    if (!json_is_number(found))
        return fail("%s: \"%s\" is %s, where a number is wanted", path, key, kind_name(found));
    double number = json_number_value(found);
    if (!(number >= least && number <= most))
        return fail("%s: \"%s\" is %g, outside of %g to %g", path, key, number, least, most);
    *value = number;
    return 0;
}

int json_flag_member(const char *path, const json_t *object, const char *key, bool *value)
{
    const json_t *found = member(object, key);
    if (!found)
        return 0;
    if (!json_is_boolean(found))
        return fail("%s: \"%s\" is %s, where true or false is wanted", path, key,
                    kind_name(found));
    *value = json_is_true(found);
    return 0;
}

int json_text_member(const char *path, const json_t *object, const char *key, bool required,
                     const char **value)
{
    const json_t *found = member(object, key);
    if (!found)
        return absent(path, key, required);
    if (!json_is_string(found))
        return fail("%s: \"%s\" is %s, where a text is wanted", path, key, kind_name(found));
    *value = json_string_value(found);
    return 0;
}
