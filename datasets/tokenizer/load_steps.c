/* The steps of tokenizer.json's normaliser, pre-tokenizer and decoder: each is an object with a type, and
 * becomes one entry of its part's list. A type that is not built here, or a step with a field that is
 * wrong, is refused. The rest of the file is read in load.c. */
#include "datasets/tokenizer/fields.h"

#include "harness/error.h"

#include <string.h>

/* ---- Normaliser ---- */

int load_normalize_step(tokenizer *t, const json_t *source, const char *type)
{
    normalizer *normal = &t->normal;
    normal->step = realloc_or_die(normal->step, (size_t)normal->count + 1, sizeof *normal->step);
    normalize_step *step = &normal->step[normal->count++];
    *step = (normalize_step){0};
    const char *with = NULL;
    if (!strcmp(type, "NFC")) {
        step->kind = NORMALIZE_NFC;
        return 0;
    }
    if (!strcmp(type, "Prepend")) {
        step->kind = NORMALIZE_PREPEND;
        with = field_text(source, "prepend", &step->with_bytes);
    } else if (!strcmp(type, "Replace")) {
        step->kind = NORMALIZE_REPLACE;
        if (field_pattern(source, "pattern", &step->what))
            return -1;
        with = field_text(source, "content", &step->with_bytes);
    } else {
        return fail("this type is not supported (NFC, Prepend, Replace and Sequence are)");
    }
    if (!with)
        return -1;
    step->with = copy_bytes(with, step->with_bytes);
    return 0;
}

/* ---- Pre-tokenizer ---- */

static int read_behavior(const json_t *source, split_behavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    size_t bytes;
    const char *name = field_text(source, "behavior", &bytes);
    for (int i = 0; name && i < 5; i++)
        if (!strcmp(name, names[i])) {
            *out = (split_behavior)i;
            return 0;
        }
    return name ? fail("behavior is \"%.40s\"", name) : -1;
}

/* prepend_scheme, or add_prefix_space in older files. */
static int read_prepend(const json_t *source, prepend_scheme *out)
{
    static const char *const names[] = {"always", "first", "never"};
    bool add;
    if (field_bool(source, "add_prefix_space", true, &add))
        return -1;
    *out = add ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (field_absent(json_object_get(source, "prepend_scheme")))
        return 0;
    size_t bytes;
    const char *name = field_text(source, "prepend_scheme", &bytes);
    for (int i = 0; name && i < 3; i++)
        if (!strcmp(name, names[i])) {
            *out = (prepend_scheme)i;
            return 0;
        }
    return name ? fail("prepend_scheme is \"%.40s\"", name) : -1;
}

static split_step *add_split(splitter *split, split_kind kind)
{
    if (split->count == SPLIT_STEPS) {
        fail("there are more than %d steps", SPLIT_STEPS);
        return NULL;
    }
    split_step *step = &split->step[split->count++];
    step->kind = kind;
    step->behavior = SPLIT_ISOLATED;
    return step;
}

static int load_byte_level(splitter *split, const json_t *source)
{
    bool prefix, use_regex;
    if (field_bool(source, "add_prefix_space", true, &prefix) ||
        field_bool(source, "use_regex", true, &use_regex))
        return -1;
    split->byte_level = true;
    if (prefix && !add_split(split, SPLIT_PREFIX_SPACE))
        return -1;
    if (!use_regex)
        return 0;
    split_step *step = add_split(split, SPLIT_PATTERN);
    const char *gpt2 = scan_patterns[SCAN_GPT2];
    return step ? pattern_open_regex(&step->what, gpt2, strlen(gpt2), true) : -1;
}

static int load_metaspace(splitter *split, const json_t *source)
{
    bool cut;
    size_t bytes;
    const char *mark = field_character(source, "replacement", &bytes);
    split_step *step = mark ? add_split(split, SPLIT_METASPACE) : NULL;
    if (!step || read_prepend(source, &step->prepend) || field_bool(source, "split", true, &cut))
        return -1;
    memcpy(step->replacement, mark, bytes);
    if (!cut)
        return 0;
    step = add_split(split, SPLIT_PATTERN);
    if (!step)
        return -1;
    step->behavior = SPLIT_MERGED_WITH_NEXT;
    return pattern_open_literal(&step->what, mark, bytes);
}

int load_split_step(tokenizer *t, const json_t *source, const char *type)
{
    splitter *split = &t->split;
    if (split->byte_level)
        return fail("a step behind ByteLevel is not supported");
    if (!strcmp(type, "ByteLevel"))
        return load_byte_level(split, source);
    if (!strcmp(type, "Metaspace"))
        return load_metaspace(split, source);
    if (!strcmp(type, "Digits")) {
        bool individual;
        if (field_bool(source, "individual_digits", false, &individual))
            return -1;
        split_step *step = add_split(split, SPLIT_DIGITS);
        if (step && !individual)
            step->behavior = SPLIT_CONTIGUOUS;
        return step ? 0 : -1;
    }
    if (!strcmp(type, "Split")) {
        split_step *step = add_split(split, SPLIT_PATTERN);
        return step && !field_pattern(source, "pattern", &step->what) &&
               !read_behavior(source, &step->behavior) &&
               !field_bool(source, "invert", false, &step->invert) ? 0 : -1;
    }
    return fail("this type is not supported (ByteLevel, Digits, Metaspace, Split and Sequence are)");
}

/* ---- Decoder ---- */

int load_decode_step(tokenizer *t, const json_t *source, const char *type)
{
    decoder *decode = &t->decode;
    decode->step = realloc_or_die(decode->step, (size_t)decode->count + 1, sizeof *decode->step);
    decode_step *step = &decode->step[decode->count++];
    *step = (decode_step){0};
    const char *with = NULL;
    if (!strcmp(type, "ByteLevel")) {
        step->kind = DECODE_BYTE_LEVEL;
        return 0;
    }
    if (!strcmp(type, "ByteFallback")) {
        step->kind = DECODE_BYTE_FALLBACK;
        return 0;
    }
    if (!strcmp(type, "Fuse")) {
        step->kind = DECODE_FUSE;
        return 0;
    }
    if (!strcmp(type, "Replace")) {
        step->kind = DECODE_REPLACE;
        if (field_pattern(source, "pattern", &step->what))
            return -1;
        with = field_text(source, "content", &step->with_bytes);
    } else if (!strcmp(type, "Strip")) {
        step->kind = DECODE_STRIP;
        if (field_count(source, "start", &step->start) || field_count(source, "stop", &step->stop))
            return -1;
        with = field_character(source, "content", &step->with_bytes);
    } else if (!strcmp(type, "Metaspace")) {
        step->kind = DECODE_METASPACE;
        if (read_prepend(source, &step->prepend))
            return -1;
        with = field_character(source, "replacement", &step->with_bytes);
    } else {
        return fail("this type is not supported (ByteLevel, ByteFallback, Fuse, Metaspace, Replace, "
                    "Strip and Sequence are)");
    }
    if (!with)
        return -1;
    step->with = copy_bytes(with, step->with_bytes);
    return 0;
}
