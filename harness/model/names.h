/* What a model is called in a CSV, and which weights stand behind the name. */
#ifndef HARNESS_MODEL_NAMES_H
#define HARNESS_MODEL_NAMES_H
#include <stdint.h>

/* The last part of a directory's path; of its real path where that part says nothing. To be freed. */
char *model_name(const char *path);
/* "" for presets, which are known by name; else the real paths of the directory and of the retaining
 * heads given (or NULL), since a directory's last part alone would not tell two models apart. To be
 * freed. */
char *model_origin(const char *name, const char *directory_or_null, const char *heads_or_null);
/* The origin for a row; where retaining heads from a file matter (hash not 0) with a part of their hash:
 * "#0123456789ab". To be freed. */
char *model_weights(const char *origin, uint64_t heads_hash);
#endif
