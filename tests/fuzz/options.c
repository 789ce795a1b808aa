/* Fuzzes the command line: lines are its words. They go through a table with every kind of flag, and
 * each by itself through what reads methods with options, links, sizes and lists. What a method or a
 * link is written as must read back as the same. */
#include "harness/comm/link.h"
#include "harness/error.h"
#include "harness/model/model.h"
#include "harness/options.h"
#include "methods/method.h"
#include "tests/fuzz/scratch.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS = 32 };

static void try_method(const char *word)
{
    cell c = {0}, again = {0};
    if (method_parse(word, &c) < 0)
        return;
    c.shape = again.shape = (model_shape){.layers = 2, .hidden = 64, .heads = 8, .kv_heads = 2,
                                          .head_dim = 8, .ffn = 96, .vocab = 100};
    c.hosts = 4;
    c.document = 5000;
    c.query = 50;
    if (c.method->resolve && c.method->resolve(&c) < 0) {
        MUST(*fail_text());
        return;
    }
    char options[1024];
    method_describe(&c, options, sizeof options);
    char *text = format_text("%s%s%s", c.method->name, *options ? ":" : "", options);
    MUST(method_parse(text, &again) == 0);
    for (int i = 0; i < c.method->option_count; i++)
        MUST(c.options[i] == again.options[i]);
    free(text);
}

static void try_word(const char *word)
{
    link_model link;
    text_list texts;
    size_list sizes;
    int64_t size;
    char text[LINK_TEXT];
    try_method(word);
    if (link_find(word, &link) == 0) {
        MUST(link.bandwidth > 0 && link.latency >= 0 && link.slowdown >= 0 && link.collectives >= 0);
        link_write(&link, text, sizeof text);
        if (link.latency < 1 && link.bandwidth < 1e15 && link.bandwidth >= 1 &&
            (!link.collectives || (link.collectives < 1e15 && link.collectives >= 1)))
            MUST(link_find(text, &link) == 0);
    }
    if (parse_size(word, &size) == 0) {
        int64_t again;
        MUST(size >= 0 && parse_size(format_size(size, text, sizeof text), &again) == 0);
        MUST(again == size);
    }
    if (parse_texts(word, &texts) == 0) {
        MUST(texts.count > 0 && *texts.items[0]);
        text_list_free(&texts);
    }
    if (parse_sizes(word, &sizes) == 0) {
        MUST(sizes.count > 0);
        free(sizes.items);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *copy = copy_bytes((const char *)data, bytes), *rest = copy;
    char *words[WORDS + 1] = {"fuzz"};
    int count = 1;
    while (count < WORDS && (words[count] = strsep(&rest, "\n")))
        try_word(words[count++]);
    const char *text = NULL;
    const char *model = NULL, *reader = NULL;
    text_list texts = {0}, models = {0}, readers = {0}, methods = {0}, positional = {0};
    size_list sizes = {0};
    int64_t size = 0;
    double seconds = 0;
    bool on = false;
    const flag flags[] = {
        {"text", FLAG_TEXT, &text, "T", "a text"},       {"texts", FLAG_TEXTS, &texts, "A,B", "texts"},
        {"size", FLAG_SIZE, &size, "N", "a size"},       {"sizes", FLAG_SIZES, &sizes, "N,N", "sizes"},
        {"seconds", FLAG_NUMBER, &seconds, "S", "time"}, {"on", FLAG_SWITCH, &on, NULL, "a switch"},
        {"model", FLAG_TEXT_OF(model_check_name), &model, "M", "a model"},
        {"models", FLAG_TEXTS_OF(model_check_name), &models, "M", "all"},
        {"reader", FLAG_TEXT_OF(model_check_reader), &reader, "M", "a model"},
        {"readers", FLAG_TEXTS_OF(model_check_reader), &readers, "M", "all"},
        {"methods", FLAG_TEXTS_OF(method_check_name), &methods, "M", "methods"},
    };
    int parsed = options_parse("fuzz [FLAGS]", flags, FLAG_COUNT(flags), count, words, &positional);
    MUST(parsed >= 0 || *fail_text());
    MUST(size >= 0 && seconds >= 0);
    MUST((!text || *text) && (!model || *model) && (!reader || strcmp(reader, "tiny")));
    text_list_free(&texts);
    text_list_free(&models);
    text_list_free(&readers);
    text_list_free(&methods);
    text_list_free(&positional);
    free(sizes.items);
    free(copy);
    return 0;
}
