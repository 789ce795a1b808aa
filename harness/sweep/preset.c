/* The presets. See preset.h. */
#include "harness/sweep/preset.h"

#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

/* RULER's tasks that need no files of others. */
#define OWN_TASKS "--tasks niah,vt,cwe,fwe "

const preset preset_table[] = {
    {"quick", "speed", "what run_all.sh times on a machine without a GPU: minutes",
     "--models smollm2 --methods flash,ring,zigzag,ulysses,star,apb --hosts 1,2,3,4,8 "
     "--lengths 1K,2K --reps 3 --warmup 1 --new-tokens 4 --link eth100"},
    {"quick", "eval", "two needle tasks of five samples: minutes",
     "--models smollm2 --methods flash,star,apb --hosts 4 --lengths 1K "
     "--tasks niah_single_1,niah_multikey_1 --samples 5"},
    {"quick-gpu", "speed", "what run_all.sh times on a machine with a GPU, projected from one: minutes",
     "--device cuda --models llama-3.1-8b --methods flash,ring,zigzag,ulysses,star,apb --hosts 8 "
     "--lengths 32K,64K --reps 1 --warmup 1 --new-tokens 4 --link a800-paper,nvlink4"},
    {"quick-gpu", "eval", "the eight needle tasks in bf16: a minute",
     "--device cuda --models smollm2 --methods flash,star,apb --hosts 4 --lengths 1K --tasks niah "
     "--samples 5"},
    {"niah", "eval", "the eight needle tasks on the default model, 20 samples each: two hours on two cores",
     "--models smollm2 --methods flash,star,apb --hosts 4 --lengths 1K,2K --tasks niah "
     "--samples 20"},
    {"study", "eval", "the default model at 1K to 8K on 4 and 8 hosts, 50 samples a task",
     "--models smollm2 --methods flash,star,apb --hosts 4,8 --lengths 1K,2K,4K,8K " OWN_TASKS
     "--samples 50"},
    {"ablation", "eval", "APB less its parts, as the paper's table 3, at 4K on 8 hosts",
     "--models smollm2 --methods flash,apb:compressor=retaining,"
     "apb:compressor=retaining:query_in_anchor=0,apb:compressor=random,"
     "apb:compressor=random:query_in_anchor=0,apb:passing=0,apb:passing=0:query_in_anchor=0,"
     "apb:anchor=0:compressor=retaining,apb:anchor=0:compressor=random,apb:anchor=0:passing=0 "
     "--hosts 8 --lengths 4K " OWN_TASKS "--samples 50"},
    {"compressors", "eval", "APB with every compressor, beside StarAttn, at 4K on 8 hosts",
     "--models smollm2 --methods flash,star,apb:compressor=retaining,apb:compressor=query,"
     "apb:compressor=random,apb:compressor=recency,apb:compressor=sink,"
     "apb:compressor=norm "
     "--hosts 8 --lengths 4K " OWN_TASKS "--samples 50"},
    {"budgets", "eval", "APB's anchor, passing and recent lengths, one at a time, at 4K on 8 hosts",
     "--models smollm2 --methods flash,star:anchor=128,apb:anchor=64:passing=64,"
     "apb:anchor=128:passing=64,apb:anchor=192:passing=64,apb:anchor=256:passing=64,"
     "apb:anchor=384:passing=64,apb:anchor=128:passing=0,apb:anchor=128:passing=16,"
     "apb:anchor=128:passing=32,apb:anchor=128:passing=128,apb:anchor=128:passing=256,"
     "apb:anchor=128:passing=64:recent=16,apb:anchor=128:passing=64:recent=32,"
     "apb:anchor=128:passing=64:recent=48 "
     "--hosts 8 --lengths 4K " OWN_TASKS "--samples 50"},
    {"recent", "eval", "whether the last keys of a block are worth passing, on other samples than `budgets`",
     "--models smollm2 --methods flash,apb:anchor=128:passing=64,"
     "apb:anchor=128:passing=64:recent=32,apb:anchor=128:passing=64:compressor=recency "
     "--hosts 8 --lengths 2K,4K,8K " OWN_TASKS "--samples 50 --seed 43"},
    {"blocks", "eval", "the length of blocks alone: 2 to 16 hosts at 4K, anchor and passing fixed",
     "--models smollm2 --methods flash,star:anchor=128,apb:anchor=128:passing=64 "
     "--hosts 2,4,8,16 --lengths 4K " OWN_TASKS "--samples 50"},
    {"exact", "eval", "that the exact methods answer as flash does: three tasks at 2K on 4 and 8 hosts",
     "--models smollm2 --methods flash,ring,zigzag,ulysses --hosts 4,8 --lengths 2K "
     "--tasks niah_multikey_1,vt,fwe --samples 50"},
    {"paper-table14", "speed", "prefill seconds by length, Llama-3.1-8B on 8 hosts (and figure 1)",
     "--models llama-3.1-8b --methods flash,ulysses,ring,zigzag,star,apb:schedule=table14 "
     "--hosts 8 --lengths 32K,64K,128K,256K,512K,1M --reps 1 --warmup 1 --new-tokens 1 "
     "--link a800-paper,nvlink3,nvlink4"},
    {"paper-table16", "speed", "breakdown of a transformer block at 128K, Llama-3.1-8B on 8 hosts",
     "--models llama-3.1-8b --methods flash,ulysses,ring,zigzag,star,apb --hosts 8 --lengths 128K "
     "--reps 1 --warmup 1 --new-tokens 1 --link a800-paper"},
    {"paper-table18", "speed", "tokens a second by length, Llama-3-8B-1M on 8 hosts",
     "--models llama-3-8b-1m --methods flash,ulysses,ring,zigzag,star,apb --hosts 8 "
     "--lengths 32K,64K,128K,256K,512K --reps 1 --warmup 1 --new-tokens 16 --link a800-paper"},
};
const int preset_count = sizeof preset_table / sizeof *preset_table;

/* command: NULL: of any. */
static const preset *preset_find(const char *name, const char *command)
{
    for (int i = 0; i < preset_count; i++)
        if (!strcmp(preset_table[i].name, name) &&
            (!command || !strcmp(preset_table[i].command, command)))
            return &preset_table[i];
    return NULL;
}

int preset_check(const char *name)
{
    if (preset_find(name, NULL))
        return 0;
    return fail("there is no preset '%s'; see 'apbench list presets'", name);
}

int preset_options_parse(const char *usage, const flag *flags, int flag_count, int argc,
                         char **argv)
{
    const char *name = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--preset") && i + 1 < argc)
            name = argv[i + 1];
        else if (!strncmp(argv[i], "--preset=", 9))
            name = argv[i] + 9;
    }
    if (name) {
        const preset *p = preset_find(name, argv[0]);
        if (!p)
            return fail("%s has no preset '%s'; see 'apbench list presets'", argv[0], name);
        /* The texts stay: flags point into them. */
        static text_list words;
        text_list_push(&words, argv[0]);
        char *rest = copy_text(p->flags), *copy = rest, *word;
        while ((word = strsep(&rest, " ")))
            text_list_push(&words, word);
        free(copy);
        int status = options_parse(usage, flags, flag_count, words.count, words.items, NULL);
        if (status)
            return status;
    }
    return options_parse(usage, flags, flag_count, argc, argv, NULL);
}
