/* See extent_device.h. */
#include "tests/extent_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "harness/error.h"

static extent_state *state_of(device *d)
{
    return d->state;
}

static void add(extent_list *list, const void *begin, size_t bytes)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->items = realloc_or_die(list->items, (size_t)list->capacity, sizeof *list->items);
    }
    list->items[list->count++] = (extent){(uintptr_t)begin, (uintptr_t)begin + bytes};
}

static int by_begin(const void *a, const void *b)
{
    uintptr_t x = ((const extent *)a)->begin, y = ((const extent *)b)->begin;
    return (x > y) - (x < y);
}

size_t extent_union(extent_list *list, int *runs)
{
    if (list->count)
        qsort(list->items, (size_t)list->count, sizeof *list->items, by_begin);
    uintptr_t covered = 0, sum = 0;
    *runs = 0;
    for (int i = 0; i < list->count; i++) {
        *runs += list->items[i].begin > covered;
        uintptr_t begin = list->items[i].begin > covered ? list->items[i].begin : covered;
        if (list->items[i].end > begin) {
            sum += list->items[i].end - begin;
            covered = list->items[i].end;
        }
    }
    return sum;
}

/* Everything is a multiple of at least one byte that must lie in a block; no bytes lie anywhere. */
static void within(device *d, const char *what, const void *at, int64_t bytes)
{
    extent_state *s = state_of(d);
    s->calls++;
    if (bytes == 0)
        return;
    for (int i = 0; i < s->blocks.count && bytes > 0; i++)
        if ((uintptr_t)at >= s->blocks.items[i].begin &&
            (uintptr_t)at + (uintptr_t)bytes <= s->blocks.items[i].end)
            return;
    if (!s->outside++)
        snprintf(s->first_outside, sizeof s->first_outside, "%s: %lld bytes at %p", what,
                 (long long)bytes, at);
}

static int64_t act(const device *d)
{
    return (int64_t)d->act_bytes;
}

/* Bytes from the first to the last element of a matrix. */
static int64_t matrix(int64_t rows, int64_t stride, int64_t width, int64_t bytes)
{
    return rows > 0 ? ((rows - 1) * stride + width) * bytes : 0;
}

/* ---- Memory: address space that nobody may touch ---- */

static void *alloc(device *d, size_t bytes)
{
    extent_state *s = state_of(d);
    if (s->refuse_from && bytes >= s->refuse_from)
        return NULL;
    void *block = mmap(NULL, bytes ? bytes : 1, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    add(&s->blocks, block, bytes ? bytes : 1);
    return block;
}

static void release(device *d, void *block)
{
    extent_list *blocks = &state_of(d)->blocks;
    for (int i = 0; i < blocks->count; i++)
        if (blocks->items[i].begin == (uintptr_t)block) {
            munmap(block, blocks->items[i].end - blocks->items[i].begin);
            blocks->items[i] = blocks->items[--blocks->count];
            return;
        }
    fprintf(stderr, "a block is freed that was not given out\n");
    abort();
}

static void memory(device *d, size_t *free_bytes, size_t *total_bytes)
{
    (void)d;
    *free_bytes = *total_bytes = (size_t)1 << 40;
}

static void upload(device *d, void *to, const void *from, size_t bytes)
{
    (void)from;
    within(d, "upload", to, (int64_t)bytes);
}

static void download(device *d, void *to, const void *from, size_t bytes)
{
    within(d, "download", from, (int64_t)bytes);
    memset(to, 0, bytes);
}

static void copy(device *d, void *to, const void *from, size_t bytes)
{
    within(d, "copy to", to, (int64_t)bytes);
    within(d, "copy from", from, (int64_t)bytes);
}

static void copy_rows(device *d, void *to, size_t to_stride, const void *from, size_t from_stride,
                      size_t row_bytes, int64_t rows)
{
    within(d, "copy_rows to", to, matrix(rows, (int64_t)to_stride, (int64_t)row_bytes, 1));
    within(d, "copy_rows from", from, matrix(rows, (int64_t)from_stride, (int64_t)row_bytes, 1));
}

static void random_values(device *d, void *to, bool to_f32, int64_t count, uint64_t seed, float bound)
{
    (void)seed, (void)bound;
    within(d, "random", to, count * (to_f32 ? 4 : act(d)));
}

static void upload_weights(device *d, void *to, bool to_f32, const void *from, dtype type, int64_t count)
{
    (void)from, (void)type;
    within(d, "upload_weights", to, count * (to_f32 ? 4 : act(d)));
}

/* ---- Time stands still ---- */

static void nothing(device *d)
{
    (void)d;
}

static device_mark mark(device *d)
{
    (void)d;
    return (device_mark){.seconds = 0};
}

static double between(device *d, device_mark from, device_mark to)
{
    (void)d;
    return to.seconds - from.seconds;
}

/* ---- Operations ---- */

static void embed(device *d, float *x, const int32_t *ids, const void *table, int64_t rows, int hidden)
{
    within(d, "embed x", x, rows * hidden * 4);
    within(d, "embed ids", ids, rows * 4);
    within(d, "embed table", table, act(d));
}

static void rmsnorm(device *d, void *out, const float *x, const float *weight, int64_t rows, int hidden,
                    float epsilon)
{
    (void)epsilon;
    within(d, "rmsnorm out", out, rows * hidden * act(d));
    within(d, "rmsnorm x", x, rows * hidden * 4);
    within(d, "rmsnorm weight", weight, (int64_t)hidden * 4);
    if (rows != 1 && rows != state_of(d)->few_rows)
        add(&state_of(d)->normed, x, (size_t)(rows * hidden * 4));
}

static void gemm(device *d, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
                 const void *w, const void *bias, int64_t m, int64_t n, int64_t k)
{
    (void)bias;
    extent_state *s = state_of(d);
    int64_t c_bytes = matrix(m, ldc, n, mode == GEMM_STORE ? act(d) : 4);
    within(d, "gemm c", c, c_bytes);
    within(d, "gemm a", a, matrix(m, lda, k, act(d)));
    within(d, "gemm w", w, n * k * act(d));
    if (mode == GEMM_ADD_F32 && k == s->ffn && m != s->few_rows)
        add(&s->residual, c, (size_t)c_bytes);
}

static void rope(device *d, void *q, void *kv, const void *qkv, const int32_t *positions,
                 const float *table, int64_t rows, int heads, int kv_heads, int head_dim)
{
    extent_state *s = state_of(d);
    int64_t q_bytes = rows * heads * head_dim * act(d), kv_bytes = rows * 2 * kv_heads * head_dim * act(d);
    within(d, "rope q", q, q_bytes);
    within(d, "rope kv", kv, kv_bytes);
    within(d, "rope qkv", qkv, q_bytes + kv_bytes);
    within(d, "rope positions", positions, rows * 4);
    within(d, "rope table", table, 4);
    bool few = rows == 1 || rows == s->few_rows;
    if ((char *)q + q_bytes == kv || (few && s->one_host))
        return; /* the query phase's: together, or where one host's keys stay */
    add(&s->q, q, (size_t)q_bytes);
    add(&s->kv, kv, (size_t)kv_bytes);
}

static void swiglu(device *d, void *out, const void *gate_up, int64_t rows, int ffn)
{
    within(d, "swiglu out", out, rows * ffn * act(d));
    within(d, "swiglu gate_up", gate_up, rows * 2 * ffn * act(d));
}

static void silu(device *d, void *x, int64_t count)
{
    within(d, "silu", x, count * act(d));
}

static void attention(device *d, const attn_call *a)
{
    int64_t width = (int64_t)a->heads * a->head_dim;
    within(d, "attention q", a->q, matrix(a->rows, a->q_row_stride, width, act(d)));
    if (a->out)
        within(d, "attention out", a->out, matrix(a->rows, a->out_row_stride, width, act(d)));
    if (a->acc)
        within(d, "attention acc", a->acc, a->rows * width * 4);
    if (a->lse)
        within(d, "attention lse", a->lse, a->rows * a->heads * 4);
    for (int i = 0; i < a->segment_count; i++) {
        const attn_segment *g = &a->segments[i];
        int64_t last = (a->kv_heads - 1) * g->head_stride + a->head_dim;
        within(d, "attention k", g->k, matrix(g->length, g->row_stride, last, act(d)));
        within(d, "attention v", g->v, matrix(g->length, g->row_stride, last, act(d)));
        if (g->length > 0 && (g->row_begin < 0 || g->row_end > a->rows))
            within(d, "attention rows", NULL, -1);
    }
}

static void from_f32(device *d, void *out, const float *in, int64_t count)
{
    within(d, "from_f32 out", out, count * act(d));
    within(d, "from_f32 in", in, count * 4);
}

static void merge(device *d, void *out, const void *parts_out, const float *lse, int parts, int64_t rows,
                  int heads, int head_dim)
{
    within(d, "merge out", out, rows * heads * head_dim * act(d));
    within(d, "merge parts", parts_out, parts * rows * heads * head_dim * act(d));
    within(d, "merge lse", lse, parts * rows * heads * 4);
}

static void score_query(device *d, float *scores, const void *q, int64_t query_rows, const void *kv,
                        int64_t rows, int heads, int kv_heads, int head_dim)
{
    within(d, "score_query scores", scores, rows * kv_heads * 4);
    within(d, "score_query q", q, query_rows * heads * head_dim * act(d));
    within(d, "score_query kv", kv, rows * 2 * kv_heads * head_dim * act(d));
}

static void weigh_by_norm(device *d, float *scores, const void *kv, int64_t rows, int kv_heads, int head_dim)
{
    within(d, "weigh_by_norm scores", scores, rows * kv_heads * 4);
    within(d, "weigh_by_norm kv", kv, rows * 2 * kv_heads * head_dim * act(d));
}

static void max_pool5(device *d, float *out, const float *in, int64_t rows, int kv_heads)
{
    within(d, "max_pool5 out", out, rows * kv_heads * 4);
    within(d, "max_pool5 in", in, rows * kv_heads * 4);
}

static void top_k(device *d, int32_t *index, const float *scores, int64_t rows, int kv_heads, int64_t k)
{
    within(d, "top_k index", index, k * kv_heads * 4);
    within(d, "top_k scores", scores, rows * kv_heads * 4);
}

static void gather_kv(device *d, void *slab, const void *kv, const int32_t *index, int64_t k, int kv_heads,
                      int head_dim)
{
    within(d, "gather_kv slab", slab, k * 2 * kv_heads * head_dim * act(d));
    within(d, "gather_kv kv", kv, k * 2 * kv_heads * head_dim * act(d)); /* at least so many rows */
    within(d, "gather_kv index", index, k * kv_heads * 4);
}

static void argmax(device *d, int32_t *ids, const float *logits, int64_t rows, int vocab)
{
    within(d, "argmax ids", ids, rows * 4);
    within(d, "argmax logits", logits, rows * vocab * 4);
}

device extent_device(extent_state *state)
{
    return (device){
        .name = "extent", .title = "checks extents, computes nothing", .act_bytes = 2, .chunk_rows = 16384,
        .alloc = alloc, .free = release, .memory = memory, .upload = upload, .download = download,
        .copy = copy, .copy_rows = copy_rows, .upload_weights = upload_weights, .random = random_values,
        .sync = nothing, .mark = mark, .between = between, .forget_marks = nothing, .embed = embed,
        .rmsnorm = rmsnorm, .gemm = gemm, .rope = rope, .swiglu = swiglu, .silu = silu,
        .attention = attention, .from_f32 = from_f32, .merge = merge, .score_query = score_query,
        .weigh_by_norm = weigh_by_norm, .max_pool5 = max_pool5, .top_k = top_k, .gather_kv = gather_kv,
        .argmax = argmax, .state = state,
    };
}

void extent_free(extent_state *s)
{
    free(s->blocks.items);
    free(s->q.items);
    free(s->kv.items);
    free(s->normed.items);
    free(s->residual.items);
    *s = (extent_state){0};
}
