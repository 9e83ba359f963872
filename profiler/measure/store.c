/* store.c - rows by shape, when a row has been measured enough, and where more points are due. */
#include "profiler/measure/store.h"
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/format/interp.h"
#include "lib/format/model.h"
#include <string.h>

#define ENOUGH_SAMPLES 200
#define ENOUGH_RATIO 0.01         /* half width of the interval of a row's mean */
#define ENOUGH_RATIO_INSIDE 0.004 /* the same inside one process: only another tells more */
#define NEGLIGIBLE_RATIO 0.001    /* its contribution to the uncertainty of a whole layer */
#define MIN_SAMPLES 3             /* of each process */
#define MIN_SAMPLES_FIRST 6       /* of the first, which knows nothing of the others yet */
#define REFINE_RATIO 0.01         /* an interval that interpolates better is left alone */

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
static void put_work(const struct model_op *op, enum kernel_dtype dtype, struct cost_row *row)
{
    int64_t m = op->m_tokens, n = op->gemm_n, k = op->gemm_k;
    int64_t q = (int64_t)op->heads * op->head_dim, kv = (int64_t)op->kv_heads * op->head_dim;

    row->flops = COST_UNKNOWN;
    row->bytes_weight = 0;
    row->bytes_act = 8 * m * n;
    if (is_linear(op)) {
        row->flops = 2 * m * n * k;
        row->bytes_weight = kernel_weight_bytes(dtype, (int)n, (int)k);
        row->bytes_act = 4 * m * (n + k);
    } else if (op->op == OP_ATTN) {
        row->flops = 4 * q * m * op->kv_len;
        row->bytes_act = 8 * (m * q + kv * op->kv_len * op->batch);
    } else if (op->op == OP_ROPE) {
        row->bytes_act = 8 * m * (q + kv);
    } else if (op->op == OP_KVAPPEND) {
        row->bytes_act = 16 * m * kv;
    } else if (op->op == OP_ADD || (op->op == OP_ACT && k == 1)) {
        row->bytes_act = 12 * m * n; /* y += x, or gate and up */
    }
}

static struct cost_row row_key(const struct store_variant *variant, const struct model_op *op)
{
    bool has_product = is_linear(op) || op->op == OP_ATTN;
    enum kernel_dtype dtype = is_linear(op) ? variant->dtype : KERNEL_F32;
    struct cost_row row;

    cost_row_init(&row);
    row.op = op->op;
    row.phase = op->phase;
    row.impl = has_product
                   ? kernel_linear_impl(
                         dtype, op->op == OP_ATTN && op->phase == OP_DECODE ? 1 : op->m_tokens)
                   : "c";
    /* rows of a token table are read in the type of the weights, too */
    row.dtype = kernel_dtype_names[op->op == OP_EMBED ? variant->dtype : dtype];
    row.threads = variant->threads;
    row.m_tokens = op->m_tokens;
    row.gemm_n = op->gemm_n;
    row.gemm_k = op->gemm_k;
    row.heads = op->heads;
    row.kv_heads = op->kv_heads;
    row.head_dim = op->head_dim;
    row.kv_len = op->kv_len;
    row.batch = op->batch;
    row.state = COST_CHAIN;
    row.regime = variant->regime;
    row.model = variant->model->name;
    row.layer_kind = op->op == OP_EMBED ? "embed" : op->op >= OP_FNORM ? "lm_head" : "layer";
    row.origin = INTERP_MEASURED;
    put_work(op, variant->dtype, &row);
    return row;
}

static bool is_same_shape(const struct cost_row *a, const struct cost_row *b)
{
    return a->op == b->op && a->phase == b->phase && a->m_tokens == b->m_tokens &&
           a->gemm_n == b->gemm_n && a->gemm_k == b->gemm_k && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->kv_len == b->kv_len &&
           a->batch == b->batch && strcmp(a->impl, b->impl) == 0;
}

static int find_row(struct store *store, const struct model_op *op)
{
    struct cost_row key = row_key(&store->variant, op);

    /* sequences matter to attention alone: to all else they are so many rows */
    if (op->op != OP_ATTN)
        key.batch = 1;
    for (int i = 0; i < store->row_count; i++)
        if (is_same_shape(&store->rows[i].key, &key))
            return i;
    if (store->row_count == store->row_room) {
        int room = store->row_room ? 2 * store->row_room : 128;

        store->rows = arena_grow(store->arena, store->rows, (size_t)store->row_count, (size_t)room,
                                 sizeof(*store->rows));
        store->row_room = room;
    }
    store->rows[store->row_count] = (struct store_row){
        .key = key, .calls = op->count, .is_held_out = true, .energy_uj = COST_UNKNOWN
    };
    return store->row_count++;
}

static void map_point(struct store *store, int index)
{
    const struct point *point = &store->points[index];
    int32_t each = point->m / point->batch;

    for (int op = 0; op < OP_COUNT; op++)
        store->row_of[index][op] = -1;
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_batch_ops(store->variant.model, (enum model_block)block, point->batch,
                                    each, point->kv - each, ops);

        for (int i = 0; i < count; i++)
            store->row_of[index][ops[i].op] = find_row(store, &ops[i]);
    }
    for (int op = 0; op < OP_COUNT && !store->is_held_out[index]; op++)
        if (store->row_of[index][op] >= 0)
            store->rows[store->row_of[index][op]].is_held_out = false;
}

struct store *store_create(struct arena *arena, const struct store_variant *variant)
{
    struct store *store = arena_alloc(arena, sizeof(*store));

    store->arena = arena;
    store->variant = *variant;
    return store;
}

int store_find_point(const struct store *store, const struct point *point)
{
    for (int i = 0; i < store->point_count; i++)
        if (grid_is_same(&store->points[i], point))
            return i;
    return -1;
}

int store_add_point(struct store *store, const struct point *point, bool is_held_out)
{
    int index = store_find_point(store, point);

    if (index < 0 && store->point_count == GRID_MAX_POINTS)
        return -1;
    if (index < 0) {
        index = store->point_count++;
        store->points[index] = *point;
        store->is_held_out[index] = is_held_out;
        map_point(store, index);
    } else if (!is_held_out && store->is_held_out[index]) {
        store->is_held_out[index] = false;
        map_point(store, index);
    }
    return index;
}

int store_find_anchor(const struct store *store, const struct point *point)
{
    for (int a = 0; a < store->anchor_count; a++)
        if (grid_is_same(&store->anchors[a].point, point))
            return a;
    return -1;
}

void store_add_anchor(struct store *store, const struct point *point, int layers)
{
    if (store_find_anchor(store, point) < 0 && store->anchor_count < GRID_MAX_POINTS)
        store->anchors[store->anchor_count++] =
            (struct store_anchor){ *point, layers, { NULL, 0, 0 } };
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

double store_layer_ps(struct store *store, struct arena *scratch, int point)
{
    double total = 0.0;

    for (int op = OP_NORM; op <= OP_FFN_DOWN; op++) {
        int row = store->row_of[point][op];

        if (row >= 0)
            total += (double)summarize(store, scratch, row)->mean_ps * store->rows[row].calls;
    }
    return total;
}

/* How much of the uncertainty of a layer at the point is this row's. */
static bool is_negligible(struct store *store, struct arena *scratch, int point, int row,
                          const struct samples_summary *summary)
{
    return summary->half_ps >= 0 && (double)summary->half_ps * store->rows[row].calls <=
                                        NEGLIGIBLE_RATIO * store_layer_ps(store, scratch, point);
}

static bool is_finished(struct store *store, struct arena *scratch, int point, int row, int proc,
                        int processes)
{
    const struct samples *samples = &store->rows[row].samples;
    const struct samples_summary *summary;
    int first = samples->count, here = 0;

    while (first > 0 && samples->items[first - 1].proc == proc)
        here += !samples->items[--first].is_dirty;
    if (here >= (ENOUGH_SAMPLES + processes - 1) / processes)
        return true;
    if (here < (proc == 0 ? MIN_SAMPLES_FIRST : MIN_SAMPLES))
        return false;
    if (samples_inside_ratio(samples->items + first, samples->count - first) <= ENOUGH_RATIO_INSIDE)
        return true;
    summary = summarize(store, scratch, row);
    /* the spread between processes shows only in the second */
    if (proc > 0 && samples_half_ratio(summary) <= ENOUGH_RATIO)
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
    const struct point *at = &store->points[point];

    for (int op = 0; op < OP_COUNT; op++) {
        int row = store->row_of[point][op];

        if (row < 0 || op == OP_FNORM || op == OP_LMHEAD)
            continue;
        if (at->phase == OP_PREFILL && at->kv > at->m && op != OP_ATTN) /* a chunk */
            continue;
        if (!is_finished(store, scratch, point, row, proc, processes))
            return false;
    }
    return true;
}

/* ---- refinement ---- */

static bool is_size(const struct store *store, int point)
{
    const struct point *at = &store->points[point];

    return at->phase == OP_PREFILL && at->kv == at->m && !store->is_held_out[point];
}

/* Whole prefills of the table in ascending order of size. */
static int list_sizes(const struct store *store, int *points)
{
    int count = 0;

    for (int p = 0; p < store->point_count; p++) {
        int at = count;

        if (!is_size(store, p))
            continue;
        for (; at > 0 && store->points[points[at - 1]].m > store->points[p].m; at--)
            points[at] = points[at - 1];
        points[at] = p;
        count++;
    }
    return count;
}

struct interp_tiles store_fit(struct arena *scratch, int32_t period, const int32_t *x,
                              const int64_t *y_ps, int count)
{
    struct interp_tiles tiles = { 0 };

    if (period > 0 && interp_fit_period(scratch, x, y_ps, count, period, &tiles))
        return tiles;
    return interp_fit(scratch, x, y_ps, count);
}

/* Adds each operator's leave-one-out error at the sizes, weighted by its share of the layer. */
static void add_errors(struct store *store, struct arena *scratch, enum op op, const int *points,
                       int count, double *errors)
{
    int32_t *x = arena_array(scratch, (size_t)count, sizeof(*x));
    int64_t *y_ps = arena_array(scratch, (size_t)count, sizeof(*y_ps));
    double *ratios = arena_array(scratch, (size_t)count, sizeof(*ratios));
    int first = 0;

    while (first < count && store->points[points[first]].m < 2) /* another kernel, no curve */
        first++;
    for (int i = first; i < count; i++) {
        int row = store->row_of[points[i]][op];

        if (row < 0 || summarize(store, scratch, row)->mean_ps <= 0)
            return;
        x[i - first] = store->points[points[i]].m;
        y_ps[i - first] = summarize(store, scratch, row)->mean_ps;
    }
    struct interp_tiles tiles = store_fit(scratch, store->period, x, y_ps, count - first);
    interp_leave_one_out(scratch, x, y_ps, count - first, INTERP_LINEAR, &tiles, ratios);
    for (int i = first; i < count; i++)
        if (ratios[i - first] > 0.0)
            errors[i] += ratios[i - first] * (double)y_ps[i - first] /
                         store_layer_ps(store, scratch, points[i]);
}

/* The middle, by ratio, of the wider gap beside the size, at a multiple of 4; 0 when both gaps are
 * narrow. */
static int32_t middle_beside(const struct store *store, const int *points, int count, int at)
{
    int32_t size = store->points[points[at]].m, best = 0;
    double widest = 1.5;

    for (int side = -1; side <= 1; side += 2) {
        if (at + side < 0 || at + side >= count)
            continue;
        int32_t other = store->points[points[at + side]].m;
        double low = size < other ? size : other, high = size < other ? other : size;
        int32_t middle = (int32_t)dmath_round(dmath_sqrt(low * high) / 4.0) * 4;

        if (high / low <= widest || middle <= low || middle >= high)
            continue;
        widest = high / low;
        best = middle;
    }
    return best;
}

int store_refine(struct store *store, struct arena *scratch, int room)
{
    static const enum op products[] = { OP_QKV, OP_OPROJ, OP_FFN_UP, OP_FFN_DOWN };
    int points[GRID_MAX_POINTS], added = 0;
    double errors[GRID_MAX_POINTS] = { 0.0 };
    int count = list_sizes(store, points);

    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
        add_errors(store, scratch, products[i], points, count, errors);
    while (added < room) {
        int worst = -1;

        for (int i = 0; i < count; i++)
            if (errors[i] > REFINE_RATIO && (worst < 0 || errors[i] > errors[worst]))
                worst = i;
        if (worst < 0)
            break;
        int32_t m = middle_beside(store, points, count, worst);
        struct point point = { OP_PREFILL, m, m, 1 };

        errors[worst] = 0.0;
        if (m > 0 && store_find_point(store, &point) < 0)
            added += store_add_point(store, &point, false) >= 0;
    }
    return added;
}

struct point store_largest(const struct store *store)
{
    struct point most = { OP_ANY, 1, 1, 1 };

    for (int i = 0; i < store->point_count + store->anchor_count; i++) {
        const struct point *point = i < store->point_count
                                        ? &store->points[i]
                                        : &store->anchors[i - store->point_count].point;

        most.m = point->m > most.m ? point->m : most.m;
        most.kv = point->kv > most.kv ? point->kv : most.kv;
        most.batch = point->batch > most.batch ? point->batch : most.batch;
    }
    return most;
}
