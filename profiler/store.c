/* store.c - rows by shape, and when a row has been measured enough. */
#include "profiler/store.h"
#include "lib/base/arena.h"
#include "lib/format/model.h"
#include "lib/kernels/kernels.h"
#include <string.h>

#define ENOUGH_SAMPLES 200
#define ENOUGH_RATIO 0.01      /* half width of the interval of a row's mean */
#define NEGLIGIBLE_RATIO 0.001 /* its contribution to the uncertainty of a whole layer */
#define MIN_SAMPLES_PER_PROCESS 4

static bool is_linear(const struct model_op *op)
{
    switch (op->op) {
    case OP_QKV:
    case OP_OPROJ:
    case OP_FFN_UP:
    case OP_FFN_DOWN:
    case OP_LMHEAD:
        return true;
    case OP_EMBED:
        return op->gemm_k > 0; /* patches are projected */
    case OP_NORM:
    case OP_ROPE:
    case OP_KVAPPEND:
    case OP_ATTN:
    case OP_ADD:
    case OP_ACT:
    case OP_FNORM:
    case OP_COUNT:
        return false;
    }
    return false;
}

/* Work and bytes that the definition asks for, each operand once. Elementwise operators have no
 * useful count of operations. */
static void put_work(const struct model_op *op, struct cost_row *row)
{
    int64_t m = op->m_tokens, n = op->gemm_n, k = op->gemm_k;
    int64_t q = (int64_t)op->heads * op->head_dim, kv = (int64_t)op->kv_heads * op->head_dim;

    row->flops = COST_UNKNOWN;
    row->bytes_weight = 0;
    row->bytes_act = 8 * m * n;
    if (is_linear(op)) {
        row->flops = 2 * m * n * k;
        row->bytes_weight = 4 * n * k;
        row->bytes_act = 4 * m * (n + k);
    } else if (op->op == OP_ATTN) {
        row->flops = 4 * q * m * op->kv_len;
        row->bytes_act = 8 * (m * q + kv * op->kv_len);
    } else if (op->op == OP_ROPE) {
        row->bytes_act = 8 * m * (q + kv);
    } else if (op->op == OP_KVAPPEND) {
        row->bytes_act = 16 * m * kv;
    } else if (op->op == OP_ADD || (op->op == OP_ACT && k == 1)) {
        row->bytes_act = 12 * m * n; /* y += x, or gate and up */
    }
}

static struct cost_row row_key(const struct model *model, const struct model_op *op, int threads)
{
    struct cost_row row;

    cost_row_init(&row);
    row.op = op->op;
    row.phase = op->phase;
    row.impl = is_linear(op) || op->op == OP_ATTN ? kernel_linear_impl(op->m_tokens) : "c";
    row.dtype = "f32";
    row.energy_reason = "not_measured";
    row.threads = threads;
    row.m_tokens = op->m_tokens;
    row.batch = op->batch;
    row.gemm_n = op->gemm_n;
    row.gemm_k = op->gemm_k;
    row.heads = op->heads;
    row.kv_heads = op->kv_heads;
    row.head_dim = op->head_dim;
    row.kv_len = op->kv_len;
    row.state = COST_CHAIN;
    row.regime = "burst";
    row.model = model->name;
    put_work(op, &row);
    return row;
}

static bool is_same_shape(const struct cost_row *a, const struct cost_row *b)
{
    return a->op == b->op && a->phase == b->phase && a->m_tokens == b->m_tokens &&
           a->gemm_n == b->gemm_n && a->gemm_k == b->gemm_k && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->kv_len == b->kv_len &&
           strcmp(a->impl, b->impl) == 0;
}

static int find_row(struct store *store, const struct model_op *op)
{
    struct cost_row key = row_key(store->model, op, store->threads);

    for (int i = 0; i < store->row_count; i++)
        if (is_same_shape(&store->rows[i].key, &key))
            return i;
    if (store->row_count == store->row_room) {
        int room = store->row_room ? 2 * store->row_room : 128;

        store->rows = arena_grow(store->arena, store->rows, (size_t)store->row_count, (size_t)room,
                                 sizeof(*store->rows));
        store->row_room = room;
    }
    struct store_row *row = &store->rows[store->row_count];
    row->key = key;
    row->calls = op->count;
    return store->row_count++;
}

static void map_point(struct store *store, int index)
{
    const struct point *point = &store->points[index];

    for (int op = 0; op < OP_COUNT; op++)
        store->row_of[index][op] = -1;
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(store->model, (enum model_block)block, point->m,
                                    point->kv - point->m, ops);

        for (int i = 0; i < count; i++)
            store->row_of[index][ops[i].op] = find_row(store, &ops[i]);
    }
}

struct store *store_create(struct arena *arena, const struct model *model,
                           const struct point *points, int point_count, int threads,
                           int anchor_layers)
{
    struct store *store = arena_alloc(arena, sizeof(*store));

    store->arena = arena;
    store->threads = threads;
    store->model = model;
    store->points = points;
    store->point_count = point_count;
    store->row_of = arena_array(arena, (size_t)point_count, sizeof(*store->row_of));
    for (int i = 0; i < point_count; i++)
        map_point(store, i);
    for (int phase = OP_PREFILL; phase <= OP_DECODE; phase++) {
        int middle = grid_middle(points, point_count, (enum op_phase)phase);

        if (middle >= 0)
            store->anchors[store->anchor_count++] =
                (struct store_anchor){ middle, anchor_layers, { NULL, 0, 0 } };
    }
    return store;
}

void store_add_round(struct store *store, struct store_round round)
{
    if (store->round_count == store->round_room) {
        int room = store->round_room ? 2 * store->round_room : 64;

        store->rounds = arena_grow(store->arena, store->rounds, (size_t)store->round_count,
                                   (size_t)room, sizeof(*store->rounds));
        store->round_room = room;
    }
    store->rounds[store->round_count++] = round;
}

/* Points share rows, and every point asks for the rows of its whole layer. */
static const struct samples_summary *summarize(struct store *store, struct arena *scratch, int row)
{
    struct store_row *from = &store->rows[row];

    if (from->summarized_count != from->samples.count) {
        samples_summarize(scratch, &from->samples, &from->summary);
        from->summarized_count = from->samples.count;
    }
    return &from->summary;
}

/* Mean time of one layer at a point, and how much of its uncertainty is this row's. */
static bool is_negligible(struct store *store, struct arena *scratch, int point, int row,
                          const struct samples_summary *summary)
{
    double total = 0.0;

    for (int op = OP_NORM; op <= OP_FFN_DOWN; op++) {
        int other = store->row_of[point][op];

        if (other >= 0)
            total += (double)summarize(store, scratch, other)->mean_ps * store->rows[other].calls;
    }
    return summary->half_ps >= 0 &&
           (double)summary->half_ps * store->rows[row].calls <= NEGLIGIBLE_RATIO * total;
}

static bool is_finished(struct store *store, struct arena *scratch, int point, int row, int proc,
                        int processes)
{
    const struct samples *samples = &store->rows[row].samples;
    const struct samples_summary *summary;
    int here = 0;

    for (int i = samples->count - 1; i >= 0 && samples->items[i].proc == proc; i--)
        here += !samples->items[i].is_dirty;
    if (here >= (ENOUGH_SAMPLES + processes - 1) / processes)
        return true;
    /* the spread between processes shows only in the second: until then, a fair share of samples */
    if (here < MIN_SAMPLES_PER_PROCESS || (proc == 0 && here < ENOUGH_SAMPLES / processes / 2))
        return false;
    summary = summarize(store, scratch, row);
    if (samples_half_ratio(summary) <= ENOUGH_RATIO)
        return true;
    return point >= 0 && is_negligible(store, scratch, point, row, summary);
}

bool store_row_finished(struct store *store, struct arena *scratch, int row, int proc,
                        int processes)
{
    return is_finished(store, scratch, -1, row, proc, processes);
}

bool store_point_finished(struct store *store, struct arena *scratch, int point, int proc,
                          int processes)
{
    for (int op = 0; op < OP_COUNT; op++) {
        int row = store->row_of[point][op];

        if (row < 0 || op == OP_FNORM || op == OP_LMHEAD)
            continue;
        if (!is_finished(store, scratch, point, row, proc, processes))
            return false;
    }
    return true;
}
