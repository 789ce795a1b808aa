/* Each method's layout and mask, held against the worked examples and rules of the methods: which
 * tokens at which positions a host runs, which keys each row sees, what is passed, what stays.
 *
 * attend() runs for real over sim, on a device whose attention only writes down who sees whom: the
 * first element of every key holds its token's name. Scores of the compressor are put in, and values
 * have norms by which they are weighed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "methods/compressor.h"
#include "methods/method.h"
#include "methods/query.h"

enum { QUERY_NAME = 100, PAD_NAME = 200, MOST_ROWS = 64, MOST_COLUMNS = 256,
       MOST_HOSTS = 16 };

/* What one host's attention saw. */
typedef struct {
    int rows, columns;
    int row_name[MOST_ROWS], column_name[MOST_COLUMNS];
    bool sees[MOST_ROWS][MOST_COLUMNS];
} mask;

/* One cell on all its hosts; every host has a device of its own, by which the recorder knows it. */
typedef struct {
    const cell *cell;
    device devices[MOST_HOSTS];
    plan plans[MOST_HOSTS];
    mask masks[MOST_HOSTS];
} example;
static example *now;

static void record_attention(device *dev, const attn_call *call)
{
    mask *m = &now->masks[dev - now->devices];
    for (int s = 0; s < call->segment_count; s++) {
        const attn_segment *segment = &call->segments[s];
        for (int64_t j = 0; j < segment->length; j++) {
            int column = m->columns++;
            cr_assert_lt(column, MOST_COLUMNS);
            m->column_name[column] = (int)((const float *)segment->k)[j * segment->row_stride];
            for (int64_t i = segment->row_begin; i < segment->row_end; i++)
                m->sees[i][column] = j <= i - segment->row_begin + segment->causal_offset;
        }
    }
}

/* s(t) = ((7 t + 3) mod 13) / 13 for document tokens, 3.25 / 13 for the query. */
static float example_score(int name)
{
    return name >= QUERY_NAME ? 3.25f / 13 : (float)((7 * name + 3) % 13) / 13;
}

/* |v| of every key. */
static float example_norm(int name)
{
    return name >= QUERY_NAME ? 4 : name == 7 ? 3 : name == 2 ? 1.5f : 1;
}

/* In place of the retaining head's products: the scores that are put in. */
static void put_scores(device *dev, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
                       const void *w, const void *bias, int64_t m, int64_t n, int64_t k)
{
    (void)a, (void)lda, (void)w, (void)bias, (void)k;
    const int *names = now->masks[dev - now->devices].row_name;
    for (int64_t i = 0; mode == GEMM_STORE_F32 && i < m; i++)
        for (int64_t j = 0; j < n; j++)
            ((float *)c)[i * ldc + j] = example_score(names[i]);
}

static void name_rows(const plan *p, mask *m)
{
    m->rows = (int)p->rows;
    cr_assert_leq(p->rows, MOST_ROWS);
    int row = 0;
    for (int i = 0; i < p->span_count; i++)
        for (int64_t k = 0; k < p->spans[i].count; k++, row++)
            m->row_name[row] = p->spans[i].source == TOKENS_PADDING ? PAD_NAME
                               : p->spans[i].source == TOKENS_QUERY ||
                                         p->spans[i].source == TOKENS_ANCHOR_QUERY
                                   ? QUERY_NAME + (int)(p->spans[i].first_token + k)
                                   : (int)(p->spans[i].first_token + k);
}

static int attend_host(comm *links, void *argument)
{
    example *e = argument;
    const cell *c = e->cell;
    device *dev = &e->devices[links->rank];
    plan *p = &e->plans[links->rank];
    mask *m = &e->masks[links->rank];
    c->method->plan(c, dev, links->rank, p);
    name_rows(p, m);
    size_t kv_row = kv_bytes(c, dev, 1), q = q_bytes(c, dev, p->rows);
    char *memory = alloc_or_die(1, 2 * q + (size_t)p->rows * kv_row + p->work_bytes);
    char *kv = memory + 2 * q;
    attend_context x = {
        .cell = c, .plan = p, .dev = dev, .comm = links, .q = memory, .out = memory + q,
        .kv_cache = kv, .kv_extra = kv + (size_t)p->cached_rows * kv_row,
        .work = kv + (size_t)p->rows * kv_row,
    };
    int row = 0, cached = 0, extra = (int)p->cached_rows;
    for (int i = 0; i < p->span_count; i++)
        for (int64_t k = 0; k < p->spans[i].count; k++, row++) {
            float *key = (float *)(kv + (size_t)(p->spans[i].cached ? cached++ : extra++) * kv_row);
            for (int h = 0; h < c->shape.kv_heads; h++) {
                float *value = key + (2 * h + 1) * c->shape.head_dim;
                key[2 * h * c->shape.head_dim] = (float)m->row_name[row];
                value[0] = 0.6f * example_norm(m->row_name[row]);
                value[1] = -0.8f * example_norm(m->row_name[row]);
            }
        }
    if (c->method->before_rope)
        c->method->before_rope(&x, x.q, 0, p->rows);
    int status = c->method->attend(&x);
    free(memory);
    return status;
}

/* Attends one layer on all hosts of the cell. The example is freed by the caller. */
static example *attend_all(const cell *c)
{
    device *cpu = device_find("cpu");
    cr_assert(cpu && (cpu->state || !cpu->open(cpu, 1)), "%s", fail_text());
    example *e = now = alloc_or_die(1, sizeof *e);
    e->cell = c;
    timeline *timelines = alloc_or_die((size_t)c->hosts, sizeof *timelines);
    for (int i = 0; i < c->hosts; i++) {
        e->devices[i] = *cpu;
        e->devices[i].attention = record_attention;
        e->devices[i].gemm = put_scores;
        timelines[i].dev = cpu;
    }
    const comm_driver *sim = comm_find("sim");
    cr_assert_eq(sim->run(sim, c->hosts, cpu, timelines, attend_host, e), 0, "%s", fail_text());
    for (int i = 0; i < c->hosts; i++)
        timeline_free(&timelines[i]);
    free(timelines);
    return e;
}

static cell example_cell(const char *method_text, int hosts, int64_t document, int64_t query)
{
    cell c = {
        .hosts = hosts, .document = document, .query = query, .head_tokens = 1,
        .query_in_anchor = query, .retaining_width = 1, .seed = 5,
        .shape = {.layers = 1, .hidden = 4, .heads = 2, .kv_heads = 1, .head_dim = 2, .ffn = 4,
                  .vocab = 8},
    };
    cr_assert_eq(method_parse(method_text, &c), 0, "%s", fail_text());
    cr_assert(!c.method->resolve || !c.method->resolve(&c), "%s", fail_text());
    return c;
}

static void append_name(char *text, size_t bytes, int name)
{
    size_t used = strlen(text);
    if (name == PAD_NAME)
        snprintf(text + used, bytes - used, "pad ");
    else
        snprintf(text + used, bytes - used, name >= QUERY_NAME ? "Q%d " : "%d ",
                 name >= QUERY_NAME ? name - QUERY_NAME : name);
}

/* "0 Q0 4 5 | 0 1 4 5": the rows' tokens and positions. */
static void expect_layout(const example *e, int host, const char *expected)
{
    const plan *p = &e->plans[host];
    char text[1024] = "";
    for (int i = 0; i < e->masks[host].rows; i++)
        append_name(text, sizeof text, e->masks[host].row_name[i]);
    strcat(text, "|");
    for (int i = 0; i < p->span_count; i++)
        for (int64_t k = 0; k < p->spans[i].count; k++) {
            bool pad = p->spans[i].kind == SPAN_PADDING;
            size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, " %d",
                     pad ? 0 : (int)(p->spans[i].first_position + k));
        }
    cr_expect_str_eq(text, expected, "host %d: '%s', expected '%s'", host, text, expected);
}

/* Who sees whom, as "row: columns" with columns in the order [passed, anchor, block] of the worked
 * examples. The recorder's order is that of segments; columns here are compared as named sets, and
 * `expected` lists for each row the names that it sees, ascending. */
static void expect_mask(const example *e, int host, const char *const *expected)
{
    const mask *m = &e->masks[host];
    for (int i = 0; i < m->rows; i++) {
        char text[1024] = "";
        append_name(text, sizeof text, m->row_name[i]);
        strcpy(text + strlen(text) - 1, ": ");
        for (int name = 0; name < 2 * PAD_NAME; name++)
            for (int j = 0; j < m->columns; j++)
                if (m->column_name[j] == name && m->sees[i][j])
                    append_name(text, sizeof text, name);
        cr_expect_str_eq(text, expected[i], "host %d: '%s', expected '%s'", host, text, expected[i]);
    }
}

static int64_t pairs(const mask *m)
{
    int64_t count = 0;
    for (int i = 0; i < m->rows; i++)
        for (int j = 0; j < m->columns; j++)
            count += m->sees[i][j];
    return count;
}

/* A worked example: 3 hosts, 12 tokens, anchor 2, passing 1, the query behind the first token. */
Test(methods, worked_example_apb)
{
    cell c = example_cell("apb:anchor=2:passing=1:compressor=retaining", 3, 12, 1);
    example *e = attend_all(&c);
    expect_layout(e, 0, "0 1 2 3 | 0 1 2 3");
    expect_layout(e, 1, "0 Q0 4 5 6 7 | 0 1 4 5 6 7");
    expect_layout(e, 2, "0 Q0 8 9 10 11 | 0 1 8 9 10 11");
    expect_mask(e, 0, (const char *const[]){"0: 0 ", "1: 0 1 ", "2: 0 1 2 ", "3: 0 1 2 3 "});
    expect_mask(e, 1, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", "4: 0 2 4 Q0 ", "5: 0 2 4 5 Q0 ",
                                            "6: 0 2 4 5 6 Q0 ", "7: 0 2 4 5 6 7 Q0 "});
    expect_mask(e, 2, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", "8: 0 2 4 8 Q0 ",
                                            "9: 0 2 4 8 9 Q0 ", "10: 0 2 4 8 9 10 Q0 ",
                                            "11: 0 2 4 8 9 10 11 Q0 "});
    cr_expect_eq(pairs(&e->masks[0]), 10);
    cr_expect_eq(pairs(&e->masks[1]), 25);
    cr_expect_eq(pairs(&e->masks[2]), 29);
    for (int host = 0; host < 3; host++)
        cr_expect_eq(e->plans[host].kept_rows, 4);
    cr_expect_eq(e->plans[0].owner, 2);
    free(e);
}

/* Its variants: no pooling, the query elsewhere or not at all in the anchor, padding. */
Test(methods, worked_example_apb_variants)
{
    cell c = example_cell("apb:anchor=2:passing=1:compressor=retaining:pool=0", 3, 12, 1);
    example *e = attend_all(&c);
    expect_mask(e, 1, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", "4: 0 3 4 Q0 ", "5: 0 3 4 5 Q0 ",
                                            "6: 0 3 4 5 6 Q0 ", "7: 0 3 4 5 6 7 Q0 "});
    expect_mask(e, 2, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", "8: 0 3 5 8 Q0 ",
                                            "9: 0 3 5 8 9 Q0 ", "10: 0 3 5 8 9 10 Q0 ",
                                            "11: 0 3 5 8 9 10 11 Q0 "});
    free(e);
    c = example_cell("apb:anchor=2:passing=1:compressor=retaining", 3, 12, 1);
    c.head_tokens = 0;
    e = attend_all(&c);
    expect_layout(e, 1, "Q0 0 4 5 6 7 | 0 1 4 5 6 7");
    free(e);
    c = example_cell("apb:anchor=2:passing=1:compressor=retaining:query_in_anchor=0", 3, 12, 1);
    e = attend_all(&c);
    expect_layout(e, 1, "0 1 4 5 6 7 | 0 1 4 5 6 7");
    free(e);
    c = example_cell("apb:anchor=2:passing=1:compressor=retaining", 3, 11, 1);
    e = attend_all(&c);
    expect_layout(e, 2, "0 Q0 8 9 10 pad | 0 1 8 9 10 0");
    cr_expect_eq(e->plans[2].kept_rows, 3);
    free(e);
}

/* exp(s) |v|: 2.04 and 2.33 of tokens 2 and 3; 1.47, 2.52, 1.59 and 3 of tokens 4 to 7; 5.12 of the query
 * in the anchor. So scores alone would pass 3 and 5, norms alone 2 and 7. Pooling brings 2 as much as 3
 * has, and the query's weight to 4 and 5, of which 4 is passed; were only the block weighed, it were 5. */
Test(methods, worked_example_apb_norm)
{
    cell c = example_cell("apb:anchor=2:passing=1:compressor=norm:pool=0", 3, 12, 1);
    example *e = attend_all(&c);
    expect_mask(e, 1, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", "4: 0 3 4 Q0 ", "5: 0 3 4 5 Q0 ",
                                            "6: 0 3 4 5 6 Q0 ", "7: 0 3 4 5 6 7 Q0 "});
    expect_mask(e, 2, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", "8: 0 3 7 8 Q0 ",
                                            "9: 0 3 7 8 9 Q0 ", "10: 0 3 7 8 9 10 Q0 ",
                                            "11: 0 3 7 8 9 10 11 Q0 "});
    free(e);
    c = example_cell("apb:anchor=2:passing=1:compressor=norm", 3, 12, 1);
    e = attend_all(&c);
    expect_mask(e, 2, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", "8: 0 2 4 8 Q0 ",
                                            "9: 0 2 4 8 9 Q0 ", "10: 0 2 4 8 9 10 Q0 ",
                                            "11: 0 2 4 8 9 10 11 Q0 "});
    free(e);
}

/* recent: of blocks of six, the last key and one that the compressor chooses among those before it. By scores
 * alone, in 13ths, that are 3 (11) of tokens 2 to 4 and 10 (8) of tokens 6 to 10. Pooled over five
 * positions, the last key's score among them, tokens 3, 4 and 8 to 10 have the most: the first is taken. */
Test(methods, worked_example_apb_recent)
{
    static const char *const options[] = {"compressor=retaining:pool=0", "compressor=retaining",
                                          "compressor=recency", "compressor=sink"};
    static const char *const first_row[] = {"12: 0 3 5 10 11 12 Q0 ", "12: 0 3 5 8 11 12 Q0 ",
                                            "12: 0 4 5 10 11 12 Q0 ", "12: 0 2 5 6 11 12 Q0 "};
    for (int i = 0; i < 4; i++) {
        char text[96];
        snprintf(text, sizeof text, "apb:anchor=2:passing=2:recent=1:%s", options[i]);
        cell c = example_cell(text, 3, 18, 1);
        example *e = attend_all(&c);
        e->masks[2].rows = 3; /* of the anchor and the block's first */
        expect_mask(e, 2, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", first_row[i]});
        free(e);
    }
    cell c = example_cell("apb:anchor=2:passing=2:recent=2:compressor=retaining", 3, 18, 1);
    example *e = attend_all(&c);
    e->masks[2].rows = 3;
    expect_mask(e, 2, (const char *const[]){"0: 0 ", "Q0: 0 Q0 ", first_row[2]});
    free(e);
}

/* On one host nothing is passed, so that nothing is scored, carried or held for it either. */
Test(methods, apb_alone_is_one_causal_block)
{
    static const char *const compressor[] = {"query", "retaining"};
    for (int i = 0; i < 2; i++) {
        char text[64];
        snprintf(text, sizeof text, "apb:anchor=2:passing=1:compressor=%s", compressor[i]);
        cell c = example_cell(text, 1, 12, 3);
        example *e = attend_all(&c);
        expect_layout(e, 0, "0 1 2 3 4 5 6 7 8 9 10 11 | 0 1 2 3 4 5 6 7 8 9 10 11");
        cr_expect_eq(pairs(&e->masks[0]), 12 * 13 / 2);
        cr_expect_eq(e->plans[0].work_bytes, 0);
        method_cost cost = {0};
        c.method->cost(&c, &e->devices[0], 0, &cost);
        cr_expect(cost.linear_rows == 12 && cost.compressor_flops == 0 && cost.bytes_sent == 0);
        cr_expect_not(c.uses_heads);
        free(e);
    }
    cell none = example_cell("apb:anchor=2:passing=0:compressor=retaining", 3, 12, 1);
    cr_expect_not(none.uses_heads);
    cell some = example_cell("apb:anchor=2:passing=1:compressor=retaining", 3, 12, 1);
    cr_expect(some.uses_heads);
}

/* What a compressor chooses of the rows of a host, by itself: `count` of `rows`, the first two of which are
 * the anchor's. */
static void choose(const char *name, uint64_t seed, int layer, int rank, bool pool, int rows, int count,
                   attend_context *x, int32_t *index)
{
    char text[64];
    snprintf(text, sizeof text, "apb:anchor=2:passing=%d:compressor=%s", count, name);
    cell c = example_cell(text, 2, 2 * rows, 2);
    plan p = {.rows = rows, .cached_rows = rows - 2};
    float scores[MOST_ROWS], pooled[MOST_ROWS];
    compressor_buffers b = {.scores = scores, .pooled = pooled, .index = index};
    selection wanted = {.scored_rows = rows, .first_candidate = 2, .candidates = rows - 2, .count = count,
                        .pool = pool};
    device *cpu = device_find("cpu");
    cr_assert(cpu && (cpu->state || !cpu->open(cpu, 1)), "%s", fail_text());
    comm links = {.rank = rank, .size = 2, .dev = cpu};
    c.seed = seed;
    x->cell = &c;
    x->plan = &p;
    x->dev = cpu;
    x->comm = &links;
    x->layer = layer;
    compressor_select(x, &compressors[method_option_value(&c, "compressor")], &b, &wanted, 0);
}

/* Random keys are others on every host, in every layer and with every seed, and drawn as they are: pooling
 * would make neighbours of them. */
Test(methods, random_keys_differ)
{
    enum { ROWS = 50, COUNT = 8, DRAWS = 4 };
    int32_t drawn[DRAWS][COUNT], pooled[COUNT];
    static const struct {
        uint64_t seed;
        int layer, rank;
    } draws[DRAWS] = {{5, 0, 0}, {6, 0, 0}, {5, 1, 0}, {5, 0, 1}};
    for (int i = 0; i < DRAWS; i++) {
        choose("random", draws[i].seed, draws[i].layer, draws[i].rank, false, ROWS, COUNT,
               &(attend_context){0}, drawn[i]);
        for (int j = 0; j < i; j++)
            cr_expect(memcmp(drawn[i], drawn[j], sizeof drawn[i]), "draws %d and %d are alike", i, j);
    }
    choose("random", 5, 0, 0, true, ROWS, COUNT, &(attend_context){0}, pooled);
    cr_expect_arr_eq(pooled, drawn[0], sizeof pooled);
}

/* Keys are scored by the mean of all query rows: the first has most of (1.5, 0) and the second of (0, 2), but
 * both together of (1, 1); the anchor has more, but is not passed. */
Test(methods, query_scores_by_all_its_rows)
{
    enum { ROWS = 5, D = 2 };
    float q[(ROWS + 2) * 2 * D] = {0}, extra[2 * 2 * D] = {[0] = 9, [1] = 9};
    float cached[(ROWS - 2) * 2 * D] = {[0] = 1.5f, [2 * D + 1] = 2, [4 * D] = 1, [4 * D + 1] = 1};
    static const float query[2][D] = {{3, 0}, {0, 2}};
    for (int row = 0; row < 2; row++)
        for (int head = 0; head < 2; head++)
            memcpy(q + ((ROWS + row) * 2 + head) * D, query[row], sizeof query[row]);
    attend_context x = {.q = q, .kv_cache = cached, .kv_extra = extra};
    int32_t index;
    choose("query", 5, 0, 1, false, ROWS, 1, &x, &index);
    cr_expect_eq(index, 2, "row %d of the block", index);
}

/* A worked example: 3 hosts, 12 tokens, the anchor a whole block. */
Test(methods, worked_example_star)
{
    cell c = example_cell("star", 3, 12, 1);
    example *e = attend_all(&c);
    expect_layout(e, 0, "0 1 2 3 | 0 1 2 3");
    expect_layout(e, 1, "0 1 2 3 4 5 6 7 | 0 1 2 3 4 5 6 7");
    expect_layout(e, 2, "0 1 2 3 8 9 10 11 | 0 1 2 3 8 9 10 11");
    expect_mask(e, 2, (const char *const[]){"0: 0 ", "1: 0 1 ", "2: 0 1 2 ", "3: 0 1 2 3 ",
                                            "8: 0 1 2 3 8 ", "9: 0 1 2 3 8 9 ",
                                            "10: 0 1 2 3 8 9 10 ", "11: 0 1 2 3 8 9 10 11 "});
    cr_expect_eq(pairs(&e->masks[0]), 10);
    cr_expect_eq(pairs(&e->masks[1]), 36);
    cr_expect_eq(e->plans[0].owner, 2);
    free(e);
    c = example_cell("star:anchor=2", 3, 12, 1);
    e = attend_all(&c);
    expect_layout(e, 1, "0 1 4 5 6 7 | 0 1 4 5 6 7");
    expect_layout(e, 2, "0 1 8 9 10 11 | 0 1 8 9 10 11");
    cr_expect_eq(pairs(&e->masks[2]), 21);
    free(e);
}

/* T1: the mask is the closed predicate over columns [P, A, B], column j visible from row i iff
 * j <= i + r l_p and (i >= l_a or j >= r l_p), for random sizes. */
Test(methods, apb_mask_is_the_predicate)
{
    srand(11);
    for (int trial = 0; trial < 200; trial++) {
        int hosts = 1 + rand() % 4, anchor = rand() % 5, passing = rand() % 4;
        int block = anchor + passing + 1 + rand() % 6;
        int64_t document = (int64_t)hosts * block - rand() % (block > hosts ? hosts : 1);
        char text[128];
        snprintf(text, sizeof text, "apb:anchor=%d:passing=%d:compressor=%s", anchor, passing,
                 trial % 2 ? "retaining" : "sink");
        cell c = example_cell(text, hosts, document, 1 + rand() % 3);
        block = (int)ceil_div(document, hosts);
        if (block < anchor + passing)
            continue;
        example *e = attend_all(&c);
        for (int r = 0; r < hosts; r++) {
            const mask *m = &e->masks[r];
            int a = r > 0 ? anchor : 0, p = r * passing;
            cr_assert_eq(m->rows, a + block);
            cr_assert_eq(m->columns, a + p + block);
            for (int i = 0; i < m->rows; i++)
                for (int j = 0; j < m->columns; j++) {
                    /* Recorded in the order A, P, B; the predicate counts P, A, B. */
                    int recorded = j < p ? a + j : j < p + a ? j - p : j;
                    bool visible = j <= i + p && (i >= a || j >= p);
                    cr_expect_eq(m->sees[i][recorded], visible, "%s, host %d, row %d, column %d",
                                 text, r, i, j);
                }
        }
        free(e);
    }
}

/* T4: the published query mask hides the newest cached keys on hosts without the query; the default
 * shows them all. Three query rows, five cached keys. */
Test(methods, reference_query_mask)
{
    static const char *const rows[2][3] = {{"11111", "11111", "11111"}, {"11100", "11110", "11111"}};
    for (int reference = 0; reference < 2; reference++) {
        cell c = example_cell(reference ? "star:reference_mask=1" : "star", 1, 5, 3);
        device *cpu = device_find("cpu");
        cr_assert(cpu->state || !cpu->open(cpu, 1));
        example *e = now = alloc_or_die(1, sizeof *e);
        e->cell = &c;
        e->devices[0] = *cpu;
        e->devices[0].attention = record_attention;
        plan p = {.owner = 1, .reference_query_mask = method_option_value(&c, "reference_mask")};
        timeline time = {.dev = cpu};
        comm links = {.rank = 0, .size = 1, .dev = cpu, .time = &time};
        float kv[5 * 4] = {0}, q[3 * 4] = {0}, out[3 * 4];
        query_context x = {.cell = &c, .plan = &p, .dev = &e->devices[0], .comm = &links, .rows = 3,
                           .q = q, .own = {kv, 5}, .out = out};
        cr_assert_eq(query_attend(&x), 0);
        for (int i = 0; i < 3; i++) {
            char text[8] = "";
            for (int j = 0; j < 5; j++)
                strcat(text, e->masks[0].sees[i][j] ? "1" : "0");
            cr_expect_str_eq(text, rows[reference][i]);
        }
        free(e);
    }
}
