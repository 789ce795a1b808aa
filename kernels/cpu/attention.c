/* Attention over segments of the cpu device, and the merge of partial results.
 *
 * The queries of one KV head (all rows times the heads of its group) are laid out in lanes; a
 * lane_group of them walks over the keys with an online softmax (Milakov and Gimelshein 2018), so
 * only a KEY_TILE x lanes block of scores ever exists. A tile of a few lane groups is one task: it
 * shares its keys and values in cache, and skips whatever no row of a group sees. Tasks go out
 * longest first. When there are too few tasks for the threads (decode: one row), the keys are split
 * as well and the parts merged in a fixed order, so that equal shapes and thread counts give equal
 * bits. */
#include "harness/error.h"
#include "kernels/cpu/cpu.h"
#include "kernels/visible.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TILE_GROUPS = 4,      /* lane groups of a tile at most, which share K and V in cache */
    TASKS_PER_THREAD = 4, /* below this tiles get smaller, then keys are split */
    SPLIT_KEYS_MIN = 256, /* shortest split: below it the merge costs more than it gains */
};

static const double LOG2_E = 1.4426950408889634, LN_2 = 0.69314718055994531;

typedef struct {
    const attn_call *call;
    const cpu_lanes *code;
    int group;          /* query heads of a KV head */
    int64_t lanes;      /* rows * group: lane i is row i / group, head i % group */
    int group_lanes;    /* lanes of a full lane_group */
    bool few;           /* so few that attend_few() takes them */
    int tile_groups;    /* lane groups of a tile */
    int64_t tiles;
    int splits;         /* of the keys of all segments laid end to end */
    int64_t split_keys; /* a multiple of KEY_TILE */
    size_t state_floats; /* acc, top and sum of a tile */
    size_t queries_floats;
    float *states;  /* one for each thread, or with splits for each (tile, KV head, split) */
    float *threads; /* for each thread: queries of a tile and one block of scores */
} attention_plan;

/* One tile: its lane groups and which lanes they hold. */
typedef struct {
    int count;
    lane_group groups[TILE_GROUPS];
    int64_t first_lane[TILE_GROUPS];
    int64_t real_lanes[TILE_GROUPS]; /* the others repeat the last real lane */
} tile_state;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Lane groups of a tile, their memory laid out in `queries` and `state`. */
static void lay_out_tile(const attention_plan *plan, int64_t tile, float *queries, float *state,
                         tile_state *out)
{
    int head_dim = plan->call->head_dim, width = plan->code->width;
    int64_t begin = tile * plan->tile_groups * plan->group_lanes;
    int64_t end = least(plan->lanes, begin + (int64_t)plan->tile_groups * plan->group_lanes);
    out->count = 0;
    for (int64_t lane = begin; lane < end; lane += plan->group_lanes) {
        int g = out->count++;
        int64_t real = least(plan->group_lanes, end - lane);
        size_t lanes = plan->few ? (size_t)real : (size_t)((real + width - 1) / width * width);
        out->first_lane[g] = lane;
        out->real_lanes[g] = real;
        out->groups[g] = (lane_group){.lanes = (int)lanes,
                                      .head_dim = head_dim,
                                      .lane_stride = plan->few ? head_dim : 1,
                                      .dim_stride = plan->few ? 1 : (int)lanes,
                                      .q = queries,
                                      .acc = state,
                                      .top = state + lanes * (size_t)head_dim,
                                      .sum = state + lanes * (size_t)(head_dim + 1)};
        queries += lanes * (size_t)head_dim;
        state += lanes * (size_t)(head_dim + 2);
    }
}

/* Queries into lanes; the state empty, or what the call folds into. */
static void start_group(const attention_plan *plan, const lane_group *group, int64_t first_lane,
                        int64_t real, int kv_head, bool resume)
{
    const attn_call *call = plan->call;
    int head_dim = call->head_dim, step = group->dim_stride;
    float scale = (float)(call->scale * LOG2_E);
    for (int i = 0; i < group->lanes; i++) {
        float *to_q = group->q + i * group->lane_stride;
        float *to_acc = group->acc + i * group->lane_stride;
        int64_t lane = first_lane + (i < real ? i : real - 1);
        int64_t row = lane / plan->group;
        int head = kv_head * plan->group + (int)(lane % plan->group);
        const float *q = (const float *)call->q + row * call->q_row_stride + head * head_dim;
        for (int e = 0; e < head_dim; e++)
            to_q[e * step] = q[e] * scale;
        float lse = resume ? call->lse[row * call->heads + head] : -INFINITY;
        group->top[i] = (float)(lse * LOG2_E);
        group->sum[i] = lse == -INFINITY ? 0.0f : 1.0f;
        if (lse == -INFINITY) {
            for (int e = 0; e < head_dim; e++)
                to_acc[e * step] = 0.0f;
        } else {
            const float *acc = call->acc + (row * call->heads + head) * head_dim;
            for (int e = 0; e < head_dim; e++)
                to_acc[e * step] = acc[e];
        }
    }
}

static void finish_group(const attention_plan *plan, const lane_group *group, int64_t first_lane,
                         int64_t real, int kv_head)
{
    const attn_call *call = plan->call;
    int head_dim = call->head_dim;
    for (int i = 0; i < real; i++) {
        int64_t row = (first_lane + i) / plan->group;
        int head = kv_head * plan->group + (int)((first_lane + i) % plan->group);
        float *out = call->acc ? call->acc + (row * call->heads + head) * head_dim
                               : (float *)call->out + row * call->out_row_stride + head * head_dim;
        const float *acc = group->acc + i * group->lane_stride;
        float sum = group->sum[i], scale = sum == 0.0f ? 0.0f : 1.0f / sum;
        for (int e = 0; e < head_dim; e++)
            out[e] = acc[e * group->dim_stride] * scale;
        if (call->lse)
            call->lse[row * call->heads + head] =
                sum == 0.0f ? -INFINITY : (float)((group->top[i] + log2((double)sum)) * LN_2);
    }
}

/* All groups of a tile against keys begin..end - 1 of a segment. */
static void attend_segment(const attention_plan *plan, const tile_state *tile, int kv_head,
                           const attn_segment *segment, int64_t begin, int64_t end, float *scores)
{
    int64_t limits[TILE_GROUPS][MAX_LANES], all[TILE_GROUPS], some[TILE_GROUPS], last = 0;
    for (int g = 0; g < tile->count; g++) {
        int lanes = tile->groups[g].lanes;
        all[g] = segment->length;
        some[g] = 0;
        for (int i = 0; i < lanes; i++) {
            int64_t lane = tile->first_lane[g] + least(i, tile->real_lanes[g] - 1);
            limits[g][i] = visible_keys(segment, lane / plan->group);
            all[g] = least(all[g], limits[g][i]);
            some[g] = most(some[g], limits[g][i]);
        }
        last = most(last, some[g]);
    }
    end = least(end, last);
    void (*attend)(const lane_group *, const float *, const float *, int64_t, int, const int32_t *,
                   float *) = plan->few ? plan->code->attend_few : plan->code->attend;
    const float *k = (const float *)segment->k + kv_head * segment->head_stride;
    const float *v = (const float *)segment->v + kv_head * segment->head_stride;
    for (int64_t key = begin; key < end; key += KEY_TILE)
        for (int g = 0; g < tile->count; g++) {
            int keys = (int)least(least(KEY_TILE, end - key), some[g] - key);
            if (keys <= 0)
                continue;
            int32_t limit[MAX_LANES];
            bool masked = key + keys > all[g];
            for (int i = 0; masked && i < tile->groups[g].lanes; i++)
                limit[i] = (int32_t)most(0, least(KEY_TILE, limits[g][i] - key));
            attend(&tile->groups[g], k + key * segment->row_stride, v + key * segment->row_stride,
                   segment->row_stride, keys, masked ? limit : NULL, scores);
        }
}

static void run_task(const attention_plan *plan, int64_t tile_index, int kv_head, int split,
                     float *state, float *thread)
{
    tile_state tile;
    lay_out_tile(plan, tile_index, thread, state, &tile);
    for (int g = 0; g < tile.count; g++)
        start_group(plan, &tile.groups[g], tile.first_lane[g], tile.real_lanes[g], kv_head,
                    plan->call->fold && split == 0);
    int64_t split_begin = split * plan->split_keys, split_end = split_begin + plan->split_keys;
    int64_t start = 0; /* of the segment, among all segments laid end to end */
    for (int s = 0; s < plan->call->segment_count; s++) {
        const attn_segment *segment = &plan->call->segments[s];
        int64_t begin = most(0, split_begin - start);
        int64_t end = least(segment->length, split_end - start);
        if (begin < end)
            attend_segment(plan, &tile, kv_head, segment, begin, end,
                           thread + plan->queries_floats);
        start += most(0, segment->length);
    }
    for (int g = 0; plan->splits == 1 && g < tile.count; g++)
        finish_group(plan, &tile.groups[g], tile.first_lane[g], tile.real_lanes[g], kv_head);
}

/* Adds the state of a later split to that of the first. */
static void join_group(const lane_group *to, const lane_group *from)
{
    float keep[MAX_LANES], take[MAX_LANES];
    for (int i = 0; i < to->lanes; i++) {
        float top = from->top[i] > to->top[i] ? from->top[i] : to->top[i];
        float base = top == -INFINITY ? 0.0f : top;
        keep[i] = exp2f(to->top[i] - base);
        take[i] = exp2f(from->top[i] - base);
        to->sum[i] = to->sum[i] * keep[i] + from->sum[i] * take[i];
        to->top[i] = top;
    }
    for (int e = 0; e < to->head_dim; e++)
        for (int i = 0; i < to->lanes; i++) {
            int64_t at = e * to->dim_stride + i * to->lane_stride;
            to->acc[at] = to->acc[at] * keep[i] + from->acc[at] * take[i];
        }
}

static void join_splits(const attention_plan *plan, int64_t tile_index, int kv_head, float *states)
{
    tile_state tile, part;
    lay_out_tile(plan, tile_index, states, states, &tile);
    for (int split = 1; split < plan->splits; split++) {
        lay_out_tile(plan, tile_index, states, states + (size_t)split * plan->state_floats, &part);
        for (int g = 0; g < tile.count; g++)
            join_group(&tile.groups[g], &part.groups[g]);
    }
    for (int g = 0; g < tile.count; g++)
        finish_group(plan, &tile.groups[g], tile.first_lane[g], tile.real_lanes[g], kv_head);
}

typedef struct {
    int64_t tile, pairs;
} tile_cost;

static int longest_first(const void *a, const void *b)
{
    const tile_cost *x = a, *y = b;
    if (x->pairs != y->pairs)
        return x->pairs < y->pairs ? 1 : -1;
    return x->tile < y->tile ? -1 : x->tile > y->tile;
}

/* How the call is cut into tasks: a function of its shapes and the thread count alone. */
static void choose_tasks(attention_plan *plan, int threads)
{
    const attn_call *call = plan->call;
    int64_t groups = (plan->lanes + plan->group_lanes - 1) / plan->group_lanes;
    int64_t wanted = (int64_t)threads * TASKS_PER_THREAD, keys = 0;
    for (plan->tile_groups = TILE_GROUPS; plan->tile_groups > 1; plan->tile_groups /= 2)
        if ((groups + plan->tile_groups - 1) / plan->tile_groups * call->kv_heads >= wanted)
            break;
    plan->tiles = (groups + plan->tile_groups - 1) / plan->tile_groups;
    for (int s = 0; s < call->segment_count; s++)
        keys += most(0, call->segments[s].length);
    int64_t tasks = plan->tiles * call->kv_heads;
    int64_t splits = threads > 1 && tasks < wanted ? (wanted + tasks - 1) / tasks : 1;
    splits = most(1, least(splits, keys / SPLIT_KEYS_MIN));
    int64_t share = (keys + splits - 1) / splits;
    plan->split_keys = most(KEY_TILE, (share + KEY_TILE - 1) / KEY_TILE * KEY_TILE);
    plan->splits = (int)most(1, (keys + plan->split_keys - 1) / plan->split_keys);
}

void cpu_attention(device *d, const attn_call *call)
{
    cpu_state *state = cpu_begin(d);
    if (call->rows <= 0)
        return;
    int64_t pairs = visible_pairs(call, 0, call->rows);
    uint64_t flops = 4 * (uint64_t)call->head_dim * (uint64_t)pairs * (uint64_t)call->heads;
    __atomic_fetch_add(&d->flops, flops, __ATOMIC_RELAXED);

    attention_plan plan = {.call = call, .code = state->lanes};
    plan.group = call->heads / call->kv_heads;
    plan.lanes = call->rows * plan.group;
    plan.group_lanes = MAX_VECTORS * plan.code->width;
    plan.few = plan.lanes <= FEW_LANES_MAX;
    int threads = flops < 200000 ? 1 : state->threads; /* waking a thread takes longer */
    choose_tasks(&plan, threads);

    size_t tile_lanes = (size_t)plan.tile_groups * (size_t)plan.group_lanes;
    plan.queries_floats = tile_lanes * (size_t)call->head_dim;
    plan.state_floats = tile_lanes * (size_t)(call->head_dim + 2);
    size_t thread_floats = plan.queries_floats + SCRATCH_FLOATS;
    int64_t tasks = plan.tiles * call->kv_heads * plan.splits;
    size_t states = plan.splits > 1 ? (size_t)tasks : (size_t)threads;
    plan.states = cpu_scratch(state, (states * plan.state_floats +
                                      (size_t)threads * thread_floats) * sizeof(float));
    plan.threads = plan.states + states * plan.state_floats;

    tile_cost *order = alloc_or_die((size_t)plan.tiles, sizeof *order);
    for (int64_t tile = 0; tile < plan.tiles; tile++) {
        int64_t begin = tile * (int64_t)tile_lanes;
        int64_t end = least(plan.lanes, begin + (int64_t)tile_lanes);
        order[tile] = (tile_cost){tile, visible_pairs(call, begin / plan.group,
                                                   (end - 1) / plan.group + 1)};
    }
    qsort(order, (size_t)plan.tiles, sizeof *order, longest_first);

    int64_t heads_splits = (int64_t)call->kv_heads * plan.splits;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        size_t me = (size_t)cpu_thread();
        float *thread = plan.threads + me * thread_floats;
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t tile = order[task / heads_splits].tile, rest = task % heads_splits;
            int kv_head = (int)(rest / plan.splits), split = (int)(rest % plan.splits);
            size_t slot = plan.splits > 1 ? (size_t)(tile * heads_splits + rest) : me;
            run_task(&plan, tile, kv_head, split, plan.states + slot * plan.state_floats, thread);
        }
        if (plan.splits > 1) {
#pragma omp for schedule(static)
            for (int64_t pair = 0; pair < plan.tiles * call->kv_heads; pair++)
                join_splits(&plan, pair / call->kv_heads, (int)(pair % call->kv_heads),
                            plan.states + (size_t)(pair * plan.splits) * plan.state_floats);
        }
    }
    free(order);
}

void cpu_merge(device *d, void *out, const void *out_parts, const float *lse, int parts,
               int64_t rows, int heads, int head_dim)
{
    cpu_state *state = cpu_begin(d);
    int64_t pairs = rows * heads;
#pragma omp parallel for schedule(static) if (pairs * head_dim * parts >= CPU_PARALLEL_ELEMENTS)
    for (int64_t i = 0; i < pairs; i++) {
        float *to = (float *)out + i * head_dim;
        memset(to, 0, (size_t)head_dim * sizeof *to);
        float top = -INFINITY;
        for (int p = 0; p < parts; p++)
            top = lse[p * pairs + i] > top ? lse[p * pairs + i] : top;
        double total = 0;
        for (int p = 0; p < parts; p++)
            if (lse[p * pairs + i] != -INFINITY)
                total += exp((double)lse[p * pairs + i] - top);
        for (int p = 0; p < parts; p++)
            if (lse[p * pairs + i] != -INFINITY)
                state->lanes->blend(to, 1.0f,
                                    (const float *)out_parts + (p * pairs + i) * head_dim,
                                    (float)(exp((double)lse[p * pairs + i] - top) / total),
                                    head_dim);
    }
}
