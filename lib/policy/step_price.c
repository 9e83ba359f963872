/* step_price.c - sums measured operators over the slices of a stage, for steps that mix requests.
 */
#include "lib/policy/step_price.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/overhead.h"
#include "lib/policy/continuous.h"
#include "lib/policy/pass.h"
#include "lib/policy/plan.h"
#include "lib/policy/price.h"
#include <assert.h>

#define TAIL_TOKENS 1024 /* at least so far behind the last point a line is laid */

struct sum {           /* at a speed ratio of 1 */
    int64_t time_ps;   /* of operators */
    int64_t beside_ps; /* of what is none: it knows no kappa */
    int32_t extrapolated;
    bool is_known;
};

struct lines { /* of one number of decodes, rising */
    int count;
    struct step_line *list;
};

struct work {                  /* a block that is computed */
    const struct model *model; /* as far as it is computed here */
    enum model_block block;
    int64_t times;
    int32_t norms, adds; /* of connections; else WHOLE */
};

#define WHOLE (-1)
#define MOST_WORKS ((int)BLOCK_COUNT > PASS_MAX_TERMS ? (int)BLOCK_COUNT : PASS_MAX_TERMS)

struct step_price {
    struct arena *arena;
    struct step_price_of of;
    int threads;
    int work_count;
    struct work works[MOST_WORKS];
    const struct work *attn; /* NULL = none */
    int64_t row_ps;          /* for each token: of what is coded */
    bool has_mixed;
    struct cost_mixed shape;
    const struct cost_grid *grid; /* NULL: looked for at every look-up */
    struct sum *tokens;           /* by tokens of a step */
    struct sum *sequences;        /* by sequences of a step */
    struct lines *lines;          /* by decodes of a step */
    int point_count;
    const int32_t *points; /* where decodes were measured */
};

static void works_of_stage(struct step_price *price, const struct plan_stage *stage)
{
    struct plan_counts counts = plan_stage_counts(stage);

    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct work work = { price->of.model, (enum model_block)block, counts.layers[block], WHOLE,
                             WHOLE };

        if (block == BLOCK_CONN) {
            work.norms = (int32_t)counts.norms;
            work.adds = (int32_t)counts.adds;
        }
        if (counts.layers[block] > 0)
            price->works[price->work_count++] = work;
    }
    price->row_ps = plan_stage_codec_ps(stage);
}

static void works_of_piece(struct step_price *price, const struct pass_piece *piece)
{
    for (int i = 0; i < piece->term_count; i++) {
        const struct pass_term *term = &piece->terms[i];
        bool is_conn = term->block == BLOCK_CONN;

        price->works[price->work_count++] =
            (struct work){ term->model, term->block, 1, is_conn ? term->norms : WHOLE,
                           is_conn ? term->adds : WHOLE };
        price->row_ps += term->row_ps;
    }
}

static void works_find(struct step_price *price)
{
    if (price->of.piece)
        works_of_piece(price, price->of.piece);
    else
        works_of_stage(price, price->of.stage);
    for (int i = 0; i < price->work_count; i++)
        if (price->works[i].block == BLOCK_ATTN)
            price->attn = &price->works[i];
}

/* Of a step's, those that are computed here: a part of the sequence may be. */
static int32_t tokens_of(const struct step_price *price, int32_t tokens)
{
    return price->of.piece ? pass_range_tokens(&price->of.piece->range, tokens) : tokens;
}

struct step_price *step_price_create(struct arena *arena, const struct step_price_of *of)
{
    struct step_price *price = arena_alloc(arena, sizeof *price);
    int threads = of->threads > 0 ? of->threads : cost_only_threads(of->table);

    assert(of->token_budget >= 1 && of->token_budget <= STEP_PRICE_MAX_TOKENS);
    price->arena = arena;
    price->of = *of;
    price->threads = threads > 0 ? threads : 1;
    price->has_mixed = cost_has_mixed(of->table);
    works_find(price);
    if (price->attn)
        price->shape = (struct cost_mixed){ .heads = price->attn->model->heads,
                                            .kv_heads = price->attn->model->kv_heads,
                                            .head_dim = price->attn->model->head_dim };
    price->grid = cost_find_grid(of->table, &price->shape, price->threads, of->model->weight_bits);
    price->tokens = arena_array(arena, (size_t)of->token_budget + 1, sizeof *price->tokens);
    price->sequences = arena_array(arena, (size_t)of->max_seqs + 1, sizeof *price->sequences);
    price->lines = arena_array(arena, (size_t)of->max_seqs + 1, sizeof *price->lines);
    if (price->attn)
        price->points = cost_decode_points(arena, of->table, &price->shape, price->threads,
                                           of->model->weight_bits, &price->point_count);
    return price;
}

/* ---- sums ---- */

static bool add(struct sum *sum, int64_t time_ps, int64_t times, struct err *err)
{
    int64_t product_ps;

    if (__builtin_mul_overflow(time_ps, times, &product_ps) ||
        __builtin_add_overflow(sum->time_ps, product_ps, &sum->time_ps) ||
        sum->time_ps > UNITS_MAX_PS)
        return err_set(err, ERR_INPUT, "a step of a stage costs more than 104 days");
    return true;
}

/* What kernels of that set (op_set_of) take. */
static bool add_kernel(const struct step_price *price, struct sum *sum, uint32_t kernel,
                       int64_t time_ps, int64_t times, enum interp_origin origin, struct err *err)
{
    if (origin == INTERP_EXTRAPOLATED) {
        sum->extrapolated++;
        if (price->of.extrapolated_ops)
            *price->of.extrapolated_ops |= kernel;
    }
    return add(sum, time_ps, times, err);
}

/* What is no operator. */
static bool add_beside(struct sum *sum, int64_t time_ps, int64_t times, struct err *err)
{
    struct sum beside = { .time_ps = sum->beside_ps };

    if (!add(&beside, time_ps, times, err))
        return false;
    sum->beside_ps = beside.time_ps;
    return true;
}

/* Both together. */
static bool join(struct sum *sum, const struct sum *other, struct err *err)
{
    sum->extrapolated += other->extrapolated;
    return add(sum, other->time_ps, 1, err) && add_beside(sum, other->beside_ps, 1, err);
}

/* What the sum of a step of that size is in the end. */
static bool total(const struct step_price *price, const struct sum *sum, enum op_phase phase,
                  int32_t tokens, int64_t kv_len, int32_t batch, int64_t *time_ps, struct err *err)
{
    struct sum all = { .time_ps = sum->time_ps };
    double kappa;

    if (price->of.without_kappa) {
        if (cost_kappa(price->of.table, price->of.model->name, phase, tokens,
                       kv_len < INT32_MAX ? (int32_t)kv_len : INT32_MAX, batch, price->threads,
                       price->of.model->weight_bits, &kappa))
            all.time_ps = dmath_round((double)all.time_ps * kappa);
        else
            ++*price->of.without_kappa;
    }
    if (!add(&all, sum->beside_ps, 1, err))
        return false;
    *time_ps = price_scale(all.time_ps, price->of.speed_ratio);
    return true;
}

static bool add_op(const struct step_price *price, const struct work *work,
                   const struct model_op *op, struct sum *sum, struct err *err)
{
    int64_t times = work->times * op->count;
    enum interp_origin origin;
    struct err detail = ERR_INIT;
    int64_t time_ps;

    if (work->norms != WHOLE)
        times = op->op == OP_NORM ? work->norms : work->adds;
    if (times == 0)
        return true;
    if (!cost_lookup(price->of.table, op, price->threads, price->of.model->weight_bits, &time_ps,
                     &origin, &detail))
        return err_set(err, detail.kind,
                       price->of.piece ? "%s (block %s" PRICE_OF_SLICED ")" : "%s", detail.text,
                       model_block_names[work->block]);
    return add_kernel(price, sum, op_set_of(op->op, op->phase), time_ps, times, origin, err);
}

/* An engine with attn_mixed norms every row before it picks the last ones. */
static bool counts_by_tokens(const struct step_price *price, const struct model_op *op)
{
    return op->op != OP_ATTN && op->op != OP_LMHEAD && (op->op != OP_FNORM || price->has_mixed);
}

/* All that works on every token of the step. */
static const struct sum *sum_tokens(struct step_price *price, int32_t tokens, struct err *err)
{
    struct sum *sum = &price->tokens[tokens];
    struct model_op ops[MODEL_MAX_OPS];

    if (sum->is_known)
        return sum;
    *sum = (struct sum){ 0 };
    for (int w = 0; w < price->work_count && tokens > 0; w++) {
        const struct work *work = &price->works[w];
        int count = model_batch_ops(work->model, work->block, tokens, 1, 0, ops);

        for (int i = 0; i < count; i++)
            if (counts_by_tokens(price, &ops[i]) && !add_op(price, work, &ops[i], sum, err))
                return NULL;
    }
    /* coding what it sends, and restoring what it receives */
    if (!add_beside(sum, price->row_ps, tokens, err))
        return NULL;
    sum->is_known = true;
    return sum;
}

/* An LM head, or a part of one. */
static bool add_head(const struct step_price *price, const struct work *work, int32_t sequences,
                     struct sum *sum, struct err *err)
{
    struct model_op ops[MODEL_MAX_OPS];
    enum interp_origin origin;
    int64_t time_ps;
    int count = model_batch_ops(work->model, BLOCK_LM_HEAD, sequences, 1, 0, ops);

    for (int i = 0; i < count; i++)
        if (!counts_by_tokens(price, &ops[i]) && !add_op(price, work, &ops[i], sum, err))
            return false;
    return work->model->kind != MODEL_DECODER ||
           (cost_lookup_sampler(price->of.table, sequences, work->model->vocab, price->threads,
                                work->model->weight_bits, &time_ps, &origin, err) &&
            add_kernel(price, sum, OP_SET_SAMPLER, time_ps, 1, origin, err));
}

/* All that works on the last token of each sequence, and what an engine does for each. */
static const struct sum *sum_sequences(struct step_price *price, int32_t sequences, struct err *err)
{
    struct sum *sum = &price->sequences[sequences];

    if (sum->is_known)
        return sum;
    *sum = (struct sum){ 0 };
    for (int w = 0; w < price->work_count; w++)
        if (price->works[w].block == BLOCK_LM_HEAD &&
            !add_head(price, &price->works[w], sequences, sum, err))
            return NULL;
    if (!price->of.piece &&
        !add_beside(sum, overhead_step_ps(price->of.overheads, sequences), 1, err))
        return NULL;
    sum->is_known = true;
    return sum;
}

/* ---- attention ---- */

static bool add_mixed(const struct step_price *price, struct cost_mixed mixed, struct sum *sum,
                      struct err *err)
{
    uint32_t kernel = mixed.chunk_tokens > 0 ? op_set_of(OP_ATTN, OP_PREFILL) : OP_SET_DECODE;
    enum interp_origin origin;
    int64_t time_ps;

    if (price->grid) {
        time_ps = cost_grid_ps(price->of.table, price->grid, &mixed, &origin);
        return add_kernel(price, sum, kernel, time_ps, price->attn->times, origin, err);
    }
    return cost_lookup_mixed(price->of.table, &mixed, price->threads, price->of.model->weight_bits,
                             &time_ps, &origin, err) &&
           add_kernel(price, sum, kernel, time_ps, price->attn->times, origin, err);
}

/* batch sequences of so many new tokens each. */
static bool add_attn(const struct step_price *price, int32_t batch, int32_t tokens,
                     int64_t past_tokens, struct sum *sum, struct err *err)
{
    const struct model *model = price->attn->model;
    struct model_op op = { .op = OP_ATTN,
                           .phase = tokens == 1 && past_tokens > 0 ? OP_DECODE : OP_PREFILL,
                           .batch = batch,
                           .m_tokens = batch * tokens,
                           .heads = model->heads,
                           .kv_heads = model->kv_heads,
                           .head_dim = model->head_dim,
                           .kv_len = (int32_t)(past_tokens + tokens),
                           .count = 1 };

    return add_op(price, price->attn, &op, sum, err);
}

static bool add_decodes(const struct step_price *price, int32_t decodes, int64_t mean_past,
                        struct sum *sum, struct err *err)
{
    struct cost_mixed mixed = price->shape;

    if (!price->attn)
        return true;
    if (!price->has_mixed)
        return add_attn(price, decodes, 1, mean_past, sum, err);
    mixed.decodes = decodes;
    mixed.decode_kv = mean_past;
    return add_mixed(price, mixed, sum, err);
}

static bool add_attention(const struct step_price *price, const struct continuous_batch *batch,
                          struct sum *sum, struct err *err)
{
    struct cost_mixed mixed = price->shape;
    int64_t mean_past = batch->decodes > 0 ? batch->decode_past_tokens / batch->decodes : 0;

    if (!price->attn)
        return true;
    if (price->has_mixed) {
        mixed.chunk_tokens = batch->chunk_tokens;
        mixed.chunk_kv = batch->chunk_past_tokens;
        mixed.decodes = batch->decodes;
        mixed.decode_kv = mean_past;
        return add_mixed(price, mixed, sum, err);
    }
    for (int i = 0; i < batch->entry_count; i++) {
        const struct continuous_entry *entry = &batch->entries[i];

        if (entry->tokens > 1 && !add_attn(price, 1, entry->tokens, entry->past_tokens, sum, err))
            return false;
    }
    return batch->decodes == 0 || add_decodes(price, batch->decodes, mean_past, sum, err);
}

/* ---- lines of decodes ---- */

static bool price_decodes(struct step_price *price, int32_t decodes, int64_t mean_past,
                          int64_t *time_ps, int32_t *extrapolated, struct err *err)
{
    const struct sum *tokens = sum_tokens(price, tokens_of(price, decodes), err);
    const struct sum *sequences = tokens ? sum_sequences(price, decodes, err) : NULL;
    struct sum sum;

    if (!sequences)
        return false;
    sum = *tokens;
    if (!join(&sum, sequences, err) || !add_decodes(price, decodes, mean_past, &sum, err))
        return false;
    *extrapolated = sum.extrapolated;
    return total(price, &sum, OP_DECODE, 1, mean_past + 1, decodes, time_ps, err);
}

/* Where lines begin: the beginning, the measured points, and one beyond all. */
static int list_knots(const struct step_price *price, int32_t *knots)
{
    int count = 0;
    int64_t last;

    knots[count++] = 0;
    for (int i = 0; i < price->point_count; i++)
        if (price->points[i] > 0)
            knots[count++] = price->points[i];
    last = knots[count - 1];
    last += last > TAIL_TOKENS ? last : TAIL_TOKENS;
    if (last < INT32_MAX)
        knots[count++] = (int32_t)last;
    return count;
}

/* The last line goes on for ever, and never falls below 0. */
static void lay_line(struct step_line *line, const int32_t *knots, const int64_t *times_ps,
                     bool is_first, bool is_last)
{
    int64_t run = (int64_t)knots[1] - knots[0];

    line->from = is_first ? knots[0] : knots[0] + 1;
    line->to = is_last ? INT32_MAX : knots[1];
    line->slope_ps = units_mul_div(times_ps[1] - times_ps[0], 1, run);
    if (is_last && line->slope_ps < 0)
        line->slope_ps = 0;
    line->base_ps = times_ps[0] + line->slope_ps * (line->from - knots[0]);
}

static bool lay_lines(struct step_price *price, int32_t decodes, struct lines *lines,
                      struct err *err)
{
    size_t room = (size_t)price->point_count + 2;
    int32_t *knots = arena_array(price->arena, room, sizeof *knots);
    int64_t *times_ps = arena_array(price->arena, room, sizeof *times_ps);
    int32_t *extrapolated = arena_array(price->arena, room, sizeof *extrapolated);
    int count = list_knots(price, knots);

    for (int i = 0; i < count; i++)
        if (!price_decodes(price, decodes, knots[i], &times_ps[i], &extrapolated[i], err))
            return false;
    lines->list = arena_array(price->arena, room, sizeof *lines->list);
    for (int i = 0; i + 1 < count; i++) {
        struct step_line *line = &lines->list[i];

        lay_line(line, &knots[i], &times_ps[i], i == 0, i + 2 == count);
        line->extrapolated =
            extrapolated[i] > extrapolated[i + 1] ? extrapolated[i] : extrapolated[i + 1];
    }
    lines->count = count - 1;
    return true;
}

const struct step_line *step_price_line(struct step_price *price, int32_t decodes,
                                        int64_t mean_past_tokens, struct err *err)
{
    struct lines *lines = &price->lines[decodes];
    int low = 0, high;

    assert(decodes >= 1 && decodes <= price->of.max_seqs && mean_past_tokens >= 0);
    if (lines->count == 0 && !lay_lines(price, decodes, lines, err))
        return NULL;
    for (high = lines->count - 1; low < high;) {
        int middle = low + (high - low) / 2;

        if (lines->list[middle].to < mean_past_tokens)
            low = middle + 1;
        else
            high = middle;
    }
    return &lines->list[low];
}

bool step_price_batch(struct step_price *price, const struct continuous_batch *batch,
                      int64_t *time_ps, int32_t *extrapolated, struct err *err)
{
    const struct sum *tokens, *sequences;
    struct sum sum;

    assert(batch->count >= 1 && batch->count <= price->of.max_seqs &&
           batch->tokens <= price->of.token_budget);
    if (batch->decodes == batch->count && price->of.model->kind == MODEL_DECODER) {
        int64_t mean_past = batch->decode_past_tokens / batch->decodes;
        const struct step_line *line = step_price_line(price, batch->decodes, mean_past, err);

        if (!line)
            return false;
        *time_ps = step_line_ps(line, mean_past);
        *extrapolated = line->extrapolated;
        return true;
    }
    tokens = sum_tokens(price, tokens_of(price, batch->tokens), err);
    sequences = tokens ? sum_sequences(price, batch->count, err) : NULL;
    if (!sequences)
        return false;
    sum = *tokens;
    if (!join(&sum, sequences, err) || !add_attention(price, batch, &sum, err))
        return false;
    *extrapolated = sum.extrapolated;
    return total(price, &sum, OP_PREFILL, batch->tokens, batch->tokens, 1, time_ps, err);
}
