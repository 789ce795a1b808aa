/* Logits of all positions, some rows at a time. See positions.h. */
#include "harness/run/positions.h"

#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/layer.h"
#include "harness/run/run.h"

enum { MOST_ROWS = 256 };

/* Under flash on one host the plan's kept rows are the document. */
static int keep_rows(void *argument, comm *links, const plan *plan, const float *x)
{
    positions *p = argument;
    links->dev->download(links->dev, p->residual, x,
                         (size_t)plan->kept_rows * (size_t)p->model->config.shape.hidden * sizeof *x);
    return 0;
}

static void keep_last(void *argument, int step, int32_t id, const float *logits)
{
    (void)step, (void)id;
    positions *p = argument;
    memcpy(p->last, logits, (size_t)p->model->config.shape.vocab * sizeof *logits);
}

/* The buffers of positions_logits. */
static int take_buffers(positions *p)
{
    device *dev = p->model->dev;
    const model_shape *s = &p->model->config.shape;
    p->most_rows = dev->chunk_rows < MOST_ROWS ? dev->chunk_rows : MOST_ROWS;
    size_t rows = (size_t)p->most_rows, hidden = (size_t)s->hidden, vocab = (size_t)s->vocab;
    p->norm = dev->alloc(dev, rows * hidden * dev->act_bytes);
    p->x = dev->alloc(dev, rows * hidden * sizeof(float));
    p->logits = dev->alloc(dev, rows * vocab * sizeof(float));
    if (p->norm && p->x && p->logits)
        return 0;
    return fail("out of memory: %zu bytes wanted on the device for the logits of %lld rows",
                rows * (hidden * (dev->act_bytes + sizeof(float)) + vocab * sizeof(float)),
                (long long)p->most_rows);
}

int positions_open(const model *m, const int32_t *ids, int64_t count, positions *p)
{
    *p = (positions){.model = m, .count = count};
    if (count < 2)
        return fail("logits of all positions want at least 2 tokens, got %lld", (long long)count);
    cell c = {.hosts = 1, .seed = 1};
    if (method_parse("flash", &c))
        return -1;
    cell_from_model(&c, &m->config, m);
    c.document = count - 1;
    c.query = c.query_in_anchor = 1;
    p->residual = alloc_or_die((size_t)(count - 1) * (size_t)c.shape.hidden, sizeof(float));
    p->last = alloc_or_die((size_t)c.shape.vocab, sizeof(float));
    run_request request = {
        .model = m,
        .cell = &c,
        .driver = comm_find("sim"),
        .document = ids,
        .query = ids + count - 1,
        .new_tokens = 1,
        .on_token = keep_last,
        .on_rows = keep_rows,
        .argument = p,
    };
    run_result result = {0};
    int status = run_cell(&request, &result);
    run_result_free(&result);
    m->dev->forget_marks(m->dev);
    if (!status)
        status = take_buffers(p);
    if (status)
        positions_close(p);
    return status;
}

void positions_logits(positions *p, int64_t first, int64_t rows, float *logits)
{
    device *dev = p->model->dev;
    size_t hidden = (size_t)p->model->config.shape.hidden, vocab = (size_t)p->model->config.shape.vocab;
    bool ends = first + rows == p->count;
    int64_t made = ends ? rows - 1 : rows;
    if (made > 0) {
        dev->upload(dev, p->x, p->residual + (size_t)first * hidden,
                    (size_t)made * hidden * sizeof(float));
        layer_logits(p->model, p->norm, p->x, made, p->logits);
        dev->download(dev, logits, p->logits, (size_t)made * vocab * sizeof(float));
    }
    if (ends)
        memcpy(logits + (size_t)made * vocab, p->last, vocab * sizeof(float));
}

void positions_close(positions *p)
{
    device *dev = p->model->dev;
    if (p->norm)
        dev->free(dev, p->norm);
    if (p->x)
        dev->free(dev, p->x);
    if (p->logits)
        dev->free(dev, p->logits);
    free(p->residual);
    free(p->last);
    *p = (positions){.model = p->model};
}
