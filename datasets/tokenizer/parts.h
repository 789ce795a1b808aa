/* What a tokenizer is made of, shared by the files of this folder and by its tests; everybody else
 * sees tokenizer.h alone. Text goes through the parts in the order in which they stand here: UTF-8
 * repair, added tokens, normaliser, pre-tokenizer, BPE; ids go back through the decoder. All parts
 * are read-only once opened; what encoding writes to lies in an `encoder`, one for each call that
 * is under way. */
#ifndef DATASETS_TOKENIZER_PARTS_H
#define DATASETS_TOKENIZER_PARTS_H
#include "datasets/tokenizer/tokenizer.h"
#include "datasets/unicode.h"

#include <jansson.h>
#define ONIG_ESCAPE_UCHAR_COLLISION /* UChar is ICU's */
#include <oniguruma.h>
#include <pthread.h>

/* ---- Bytes (text.c) ---- */

/* Growing bytes; zero before first use, text_buffer_free() after the last. */
typedef struct {
    char *bytes;
    size_t count, capacity;
} text_buffer;
void text_buffer_reserve(text_buffer *, size_t more);
void text_buffer_append(text_buffer *, const char *bytes, size_t count);
void text_buffer_free(text_buffer *);

/* Appends text with U+FFFD for each maximal subpart that is not well-formed (Unicode 3.9, D93b). */
void utf8_repair(const char *text, size_t bytes, text_buffer *);
/* The character at *at of well-formed text; moves *at behind it. */
uint32_t utf8_next(const char *text, size_t *at);
/* Where the character that ends just before `at` (> 0) begins. */
size_t utf8_previous(const char *text, size_t at);
/* Writes the character's 1 to 4 bytes and returns how many. */
size_t utf8_put(uint32_t character, char *);
uint64_t hash_bytes(const char *bytes, size_t count);

/* GPT-2's byte alphabet: every byte as one printable character (openai/gpt-2, bytes_to_unicode). */
uint32_t byte_character(uint8_t byte);
/* The byte that a character stands for, -1 when none. */
int character_byte(uint32_t character);

/* ---- Texts by id and ids by text (vocabulary.c) ---- */

typedef struct {
    size_t begin;
    uint32_t length;
    bool present;
} vocabulary_entry;

typedef struct {
    text_buffer texts;
    vocabulary_entry *entry; /* [count] by id */
    int count;
    int32_t *slot; /* hash table of ids, -1 empty; slots a power of two */
    size_t slots, used;
} vocabulary;

enum { LARGEST_ID = 4000000 }; /* 15 times the largest vocabulary in use: a cap on what files claim */

/* -1 when the id is out of range or taken, or the text is already there. */
int vocabulary_add(vocabulary *, const char *text, size_t bytes, int64_t id);
int32_t vocabulary_find(const vocabulary *, const char *text, size_t bytes); /* -1 when none */
/* NULL when the id has no text. */
const char *vocabulary_text(const vocabulary *, int64_t id, size_t *bytes);
void vocabulary_free(vocabulary *);

/* ---- Added tokens (vocabulary.c) ---- */

typedef struct {
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
    char *normal; /* its text once normalised, where that differs; else NULL */
    size_t normal_bytes;
} added_token;

/* A trie over bytes: node 0 is the root; edges live in one hash table. */
typedef struct {
    uint64_t *edge; /* key: node << 8 | byte, + 1; 0 empty */
    uint32_t *target;
    size_t edges, slots;
    int32_t *token; /* [nodes] index of the added token that ends here, -1 none */
    uint32_t nodes;
    bool starts[256];
} added_trie;

typedef struct {
    vocabulary words;   /* of the added tokens alone */
    added_token *token; /* [count] */
    int count;
    int32_t *by_id; /* [ids] index into token, -1 none */
    int ids;
    added_trie raw, normalized; /* matched before and after the normaliser */
} added_tokens;

typedef struct {
    size_t begin, end; /* with the spaces that lstrip and rstrip take */
    const added_token *token;
} added_match;

void added_trie_insert(added_trie *, const char *text, size_t bytes, int32_t token);
/* The next added token at or behind *from (which moves behind it), leftmost, then longest; `done`
 * is where the match before it ended. */
bool added_find(const added_tokens *, const added_trie *, const char *text, size_t bytes,
                size_t done, size_t *from, added_match *);
const added_token *added_by_id(const added_tokens *, int64_t id);
void added_free(added_tokens *);

/* ---- Patterns (pattern.c) ---- */

enum { CLASS_LETTER = 1, CLASS_NUMBER = 2, CLASS_SPACE = 4, CLASS_NUMERIC = 8 };

/* Class bits of every character, made once: \p{L}, \p{N}, \s as Oniguruma has them, and ICU's
 * numbers (Nd, Nl, No), which Digits goes by. */
const uint8_t *character_classes(void);

/* The patterns that are matched by hand. */
typedef enum { SCAN_NONE, SCAN_GPT2, SCAN_LLAMA3, SCAN_QWEN2 } scan_kind;
extern const char *const scan_patterns[4];
/* The end of the match at `at` (< bytes); these patterns match at every place. */
size_t scan_match(scan_kind, const uint8_t *classes, const char *text, size_t bytes, size_t at);

/* A literal, a pattern matched by hand, or an Oniguruma regular expression. */
typedef struct {
    char *literal;
    size_t literal_bytes;
    scan_kind scan;
    regex_t *regex;
} pattern;
int pattern_open_literal(pattern *, const char *text, size_t bytes);
/* by_hand: match the known patterns by hand (tests hold that against Oniguruma). */
int pattern_open_regex(pattern *, const char *expression, size_t bytes, bool by_hand);
void pattern_free(pattern *);

/* A walk over the matches of a pattern in one text, none of them overlapping. */
typedef struct {
    size_t at, last_end;
    bool any;
} pattern_walk;
/* 1 and the match; 0 when there is none left; -1 when Oniguruma gave up. */
int pattern_next(const pattern *, OnigRegion *, const char *text, size_t bytes, pattern_walk *,
                 size_t *begin, size_t *end);

/* ---- Normaliser (normalize.c) ---- */

typedef enum { NORMALIZE_NFC, NORMALIZE_PREPEND, NORMALIZE_REPLACE } normalize_kind;
typedef struct {
    normalize_kind kind;
    pattern what;    /* REPLACE */
    char *with;      /* REPLACE, PREPEND */
    size_t with_bytes;
} normalize_step;
typedef struct {
    normalize_step *step;
    int count;
} normalizer;
/* *text and *bytes: what is to be normalised, then what came out, which lies in one of the two
 * buffers (or where it was, if nothing changed). */
int normalize(const normalizer *, OnigRegion *, text_buffer scratch[2], const char **text,
              size_t *bytes);
void normalizer_free(normalizer *);

/* ---- Pre-tokenizer (split.c) ---- */

typedef enum { SPLIT_PATTERN, SPLIT_DIGITS, SPLIT_PREFIX_SPACE, SPLIT_METASPACE } split_kind;
typedef enum {
    SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_MERGED_WITH_PREVIOUS, SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
} split_behavior;
typedef enum { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } prepend_scheme;

typedef struct {
    split_kind kind;
    split_behavior behavior; /* PATTERN, DIGITS */
    bool invert;             /* PATTERN */
    pattern what;            /* PATTERN */
    prepend_scheme prepend;  /* METASPACE */
    char replacement[5];     /* METASPACE */
} split_step;

enum { SPLIT_STEPS = 16 };
typedef struct {
    split_step step[SPLIT_STEPS];
    int count;
    bool byte_level; /* ends in ByteLevel: words are bytes */
} splitter;

typedef struct encoder encoder;
/* Hands every word of text to bpe_encode(); `first`: the text begins where the input began. */
int split_words(const splitter *, encoder *, int step, const char *text, size_t bytes, bool first);
void splitter_free(splitter *);

/* ---- Model (bpe.c, merge.c) ---- */

typedef struct {
    uint64_t pair; /* left id << 32 | right id; ~0 empty */
    uint32_t rank;
    int32_t result;
} merge_slot;

typedef struct {
    vocabulary words;
    merge_slot *merge;
    size_t slots, merges;
    uint32_t ranks;    /* largest rank + 1 */
    size_t huge_word;  /* symbols from which a word gets a queue for each rank */
    bool byte_level, byte_fallback, fuse_unknown, ignore_merges;
    int32_t unknown;         /* -1 none */
    int32_t byte_id[256];    /* byte-level: of the byte's character; else of <0xHH>; -1 none */
    uint64_t *may_join;      /* bitmap by hash of (last, first) characters that some merge joins */
    bool cut;                /* words may be cut where may_join rules a merge out */
} bpe_model;

int bpe_add_merge(bpe_model *, int32_t left, int32_t right, int32_t result, uint32_t rank);
/* After all merges are in: byte ids, and where words may be cut. */
void bpe_finish(bpe_model *, bool byte_level);
/* Appends the ids of one word. */
int bpe_encode(const bpe_model *, encoder *, const char *word, size_t bytes);
void bpe_free(bpe_model *);

typedef struct {
    uint8_t length, count; /* length 0: empty */
    char text[30];
    int32_t id[8];
} cached_word;

enum { CACHED_WORDS = 1 << 15 };

typedef struct {
    int32_t id, previous, next;
    int32_t result;  /* of merging with next */
    uint32_t rank;   /* of that merge; ~0 none */
} bpe_symbol;

/* What one call of tokenizer_encode() writes to. */
struct encoder {
    encoder *next_free;
    const tokenizer *owner;
    const bpe_model *model;
    token_list *out;
    OnigRegion *region;
    text_buffer repaired, normal[2], prefixed[SPLIT_STEPS], mapped;
    cached_word *cache;    /* [CACHED_WORDS] by hash */
    bpe_symbol *symbol;    /* [symbols] of a long word */
    size_t symbols;
    uint64_t *heap;        /* [heap_capacity] rank << 32 | place */
    size_t heap_count, heap_capacity;
};

/* ---- Decoder (decode.c) ---- */

typedef enum {
    DECODE_BYTE_LEVEL, DECODE_BYTE_FALLBACK, DECODE_REPLACE, DECODE_FUSE, DECODE_STRIP,
    DECODE_METASPACE
} decode_kind;
typedef struct {
    decode_kind kind;
    pattern what;     /* REPLACE */
    char *with;       /* REPLACE; STRIP and METASPACE: one character */
    size_t with_bytes;
    int64_t start, stop;    /* STRIP */
    prepend_scheme prepend; /* METASPACE */
} decode_step;
typedef struct {
    decode_step *step;
    int count;
} decoder;
void decoder_free(decoder *);

/* ---- The whole ---- */

struct tokenizer {
    bpe_model model;
    added_tokens added;
    normalizer normal;
    splitter split;
    decoder decode;
    bool has_decoder;
    int vocab;                 /* largest id + 1 */
    token_list prefix, suffix; /* what the post-processor adds */
    pthread_mutex_t lock;      /* of free_encoders */
    encoder *free_encoders;
};

/* Fills an all-zero tokenizer from the parsed file (load.c). */
int tokenizer_load(tokenizer *, const json_t *root);
/* One step of this type of the normaliser, the pre-tokenizer, the decoder (load_steps.c). */
int load_normalize_step(tokenizer *, const json_t *source, const char *type);
int load_split_step(tokenizer *, const json_t *source, const char *type);
int load_decode_step(tokenizer *, const json_t *source, const char *type);
#endif
