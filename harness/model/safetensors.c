/* Safetensors files: checked, mapped, and looked up by name. See safetensors.h. */
#include "harness/model/safetensors.h"

#include "harness/error.h"
#include "harness/model/json_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format allows headers of 100 MB. One of the models supported here has below 2; a hostile one
 * takes up to 60 times its size as parsed JSON, so the limit is nearer to what is needed. */
enum { MOST_HEADER_BYTES = 16 << 20, MOST_INDEX_BYTES = 16 << 20 };

typedef struct {
    char *path;
    json_t *header; /* owns the names */
    void *map;
    size_t map_bytes;
} shard;

struct safetensors {
    char *path; /* as given to safetensors_open(), for sentences */
    shard *shards;
    int64_t shard_count;
    tensor *tensors; /* by name */
    int64_t count, capacity;
};

static const struct {
    const char *name;
    int bytes;
} element_types[] = {
    {"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"I64", 8},     {"I32", 4},     {"I16", 2},
    {"I8", 1},  {"U64", 8},  {"U32", 4}, {"U16", 2}, {"U8", 1},      {"BOOL", 1},
    {"F8_E4M3", 1},          {"F8_E5M2", 1},
};

int tensor_dtype(const tensor *t, dtype *type)
{
    if (!strcmp(t->type_name, "F32"))
        *type = DTYPE_F32;
    else if (!strcmp(t->type_name, "F16"))
        *type = DTYPE_F16;
    else if (!strcmp(t->type_name, "BF16"))
        *type = DTYPE_BF16;
    else
        return -1;
    return 0;
}

/* One dimension or offset: a whole number that is not negative. */
static int read_count(const char *where, const char *what, const json_t *value, uint64_t *count)
{
    if (!json_is_integer(value))
        return fail("%s: \"%s\" holds something else than whole numbers", where, what);
    if (json_integer_value(value) < 0)
        return fail("%s: \"%s\" holds %lld, a negative number", where, what,
                    (long long)json_integer_value(value));
    *count = (uint64_t)json_integer_value(value);
    return 0;
}

static int read_shape(const char *where, const json_t *shape, int element_bytes, tensor *t)
{
    if (!json_is_array(shape))
        return fail("%s: \"shape\" is missing or no list", where);
    if (json_array_size(shape) > TENSOR_MOST_DIMENSIONS)
        return fail("%s: \"shape\" has %zu dimensions, more than %d", where,
                    json_array_size(shape), TENSOR_MOST_DIMENSIONS);
    t->dimensions = (int)json_array_size(shape);
    t->elements = 1;
    int64_t bytes;
    for (int i = 0; i < t->dimensions; i++) {
        uint64_t size = 0;
        if (read_count(where, "shape", json_array_get(shape, (size_t)i), &size))
            return -1;
        t->shape[i] = (int64_t)size;
        if (__builtin_mul_overflow(t->elements, t->shape[i], &t->elements))
            return fail("%s: the product of \"shape\" overflows at dimension %d of %lld", where, i,
                        (long long)t->shape[i]);
    }
    if (__builtin_mul_overflow(t->elements, element_bytes, &bytes))
        return fail("%s: \"shape\" makes %lld elements of %d bytes, which overflows", where,
                    (long long)t->elements, element_bytes);
    if (t->end - t->begin != (uint64_t)bytes)
        return fail("%s: \"shape\" and \"dtype\" %s make %lld bytes, but \"data_offsets\" hold "
                    "%llu", where, t->type_name, (long long)bytes,
                    (unsigned long long)(t->end - t->begin));
    return 0;
}

/* An entry of the header. where: "FILE: tensor NAME", for sentences. */
static int read_entry(const char *where, const json_t *entry, uint64_t data_bytes, tensor *t)
{
    if (!json_is_object(entry))
        return fail("%s: its entry is no object", where);
    const char *type_name = json_string_value(json_object_get(entry, "dtype"));
    if (!type_name)
        return fail("%s: \"dtype\" is missing or no text", where);
    int element_bytes = 0;
    for (size_t i = 0; i < sizeof element_types / sizeof element_types[0]; i++) {
        if (!strcmp(type_name, element_types[i].name)) {
            element_bytes = element_types[i].bytes;
            t->type_name = element_types[i].name;
        }
    }
    char printable[PRINTABLE_BYTES];
    if (!element_bytes)
        return fail("%s: \"dtype\" is \"%s\", which is not known", where,
                    printable_name(printable, type_name));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return fail("%s: \"data_offsets\" is missing or no pair", where);
    if (read_count(where, "data_offsets", json_array_get(offsets, 0), &t->begin) ||
        read_count(where, "data_offsets", json_array_get(offsets, 1), &t->end))
        return -1;
    if (t->begin > t->end)
        return fail("%s: \"data_offsets\" run backwards, from %llu to %llu", where,
                    (unsigned long long)t->begin, (unsigned long long)t->end);
    if (t->end > data_bytes)
        return fail("%s: \"data_offsets\" end at %llu, but the file holds only %llu bytes of data "
                    "(truncated?)", where, (unsigned long long)t->end,
                    (unsigned long long)data_bytes);
    return read_shape(where, json_object_get(entry, "shape"), element_bytes, t);
}

static int by_place(const void *left, const void *right)
{
    const tensor *a = left, *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const tensor *)left)->name, ((const tensor *)right)->name);
}

/* The tensors of one file, sorted by place, must fill its data from end to end. */
static int check_places(const char *path, const tensor *tensors, int64_t count, uint64_t data_bytes)
{
    uint64_t place = 0;
    char printable[PRINTABLE_BYTES];
    for (int64_t i = 0; i < count; i++) {
        if (tensors[i].begin != place)
            return fail("%s: tensor %s: \"data_offsets\" begin at %llu, but the tensor before it "
                        "ends at %llu (%s)", path, printable_name(printable, tensors[i].name),
                        (unsigned long long)tensors[i].begin, (unsigned long long)place,
                        tensors[i].begin < place ? "they overlap" : "a gap");
        place = tensors[i].end;
    }
    if (place != data_bytes)
        return fail("%s: holds %llu bytes of data, but its tensors end at %llu", path,
                    (unsigned long long)data_bytes, (unsigned long long)place);
    return 0;
}

static tensor *new_tensor(safetensors *set)
{
    if (set->count == set->capacity) {
        set->capacity *= 2;
        set->tensors = realloc_or_die(set->tensors, (size_t)set->capacity, sizeof *set->tensors);
    }
    tensor *t = &set->tensors[set->count++];
    memset(t, 0, sizeof *t);
    return t;
}

/* Reads the header of an open file into s->header and its tensors into the set. */
static int read_header(safetensors *set, shard *s, int file, int64_t file_bytes,
                       uint64_t *data_begin)
{
    uint8_t prefix[8];
    if (file_bytes < 8 || pread(file, prefix, 8, 0) != 8)
        return fail("%s: has only %lld bytes, too few for a safetensors header", s->path,
                    (long long)file_bytes);
    uint64_t header_bytes = 0;
    for (int i = 7; i >= 0; i--)
        header_bytes = header_bytes << 8 | prefix[i];
    if (header_bytes > (uint64_t)file_bytes - 8)
        return fail("%s: the header says that it has %llu bytes, but only %lld follow (truncated?)",
                    s->path, (unsigned long long)header_bytes, (long long)file_bytes - 8);
    if (header_bytes > MOST_HEADER_BYTES)
        return fail("%s: the header has %llu bytes, more than the %d that are allowed", s->path,
                    (unsigned long long)header_bytes, MOST_HEADER_BYTES);
    *data_begin = 8 + header_bytes;
    uint64_t data_bytes = (uint64_t)file_bytes - *data_begin;

    char *text = alloc_or_die(header_bytes + 1, 1);
    ssize_t got = pread(file, text, header_bytes, 8);
    if (got != (ssize_t)header_bytes)
        fail("%s: the header cannot be read: %s", s->path, got < 0 ? strerror(errno) : "cut off");
    else
        s->header = parse_json_object(s->path, "the header ", text, header_bytes);
    free(text);
    if (!s->header)
        return -1;

    int64_t first = set->count;
    const char *name;
    json_t *entry;
    json_object_foreach(s->header, name, entry) {
        if (!strcmp(name, "__metadata__"))
            continue;
        char printable[PRINTABLE_BYTES];
        char *where = format_text("%s: tensor %s", s->path, printable_name(printable, name));
        tensor *t = new_tensor(set);
        t->name = name;
        t->path = s->path;
        int status = read_entry(where, entry, data_bytes, t);
        free(where);
        if (status)
            return -1;
    }
    qsort(set->tensors + first, (size_t)(set->count - first), sizeof *set->tensors, by_place);
    return check_places(s->path, set->tensors + first, set->count - first, data_bytes);
}

/* Adds a file to the set. Takes over `path`, which lives as long as the set. */
static int add_file(safetensors *set, char *path)
{
    set->shards = realloc_or_die(set->shards, (size_t)set->shard_count + 1, sizeof *set->shards);
    shard *s = &set->shards[set->shard_count++];
    *s = (shard){.path = path};
    int64_t file_bytes, first = set->count;
    uint64_t data_begin = 0;
    int file = open_regular_file(path, &file_bytes);
    if (file < 0)
        return -1;
    int status = read_header(set, s, file, file_bytes, &data_begin);
    if (!status) {
        s->map_bytes = (size_t)file_bytes;
        s->map = mmap(NULL, s->map_bytes, PROT_READ, MAP_PRIVATE, file, 0);
        if (s->map == MAP_FAILED) {
            s->map = NULL;
            status = fail("%s: cannot be mapped into memory: %s", path, strerror(errno));
        }
    }
    close(file);
    for (int64_t i = first; !status && i < set->count; i++)
        set->tensors[i].data = (const uint8_t *)s->map + data_begin + set->tensors[i].begin;
    return status;
}

/* Sorts by name and refuses a name that two shards hold. */
static int sort_names(safetensors *set)
{
    qsort(set->tensors, (size_t)set->count, sizeof *set->tensors, by_name);
    char printable[PRINTABLE_BYTES];
    for (int64_t i = 1; i < set->count; i++)
        if (!by_name(&set->tensors[i - 1], &set->tensors[i]))
            return fail("%s: tensor %s is also in %s", set->tensors[i].path,
                        printable_name(printable, set->tensors[i].name), set->tensors[i - 1].path);
    return 0;
}

/* A shard's name is the plain name of a file beside the index. */
static int check_shard_name(const char *path, const char *tensor_name, const char *shard_name)
{
    char printable[PRINTABLE_BYTES], printable_shard[PRINTABLE_BYTES];
    printable_name(printable, tensor_name);
    if (!shard_name)
        return fail("%s: tensor %s: the shard's name is no text", path, printable);
    size_t length = strlen(shard_name), ending = strlen(".safetensors");
    if (strchr(shard_name, '/') || shard_name[0] == '.' || length <= ending || length > 255 ||
        strcmp(shard_name + length - ending, ".safetensors"))
        return fail("%s: tensor %s: \"%s\" is not the name of a safetensors file in the same "
                    "directory", path, printable, printable_name(printable_shard, shard_name));
    return 0;
}

/* Opens the shards that the index names, and checks that each holds what the index says. */
static int add_indexed(safetensors *set, const char *directory, const char *path)
{
    json_t *root = read_json_file(path, MOST_INDEX_BYTES);
    if (!root)
        return -1;
    int status = 0;
    const json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || !json_object_size(map))
        status = fail("%s: \"weight_map\" is missing, empty or no object", path);
    json_t *opened = json_object(); /* shard name -> its number */
    const char *name, *shard_name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value) {
        if (status)
            break;
        shard_name = json_string_value(value);
        status = check_shard_name(path, name, shard_name);
        if (!status && !json_object_get(opened, shard_name)) {
            json_object_set_new(opened, shard_name, json_integer(set->shard_count));
            status = add_file(set, format_text("%s/%s", directory, shard_name));
        }
    }
    if (!status)
        status = sort_names(set);
    json_object_foreach((json_t *)map, name, value) {
        if (status)
            break;
        int64_t number = json_integer_value(json_object_get(opened, json_string_value(value)));
        const tensor *t = safetensors_find(set, name);
        char printable[PRINTABLE_BYTES];
        if (!t || t->path != set->shards[number].path)
            status = fail("%s: has no tensor %s, though %s says so", set->shards[number].path,
                          printable_name(printable, name), path);
    }
    json_decref(opened);
    json_decref(root);
    return status;
}

static int add_directory(safetensors *set, const char *directory)
{
    char *single = format_text("%s/model.safetensors", directory);
    char *index = format_text("%s/model.safetensors.index.json", directory);
    int status;
    if (!access(single, F_OK) || errno != ENOENT) {
        status = add_file(set, single);
        if (!status)
            status = sort_names(set);
        single = NULL; /* the set's */
    } else if (!access(index, F_OK) || errno != ENOENT) {
        status = add_indexed(set, directory, index);
    } else {
        status = fail("%s: holds neither model.safetensors nor model.safetensors.index.json",
                      directory);
    }
    free(single);
    free(index);
    return status;
}

safetensors *safetensors_open(const char *path)
{
    safetensors *set = alloc_or_die(1, sizeof *set);
    set->path = copy_text(path);
    set->capacity = 64;
    set->tensors = alloc_or_die((size_t)set->capacity, sizeof *set->tensors);
    struct stat found;
    int status;
    if (!stat(path, &found) && S_ISDIR(found.st_mode)) {
        status = add_directory(set, path);
    } else {
        status = add_file(set, copy_text(path));
        if (!status)
            status = sort_names(set);
    }
    if (!status)
        return set;
    safetensors_close(set);
    return NULL;
}

void safetensors_close(safetensors *set)
{
    if (!set)
        return;
    for (int64_t i = 0; i < set->shard_count; i++) {
        if (set->shards[i].map)
            munmap(set->shards[i].map, set->shards[i].map_bytes);
        json_decref(set->shards[i].header);
        free(set->shards[i].path);
    }
    free(set->shards);
    free(set->tensors);
    free(set->path);
    free(set);
}

int64_t safetensors_count(const safetensors *set)
{
    return set->count;
}

const tensor *safetensors_at(const safetensors *set, int64_t index)
{
    return &set->tensors[index];
}

const tensor *safetensors_find(const safetensors *set, const char *name)
{
    tensor key = {.name = name};
    return bsearch(&key, set->tensors, (size_t)set->count, sizeof key, by_name);
}

const tensor *safetensors_want(const safetensors *set, const char *name, int dimensions,
                               int64_t rows, int64_t columns, dtype *type)
{
    const tensor *t = safetensors_find(set, name);
    if (!t) {
        fail("%s: has no tensor %s", set->path, name);
        return NULL;
    }
    if (t->dimensions != dimensions || t->shape[0] != rows ||
        (dimensions == 2 && t->shape[1] != columns)) {
        char found[128] = "";
        for (int i = 0, used = 0; i < t->dimensions && used < (int)sizeof found; i++)
            used += snprintf(found + used, sizeof found - (size_t)used, "%s%lld", i ? ", " : "",
                             (long long)t->shape[i]);
        char *wanted = dimensions == 2 ? format_text("%lld, %lld", (long long)rows,
                                                     (long long)columns)
                                       : format_text("%lld", (long long)rows);
        fail("%s: tensor %s: its shape is [%s], where [%s] is wanted", t->path, name, found,
             wanted);
        free(wanted);
        return NULL;
    }
    if (tensor_dtype(t, type)) {
        fail("%s: tensor %s: its type is %s, where F32, F16 or BF16 is wanted", t->path, name,
             t->type_name);
        return NULL;
    }
    return t;
}
