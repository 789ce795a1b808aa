/* JSON files that nobody vouches for (config.json, headers of safetensors, shard indices): read
 * whole after their size is checked, parsed by jansson with duplicate keys refused, and looked into
 * with getters that check kind and range and leave one sentence naming file, key and value. */
#ifndef HARNESS_JSON_FILE_H
#define HARNESS_JSON_FILE_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens a regular file for reading, never waiting on a pipe or device, and tells its size.
 * Returns the descriptor, or -1 with a sentence. */
int open_regular_file(const char *path, int64_t *bytes);

/* Parses `bytes` of text that came from `path` (`part`: which part, "" for all of it), which must
 * be one object. NULL with a sentence; else to be released with json_decref(). */
json_t *parse_json_object(const char *path, const char *part, const char *text, size_t bytes);

/* The object in a file of at most `limit` bytes. */
json_t *read_json_file(const char *path, int64_t limit);

/* Members of `object`, which was read from `path`. A missing or null member leaves *value as it
 * is, so callers put the default there first; `required` makes it a failure. */
int json_integer_member(const char *path, const json_t *object, const char *key, bool required,
                        int64_t least, int64_t most, int64_t *value);
int json_number_member(const char *path, const json_t *object, const char *key, bool required,
                       double least, double most, double *value);
int json_flag_member(const char *path, const json_t *object, const char *key, bool *value);
/* The text belongs to the object. */
int json_text_member(const char *path, const json_t *object, const char *key, bool required,
                     const char **value);

/* A name from a file made fit to print inside a sentence: control characters become '?', and more
 * than 100 bytes are cut. `printable` holds PRINTABLE_BYTES and is returned. */
enum { PRINTABLE_BYTES = 112 };
const char *printable_name(char *printable, const char *name);
#endif
