/* Broken and hostile checkpoints: each must be refused with one sentence that names the file and
 * says what was found, without a signal and without a finding of the sanitizers (CI runs this suite
 * under address and undefined as well). Besides the hand-made ones: every truncation of a file, and
 * some thousand seeded random mutations. */
#include "harness/error.h"
#include "harness/model/model.h"
#include "harness/model/safetensors.h"
#include "tests/checkpoint.h"
#include "tests/mutate.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *directory, *path; /* path: DIRECTORY/x.safetensors */
static device *dev;

static void set_up(void)
{
    directory = temporary_directory();
    path = format_text("%s/x.safetensors", directory);
    dev = device_find("cpu");
    cr_assert(dev && !dev->open(dev, 1), "%s", fail_text());
}

static void tear_down(void)
{
    free(path);
    remove_directory(directory);
    dev->close(dev);
}

TestSuite(hostile_weights, .init = set_up, .fini = tear_down, .timeout = 120);

/* The sentence that must have been left: it names `file` and contains `part`. */
static void expect_sentence(const char *file, const char *part, const char *what)
{
    cr_expect(strstr(fail_text(), file) && strstr(fail_text(), part),
              "%s: \"%s\" should name %s and say: %s", what, fail_text(), file, part);
    cr_expect(!strchr(fail_text(), '\n') && !strchr(fail_text(), '\033'), "%s: control characters",
              what);
    fail("nothing");
}

static void expect_refused(const char *part, const char *what)
{
    safetensors *set = safetensors_open(path);
    cr_expect_null(set, "%s was accepted", what);
    safetensors_close(set);
    expect_sentence(path, part, what);
}

/* A file of a header of `header_bytes` (as the 8 bytes before it say) and data. */
static void write_safetensors(uint64_t says, const char *header, size_t header_bytes,
                              size_t data_bytes)
{
    uint8_t *whole = alloc_or_die(8 + header_bytes + data_bytes, 1);
    for (int i = 0; i < 8; i++)
        whole[i] = (uint8_t)(says >> 8 * i);
    memcpy(whole + 8, header, header_bytes);
    memset(whole + 8 + header_bytes, 0x3C, data_bytes);
    write_file(path, whole, 8 + header_bytes + data_bytes);
    free(whole);
}

#define GOOD_A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"
#define GOOD_B "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}"
static const char good[] = "{\"__metadata__\":{\"format\":\"pt\"}," GOOD_A "," GOOD_B "}";
enum { GOOD_HEADER = sizeof good - 1, GOOD_DATA = 32 };

Test(hostile_weights, the_unbroken_file_is_taken)
{
    write_safetensors(GOOD_HEADER, good, GOOD_HEADER, GOOD_DATA);
    safetensors *set = safetensors_open(path);
    cr_assert(set, "%s", fail_text());
    cr_expect_eq(safetensors_count(set), 2);
    const tensor *b = safetensors_find(set, "b");
    cr_expect(b && b->elements == 4 && b->data[7] == 0x3C && !safetensors_find(set, "c"));
    safetensors_close(set);
}

Test(hostile_weights, every_truncation)
{
    for (size_t length = 0; length < 8 + GOOD_HEADER + GOOD_DATA; length++) {
        char what[32];
        snprintf(what, sizeof what, "cut to %zu bytes", length);
        write_safetensors(GOOD_HEADER, good, GOOD_HEADER, GOOD_DATA);
        cr_assert_eq(truncate(path, (off_t)length), 0);
        expect_refused(length < 8 ? "too few" : "truncated?", what);
    }
    write_safetensors(GOOD_HEADER, good, GOOD_HEADER, GOOD_DATA + 1);
    expect_refused("33 bytes of data, but its tensors end at 32", "a byte too many");
}

Test(hostile_weights, header_lengths)
{
    static const struct {
        uint64_t says;
        const char *sentence;
    } lengths[] = {
        {0, "not valid JSON"},
        {1, "not valid JSON"},
        {GOOD_HEADER - 1, "not valid JSON"},
        {GOOD_HEADER + 1, "not valid JSON"},
        {GOOD_HEADER + GOOD_DATA, "not valid JSON"},
        {GOOD_HEADER + GOOD_DATA + 1, "truncated?"},
        {1u << 30, "truncated?"},
        {UINT64_C(1) << 32, "truncated?"},
        {UINT64_C(1) << 62, "truncated?"},
        {(UINT64_C(1) << 63) - 1, "truncated?"},
        {UINT64_C(1) << 63, "truncated?"},
        {UINT64_MAX - 8, "truncated?"},
        {UINT64_MAX - 7, "truncated?"},
        {UINT64_MAX, "truncated?"},
    };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char what[64];
        snprintf(what, sizeof what, "header length %llu", (unsigned long long)lengths[i].says);
        write_safetensors(lengths[i].says, good, GOOD_HEADER, GOOD_DATA);
        expect_refused(lengths[i].sentence, what);
    }
    /* A header of 1 GiB that is really there (as a hole): refused before it is read. */
    write_safetensors(UINT64_C(1) << 30, good, GOOD_HEADER, GOOD_DATA);
    cr_assert_eq(truncate(path, (INT64_C(1) << 30) + 64), 0);
    expect_refused("more than the 16777216 that are allowed", "giant header");
}

#define TENSOR(dtype, shape, offsets) \
    "\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets
#define ONE(dtype, shape, offsets) "{\"a\":{" TENSOR(dtype, shape, offsets) "}}"
#define F32 "\"F32\""

/* Headers before 32 bytes of data. */
static const struct {
    const char *header, *sentence;
} headers[] = {
    {"", "not valid JSON"},
    {"[]", "no JSON object"},
    {"null", "not valid JSON"},
    {"{\"a\":1}", "its entry is no object"},
    {"{\"a\":null}", "its entry is no object"},
    {"{\"a\":[]}", "its entry is no object"},
    {"{\"a\":{}}", "\"dtype\" is missing"},
    {"{}", "holds 32 bytes of data, but its tensors end at 0"},
    {"{\"__metadata__\":{}}", "its tensors end at 0"},
    /* types */
    {ONE("4", "[8]", "[0,32]"), "\"dtype\" is missing or no text"},
    {ONE("\"\"", "[8]", "[0,32]"), "which is not known"},
    {ONE("\"f32\"", "[8]", "[0,32]"), "\"f32\", which is not known"},
    {ONE("\"F32\\u001b[31m\"", "[8]", "[0,32]"), "\"F32?[31m\", which is not known"},
    {ONE("\"F64\"", "[8]", "[0,32]"), "make 64 bytes, but \"data_offsets\" hold 32"},
    {ONE("\"F16\"", "[8]", "[0,32]"), "make 16 bytes, but \"data_offsets\" hold 32"},
    /* offsets */
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[8]}}", "\"data_offsets\" is missing or no pair"},
    {ONE(F32, "[8]", "null"), "no pair"},
    {ONE(F32, "[8]", "[]"), "no pair"},
    {ONE(F32, "[8]", "[0]"), "no pair"},
    {ONE(F32, "[8]", "[0,32,64]"), "no pair"},
    {ONE(F32, "[8]", "{\"0\":0,\"1\":32}"), "no pair"},
    {ONE(F32, "[8]", "[0.0,32.0]"), "something else than whole numbers"},
    {ONE(F32, "[8]", "[\"0\",\"32\"]"), "something else than whole numbers"},
    {ONE(F32, "[8]", "[true,32]"), "something else than whole numbers"},
    {ONE(F32, "[8]", "[-32,0]"), "holds -32, a negative number"},
    {ONE(F32, "[8]", "[0,-1]"), "holds -1, a negative number"},
    {ONE(F32, "[8]", "[-9223372036854775808,9223372036854775807]"), "a negative number"},
    {ONE(F32, "[8]", "[32,0]"), "run backwards, from 32 to 0"},
    {ONE(F32, "[8]", "[0,33]"), "end at 33, but the file holds only 32"},
    {ONE(F32, "[8]", "[32,64]"), "end at 64, but the file holds only 32"},
    {ONE(F32, "[8]", "[0,9223372036854775807]"), "end at 9223372036854775807"},
    {ONE(F32, "[8]", "[9223372036854775776,9223372036854775807]"), "end at 9223372036854775807"},
    {ONE(F32, "[8]", "[0,9223372036854775808]"), "not valid JSON: too big integer"},
    {ONE(F32, "[8]", "[0,18446744073709551616]"), "not valid JSON: too big integer"},
    {ONE(F32, "[8]", "[0,1e400]"), "not valid JSON: real number overflow"},
    {ONE(F32, "[7]", "[4,32]"), "begin at 4, but the tensor before it ends at 0 (a gap)"},
    {ONE(F32, "[7]", "[0,28]"), "holds 32 bytes of data, but its tensors end at 28"},
    {"{" GOOD_A ",\"b\":{" TENSOR("\"BF16\"", "[4]", "[20,28]") "}}", "they overlap"},
    {"{" GOOD_A ",\"b\":{" TENSOR("\"BF16\"", "[16]", "[0,32]") "}}", "they overlap"},
    {"{" GOOD_A ",\"b\":{" TENSOR("\"BF16\"", "[3]", "[26,32]") "}}", "(a gap)"},
    {"{" GOOD_A ",\"b\":{" TENSOR("\"F32\"", "[2,3]", "[0,24]") "}}", "they overlap"},
    /* shapes */
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,32]}}", "\"shape\" is missing or no list"},
    {ONE(F32, "8", "[0,32]"), "\"shape\" is missing or no list"},
    {ONE(F32, "[]", "[0,32]"), "make 4 bytes, but \"data_offsets\" hold 32"},
    {ONE(F32, "[9]", "[0,32]"), "make 36 bytes, but \"data_offsets\" hold 32"},
    {ONE(F32, "[0]", "[0,32]"), "make 0 bytes, but \"data_offsets\" hold 32"},
    {ONE(F32, "[-8]", "[0,32]"), "holds -8, a negative number"},
    {ONE(F32, "[-2,-4]", "[0,32]"), "holds -2, a negative number"},
    {ONE(F32, "[8.0]", "[0,32]"), "something else than whole numbers"},
    {ONE(F32, "[[8]]", "[0,32]"), "something else than whole numbers"},
    {ONE(F32, "[1,1,1,1,1,1,1,1,8]", "[0,32]"), "has 9 dimensions, more than 8"},
    {ONE(F32, "[4294967296,4294967296]", "[0,32]"), "overflows at dimension 1"},
    {ONE(F32, "[4611686018427387904,2,1]", "[0,32]"), "overflows at dimension 1"},
    {ONE(F32, "[2305843009213693960]", "[0,32]"), "of 4 bytes, which overflows"},
    {ONE(F32, "[4611686018427387912]", "[0,32]"), "of 4 bytes, which overflows"},
    {ONE(F32, "[3037000500,3037000500]", "[0,32]"), "overflows at dimension 1"},
    /* JSON itself */
    {"{" GOOD_A "," GOOD_A "}", "not valid JSON: duplicate object key"},
    {"{\"a\":{\"dtype\":\"F32\"," TENSOR(F32, "[8]", "[0,32]") "}}", "duplicate object key"},
    {"{" GOOD_A "," GOOD_B ",}", "not valid JSON"},
    {"{" GOOD_A "," GOOD_B "}}", "not valid JSON"},
    {"{" GOOD_A "," GOOD_B "} x", "not valid JSON"},
    {"{" GOOD_A " " GOOD_B "}", "not valid JSON"},
    {"{" GOOD_A ",\"\xFF\":{}}", "not valid JSON"},
    {"{" GOOD_A ",\"\xC0\xAF\":{}}", "not valid JSON"},
    {"{" GOOD_A ",\"\xED\xA0\x80\":{}}", "not valid JSON"},
    {"{" GOOD_A ",\"\\ud800\":{}}", "not valid JSON"},
    {"{" GOOD_A ",\"b\\u0000c\":{}}", "not valid JSON"},
    {"{" GOOD_A ",\"b\nc\":{}}", "not valid JSON"},
    {"{" GOOD_A ",\"b\033[0mc\":{}}", "not valid JSON"},
    {"{" GOOD_A ",\033[0m}", "not valid JSON"},
    {"{" GOOD_A ",\"\\u001b[2J\":{}}", "tensor ?[2J: \"dtype\" is missing"},
    {"{a:1}", "not valid JSON"},
    {"{\"a\":NaN}", "not valid JSON"},
    {"{\"a\":0x20}", "not valid JSON"},
};

Test(hostile_weights, headers)
{
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        size_t length = strlen(headers[i].header);
        write_safetensors(length, headers[i].header, length, 32);
        expect_refused(headers[i].sentence, headers[i].header);
    }
    char zeroed[sizeof good];
    memcpy(zeroed, good, sizeof good); /* NUL bytes at each place of the header */
    for (size_t i = 0; i < GOOD_HEADER; i++) {
        zeroed[i] = 0;
        write_safetensors(GOOD_HEADER, zeroed, GOOD_HEADER, GOOD_DATA);
        expect_refused("not valid JSON", "a NUL byte");
        zeroed[i] = good[i];
    }
}

/* Brackets without end, as a header, as an entry, as configuration and as an index. */
Test(hostile_weights, deep_nesting)
{
    enum { DEPTH = 100000 };
    for (int braces = 0; braces < 2; braces++) {
        char *text = alloc_or_die(DEPTH * 5 + 16, 1), *end = text + sprintf(text, "{\"a\":");
        for (int i = 0; i < DEPTH; i++)
            end += sprintf(end, "%s", braces ? "{\"a\":" : "[");
        size_t length = (size_t)(end - text);
        write_safetensors(length, text, length, 0);
        expect_refused("maximum parsing depth reached", "nested header");
        write_text(directory, "config.json", text);
        model_config config;
        cr_expect_eq(model_config_read(directory, &config), -1);
        expect_sentence("/config.json", "maximum parsing depth reached", "nested config.json");
        write_text(directory, "model.safetensors.index.json", text);
        cr_expect_null(safetensors_open(directory));
        expect_sentence("/model.safetensors.index.json", "maximum parsing depth reached", "index");
        free(text);
    }
}

Test(hostile_weights, things_that_are_no_regular_files)
{
    expect_refused("No such file", "nothing");
    cr_assert_eq(symlink("x.safetensors", path), 0);
    expect_refused("Too many levels of symbolic links", "a symlink to itself");
    unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    expect_refused("a pipe or a device", "a pipe that nobody writes to");
    unlink(path);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    expect_refused("a pipe or a device", "/dev/zero");
    unlink(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    expect_refused("holds neither model.safetensors nor", "an empty directory");

    /* In a directory, a single file that loops must not be passed over for an index. */
    char *single = format_text("%s/model.safetensors", path);
    cr_assert_eq(symlink("model.safetensors", single), 0);
    expect_refused("Too many levels of symbolic links", "model.safetensors, a symlink to itself");
    free(single);
}

/* ---- Whole checkpoints ---- */

static const checkpoint tiny = {
    .model_type = "qwen2",
    .shape = {.layers = 1, .hidden = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .ffn = 6,
              .vocab = 10},
    .lm_head = true,
};

static void expect_model_refused(const char *file, const char *part, const char *what)
{
    model *m = model_open(directory, dev, 0, 1, NULL);
    cr_expect_null(m, "%s was accepted", what);
    model_close(m);
    expect_sentence(file, part, what);
}

Test(hostile_weights, each_tensor_missing_misshaped_or_of_another_type)
{
    char *names[CHECKPOINT_MOST_TENSORS];
    int count = checkpoint_names(&tiny, names);
    cr_assert_eq(count, 15);
    for (int shards = 0; shards < 3; shards += 2) {
        for (int i = 0; i < count; i++) {
            char *sentence = format_text("has no tensor %s", names[i]);
            checkpoint c = tiny;
            c.shards = shards;
            c.left_out = names[i];
            write_checkpoint(directory, &c);
            expect_model_refused(directory, sentence, names[i]);
            free(sentence);
            sentence = format_text("tensor %s: its shape is [", names[i]);
            c.left_out = NULL;
            c.misshaped = names[i];
            write_checkpoint(directory, &c);
            expect_model_refused(".safetensors", sentence, names[i]);
            free(sentence);
            sentence = format_text("tensor %s: its type is I32", names[i]);
            c.misshaped = NULL;
            c.mistyped = names[i];
            write_checkpoint(directory, &c);
            expect_model_refused(".safetensors", sentence, names[i]);
            free(sentence);
        }
        char *single = format_text("%s/model.safetensors", directory);
        unlink(single);
        free(single);
    }
    for (int i = 0; i < count; i++)
        free(names[i]);
}

/* Qwen2's biases in a model that says it is a Llama would silently be dropped. */
Test(hostile_weights, biases_that_the_configuration_denies)
{
    write_checkpoint(directory, &tiny);
    checkpoint llama = tiny;
    llama.model_type = "llama";
    char *elsewhere = temporary_directory();
    write_checkpoint(elsewhere, &llama);
    char *command = format_text("cp %s/config.json %s", elsewhere, directory);
    cr_assert_eq(system(command), 0);
    expect_model_refused("model.safetensors", "config.json says that there are no biases", "bias");
    free(command);
    remove_directory(elsewhere);
}

static const struct {
    const char *index, *file, *sentence;
} indices[] = {
    {"", "index.json", "not valid JSON"},
    {"[]", "index.json", "no JSON object"},
    {"{}", "index.json", "\"weight_map\" is missing"},
    {"{\"weight_map\":[]}", "index.json", "\"weight_map\" is missing"},
    {"{\"weight_map\":{}}", "index.json", "\"weight_map\" is missing, empty"},
    {"{\"weight_map\":{\"a\":1}}", "index.json", "the shard's name is no text"},
    {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "index.json",
     "tensor a: \"../x.safetensors\" is not the name"},
    {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "index.json", "is not the name"},
    {"{\"weight_map\":{\"a\":\"/x.safetensors\"}}", "index.json", "is not the name"},
    {"{\"weight_map\":{\"a\":\"y/../x.safetensors\"}}", "index.json", "is not the name"},
    {"{\"weight_map\":{\"a\":\"..\"}}", "index.json", "is not the name"},
    {"{\"weight_map\":{\"a\":\"\"}}", "index.json", "is not the name"},
    {"{\"weight_map\":{\"a\":\".safetensors\"}}", "index.json", "is not the name"},
    {"{\"weight_map\":{\"a\":\"config.json\"}}", "index.json", "is not the name"},
    {"{\"weight_map\":{\"a\":\"x.safetensors\\u0000\"}}", "index.json", "not valid JSON"},
    {"{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"x.safetensors\"}}", "index.json",
     "duplicate object key"},
    {"{\"weight_map\":{\"a\":\"missing.safetensors\"}}", "/missing.safetensors", "No such file"},
    {"{\"weight_map\":{\"a\":\"loop.safetensors\"}}", "/loop.safetensors", "symbolic links"},
    {"{\"weight_map\":{\"c\":\"x.safetensors\"}}", "/x.safetensors", "has no tensor c, though"},
    {"{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}", ".safetensors",
     "is also in"},
    {"{\"weight_map\":{\"a\":\"z.safetensors\",\"e\":\"x.safetensors\"}}", "index.json",
     "though "}, /* the other way round */
    {"{\"weight_map\":{\"a\":\"x.safetensors\",\"z\":\"x.safetensors\",\"e\":\"z.safetensors\"}}",
     "/x.safetensors", "has no tensor z, though"},
};

Test(hostile_weights, indices)
{
    char *other = format_text("%s/y.safetensors", directory);
    char *third = format_text("%s/z.safetensors", directory);
    char *loop = format_text("%s/loop.safetensors", directory);
    cr_assert_eq(symlink("loop.safetensors", loop), 0);
    static const char empty[] = "{\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    write_safetensors(sizeof empty - 1, empty, sizeof empty - 1, 0);
    cr_assert_eq(rename(path, third), 0);
    write_safetensors(GOOD_HEADER, good, GOOD_HEADER, GOOD_DATA);
    cr_assert_eq(rename(path, other), 0);
    write_safetensors(GOOD_HEADER, good, GOOD_HEADER, GOOD_DATA);
    for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++) {
        write_text(directory, "model.safetensors.index.json", indices[i].index);
        cr_expect_null(safetensors_open(directory), "%s", indices[i].index);
        expect_sentence(indices[i].file, indices[i].sentence, indices[i].index);
    }
    write_text(directory, "model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"x.safetensors\",\"e\":\"z.safetensors\"}}");
    safetensors *set = safetensors_open(directory);
    cr_assert(set, "%s", fail_text());
    cr_expect_eq(safetensors_count(set), 3);
    safetensors_close(set);
    free(loop);
    free(third);
    free(other);
}

/* Sizes that are each allowed, over files that are far too small for them. */
Test(hostile_weights, a_configuration_larger_than_its_weights)
{
    write_checkpoint(directory, &tiny);
    write_text(directory, "config.json",
               "{\"model_type\":\"qwen2\",\"hidden_size\":131072,\"intermediate_size\":1048576,"
               "\"num_hidden_layers\":1024,\"num_attention_heads\":1024,\"head_dim\":256,"
               "\"vocab_size\":4194304}");
    model *m = model_open(directory, dev, 0, 1, NULL);
    cr_expect_null(m);
    model_close(m);
    cr_expect(strstr(fail_text(), "out of memory: the weights of"), "%s", fail_text());
}

/* ---- Random mutations ---- */

/* Whatever a mutated file does, it either gives a sentence that names the file or tensors all of
 * whose bytes can be read (where mutations hit the data or a name). */
Test(hostile_weights, mutated_files)
{
    checkpoint c = tiny;
    write_checkpoint(directory, &c);
    char *file = format_text("%s/model.safetensors", directory);
    size_t length, refused = 0, taken = 0;
    char *whole = read_file(file, &length);
    size_t header = 8 + (size_t)(uint8_t)whole[0] + ((size_t)(uint8_t)whole[1] << 8);
    char *text = alloc_or_die(length + 64, 1);
    mutate_seed(20240101);
    unsigned sum = 0;
    for (int round = 0; round < 4000; round++) {
        memcpy(text, whole, length);
        size_t now;
        if (round % 2) { /* inside the header, its length unchanged or corrected */
            now = 8 + mutate(text + 8, header - 8, header + 56);
            if (round % 4 == 1)
                for (int i = 0; i < 8; i++)
                    text[i] = (char)((uint64_t)(now - 8) >> 8 * i);
            memcpy(text + now, whole + header, length - header);
            now += length - header;
        } else {
            now = mutate(text, length, length + 64);
        }
        write_file(file, text, now);
        fail("nothing");
        safetensors *set = safetensors_open(file);
        if (set) {
            for (int64_t i = 0; i < safetensors_count(set); i++) {
                const tensor *t = safetensors_at(set, i);
                for (uint64_t j = 0; j < t->end - t->begin; j++)
                    sum += t->data[j];
            }
            safetensors_close(set);
            if (round % 8 == 0) {
                model *m = model_open(directory, dev, 0, 1, NULL);
                cr_expect(m || strstr(fail_text(), directory), "%s", fail_text());
                model_close(m);
            }
            taken++;
        } else {
            refused++;
            cr_expect(strstr(fail_text(), file), "round %d: %s", round, fail_text());
        }
    }
    cr_expect(refused > 1000 && taken > 10 && sum, "%zu refused, %zu taken", refused, taken);
    free(text);
    free(whole);
    free(file);
}
