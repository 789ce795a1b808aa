/* What a model is called in a CSV, and which weights stand behind the name. */
#ifndef HARNESS_MODEL_NAMES_H
#define HARNESS_MODEL_NAMES_H
#include "harness/model/safetensors.h"

#include <stdint.h>

/* The last part of a directory's path; of its real path where that part says nothing. To be freed. */
char *model_name(const char *path);
/* `hash` gone on with over the tensors' values, of each the first `most` bytes. */
uint64_t model_values_hash(uint64_t hash, const safetensors *, uint64_t most);
/* "" for presets, which are known by name; else the real paths of the directory and of the retaining
 * heads given (or NULL), since a directory's last part alone would not tell two models apart. Behind the
 * directory a part of the hash of what is in it now, its configuration (config_hash) and the files'
 * values: "#0123456789ab". To be freed. */
char *model_origin(const char *name, const char *directory_or_null, uint64_t config_hash,
                   const safetensors *files_or_null, const char *heads_or_null);
/* The origin for a row; where retaining heads from a file matter (hash not 0) with a part of their hash.
 * To be freed. */
char *model_weights(const char *origin, uint64_t heads_hash);
#endif
