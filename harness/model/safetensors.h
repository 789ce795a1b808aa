/* Tensors in safetensors files, single or in shards, memory-mapped. Nothing in a file is believed:
 * the header's length is held against the file's before it is read, each tensor's type, shape and
 * place against each other and the data, and only then the file is mapped, so that a broken or
 * hostile file gives a sentence and never a signal. The format: 8 bytes little-endian length of
 * the header, the header (a JSON object: name -> dtype, shape, data_offsets), the data, which the
 * tensors fill without gap or overlap (https://github.com/huggingface/safetensors#format). */
#ifndef HARNESS_SAFETENSORS_H
#define HARNESS_SAFETENSORS_H
#include "kernels/device.h"

enum { TENSOR_MOST_DIMENSIONS = 8 };

typedef struct {
    const char *name;
    const char *path;       /* the file that holds it */
    const char *type_name;  /* as the file has it: "F32", "BF16", "I64", ... */
    int dimensions;
    int64_t shape[TENSOR_MOST_DIMENSIONS];
    int64_t elements;       /* the product of shape */
    const uint8_t *data;    /* in the mapped file; not aligned to anything */
    uint64_t begin, end;    /* bytes from the start of the data */
} tensor;

typedef struct safetensors safetensors;

/* Opens a file, or a directory with model.safetensors or (when that is missing)
 * model.safetensors.index.json and the shards it names. NULL with a sentence on failure. */
safetensors *safetensors_open(const char *path);
void safetensors_close(safetensors *);

/* Tensors in order of their names. */
int64_t safetensors_count(const safetensors *);
const tensor *safetensors_at(const safetensors *, int64_t index);

/* The tensor of that name, NULL (without a sentence) when there is none. */
const tensor *safetensors_find(const safetensors *, const char *name);

/* The tensor of that name, which must have `dimensions` (1 or 2) dimensions of the sizes rows and
 * (with 2) columns and a floating type that devices take, told in *type. NULL with a sentence. */
const tensor *safetensors_want(const safetensors *, const char *name, int dimensions, int64_t rows,
                               int64_t columns, dtype *type);

/* The floating types that devices take; -1 without a sentence for others. */
int tensor_dtype(const tensor *, dtype *type);
#endif
