/* pass.c - walks the blocks of a stage in model order, and puts between them what brings each one's
 * input to where it is needed (pass.h). */
#include "lib/policy/pass.h"

#include "lib/policy/pass_internal.h"
#include "lib/policy/plan.h"

#define TOKEN_BYTES 4
#define BEST_BYTES 8 /* the number of a token and its value */

const char *const pass_kind_names[PASS_KIND_COUNT] = {
    [PASS_COMPUTE] = "compute",       [PASS_SEND] = "send",
    [PASS_BROADCAST] = "broadcast",   [PASS_SCATTER] = "scatter",
    [PASS_GATHER] = "gather",         [PASS_REDUCE] = "reduce",
    [PASS_ALL_GATHER] = "all-gather", [PASS_REDUCE_SCATTER] = "reduce-scatter",
    [PASS_ALL_REDUCE] = "all-reduce", [PASS_EXCHANGE] = "exchange",
};

/* ---- computes ---- */

/* A compute on the same devices follows a compute: one piece for both. */
static struct pass_step *compute_begin(struct pass_builder *b, const struct pass_layout *where)
{
    struct pass *pass = b->pass;
    struct pass_step *last = pass_last_step(b);
    bool is_alike = last && last->kind == PASS_COMPUTE && last->count == where->count;

    for (int32_t i = 0; is_alike && i < where->count; i++) {
        const struct pass_piece *piece = &pass->pieces[last->first + i];

        is_alike = piece->position == where->places[i].position &&
                   piece->term_count < PASS_MAX_TERMS &&
                   piece->range.first == where->places[i].range.first &&
                   piece->range.end == where->places[i].range.end &&
                   piece->range.of == where->places[i].range.of;
    }
    if (is_alike)
        return last;
    last = pass_step_add(b, PASS_COMPUTE);
    for (int32_t i = 0; i < where->count; i++) {
        PASS_MAKE_ROOM(b, pass->pieces, pass->piece_count, b->piece_room);
        pass->pieces[pass->piece_count++] =
            (struct pass_piece){ .position = where->places[i].position,
                                 .id = b->options->next_id++,
                                 .range = where->places[i].range };
    }
    last->count = where->count;
    return last;
}

static void term_add(struct pass_builder *b, struct pass_piece *piece, struct pass_term term)
{
    term.layer = b->layer;
    piece->terms[piece->term_count++] = term;
}

/* The last part may be smaller; it costs what the others do, as a profiler measures them. */
static int64_t head_rows(const struct model *model, const struct pass_range *range)
{
    return (range->end - range->first) *
           (model->vocab / range->of + (model->vocab % range->of > 0));
}

/* Of the model, what the device has of the block. */
static const struct model *model_of(struct pass_builder *b, enum model_block block,
                                    const struct pass_shares *shares, int32_t position)
{
    struct model *slice = arena_alloc(b->arena, sizeof *slice);
    int64_t units = 0;

    for (int32_t i = 0; i < shares->count; i++)
        if (shares->shares[i].position == position)
            units += block == BLOCK_LM_HEAD ? head_rows(b->model, &shares->shares[i].range)
                                            : shares->shares[i].end - shares->shares[i].first;
    *slice = *b->model;
    switch (block) {
    case BLOCK_ATTN:
        slice->kv_heads = (int32_t)units;
        slice->heads = (int32_t)units * (b->model->heads / b->model->kv_heads);
        break;
    case BLOCK_PROJ:
        slice->heads = (int32_t)units;
        break;
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        slice->ffn_hidden = (int32_t)units;
        break;
    case BLOCK_LM_HEAD:
        slice->vocab = (int32_t)(units < b->model->vocab ? units : b->model->vocab);
        break;
    case BLOCK_EMBED:
    case BLOCK_CONN:
    case BLOCK_COUNT:
        break;
    }
    return slice;
}

static void compute_block(struct pass_builder *b, enum model_block block,
                          const struct pass_shares *shares)
{
    struct pass_layout where = pass_set(b, PASS_FORM_COPIES, shares);
    struct pass_step *step = compute_begin(b, &where);

    for (int32_t i = 0; i < step->count; i++) {
        struct pass_piece *piece = &b->pass->pieces[step->first + i];

        term_add(b, piece,
                 (struct pass_term){ .model = model_of(b, block, shares, piece->position),
                                     .block = block });
    }
}

/* norm: of the layer, 1 or 2; next: of the layer behind it. */
static void compute_conn(struct pass_builder *b, const struct pass_layout *where, int32_t norms,
                         int32_t adds, int32_t norm, bool next)
{
    struct pass_step *step;

    if (norms + adds == 0)
        return;
    step = compute_begin(b, where);
    for (int32_t i = 0; i < step->count; i++)
        term_add(b, &b->pass->pieces[step->first + i],
                 (struct pass_term){ .model = b->model,
                                     .block = BLOCK_CONN,
                                     .norms = norms,
                                     .adds = adds,
                                     .norm = norm,
                                     .norm_layer = b->layer + next });
}

/* Of what crosses a border of the stage. */
static void compute_codec(struct pass_builder *b, const struct pass_layout *where,
                          const struct plan_border *border, int64_t value_ps)
{
    int64_t values = border->output_values + border->residual_values;
    struct pass_step *step;

    if (value_ps == 0)
        return;
    step = compute_begin(b, where);
    term_add(
        b, &b->pass->pieces[step->first],
        (struct pass_term){ .model = b->model, .block = BLOCK_CONN, .row_ps = value_ps * values });
}

/* ---- layers ---- */

static int64_t head_bytes(const struct pass_builder *b)
{
    return PASS_VALUE_BYTES * (int64_t)b->model->head_dim;
}

static const struct pass_owners *owners_of(const struct pass_builder *b, int32_t layer)
{
    return &b->owners[layer];
}

/* Where norms and additions run in front of a block that stands on `next`. sums: where the terms of
 * the sum before it are; NULL = it is no sum. */
static struct pass_layout conn_at(struct pass_builder *b, const struct pass_owners *layer,
                                  const struct pass_layout *next, const struct pass_layout *sums)
{
    const struct pass_shares *conn = &layer->blocks[BLOCK_CONN];

    if (conn->count == 1)
        return pass_one(b, conn->shares[0].position);
    if (conn->count > 1)
        return (struct pass_layout){ PASS_FORM_SEQUENCE, conn->count, conn->shares, 0 };
    if (b->options->has_all_reduce && sums && next->count > 1 && pass_same_set(next, sums))
        return *next;
    return pass_one(b, next->places[0].position);
}

/* In front of the first layer of a stage: as inside it, where that needs no move of its own. */
static struct pass_layout first_conn(struct pass_builder *b, int32_t layer)
{
    const struct pass_owners *owners = owners_of(b, layer);
    struct pass_layout attn = pass_set(b, PASS_FORM_COPIES, &owners->blocks[BLOCK_ATTN]);
    struct pass_layout proj = pass_set(b, PASS_FORM_SUMS, &owners->blocks[BLOCK_PROJ]);
    struct pass_layout up = pass_set(b, PASS_FORM_COPIES, &owners->blocks[BLOCK_FFN_UP]);

    if (attn.count == 0)
        return conn_at(b, owners, &up, NULL);
    return conn_at(b, owners, &attn, pass_same_set(&attn, &up) ? &proj : NULL);
}

static bool is_post_norm(const struct pass_builder *b)
{
    return b->model->kind == MODEL_ENCODER;
}

/* What lies on `from`, and the residual, are added up on `to`, and stay there. */
static void residual_add(struct pass_builder *b, const struct pass_layout *from,
                         const struct pass_layout *to, int32_t norms, int32_t norm, bool next)
{
    pass_convert_activation(b, PASS_TERMS, from, to);
    pass_convert_activation(b, PASS_RESIDUAL, &b->residual, to);
    compute_conn(b, to, norms, 1, norm, next);
    b->residual = *to;
}

/* What attention and FFN work on: an encoder's norm is part of its hidden state. */
static enum pass_content input_of(const struct pass_builder *b)
{
    return is_post_norm(b) ? PASS_RESIDUAL : PASS_INPUT;
}

/* The addition behind a layer, and the norm before the next one, whose attention stands on `next`.
 */
static void layer_end(struct pass_builder *b, int32_t layer, const struct pass_layout *sums)
{
    const struct pass_owners *owners = owners_of(b, layer), *after = owners_of(b, layer + 1);
    struct pass_layout next = pass_set(b, PASS_FORM_COPIES, &after->blocks[BLOCK_ATTN]);
    struct pass_layout here = conn_at(b, owners, &next, sums),
                       there = conn_at(b, after, &next, sums);
    bool is_one_place = here.form == there.form && pass_same_set(&here, &there) &&
                        (here.form != PASS_FORM_SEQUENCE || pass_same_sequence(&here, &there));

    residual_add(b, sums, &here, is_post_norm(b) || is_one_place, is_post_norm(b) ? 2 : 1,
                 !is_post_norm(b));
    if (is_one_place)
        return;
    pass_convert_activation(b, PASS_RESIDUAL, &here, &there);
    compute_conn(b, &there, !is_post_norm(b), 0, 1, true);
    b->residual = there;
}

/* norm: behind the last block here, of an encoder. */
static void stage_end(struct pass_builder *b, int32_t layer, const struct pass_layout *sums,
                      int32_t norm)
{
    const struct pass_shares *head = &b->ends.blocks[BLOCK_LM_HEAD];
    struct pass_layout next =
        head->count > 0 ? pass_set(b, PASS_FORM_COPIES, head) : pass_one(b, 0);
    struct pass_layout here = conn_at(b, owners_of(b, layer), &next, sums);

    residual_add(b, sums, &here, is_post_norm(b), norm, false);
}

static bool has_block(const struct pass_owners *owners, enum model_block block)
{
    return owners->blocks[block].count > 0;
}

/* What attention makes: the heads of each group of KV heads. */
static struct pass_layout heads_of(struct pass_builder *b, const struct pass_owners *owners)
{
    struct pass_layout heads = pass_units(&owners->blocks[BLOCK_ATTN], head_bytes(b));
    struct pass_share *shares = arena_array(b->arena, (size_t)heads.count, sizeof *shares);
    int32_t group = b->model->heads / b->model->kv_heads;

    for (int32_t i = 0; i < heads.count; i++) {
        shares[i] = heads.places[i];
        shares[i].first *= group;
        shares[i].end *= group;
    }
    heads.places = shares;
    return heads;
}

static void attn_walk(struct pass_builder *b, const struct pass_owners *owners)
{
    struct pass_layout attn = pass_set(b, PASS_FORM_COPIES, &owners->blocks[BLOCK_ATTN]);

    pass_convert_activation(b, input_of(b), &b->residual, &attn);
    compute_block(b, BLOCK_ATTN, &owners->blocks[BLOCK_ATTN]);
    b->made = heads_of(b, owners);
}

static void proj_walk(struct pass_builder *b, int32_t layer)
{
    const struct pass_owners *owners = owners_of(b, layer);
    struct pass_layout proj = pass_set(b, PASS_FORM_SUMS, &owners->blocks[BLOCK_PROJ]);
    struct pass_layout up = pass_set(b, PASS_FORM_COPIES, &owners->blocks[BLOCK_FFN_UP]);
    struct pass_layout rows = pass_units(&owners->blocks[BLOCK_PROJ], head_bytes(b)), conn;

    b->content = PASS_HEADS;
    pass_convert(b, &b->made, &rows, 0, false);
    compute_block(b, BLOCK_PROJ, &owners->blocks[BLOCK_PROJ]);
    if (!has_block(owners, BLOCK_FFN_UP)) {
        stage_end(b, layer, &proj, 1);
        return;
    }
    conn = conn_at(b, owners, &up, &proj);
    residual_add(b, &proj, &conn, 1, is_post_norm(b) ? 1 : 2, false);
}

static void up_walk(struct pass_builder *b, const struct pass_owners *owners)
{
    struct pass_layout up = pass_set(b, PASS_FORM_COPIES, &owners->blocks[BLOCK_FFN_UP]);

    pass_convert_activation(b, input_of(b), &b->residual, &up);
    compute_block(b, BLOCK_FFN_UP, &owners->blocks[BLOCK_FFN_UP]);
    b->made = pass_units(&owners->blocks[BLOCK_FFN_UP], PASS_VALUE_BYTES);
}

static void down_walk(struct pass_builder *b, int32_t layer)
{
    const struct pass_owners *owners = owners_of(b, layer);
    struct pass_layout down = pass_set(b, PASS_FORM_SUMS, &owners->blocks[BLOCK_FFN_DOWN]);
    struct pass_layout columns = pass_units(&owners->blocks[BLOCK_FFN_DOWN], PASS_VALUE_BYTES);

    b->content = PASS_COLUMNS;
    pass_convert(b, &b->made, &columns, 0, false);
    compute_block(b, BLOCK_FFN_DOWN, &owners->blocks[BLOCK_FFN_DOWN]);
    if (layer + 1 < b->layer_count)
        layer_end(b, layer, &down);
    else
        stage_end(b, layer, &down, 2);
}

/* A stage may begin and end inside a layer. */
static void layer_walk(struct pass_builder *b, int32_t layer)
{
    const struct pass_owners *owners = owners_of(b, layer);

    b->layer = b->first_layer + layer;
    if (has_block(owners, BLOCK_ATTN))
        attn_walk(b, owners);
    if (has_block(owners, BLOCK_PROJ))
        proj_walk(b, layer);
    if (has_block(owners, BLOCK_FFN_UP))
        up_walk(b, owners);
    if (has_block(owners, BLOCK_FFN_DOWN))
        down_walk(b, layer);
}

/* ---- the stage ---- */

static void segment_end(struct pass_builder *b, int32_t repeats)
{
    struct pass *pass = b->pass;

    if (pass->step_count > b->segment_first) {
        PASS_MAKE_ROOM(b, pass->segments, pass->segment_count, b->segment_room);
        pass->segments[pass->segment_count++] =
            (struct pass_segment){ b->segment_first, pass->step_count - b->segment_first, repeats };
    }
    b->segment_first = pass->step_count;
}

/* All of one kind of units is on the first device, where a border is crossed. */
static struct pass_layout units_at_border(struct pass_builder *b, int64_t count, int64_t unit_bytes)
{
    struct pass_share *place = arena_alloc(b->arena, sizeof *place);

    *place = (struct pass_share){ .end = count, .range = { 0, 1, 1, false } };
    return (struct pass_layout){ PASS_FORM_UNITS, 1, place, unit_bytes };
}

/* The stage begins with the half of a sum: what attention or the FFN's first half has made comes
 * in, and beside it the residual. */
static bool is_inside(struct pass_builder *b)
{
    const struct pass_owners *first = owners_of(b, 0);

    if (has_block(first, BLOCK_ATTN) ||
        (!has_block(first, BLOCK_PROJ) && has_block(first, BLOCK_FFN_UP)))
        return false;
    b->made = has_block(first, BLOCK_PROJ)
                  ? units_at_border(b, b->model->heads, head_bytes(b))
                  : units_at_border(b, b->model->ffn_hidden, PASS_VALUE_BYTES);
    return true;
}

static void stage_begin(struct pass_builder *b)
{
    struct pass_layout in = pass_one(b, 0), first;

    b->layer = -1;
    b->residual = in;
    compute_codec(b, &in, &b->stage->in, b->stage->decode_value_ps);
    if (b->stage->has_embed) {
        struct pass_layout embed = pass_set(b, PASS_FORM_COPIES, &b->ends.blocks[BLOCK_EMBED]);

        b->content = PASS_TOKENS;
        pass_convert(b, &in, &embed, TOKEN_BYTES, false);
        compute_block(b, BLOCK_EMBED, &b->ends.blocks[BLOCK_EMBED]);
        b->residual = embed;
    }
    if (b->layer_count > 0 && !is_inside(b)) {
        b->layer = b->first_layer;
        first = first_conn(b, 0);
        pass_convert_activation(b, PASS_RESIDUAL, &b->residual, &first);
        compute_conn(b, &first, !is_post_norm(b), 0, has_block(owners_of(b, 0), BLOCK_ATTN) ? 1 : 2,
                     false);
        b->residual = first;
    }
    segment_end(b, 1);
}

static bool is_same_layer(const struct pass_builder *b, int32_t a, int32_t c)
{
    int32_t last = b->layer_count - 1;

    return c <= last && pass_owners_equal(owners_of(b, a), owners_of(b, c));
}

/* What a layer's steps are depends on its owners, on those before (who holds the residual) and on
 * those behind. */
static void layers_walk(struct pass_builder *b)
{
    int32_t count = b->layer_count, repeats;

    for (int32_t layer = 0; layer < count; layer += repeats) {
        layer_walk(b, layer);
        repeats = 1;
        while (layer + repeats < count && layer > 0 &&
               is_same_layer(b, layer + repeats - 2, layer + repeats - 1) &&
               is_same_layer(b, layer + repeats - 1, layer + repeats) &&
               is_same_layer(b, layer + repeats, layer + repeats + 1))
            repeats++;
        segment_end(b, repeats);
    }
}

/* Where the row of the last token is, or of an encoder's first: with the last or first part. Those
 * of a batch are all over the parts, so that all come to `to`. */
static struct pass_layout last_rows(struct pass_builder *b, const struct pass_layout *to)
{
    const struct pass_layout *residual = &b->residual;
    int32_t place = b->model->kind == MODEL_ENCODER ? 0 : residual->count - 1;

    if (residual->form != PASS_FORM_SEQUENCE)
        return *residual;
    if (!b->options->has_batches)
        return pass_one(b, residual->places[place].position);
    pass_convert_activation(b, PASS_RESIDUAL, residual, to);
    return *to;
}

/* The sum comes to the first device; inside a layer so do its two halves. */
static void border_cross(struct pass_builder *b, const struct pass_layout *out)
{
    if (b->stage->out.residual_values > 0) {
        int64_t bytes = PASS_VALUE_BYTES * (int64_t)b->stage->out.output_values;
        int64_t count = bytes / b->made.unit_bytes;
        struct pass_layout all = units_at_border(b, count, b->made.unit_bytes);

        b->content =
            has_block(owners_of(b, b->layer_count - 1), BLOCK_FFN_UP) ? PASS_COLUMNS : PASS_HEADS;
        pass_convert(b, &b->made, &all, 0, false);
    }
    pass_convert_activation(b, PASS_RESIDUAL, &b->residual, out);
}

static void stage_leave(struct pass_builder *b)
{
    const struct pass_shares *shares = &b->ends.blocks[BLOCK_LM_HEAD];
    struct pass_layout out = pass_one(b, 0);

    b->layer = -1;
    if (b->stage->has_lm_head) {
        struct pass_layout head = pass_set(b, PASS_FORM_COPIES, shares);
        struct pass_layout best = pass_one(b, head.places[0].position), rows = last_rows(b, &best);

        b->content = PASS_RESIDUAL;
        pass_convert(b, &rows, &head, pass_activation_bytes(b), true);
        compute_block(b, BLOCK_LM_HEAD, shares);
        b->content = PASS_BEST;
        if (head.count > 1)
            pass_operation_add(b, PASS_GATHER, &head, &best, best.places[0].position, NULL,
                               BEST_BYTES, true);
        b->content = PASS_TOKEN;
        pass_convert(b, &best, &out, TOKEN_BYTES, true);
    } else {
        border_cross(b, &out);
        compute_codec(b, &out, &b->stage->out, b->stage->encode_value_ps);
    }
    segment_end(b, 1);
}

const struct pass *pass_compile(struct arena *arena, const struct plan_stage *stage,
                                const struct model *model, struct pass_options *options)
{
    struct pass *pass = arena_alloc(arena, sizeof *pass);
    struct pass_builder b = { .arena = arena,
                              .stage = stage,
                              .model = model,
                              .options = options,
                              .pass = pass,
                              .first_layer = -1 };
    int32_t last_layer = -1;

    for (int i = 0; i < stage->slice_count; i++) {
        const struct plan_slice *slice = &stage->slices[i];

        if (slice->layer_first >= 0 && (b.first_layer < 0 || slice->layer_first < b.first_layer))
            b.first_layer = slice->layer_first;
        if (slice->layer_first >= 0 && slice->layer_last > last_layer)
            last_layer = slice->layer_last;
    }
    b.layer_count = b.first_layer < 0 ? 0 : last_layer - b.first_layer + 1;
    b.owners = arena_array(arena, (size_t)b.layer_count + 1, sizeof *b.owners);
    for (int32_t i = 0; i < b.layer_count; i++)
        pass_owners_find(arena, stage, model, b.first_layer + i, &b.owners[i]);
    pass_owners_find(arena, stage, model, -1, &b.ends);
    stage_begin(&b);
    layers_walk(&b);
    stage_leave(&b);
    return pass;
}

/* ---- sizes ---- */

static int32_t tokens_before(const struct pass_range *range, int64_t part, int32_t tokens)
{
    return (int32_t)((tokens * part + (range->rounds_up ? range->of - 1 : 0)) / range->of);
}

int32_t pass_range_before(const struct pass_range *range, int32_t tokens)
{
    return tokens_before(range, range->first, tokens);
}

int32_t pass_range_tokens(const struct pass_range *range, int32_t tokens)
{
    return tokens_before(range, range->end, tokens) - tokens_before(range, range->first, tokens);
}

int64_t pass_part_bytes(const struct pass_step *step, const struct pass_member *member,
                        int32_t tokens)
{
    int64_t rows = step->is_last_row ? 1 : pass_range_tokens(&member->range, tokens);

    return rows * member->row_bytes;
}

int64_t pass_vector_bytes(const struct pass_step *step, int32_t tokens)
{
    return step->row_bytes * (step->is_last_row ? 1 : tokens);
}

int64_t pass_message_bytes(const struct pass_step *step, const struct pass_message *message,
                           int32_t tokens)
{
    return message->row_bytes * (step->is_last_row ? 1 : tokens);
}
