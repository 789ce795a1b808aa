/* Fuzzes tokenizer.json. A file that is taken must tokenize texts of every kind into ids that it knows
 * (or give up with a sentence), the same for both ways to merge long words, and turn any ids back into
 * text. */
#include "datasets/tokenizer/parts.h"
#include "harness/error.h"
#include "tests/fuzz/scratch.h"

#include <stdlib.h>
#include <string.h>

static const char *const texts[] = {
    "", "a", " ", "The  boat's 12345 <s> l\xC3\xA4uft\r\n\n \t x=1;\xE4\xB8\xAD\xE6\x96\x87 e\xCC\x81",
    "\xF0\x9F\x99\x82\xFF\xFE \xE2\x96\x81<|im_end|>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                              b", "ababababab cdcdcdcdcd the the the seti",
};

static void try_text(tokenizer *t, const char *text)
{
    token_list ids = {0}, again = {0};
    t->model.huge_word = SIZE_MAX;
    if (tokenizer_encode(t, text, strlen(text), true, &ids) < 0) {
        MUST(ids.count == 0 && *fail_text());
    } else {
        size_t bytes;
        t->model.huge_word = 0;
        MUST(tokenizer_encode(t, text, strlen(text), true, &again) == 0);
        MUST(ids.count == again.count);
        MUST(!ids.count || !memcmp(ids.ids, again.ids, ids.count * sizeof *ids.ids));
        for (size_t i = 0; i < ids.count; i++)
            MUST(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_vocab(t));
        char *back = tokenizer_decode(t, ids.ids, ids.count, false, &bytes);
        MUST(back[bytes] == 0);
        free(back);
    }
    token_list_free(&ids);
    token_list_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *path = scratch_file("tokenizer.json", data, bytes);
    tokenizer *t = tokenizer_open(path);
    free(path);
    if (!t) {
        MUST(*fail_text());
        return 0;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        try_text(t, texts[i]);
    static const int32_t odd[] = {0, 5, 1, -1, INT32_MAX, 2, INT32_MIN, 3, 3, 0};
    free(tokenizer_decode(t, odd, sizeof odd / sizeof *odd, true, NULL));
    MUST(tokenizer_id(t, "no such token at all") == -1);
    chat_template_for(t);
    tokenizer_close(t);
    return 0;
}
