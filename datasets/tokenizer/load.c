/* tokenizer.json to parts: the order in which the file is read, its model, its added tokens and its
 * post-processor; steps of the other parts are read in load_steps.c. The first thing that is wrong, or
 * asks for something that is not built here, is named in one sentence. Fields that do not bear on ids or
 * text (offsets, truncation, padding) are passed over. The format is that of Hugging Face's `tokenizers`
 * (its serialisation code). */
#include "datasets/tokenizer/fields.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

/* ---- Model ---- */

static int load_vocabulary(vocabulary *words, const json_t *vocab)
{
    if (!json_is_object(vocab))
        return fail("vocab is %s, not an object", field_kind(vocab));
    if (!json_object_size(vocab))
        return fail("vocab is empty");
    for (void *at = json_object_iter((json_t *)vocab); at;
         at = json_object_iter_next((json_t *)vocab, at)) {
        const char *text = json_object_iter_key(at);
        const json_t *id = json_object_iter_value(at);
        if (!json_is_integer(id))
            return fail("the id of token \"%.60s\" is %s, not an integer", text, field_kind(id));
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
            return fail("merge %zu is %s, not a string or two strings", index, field_kind(merge));
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
    if (field_absent(value) || (json_is_string(value) && !json_string_length(value)))
        return 0;
    return fail("%s is set, which is not supported", key);
}

static int load_model(bpe_model *model, const json_t *source)
{
    if (!json_is_object(source))
        return fail("it is %s, not an object", field_kind(source));
    const json_t *type = json_object_get(source, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE")))
        return fail("its type is %s, and only BPE is supported",
                    json_is_string(type) ? json_string_value(type) : field_kind(type));
    const json_t *dropout = json_object_get(source, "dropout");
    if (!field_absent(dropout) && json_number_value(dropout) != 0.0)
        return fail("dropout is set, which is not supported");
    if (refuse_text(source, "continuing_subword_prefix") ||
        refuse_text(source, "end_of_word_suffix") ||
        field_bool(source, "fuse_unk", false, &model->fuse_unknown) ||
        field_bool(source, "byte_fallback", false, &model->byte_fallback) ||
        field_bool(source, "ignore_merges", false, &model->ignore_merges) ||
        load_vocabulary(&model->words, json_object_get(source, "vocab")))
        return -1;
    model->unknown = -1;
    if (!field_absent(json_object_get(source, "unk_token"))) {
        size_t bytes;
        const char *text = field_text(source, "unk_token", &bytes);
        if (!text)
            return -1;
        model->unknown = vocabulary_find(&model->words, text, bytes);
        if (model->unknown < 0)
            return fail("unk_token \"%.60s\" is not in the vocabulary", text);
    }
    const json_t *merges = json_object_get(source, "merges");
    if (!json_is_array(merges))
        return fail("merges is %s, not an array", field_kind(merges));
    text_buffer joined = {0};
    int status = 0;
    for (size_t i = 0; !status && i < json_array_size(merges); i++)
        status = load_merge(model, &joined, json_array_get(merges, i), i);
    text_buffer_free(&joined);
    return status;
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
    const char *name = field_text(special, "id", &bytes);
    if (!name)
        return -1;
    const json_t *entry = json_object_get(json_object_get(source, "special_tokens"), name);
    const json_t *ids = json_object_get(entry, "ids");
    if (!json_is_array(ids))
        return fail("the ids of special token \"%.60s\" are %s, not an array", name, field_kind(ids));
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
        return fail("single is %s, not an array", field_kind(single));
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
        return fail("it is %s, not an object", field_kind(source));
    const char *text = field_text(source, "content", &bytes);
    if (!text || field_count(source, "id", &id) ||
        field_bool(source, "special", false, &token.special) ||
        field_bool(source, "single_word", false, &token.single_word) ||
        field_bool(source, "lstrip", false, &token.lstrip) ||
        field_bool(source, "rstrip", false, &token.rstrip) ||
        field_bool(source, "normalized", !token.special, &token.normalized))
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
    if (!field_absent(tokens) && !json_is_array(tokens))
        return fail("it is %s, not an array", field_kind(tokens));
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
        return fail("the file holds %s, not an object", field_kind(root));
    character_classes();
    const json_t *normal = json_object_get(root, "normalizer");
    const json_t *split = json_object_get(root, "pre_tokenizer");
    const json_t *decode = json_object_get(root, "decoder");
    const json_t *post = json_object_get(root, "post_processor");
    if (load_model(&t->model, json_object_get(root, "model")))
        return fail_within("model");
    if (!field_absent(normal) && each_step(t, normal, "normalizers", load_normalize_step, 0))
        return fail_within("normalizer");
    if (!field_absent(split) && each_step(t, split, "pretokenizers", load_split_step, 0))
        return fail_within("pre_tokenizer");
    if (!field_absent(decode) && each_step(t, decode, "decoders", load_decode_step, 0))
        return fail_within("decoder");
    t->has_decoder = !field_absent(decode);
    bpe_finish(&t->model, t->split.byte_level);
    if (load_added(t, json_object_get(root, "added_tokens")))
        return fail_within("added_tokens");
    int model_last = largest_id(&t->model.words), added_last = largest_id(&t->added.words);
    t->vocab = (model_last > added_last ? model_last : added_last) + 1;
    if (!field_absent(post) && each_step(t, post, "processors", load_post_step, 0))
        return fail_within("post_processor");
    return 0;
}
