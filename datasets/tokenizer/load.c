/* tokenizer.json to parts. The file is somebody else's: every field is checked before it is
 * believed, and the first one that is wrong, or asks for something that is not built here, is named
 * in one sentence. Fields that do not bear on ids or text (offsets, truncation, padding) are passed
 * over. The format is that of Hugging Face's `tokenizers` (its serialisation code). */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

/* ---- Fields ---- */

static const char *type_name(const json_t *value)
{
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a real number", "true", "false", "null"};
    return value ? names[json_typeof(value)] : "missing";
}

static bool absent(const json_t *value)
{
    return !value || json_is_null(value);
}

static int read_bool(const json_t *object, const char *key, bool otherwise, bool *out)
{
    const json_t *value = json_object_get(object, key);
    *out = absent(value) ? otherwise : json_is_true(value);
    if (!absent(value) && !json_is_boolean(value))
        return fail("%s is %s, not true or false", key, type_name(value));
    return 0;
}

static const char *read_text(const json_t *object, const char *key, size_t *bytes)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) {
        fail("%s is %s, not a string", key, type_name(value));
        return NULL;
    }
    *bytes = json_string_length(value);
    return json_string_value(value);
}

static const char *read_type(const json_t *object)
{
    size_t bytes;
    return read_text(object, "type", &bytes);
}

static int read_count(const json_t *object, const char *key, int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return fail("%s is %s, not a count", key, json_is_integer(value) ? "negative"
                                                                         : type_name(value));
    *out = json_integer_value(value);
    return 0;
}

/* {"String": text} or {"Regex": expression} under `key`. */
static int read_pattern(const json_t *object, const char *key, pattern *out)
{
    const json_t *value = json_object_get(object, key);
    const json_t *literal = json_object_get(value, "String");
    const json_t *expression = json_object_get(value, "Regex");
    if (json_is_string(literal))
        return pattern_open_literal(out, json_string_value(literal), json_string_length(literal));
    if (json_is_string(expression))
        return pattern_open_regex(out, json_string_value(expression),
                                  json_string_length(expression), true);
    return fail("%s is %s, without a string under String or Regex", key, type_name(value));
}

/* One character under `key`. */
static const char *read_character(const json_t *object, const char *key, size_t *bytes)
{
    const char *text = read_text(object, key, bytes);
    size_t first = 0;
    if (text && *bytes)
        utf8_next(text, &first);
    if (text && (!*bytes || first != *bytes)) {
        fail("%s is \"%.20s\", not one character", key, text);
        return NULL;
    }
    return text;
}

/* Runs `one` on a step, or on each step of a Sequence, whose list stands under `list`. */
static int each_step(tokenizer *t, const json_t *step, const char *list,
                     int (*one)(tokenizer *, const json_t *, const char *type), int depth)
{
    if (!json_is_object(step))
        return fail("it is %s, not an object", type_name(step));
    const char *type = read_type(step);
    if (!type)
        return -1;
    if (strcmp(type, "Sequence"))
        return one(t, step, type) ? fail_within("%s", type) : 0;
    const json_t *steps = json_object_get(step, list);
    if (!json_is_array(steps))
        return fail("%s of the Sequence is %s, not an array", list, type_name(steps));
    if (depth > 8)
        return fail("Sequences are nested more than 8 deep");
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (each_step(t, json_array_get(steps, i), list, one, depth + 1))
            return -1;
    return 0;
}

/* ---- Model ---- */

static int load_vocabulary(vocabulary *words, const json_t *vocab)
{
    if (!json_is_object(vocab))
        return fail("vocab is %s, not an object", type_name(vocab));
    if (!json_object_size(vocab))
        return fail("vocab is empty");
    for (void *at = json_object_iter((json_t *)vocab); at;
         at = json_object_iter_next((json_t *)vocab, at)) {
        const char *text = json_object_iter_key(at);
        const json_t *id = json_object_iter_value(at);
        if (!json_is_integer(id))
            return fail("the id of token \"%.60s\" is %s, not an integer", text, type_name(id));
        if (vocabulary_add(words, text, json_object_iter_key_len(at), json_integer_value(id)))
            return -1;
    }
    return 0;
}

static int32_t find_part(const vocabulary *words, size_t index, const char *text, size_t bytes)
{
    int32_t id = vocabulary_find(words, text, bytes);
    if (id < 0)
        fail("merge %zu speaks of \"%.60s\", which is not in the vocabulary", index, text);
    return id;
}

static int load_merge(bpe_model *model, text_buffer *joined, const json_t *merge, size_t index)
{
    const char *left, *right;
    size_t left_bytes, right_bytes;
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *end = text + json_string_length(merge);
        if (!strncmp(text, "#version", 8))
            return 0;
        const char *space = memchr(text, ' ', (size_t)(end - text));
        if (!space || memchr(space + 1, ' ', (size_t)(end - space - 1)))
            return fail("merge %zu is \"%.60s\", not two tokens with a space between", index, text);
        left = text;
        left_bytes = (size_t)(space - text);
        right = space + 1;
        right_bytes = (size_t)(end - right);
    } else {
        const json_t *first = json_array_get(merge, 0), *second = json_array_get(merge, 1);
        if (json_array_size(merge) != 2 || !json_is_string(first) || !json_is_string(second))
            return fail("merge %zu is %s, not a string or two strings", index, type_name(merge));
        left = json_string_value(first);
        left_bytes = json_string_length(first);
        right = json_string_value(second);
        right_bytes = json_string_length(second);
    }
    joined->count = 0;
    text_buffer_append(joined, left, left_bytes);
    text_buffer_append(joined, right, right_bytes);
    text_buffer_append(joined, "", 1); /* for the sentence */
    text_buffer parts = {0};
    text_buffer_append(&parts, left, left_bytes);
    text_buffer_append(&parts, "", 1);
    int32_t left_id = find_part(&model->words, index, parts.bytes, left_bytes);
    text_buffer_free(&parts);
    if (left_id < 0)
        return -1;
    int32_t right_id = find_part(&model->words, index, right, right_bytes);
    int32_t result = right_id < 0 ? -1 : find_part(&model->words, index, joined->bytes,
                                                   joined->count - 1);
    if (result < 0)
        return -1;
    return bpe_add_merge(model, left_id, right_id, result, (uint32_t)index);
}

static int refuse_text(const json_t *model, const char *key)
{
    const json_t *value = json_object_get(model, key);
    if (absent(value) || (json_is_string(value) && !json_string_length(value)))
        return 0;
    return fail("%s is set, which is not supported", key);
}

static int load_model(bpe_model *model, const json_t *source)
{
    if (!json_is_object(source))
        return fail("it is %s, not an object", type_name(source));
    const json_t *type = json_object_get(source, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE")))
        return fail("its type is %s, and only BPE is supported",
                    json_is_string(type) ? json_string_value(type) : type_name(type));
    const json_t *dropout = json_object_get(source, "dropout");
    if (!absent(dropout) && json_number_value(dropout) != 0.0)
        return fail("dropout is set, which is not supported");
    if (refuse_text(source, "continuing_subword_prefix") ||
        refuse_text(source, "end_of_word_suffix") ||
        read_bool(source, "fuse_unk", false, &model->fuse_unknown) ||
        read_bool(source, "byte_fallback", false, &model->byte_fallback) ||
        read_bool(source, "ignore_merges", false, &model->ignore_merges) ||
        load_vocabulary(&model->words, json_object_get(source, "vocab")))
        return -1;
    model->unknown = -1;
    if (!absent(json_object_get(source, "unk_token"))) {
        size_t bytes;
        const char *text = read_text(source, "unk_token", &bytes);
        if (!text)
            return -1;
        model->unknown = vocabulary_find(&model->words, text, bytes);
        if (model->unknown < 0)
            return fail("unk_token \"%.60s\" is not in the vocabulary", text);
    }
    const json_t *merges = json_object_get(source, "merges");
    if (!json_is_array(merges))
        return fail("merges is %s, not an array", type_name(merges));
    text_buffer joined = {0};
    int status = 0;
    for (size_t i = 0; !status && i < json_array_size(merges); i++)
        status = load_merge(model, &joined, json_array_get(merges, i), i);
    text_buffer_free(&joined);
    return status;
}

/* ---- Normaliser ---- */

static int load_normalize_step(tokenizer *t, const json_t *source, const char *type)
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
        with = read_text(source, "prepend", &step->with_bytes);
    } else if (!strcmp(type, "Replace")) {
        step->kind = NORMALIZE_REPLACE;
        if (read_pattern(source, "pattern", &step->what))
            return -1;
        with = read_text(source, "content", &step->with_bytes);
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
    const char *name = read_text(source, "behavior", &bytes);
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
    if (read_bool(source, "add_prefix_space", true, &add))
        return -1;
    *out = add ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (absent(json_object_get(source, "prepend_scheme")))
        return 0;
    size_t bytes;
    const char *name = read_text(source, "prepend_scheme", &bytes);
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
    if (read_bool(source, "add_prefix_space", true, &prefix) ||
        read_bool(source, "use_regex", true, &use_regex))
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
    const char *mark = read_character(source, "replacement", &bytes);
    split_step *step = mark ? add_split(split, SPLIT_METASPACE) : NULL;
    if (!step || read_prepend(source, &step->prepend) || read_bool(source, "split", true, &cut))
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

static int load_split_step(tokenizer *t, const json_t *source, const char *type)
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
        if (read_bool(source, "individual_digits", false, &individual))
            return -1;
        split_step *step = add_split(split, SPLIT_DIGITS);
        if (step && !individual)
            step->behavior = SPLIT_CONTIGUOUS;
        return step ? 0 : -1;
    }
    if (!strcmp(type, "Split")) {
        split_step *step = add_split(split, SPLIT_PATTERN);
        return step && !read_pattern(source, "pattern", &step->what) &&
               !read_behavior(source, &step->behavior) &&
               !read_bool(source, "invert", false, &step->invert) ? 0 : -1;
    }
    return fail("this type is not supported (ByteLevel, Digits, Metaspace, Split and Sequence are)");
}

/* ---- Decoder ---- */

static int load_decode_step(tokenizer *t, const json_t *source, const char *type)
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
        if (read_pattern(source, "pattern", &step->what))
            return -1;
        with = read_text(source, "content", &step->with_bytes);
    } else if (!strcmp(type, "Strip")) {
        step->kind = DECODE_STRIP;
        if (read_count(source, "start", &step->start) || read_count(source, "stop", &step->stop))
            return -1;
        with = read_character(source, "content", &step->with_bytes);
    } else if (!strcmp(type, "Metaspace")) {
        step->kind = DECODE_METASPACE;
        if (read_prepend(source, &step->prepend))
            return -1;
        with = read_character(source, "replacement", &step->with_bytes);
    } else {
        return fail("this type is not supported (ByteLevel, ByteFallback, Fuse, Metaspace, Replace, "
                    "Strip and Sequence are)");
    }
    if (!with)
        return -1;
    step->with = copy_bytes(with, step->with_bytes);
    return 0;
}

/* ---- Post-processor ---- */

static int load_template_part(tokenizer *t, const json_t *source, const json_t *part, bool *behind)
{
    const json_t *special = json_object_get(part, "SpecialToken");
    if (!special) {
        if (!json_object_get(part, "Sequence") || *behind)
            return fail("a part of single is neither SpecialToken nor the one Sequence");
        *behind = true;
        return 0;
    }
    size_t bytes;
    const char *name = read_text(special, "id", &bytes);
    if (!name)
        return -1;
    const json_t *entry = json_object_get(json_object_get(source, "special_tokens"), name);
    const json_t *ids = json_object_get(entry, "ids");
    if (!json_is_array(ids))
        return fail("the ids of special token \"%.60s\" are %s, not an array", name, type_name(ids));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= t->vocab)
            return fail("an id of special token \"%.60s\" is not in the vocabulary", name);
        token_list_push(*behind ? &t->suffix : &t->prefix, (int32_t)json_integer_value(id));
    }
    return 0;
}

static int load_post_step(tokenizer *t, const json_t *source, const char *type)
{
    if (!strcmp(type, "ByteLevel"))
        return 0; /* trims offsets, which nobody asks for here */
    if (strcmp(type, "TemplateProcessing"))
        return fail("this type is not supported (ByteLevel, TemplateProcessing and Sequence are)");
    if (t->prefix.count || t->suffix.count)
        return fail("a second template is not supported");
    const json_t *single = json_object_get(source, "single");
    if (!json_is_array(single))
        return fail("single is %s, not an array", type_name(single));
    bool behind = false;
    for (size_t i = 0; i < json_array_size(single); i++)
        if (load_template_part(t, source, json_array_get(single, i), &behind))
            return -1;
    return behind ? 0 : fail("single has no Sequence");
}

/* ---- Added tokens ---- */

static int load_added_token(tokenizer *t, const json_t *source)
{
    added_tokens *added = &t->added;
    added_token token = {0};
    size_t bytes;
    int64_t id = -1;
    if (!json_is_object(source))
        return fail("it is %s, not an object", type_name(source));
    const char *text = read_text(source, "content", &bytes);
    if (!text || read_count(source, "id", &id) ||
        read_bool(source, "special", false, &token.special) ||
        read_bool(source, "single_word", false, &token.single_word) ||
        read_bool(source, "lstrip", false, &token.lstrip) ||
        read_bool(source, "rstrip", false, &token.rstrip) ||
        read_bool(source, "normalized", !token.special, &token.normalized))
        return -1;
    if (!bytes)
        return fail("its content is empty");
    int32_t known = vocabulary_find(&t->model.words, text, bytes);
    size_t other_bytes;
    const char *other = known >= 0 ? NULL : vocabulary_text(&t->model.words, id, &other_bytes);
    if (known >= 0 && known != id)
        return fail("\"%.60s\" has id %lld here and %d in the vocabulary", text, (long long)id,
                    known);
    if (other)
        return fail("\"%.60s\" has id %lld, which is another token's in the vocabulary", text,
                    (long long)id);
    if (vocabulary_add(&added->words, text, bytes, id))
        return -1;
    token.id = (int32_t)id;
    added->token = realloc_or_die(added->token, (size_t)added->count + 1, sizeof token);
    added->token[added->count++] = token;
    return 0;
}

/* Puts the token into the trie that it is matched by: as it is, or normalised. */
static int index_added_token(tokenizer *t, int index, OnigRegion *region, text_buffer scratch[2])
{
    added_tokens *added = &t->added;
    added_token *token = &added->token[index];
    size_t own_bytes = 0;
    const char *own = vocabulary_text(&added->words, token->id, &own_bytes), *text = own;
    size_t bytes = own_bytes;
    added->by_id[token->id] = index;
    if (token->normalized && normalize(&t->normal, region, scratch, &text, &bytes))
        return -1;
    if (!bytes)
        return fail("token %d is empty once normalised", token->id);
    if (bytes != own_bytes || memcmp(text, own, bytes)) {
        token->normal = copy_bytes(text, bytes);
        token->normal_bytes = bytes;
    }
    added_trie_insert(token->normalized ? &added->normalized : &added->raw, text, bytes, index);
    return 0;
}

static int load_added(tokenizer *t, const json_t *tokens)
{
    added_tokens *added = &t->added;
    if (!absent(tokens) && !json_is_array(tokens))
        return fail("it is %s, not an array", type_name(tokens));
    for (size_t i = 0; i < json_array_size(tokens); i++)
        if (load_added_token(t, json_array_get(tokens, i)))
            return fail_within("token %zu of the list", i);
    added->ids = added->words.count;
    added->by_id = alloc_or_die((size_t)added->ids, sizeof *added->by_id);
    memset(added->by_id, -1, (size_t)added->ids * sizeof *added->by_id);
    text_buffer scratch[2] = {{0}, {0}};
    OnigRegion *region = onig_region_new();
    int status = 0;
    for (int i = 0; !status && i < added->count; i++)
        status = index_added_token(t, i, region, scratch);
    onig_region_free(region, 1);
    text_buffer_free(&scratch[0]);
    text_buffer_free(&scratch[1]);
    return status;
}

/* ---- The whole ---- */

static int largest_id(const vocabulary *words)
{
    int id = words->count - 1;
    while (id >= 0 && !words->entry[id].present)
        id--;
    return id;
}

int tokenizer_load(tokenizer *t, const json_t *root)
{
    if (!json_is_object(root))
        return fail("the file holds %s, not an object", type_name(root));
    character_classes();
    const json_t *normal = json_object_get(root, "normalizer");
    const json_t *split = json_object_get(root, "pre_tokenizer");
    const json_t *decode = json_object_get(root, "decoder");
    const json_t *post = json_object_get(root, "post_processor");
    if (load_model(&t->model, json_object_get(root, "model")))
        return fail_within("model");
    if (!absent(normal) && each_step(t, normal, "normalizers", load_normalize_step, 0))
        return fail_within("normalizer");
    if (!absent(split) && each_step(t, split, "pretokenizers", load_split_step, 0))
        return fail_within("pre_tokenizer");
    if (!absent(decode) && each_step(t, decode, "decoders", load_decode_step, 0))
        return fail_within("decoder");
    t->has_decoder = !absent(decode);
    bpe_finish(&t->model, t->split.byte_level);
    if (load_added(t, json_object_get(root, "added_tokens")))
        return fail_within("added_tokens");
    int model_last = largest_id(&t->model.words), added_last = largest_id(&t->added.words);
    t->vocab = (model_last > added_last ? model_last : added_last) + 1;
    if (!absent(post) && each_step(t, post, "processors", load_post_step, 0))
        return fail_within("post_processor");
    return 0;
}
