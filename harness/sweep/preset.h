/* Presets: named sets of flags. `--preset NAME` is the same as writing the preset's flags in front of
 * one's own, so that any of them can be changed on the command line. */
#ifndef HARNESS_PRESET_H
#define HARNESS_PRESET_H
#include "harness/options.h"

typedef struct {
    const char *name, *command, *summary;
    const char *flags; /* as on a command line, parted by single spaces */
} preset;
extern const preset preset_table[];
extern const int preset_count;

/* -1 with a sentence when no command has a preset of this name. */
int preset_check(const char *name);

/* options_parse() with the flags of `--preset` (searched in argv) parsed first. The flag table must
 * have a row "preset". argv[0] is the command's name. */
int preset_options_parse(const char *usage, const flag *flags, int flag_count, int argc,
                         char **argv);
#endif
