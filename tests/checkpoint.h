/* Tiny Hugging Face checkpoints that tests write for themselves: config.json and safetensors, in
 * any of the floating types, single or in shards, with values that every type holds exactly. */
#ifndef TESTS_CHECKPOINT_H
#define TESTS_CHECKPOINT_H
#include "harness/model/model.h"

/* A new directory for the running test; remove_directory() deletes it with all that it holds. */
char *temporary_directory(void);
void remove_directory(char *directory);

void write_file(const char *path, const void *bytes, size_t count);
/* The file DIRECTORY/NAME. */
void write_text(const char *directory, const char *name, const char *text);
void *read_file(const char *path, size_t *count);

typedef struct {
    const char *model_type; /* "llama" or "qwen2" */
    model_shape shape;
    dtype type;
    int shards;       /* 0: model.safetensors; else so many files and an index */
    bool tied;        /* tie_word_embeddings */
    bool lm_head;     /* lm_head.weight is in the file */
    bool biases;      /* a Llama with "attention_bias": q, k, v and o have biases, o's is zero */
    bool output_bias; /* o's last element is not zero */
    int header_bytes_over_8; /* pads the header to a length of 8 n + this: data that do not align */
    /* Faults, NULL = none: a tensor that is left out, or has one column more, or is of type I32. */
    const char *left_out, *misshaped, *mistyped;
    /* Retaining heads' width; 0: the model's tensors are written, else only the heads' (as one
     * file, retaining_heads.safetensors, beside keys that do not belong to them). */
    int retaining_width;
} checkpoint;

/* Element i of the tensor of that name: a multiple of 1/64 within [-2, 2). */
float checkpoint_value(const char *name, int64_t index);

/* Writes config.json and the weights. */
void write_checkpoint(const char *directory, const checkpoint *);

/* The names of all tensors that the checkpoint writes; NULL behind the last. */
enum { CHECKPOINT_MOST_TENSORS = 64 };
int checkpoint_names(const checkpoint *, char *names[CHECKPOINT_MOST_TENSORS]);
#endif
