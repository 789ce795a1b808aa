/* A text that a user names as a file, whole in memory: a prompt, or what prompts are taken from. */
#ifndef HARNESS_PROMPT_FILE_H
#define HARNESS_PROMPT_FILE_H
#include <stddef.h>

/* A whole file, or standard input for "-", with a 0 behind it; NULL with a sentence. To be freed. */
char *read_prompt_file(const char *path, size_t *bytes);
#endif
