/* Fuzzes tokenizing: the first byte chooses one of the committed tokenizers, the rest is text. It must
 * always become ids; a byte-level tokenizer must give well-formed text back as it was, and all must
 * give the same ids whatever the cache of words holds and however long words are merged. */
#include "datasets/tokenizer/parts.h"
#include "datasets/unicode.h"
#include "harness/error.h"
#include "tests/fuzz/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool exact; /* byte-level without a normaliser */
} kinds[] = {{"smollm2", true}, {"llama-3", true}, {"qwen2.5", false}, {"llama-2", false},
             {"yi", false},     {"metaspace", false}, {"odd", false}};
enum { KINDS = sizeof kinds / sizeof *kinds };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static tokenizer *opened[KINDS], *queues[KINDS];
    if (!bytes)
        return 0;
    int kind = data[0] % KINDS;
    if (!opened[kind]) {
        char *path = format_text("tests/data/tokenizer/%s.json", kinds[kind].name);
        opened[kind] = tokenizer_open(path);
        queues[kind] = tokenizer_open(path);
        MUST(opened[kind] && queues[kind]);
        queues[kind]->model.huge_word = 0;
        free(path);
    }
    const tokenizer *t = opened[kind];
    const char *text = (const char *)data + 1;
    size_t count = bytes - 1, back_bytes;
    token_list ids = {0}, again = {0};
    MUST(tokenizer_encode(t, text, count, false, &ids) == 0);
    MUST(tokenizer_encode(queues[kind], text, count, false, &again) == 0);
    MUST(ids.count == again.count);
    MUST(!ids.count || !memcmp(ids.ids, again.ids, ids.count * sizeof *ids.ids));
    for (size_t i = 0; i < ids.count; i++)
        MUST(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_vocab(t));
    char *back = tokenizer_decode(t, ids.ids, ids.count, false, &back_bytes);
    MUST(utf8_valid_prefix(back, back_bytes) == back_bytes);
    if (kinds[kind].exact && utf8_valid_prefix(text, count) == count)
        MUST(back_bytes == count && !memcmp(back, text, count));
    free(back);
    token_list_free(&ids);
    token_list_free(&again);
    return 0;
}
