/* Text to token ids and back, from a Hugging Face tokenizer.json: byte-level BPE (SmolLM2, Llama-3,
 * Qwen2.5) and SentencePiece-style BPE with byte fallback (Yi). Equal, token for token, to Hugging
 * Face's `tokenizers`. */
#ifndef DATASETS_TOKENIZER_H
#define DATASETS_TOKENIZER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tokenizer tokenizer;

/* A growing list of ids; zero it before first use, token_list_free() after the last. */
typedef struct {
    int32_t *ids;
    size_t count, capacity;
} token_list;
void token_list_push(token_list *, int32_t id);
void token_list_free(token_list *);

/* Reads DIR/tokenizer.json (or the file itself); NULL with a sentence in fail_text() when it is
 * missing, hostile, or of a kind that is not supported. */
tokenizer *tokenizer_open(const char *path);
void tokenizer_close(tokenizer *);

/* Appends the ids of text [bytes] (any bytes: invalid UTF-8 becomes U+FFFD by maximal subparts).
 * Added and special tokens in the text are recognised, as Hugging Face does. add_special: also what
 * the post-processor adds (Llama-3's begin-of-text). */
int tokenizer_encode(const tokenizer *, const char *text, size_t bytes, bool add_special,
                     token_list *);

/* What add_special puts before a text, *count ids; there may be none. */
const int32_t *tokenizer_prefix(const tokenizer *, size_t *count);

/* The text of ids, NUL-terminated, to be freed; invalid UTF-8 that bytes of tokens form becomes
 * U+FFFD. skip_special leaves out special tokens. */
char *tokenizer_decode(const tokenizer *, const int32_t *ids, size_t count, bool skip_special,
                       size_t *bytes);

int tokenizer_vocab(const tokenizer *); /* ids are 0 .. vocab-1, with added tokens */
/* The id of a token's literal text (as in the vocabulary or the added tokens), -1 when none. */
int32_t tokenizer_id(const tokenizer *, const char *token);
bool tokenizer_is_special(const tokenizer *, int32_t id);

/* ---- Chat templates of the known families, as data (chat.c) ----
 * A head brings begin-of-text itself where the family has one: encode without add_special. */

typedef struct {
    const char *family;        /* "smollm2", "llama-3", "qwen2.5", "plain" (Yi's base model) */
    const char *head;          /* before the user's text, system prompt included */
    const char *tail;          /* after it, up to where the assistant begins */
    const char *end_of_turn;   /* literal token that ends a turn; "" when none */
    const char *const *stop;   /* literal tokens that end generation, NULL-terminated */
} chat_template;

/* The family that this tokenizer's special tokens belong to. */
const chat_template *chat_template_for(const tokenizer *);
#endif
