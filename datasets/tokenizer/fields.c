/* One field of tokenizer.json at a time. See fields.h. */
#include "datasets/tokenizer/fields.h"

#include "harness/error.h"

#include <string.h>

const char *field_kind(const json_t *value)
{
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a real number", "true", "false", "null"};
    return value ? names[json_typeof(value)] : "missing";
}

bool field_absent(const json_t *value)
{
    return !value || json_is_null(value);
}

int field_bool(const json_t *object, const char *key, bool otherwise, bool *out)
{
    const json_t *value = json_object_get(object, key);
    *out = field_absent(value) ? otherwise : json_is_true(value);
    if (!field_absent(value) && !json_is_boolean(value))
        return fail("%s is %s, not true or false", key, field_kind(value));
    return 0;
}

const char *field_text(const json_t *object, const char *key, size_t *bytes)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) {
        fail("%s is %s, not a string", key, field_kind(value));
        return NULL;
    }
    *bytes = json_string_length(value);
    return json_string_value(value);
}

static const char *field_type(const json_t *object)
{
    size_t bytes;
    return field_text(object, "type", &bytes);
}

int field_count(const json_t *object, const char *key, int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return fail("%s is %s, not a count", key, json_is_integer(value) ? "negative"
                                                                         : field_kind(value));
    *out = json_integer_value(value);
    return 0;
}

int field_pattern(const json_t *object, const char *key, pattern *out)
{
    const json_t *value = json_object_get(object, key);
    const json_t *literal = json_object_get(value, "String");
    const json_t *expression = json_object_get(value, "Regex");
    if (json_is_string(literal))
        return pattern_open_literal(out, json_string_value(literal), json_string_length(literal));
    if (json_is_string(expression))
        return pattern_open_regex(out, json_string_value(expression),
                                  json_string_length(expression), true);
    return fail("%s is %s, without a string under String or Regex", key, field_kind(value));
}

const char *field_character(const json_t *object, const char *key, size_t *bytes)
{
    const char *text = field_text(object, key, bytes);
    size_t first = 0;
    if (text && *bytes)
        utf8_next(text, &first);
    if (text && (!*bytes || first != *bytes)) {
        fail("%s is \"%.20s\", not one character", key, text);
        return NULL;
    }
    return text;
}

int each_step(tokenizer *t, const json_t *step, const char *list,
                     int (*one)(tokenizer *, const json_t *, const char *type), int depth)
{
    if (!json_is_object(step))
        return fail("it is %s, not an object", field_kind(step));
    const char *type = field_type(step);
    if (!type)
        return -1;
    if (strcmp(type, "Sequence"))
        return one(t, step, type) ? fail_within("%s", type) : 0;
    const json_t *steps = json_object_get(step, list);
    if (!json_is_array(steps))
        return fail("%s of the Sequence is %s, not an array", list, field_kind(steps));
    if (depth > 8)
        return fail("Sequences are nested more than 8 deep");
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (each_step(t, json_array_get(steps, i), list, one, depth + 1))
            return -1;
    return 0;
}
