/* verify.c - which rows are drawn, a run on their points alone, and the comparison. */
#include "profiler/table/verify.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/format/model.h"
#include "profiler/device/sysfile.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/grid.h"
#include "profiler/measure/measure.h"
#include "profiler/measure/samples.h"
#include "profiler/measure/store.h"
#include "profiler/table/saved.h"
#include <string.h>

#define PROCESSES 3
#define MAX_SLICES 8
#define ANCHOR_PERCENT 50 /* of the time: they are what shows whether the machine is the same */
#define MIN_LAYERS 3      /* as many as a visit asks for */
#define DRAW_ENTITY UINT64_C(0x76657269667900) /* apart from the order of points of any process */

struct drawn { /* a row of the table that is measured again */
    const struct cost_row *row;
    struct point point; /* at which it is met */
    int variant;
};

struct plan {
    struct arena *arena;
    struct verify *verify;
    struct store_variant variants[MEASURE_MAX_STORES]; /* of the table */
    int variant_count;
    struct store *stores[MEASURE_MAX_STORES];
    struct pool_plan pools[MEASURE_MAX_STORES];
    int store_count;
    struct drawn *candidates, *drawn;
    int candidate_count, drawn_count;
    struct rng rng;
};

/* ---- what the table was measured of ---- */

static bool is_point(const struct model *model, const struct cost_row *row)
{
    return row->op == OP_ATTN && row->heads == model->heads && row->kv_heads == model->kv_heads &&
           row->head_dim == model->head_dim && row->state == COST_CHAIN &&
           ((row->phase == OP_PREFILL && row->m_tokens <= row->kv_len && row->batch == 1) ||
            (row->phase == OP_DECODE && row->m_tokens == row->batch && row->kv_len > 1));
}

/* Every forward has attention, so its rows name all points. */
static struct store *store_of_table(struct plan *plan, const struct store_variant *variant)
{
    const struct cost_table *costs = plan->verify->saved->costs;
    struct store *store = store_create(plan->arena, variant);

    for (int i = 0; i < cost_row_count(costs); i++) {
        const struct cost_row *row = cost_row_at(costs, i);
        struct point point = { row->phase, row->m_tokens, row->kv_len, row->batch };

        if (row->threads == variant->threads && is_point(variant->model, row))
            store_add_point(store, &point, false);
    }
    return store;
}

/* Whether the row is the qkv product of the variant: each has one. */
static bool is_of_variant(const struct cost_row *row, const struct store_variant *variant)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_block_ops(variant->model, BLOCK_ATTN, 1, 0, ops);

    for (int i = 0; i < count; i++)
        if (ops[i].op == OP_QKV)
            return row->op == OP_QKV && row->state == COST_CHAIN && row->gemm_n == ops[i].gemm_n &&
                   row->gemm_k == ops[i].gemm_k && row->threads == variant->threads &&
                   strcmp(row->dtype, kernel_dtype_names[variant->dtype]) == 0;
    return false;
}

static void add_variant(struct plan *plan, const struct store_variant *variant)
{
    const struct cost_table *costs = plan->verify->saved->costs;

    for (int v = 0; v < plan->variant_count; v++)
        if (plan->variants[v].threads == variant->threads &&
            plan->variants[v].dtype == variant->dtype &&
            plan->variants[v].model->heads == variant->model->heads)
            return;
    for (int i = 0; i < cost_row_count(costs) && plan->variant_count < MEASURE_MAX_STORES; i++)
        if (is_of_variant(cost_row_at(costs, i), variant)) {
            plan->variants[plan->variant_count] = *variant;
            plan->variants[plan->variant_count].index = plan->variant_count;
            plan->variant_count++;
            return;
        }
}

/* Thread counts, shares of the model and types of weights that the table has rows of. */
static void list_variants(struct plan *plan)
{
    const struct cost_table *costs = plan->verify->saved->costs;
    const struct model *model = plan->verify->model;

    for (int parts = 1; parts <= MAX_SLICES; parts++) {
        struct err unused = ERR_INIT;
        const struct model *slice =
            parts == 1 ? model : model_slice(plan->arena, model, parts, &unused);

        for (int i = 0; slice && i < cost_row_count(costs); i++)
            for (int d = 0; d < KERNEL_DTYPE_COUNT; d++)
                add_variant(plan,
                            &(struct store_variant){ .threads = cost_row_at(costs, i)->threads,
                                                     .slices = parts,
                                                     .dtype = (enum kernel_dtype)d,
                                                     .model = slice,
                                                     .regime = cost_row_at(costs, i)->regime });
    }
}

/* ---- drawing ---- */

static const struct cost_row *find_saved(const struct saved *saved, const struct cost_row *key)
{
    for (int i = 0; i < cost_row_count(saved->costs); i++)
        if (saved_compare_rows(cost_row_at(saved->costs, i), key) == 0)
            return cost_row_at(saved->costs, i);
    return NULL;
}

/* The rows that a run at the table's own points would measure. */
static void list_candidates(struct plan *plan)
{
    const struct verify *verify = plan->verify;
    size_t room = (size_t)cost_row_count(verify->saved->costs) * (size_t)plan->variant_count + 1;

    plan->candidates = arena_array(plan->arena, room, sizeof(*plan->candidates));
    for (int v = 0; v < plan->variant_count; v++) {
        const struct store *store = store_of_table(plan, &plan->variants[v]);

        for (int r = 0; r < store->row_count; r++) {
            const struct cost_row *row = find_saved(verify->saved, &store->rows[r].key);
            int at = 0;

            while (at < store->point_count && store->row_of[at][store->rows[r].key.op] != r)
                at++;
            if (row && at < store->point_count)
                plan->candidates[plan->candidate_count++] =
                    (struct drawn){ row, store->points[at], v };
        }
    }
}

static bool carries_time(enum op op)
{
    return op == OP_QKV || op == OP_ATTN || op == OP_OPROJ || op == OP_FFN_UP ||
           op == OP_FFN_DOWN || op == OP_LMHEAD;
}

/* Moves one of the candidates of a kind (OP_COUNT: of those that carry time) to the drawn. */
static void draw(struct plan *plan, enum op op)
{
    int count = 0, chosen = -1;

    if (plan->drawn_count == plan->verify->row_count)
        return;
    for (int i = 0; i < plan->candidate_count; i++) {
        enum op of = plan->candidates[i].row->op;

        if (op == OP_COUNT ? !carries_time(of) : of != op)
            continue;
        count++;
        if (rng_below(&plan->rng, (uint64_t)count) == 0)
            chosen = i;
    }
    if (chosen < 0)
        return;
    plan->drawn[plan->drawn_count++] = plan->candidates[chosen];
    plan->candidates[chosen] = plan->candidates[--plan->candidate_count];
}

/* One of every kind, those that carry the time first; then more of the latter. */
static void draw_all(struct plan *plan)
{
    plan->drawn = arena_array(plan->arena, (size_t)plan->candidate_count + 1, sizeof(*plan->drawn));
    for (int pass = 0; pass < 2; pass++)
        for (int op = 0; op < OP_COUNT; op++)
            if (carries_time((enum op)op) == (pass == 0))
                draw(plan, (enum op)op);
    for (int before = -1; before < plan->drawn_count && plan->candidate_count > 0;) {
        before = plan->drawn_count;
        draw(plan, OP_COUNT);
    }
}

/* ---- measuring ---- */

static bool is_of_model(const struct cost_anchor *anchor, const struct model *model)
{
    return strcmp(anchor->model, model->name) == 0 && anchor->layers >= 1 &&
           (anchor->phase == OP_PREFILL || (anchor->phase == OP_DECODE && anchor->kv_len > 1));
}

static struct point anchor_point(const struct cost_anchor *anchor)
{
    int32_t batch = anchor->batch > 1 ? anchor->batch : 1;

    if (anchor->phase == OP_DECODE)
        return (struct point){ OP_DECODE, batch, anchor->kv_len, batch };
    return (struct point){ OP_PREFILL, anchor->tokens, anchor->tokens, 1 };
}

static bool is_anchor_of(const struct cost_anchor *anchor, const struct store_variant *variant)
{
    const char *dtype = anchor->dtype ? anchor->dtype : kernel_dtype_names[KERNEL_F32];

    return anchor->threads == variant->threads && variant->slices == 1 &&
           strcmp(dtype, kernel_dtype_names[variant->dtype]) == 0 &&
           is_of_model(anchor, variant->model);
}

static struct store *make_store(struct plan *plan, int index)
{
    const struct cost_table *costs = plan->verify->saved->costs;
    const struct store_variant *variant = &plan->variants[index];
    struct store *store = store_create(plan->arena, variant);

    for (int i = 0; i < plan->drawn_count; i++)
        if (plan->drawn[i].variant == index)
            store_add_point(store, &plan->drawn[i].point, false);
    for (int a = 0; a < cost_anchor_count(costs); a++) {
        const struct cost_anchor *anchor = cost_anchor_at(costs, a);
        struct point point = anchor_point(anchor);

        if (is_anchor_of(anchor, variant))
            store_add_anchor(store, &point, anchor->layers);
    }
    /* rounds go on while points are unfinished: anchors alone need one */
    if (store->point_count == 0 && store->anchor_count > 0)
        store_add_point(store, &store->anchors[0].point, false);
    return store;
}

static bool plan_store(struct plan *plan, const struct store *store, struct pool_plan *pool,
                       struct err *err)
{
    const struct verify *verify = plan->verify;
    struct forward_shape shape = chain_shape(store->variant.model, store->variant.dtype);
    int64_t available = 0, llc = cost_llc_bytes(verify->saved->costs);
    struct point most = store_largest(store);
    int layers = 1;

    sysfile_field_kb(plan->arena, verify->sysroot, "/proc/meminfo", "MemAvailable", &available);
    for (int a = 0; a < store->anchor_count; a++)
        layers = store->anchors[a].layers > layers ? store->anchors[a].layers : layers;
    if (layers > verify->model->layers)
        return err_set(err, ERR_INPUT, "%s: an anchor has %d layers, %s has %d",
                       verify->saved->folder, layers, verify->model->name, verify->model->layers);
    if (layers < MIN_LAYERS && verify->model->layers >= MIN_LAYERS)
        layers = MIN_LAYERS;
    if (!pool_plan(&shape, layers, &most, llc, available, pool, err))
        return false;
    for (int a = 0; a < store->anchor_count; a++)
        if (pool->anchor_layers < store->anchors[a].layers)
            return err_set(err, ERR_SYSTEM,
                           "the anchors of %s have %d layers; the memory that is available now "
                           "holds %d",
                           verify->saved->folder, store->anchors[a].layers, pool->anchor_layers);
    return true;
}

/* A run that has no words of its own on how long it takes. */
static void ignore_slow(void *arg, int64_t round_ns)
{
    (void)arg;
    (void)round_ns;
}

static bool measure(struct plan *plan, struct err *err)
{
    struct verify *verify = plan->verify;
    struct measure measure = { .stores = plan->stores,
                               .store_count = plan->store_count,
                               .pools = plan->pools,
                               .anchor_percent = ANCHOR_PERCENT,
                               .energy_reason = "off",
                               .processes = PROCESSES,
                               .budget_ns = verify->budget_ns,
                               .seed = verify->seed,
                               .sysroot = verify->sysroot,
                               .interrupt = verify->interrupt,
                               .on_slow = ignore_slow,
                               .counter_state = "" };

    for (int s = 0; s < plan->store_count; s++)
        if (!plan_store(plan, plan->stores[s], &plan->pools[s], err))
            return false;
    if (!measure_run(&measure, err))
        return false;
    verify->processes = measure.processes_done;
    return true;
}

/* ---- comparing ---- */

void verify_judge(struct verify_line *line, double slack_ratio)
{
    double table = (double)line->table_ps;
    double now_ratio = line->now_half_ps >= 0 ? (double)line->now_half_ps / (double)line->now_ps
                                              : 2 * VERIFY_UNCLEAR_RATIO;

    line->change_ratio = (double)line->now_ps / table - 1.0;
    line->allowed_ratio = slack_ratio + (double)line->table_half_ps / table +
                          (line->now_half_ps > 0 ? (double)line->now_half_ps / table : 0.0);
    double change = line->change_ratio < 0 ? -line->change_ratio : line->change_ratio;
    line->verdict = change > line->allowed_ratio       ? VERIFY_OUTSIDE
                    : now_ratio > VERIFY_UNCLEAR_RATIO ? VERIFY_UNCLEAR
                                                       : VERIFY_HOLDS;
}

static void add_line(struct plan *plan, const char *what, bool is_anchor, int64_t table_ps,
                     int64_t table_half_ps, const struct samples *samples)
{
    struct verify *verify = plan->verify;
    struct verify_line line = {
        .what = what, .is_anchor = is_anchor, .table_ps = table_ps, .table_half_ps = table_half_ps
    };
    struct samples_summary now;

    if (!samples_summarize(plan->arena, samples, &now) || now.mean_ps <= 0)
        return;
    line.now_ps = now.mean_ps;
    line.now_half_ps = now.half_ps;
    verify_judge(&line, VERIFY_SLACK_RATIO);
    verify->lines[verify->line_count++] = line;
    *(is_anchor ? &verify->anchors : &verify->rows) += 1;
    verify->unclear += line.verdict == VERIFY_UNCLEAR;
    *(is_anchor ? &verify->anchors_outside : &verify->rows_outside) +=
        line.verdict == VERIFY_OUTSIDE;
}

static void compare_anchors(struct plan *plan)
{
    const struct cost_table *costs = plan->verify->saved->costs;

    for (int i = 0; i < cost_anchor_count(costs); i++)
        for (int s = 0; s < plan->store_count; s++) {
            const struct cost_anchor *anchor = cost_anchor_at(costs, i);
            const struct store *store = plan->stores[s];
            struct point point = anchor_point(anchor);
            int a = store_find_anchor(store, &point);

            if (is_anchor_of(anchor, &store->variant) && a >= 0 &&
                store->anchors[a].layers == anchor->layers)
                add_line(plan, saved_anchor_text(plan->arena, anchor), true,
                         anchor->forward_mean_ps, anchor->ci_ps == COST_UNKNOWN ? 0 : anchor->ci_ps,
                         &store->anchors[a].samples);
        }
}

static void compare_rows(struct plan *plan)
{
    for (int d = 0; d < plan->drawn_count; d++)
        for (int s = 0; s < plan->store_count; s++) {
            const struct cost_row *row = plan->drawn[d].row;
            const struct store *store = plan->stores[s];

            for (int r = 0; r < store->row_count && store->variant.index == plan->drawn[d].variant;
                 r++)
                if (saved_compare_rows(&store->rows[r].key, row) == 0)
                    add_line(plan, saved_row_text(plan->arena, row), false, row->mean_ps,
                             saved_half_ps(row), &store->rows[r].samples);
        }
}

bool verify_run(struct arena *arena, struct verify *verify, struct err *err)
{
    struct plan plan = { .arena = arena, .verify = verify };

    plan.rng = rng_stream(verify->seed, RNG_PROFILE_ORDER, DRAW_ENTITY);
    list_variants(&plan);
    list_candidates(&plan);
    if (plan.candidate_count == 0)
        return err_set(err, ERR_INPUT, "%s: no measured rows of %s", verify->saved->folder,
                       verify->model->name);
    draw_all(&plan);
    for (int v = 0; v < plan.variant_count; v++) {
        struct store *store = make_store(&plan, v);

        if (store->point_count > 0)
            plan.stores[plan.store_count++] = store;
    }
    if (!measure(&plan, err))
        return false;
    verify->lines =
        arena_array(arena, (size_t)(plan.drawn_count + cost_anchor_count(verify->saved->costs)) + 1,
                    sizeof(*verify->lines));
    compare_anchors(&plan);
    compare_rows(&plan);
    return true;
}

enum verify_verdict verify_conclude(const struct verify *verify)
{
    if (verify->anchors_outside > 0 ||
        100 * verify->rows_outside > VERIFY_OUTSIDE_PERCENT * verify->rows)
        return VERIFY_OUTSIDE;
    return 2 * verify->unclear > verify->line_count ? VERIFY_UNCLEAR : VERIFY_HOLDS;
}
