/* Fields of tokenizer.json, each checked before it is believed: the file is somebody else's, and a field
 * that is missing or of another kind is named in one sentence. What the fields mean is the business of
 * load.c and load_steps.c. */
#ifndef DATASETS_TOKENIZER_FIELDS_H
#define DATASETS_TOKENIZER_FIELDS_H
#include "datasets/tokenizer/parts.h"

/* "an object", "a string", "missing", ... for a sentence. */
const char *field_kind(const json_t *value);
bool field_absent(const json_t *value); /* missing or null */

/* The fields of `object` under `key`. -1, or NULL, with a sentence when one is not what is asked for. */
int field_bool(const json_t *object, const char *key, bool otherwise, bool *out);
const char *field_text(const json_t *object, const char *key, size_t *bytes);
int field_count(const json_t *object, const char *key, int64_t *out);
/* {"String": text} or {"Regex": expression}. */
int field_pattern(const json_t *object, const char *key, pattern *out);
/* One character. */
const char *field_character(const json_t *object, const char *key, size_t *bytes);

/* Runs `one` on a step, or on each step of a Sequence, whose list stands under `list`; depth: 0. */
int each_step(tokenizer *, const json_t *step, const char *list,
              int (*one)(tokenizer *, const json_t *, const char *type), int depth);
#endif
