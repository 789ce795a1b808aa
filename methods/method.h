/* The method table: how hosts share one document's attention. To add a method, write one file here
 * with a `const method` and list it in table.c; sweeps, tests, plots and ranges pick it up.
 *
 * A method answers three questions. plan(): which rows does a host run? attend(): how do those rows
 * attend in one layer, given the device and the links? cost(): how many FLOPs, bytes sent and bytes
 * held is that, as closed formulas? The core does the rest alike for all: projections, FFN, the
 * query phase over the distributed KV (query.h) and decode.
 *
 * Symbols of the papers: n = document tokens, l_q = query tokens, H = hosts, b = tokens per host,
 * l_a = anchor, l_p = passing block per host. */
#ifndef METHODS_METHOD_H
#define METHODS_METHOD_H
#include "harness/comm.h"
#include "kernels/shape.h"

enum { METHOD_OPTIONS = 12, PLAN_SPANS = 8 };

/* ---- Options: `apb:anchor=4K:compressor=random` ---- */

typedef enum { OPTION_TOKENS, OPTION_BOOL, OPTION_CHOICE } option_kind;

typedef struct {
    const char *name;
    option_kind kind;
    const char *choices;  /* OPTION_CHOICE: "query|random|..."; the value is the index */
    int64_t default_value; /* OPTION_AUTO: resolve() decides by length and hosts */
    const char *help;
} method_option;
enum { OPTION_AUTO = -1 };

/* ---- A cell: one method on one document over H hosts ---- */

typedef struct method method;

typedef struct {
    const method *method;
    int64_t options[METHOD_OPTIONS]; /* in the order of method->options */
    model_shape shape;
    int hosts;
    int64_t document, query;   /* n, l_q */
    int64_t head_tokens;       /* chat head of the prompt: a query in the anchor goes behind it (p0) */
    int64_t query_in_anchor;   /* l': tokens of the query that an anchor carries, see token_source */
    int retaining_width;       /* hidden width of the model's retaining heads; 0 = it has none */
    bool uses_heads;           /* set by resolve(): what they are makes a difference */
    uint64_t seed;
} cell;

/* ---- The plan of one host ---- */

typedef enum { SPAN_ANCHOR, SPAN_LOCAL, SPAN_QUERY, SPAN_PADDING } span_kind;
/* TOKENS_ANCHOR_QUERY: what of the query an anchor carries: its tokens before the first end-of-turn
 * id, or what a task gives instead (task_sample.anchor_query). */
typedef enum { TOKENS_DOCUMENT, TOKENS_QUERY, TOKENS_ANCHOR_QUERY, TOKENS_PADDING } token_source;

/* Consecutive rows. Keys and values of cached rows lie in the KV cache in row order; those of the
 * others in the extra buffer, also in row order, and are forgotten after the layer. Padding rows
 * are cached right behind the last real row and cut off after the prefill; their token and position
 * ids are 0. */
typedef struct {
    span_kind kind;
    token_source source;
    int64_t first_token; /* index into the source */
    int64_t count;
    int64_t first_position; /* positions count up from here */
    bool cached;
} plan_span;

typedef struct {
    plan_span spans[PLAN_SPANS];
    int span_count;
    int64_t rows;        /* sum of counts */
    int64_t cached_rows; /* with padding */
    int64_t kept_rows;   /* without: the cache's length after the prefill */
    int64_t extra_rows;  /* rows - cached_rows */
    int owner;           /* the host that keeps the KV of the query and of new tokens */
    size_t work_bytes;   /* device memory that attend() needs; lives across layers and comm calls */
    /* Query phase with the published code's mask, which hides the newest keys of hosts that do not
     * hold the query; false = every cached key is seen. */
    bool reference_query_mask;
} plan;

/* Appends a span (nothing when count is 0) and keeps the sums. More than PLAN_SPANS are a programmer's
 * mistake. */
void plan_add(plan *, span_kind, token_source, int64_t first_token, int64_t count,
              int64_t first_position, bool cached);

/* ---- One layer's attention on one host ---- */

typedef struct {
    const cell *cell;
    const plan *plan;
    device *dev;
    comm *comm;
    int layer;
    const void *q;  /* activation type [rows, heads, head_dim], roped */
    void *kv_cache; /* this layer's [cached_rows, kv_heads, 2, head_dim] */
    void *kv_extra; /* [extra_rows, kv_heads, 2, head_dim] */
    void *out;      /* activation type [rows, heads, head_dim]: what attend() writes */
    void *work;     /* plan->work_bytes */
    const void *retaining_fc1; /* [width, (heads + 2 kv_heads) head_dim] of this layer, or NULL */
    const void *retaining_fc2; /* [kv_heads, width] */
} attend_context;

/* Of one host, and of one layer but for work_bytes, which serves all layers. Padding counts as rows. */
typedef struct {
    double linear_rows;       /* rows through projections and FFN */
    double attention_pairs;   /* visible (query row, key) pairs per head */
    double compressor_flops;
    double bytes_sent;
    double kv_bytes;          /* KV cache held after the prefill */
    double work_bytes;        /* exchange and merge buffers */
} method_cost;

/* FLOPs of the prefill on one host that the cost stands for: projections, FFN, attention and
 * compressor of all layers. */
double cost_flops(const cell *, const method_cost *);

struct method {
    const char *name, *title;
    bool exact;
    bool single_host; /* shares nothing: a sweep runs it once, on one host */
    const char *summary; /* one sentence for `apbench list methods` */
    const method_option *options;
    int option_count;
    int later_options; /* the last so many came when rows were kept: unsaid in descriptions at their defaults */
    /* Fills OPTION_AUTO values and checks what the cell asks for: -1 with the reason when this
     * method cannot run it (a row `unsupported`). May be NULL: nothing to resolve, all supported. */
    int (*resolve)(cell *);
    void (*plan)(const cell *, const device *, int rank, plan *);
    /* Sees the joint projection before RoPE, [rows, heads + 2 kv_heads, head_dim] with biases, for
     * rows first_row .. first_row + rows, chunk by chunk. May be NULL. */
    void (*before_rope)(attend_context *, const void *qkv, int64_t first_row, int64_t rows);
    int (*attend)(attend_context *); /* 0, or -1 with a sentence: fail() of harness/error.h */
    void (*cost)(const cell *, const device *, int rank, method_cost *);
};

/* 0, or -1 with a sentence when a host's plan asks for tokens or an owner that there are not, or has other
 * rows, cached bytes or work bytes than cost() says. */
int plan_check(const cell *, const device *, int rank);

/* Parses "name:option=value:..." into cell->method and cell->options (resolve() not yet called). */
int method_parse(const char *text, cell *);
/* 0 when that can be parsed, else -1 with a sentence. */
int method_check_name(const char *text);
/* A value of an option as it is written: "1024", "random", "auto". */
void method_option_text(const method_option *, int64_t value, char *text, size_t bytes);
/* The options with all values resolved, as the CSV's `options` column has them: "anchor=1024:...". */
void method_describe(const cell *, char *text, size_t bytes);
/* The value of an option by name; a programmer's mistake when the method has no such option. */
int64_t method_option_value(const cell *, const char *name);
const method *method_find(const char *name);
extern const method *const method_table[];
extern const int method_count;

/* ---- Shared arithmetic ---- */

/* Carves buffers out of attend_context.work. With base NULL it only counts, so that plan() and
 * attend() share one function that lists a method's buffers. */
typedef struct {
    char *base;
    size_t used;
} zone;
void *zone_take(zone *, size_t bytes);

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
/* Bytes of K and V of `rows` tokens in one layer. */
size_t kv_bytes(const cell *, const device *, int64_t rows);
/* Bytes of `rows` rows of queries or outputs, heads x head_dim in activation type. */
size_t q_bytes(const cell *, const device *, int64_t rows);
/* The plan of a host that runs one contiguous block of the document, tokens rank*b .. rank*b + b - 1
 * padded to b, after `anchor` rows that are already in the plan. */
void plan_block(plan *, const cell *, int rank, int64_t block);
/* Rows of cached KV as a segment. */
attn_segment kv_segment(const cell *, const device *, const void *kv, int64_t length,
                        int64_t row_begin, int64_t row_end, int64_t causal_offset);
/* A call with the shapes, q and scale of the context and no segments. */
attn_call attend_call(const attend_context *, int64_t first_row, int64_t rows);
/* Pairs of an m-row causal block: m (m + 1) / 2. */
static inline double causal_pairs(double m) { return m * (m + 1) / 2; }
#endif
