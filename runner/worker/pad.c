/* pad.c - the price of a step from the cost table in SETUP, by the simulator's own code. */
#include "runner/worker/pad.h"

#include "lib/base/arena.h"
#include "lib/format/cost.h"
#include "lib/policy/continuous.h"
#include "lib/policy/pass.h"
#include "lib/policy/plan.h"
#include "lib/policy/price.h"
#include "lib/policy/step_price.h"
#include "lib/wire/frame.h"
#include "runner/setup/setup.h"

struct pad {
    const struct setup *setup;
    struct pad *more; /* of stages that were added later */
    const struct cost_table *table;
    struct price *price;
    struct plan_stage *stages;          /* as price_step wants them */
    const struct pass **passes;         /* of stages on several devices; else NULL */
    struct step_price **batches;        /* of stages whose steps are batches; else NULL */
    struct step_price ***piece_batches; /* the same of pieces, of stages on several devices */
    struct continuous_entry *entries;   /* of one */
};

static struct plan_slice whole(unsigned blocks, int32_t layer_first, int32_t layer_last)
{
    int32_t conns = (blocks & 1u << BLOCK_CONN) ? 2 : 0;

    return (struct plan_slice){ .blocks = blocks,
                                .layer_first = layer_first,
                                .layer_last = layer_last,
                                .part_of = 1,
                                .norms = conns,
                                .adds = conns };
}

/* The slices of a plan that the setup's stage was made from. */
static struct plan_stage stage_of(struct arena *arena, const struct setup_stage *setup,
                                  const struct model *model)
{
    struct plan_slice *slices = arena_array(arena, 3, sizeof *slices);
    struct plan_stage stage = { .id = setup->id,
                                .slices = slices,
                                .has_embed = setup->has_embed,
                                .has_lm_head = setup->has_lm_head,
                                .layer_count = setup->layer_count,
                                .in = { setup->has_embed ? 0 : model->hidden, 0 },
                                .out = { setup->is_last ? 0 : model->hidden, 0 },
                                .encode_value_ps = setup->encode_value_ps,
                                .decode_value_ps = setup->decode_value_ps };

    if (setup->has_embed)
        slices[stage.slice_count++] = whole(1u << BLOCK_EMBED, -1, -1);
    if (setup->layer_count > 0)
        slices[stage.slice_count++] =
            whole(1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN |
                      1u << BLOCK_CONN,
                  setup->layer_first, setup->layer_first + setup->layer_count - 1);
    if (setup->has_lm_head)
        slices[stage.slice_count++] = whole(1u << BLOCK_LM_HEAD, -1, -1);
    return stage;
}

static struct step_price *batches_of(struct arena *arena, const struct pad *pad, int index,
                                     const struct pass_piece *piece)
{
    const struct setup *setup = pad->setup;
    const struct setup_model *model = &setup->models[setup->stages[index].model];

    return step_price_create(arena, &(struct step_price_of){ .stage = &pad->stages[index],
                                                             .piece = piece,
                                                             .model = &model->model,
                                                             .table = pad->table,
                                                             .threads = setup->threads,
                                                             .speed_ratio = 1.0 / setup->pad_ratio,
                                                             .max_seqs = model->max_seqs,
                                                             .token_budget = model->max_tokens });
}

static void create_piece_batches(struct arena *arena, struct pad *pad, int index)
{
    const struct pass *pass = pad->passes[index];
    const struct setup_stage *stage = &pad->setup->stages[index];

    if (!stage->has_batches)
        return;
    pad->piece_batches[index] =
        arena_array(arena, (size_t)pass->piece_count + 1, sizeof(struct step_price *));
    for (int32_t i = 0; i < pass->piece_count; i++)
        if (pass->pieces[i].position == stage->position)
            pad->piece_batches[index][i] = batches_of(arena, pad, index, &pass->pieces[i]);
}

static void create_batches(struct arena *arena, struct pad *pad)
{
    const struct setup *setup = pad->setup;
    int32_t most = 1;

    pad->batches = arena_array(arena, (size_t)setup->stage_count, sizeof(struct step_price *));
    for (int i = 0; i < setup->stage_count; i++) {
        const struct setup_model *model = &setup->models[setup->stages[i].model];

        if (!setup->stages[i].has_batches)
            continue;
        most = model->max_seqs > most ? model->max_seqs : most;
        if (setup->stages[i].position_count > 0)
            continue; /* once its pass is there */
        pad->batches[i] = batches_of(arena, pad, i, NULL);
    }
    pad->entries = arena_array(arena, (size_t)most, sizeof *pad->entries);
}

struct pad *pad_create(struct arena *arena, const struct setup *setup, struct err *err)
{
    struct pad *pad = arena_alloc(arena, sizeof *pad);
    int32_t next_id = 0;

    pad->setup = setup;
    pad->table = cost_load_text(arena, setup->pad_type, setup->pad_kernels,
                                setup->pad_interp[0] ? setup->pad_interp : NULL, err);
    if (!pad->table)
        return NULL;
    pad->price = price_create(arena);
    pad->stages = arena_array(arena, (size_t)setup->stage_count, sizeof *pad->stages);
    pad->passes = arena_array(arena, (size_t)setup->stage_count, sizeof(const struct pass *));
    for (int i = 0; i < setup->stage_count; i++) {
        pad->stages[i] =
            stage_of(arena, &setup->stages[i], &setup->models[setup->stages[i].model].model);
        if (setup->stages[i].id >= next_id) /* pieces are numbered behind stages */
            next_id = setup->stages[i].id + 1;
    }
    pad->piece_batches =
        arena_array(arena, (size_t)setup->stage_count, sizeof(struct step_price **));
    create_batches(arena, pad);
    for (int i = 0; i < setup->stage_count; i++)
        if (setup->stages[i].position_count > 0) {
            pad->passes[i] = setup_compile(arena, setup, i, &next_id);
            create_piece_batches(arena, pad, i);
        }
    return pad;
}

void pad_append(struct pad *pad, struct pad *more)
{
    while (pad->more)
        pad = pad->more;
    pad->more = more;
}

void pad_drop_last(struct pad *pad)
{
    while (pad->more->more)
        pad = pad->more;
    pad->more = NULL;
}

/* The part that has a stage, and which it is there. */
static struct pad *pad_at(struct pad *pad, int *index)
{
    while (*index >= pad->setup->stage_count) {
        *index -= pad->setup->stage_count;
        pad = pad->more;
    }
    return pad;
}

bool pad_price(struct pad *pad, int index, int32_t new_tokens, int32_t past_tokens,
               int64_t *price_ps, struct err *err)
{
    const struct setup *setup;
    const struct model *model;
    int extrapolated;

    pad = pad_at(pad, &index);
    setup = pad->setup;
    model = &setup->models[setup->stages[index].model].model;
    if (!price_step(pad->price, &pad->stages[index], model, pad->table, setup->threads, 1.0,
                    new_tokens, past_tokens, price_ps, &extrapolated, err))
        return false;
    *price_ps = price_scale(*price_ps, 1.0 / setup->pad_ratio);
    return true;
}

/* All count as the longest of them. */
static bool pad_price_padded(struct pad *pad, int index, const struct frame_entry *entries,
                             int count, int64_t *price_ps, struct err *err)
{
    const struct setup *setup = pad->setup;
    const struct model *model = &setup->models[setup->stages[index].model].model;
    int32_t tokens = 0, past = 0;
    int extrapolated;

    for (int i = 0; i < count; i++) {
        tokens = entries[i].tokens > tokens ? entries[i].tokens : tokens;
        past = entries[i].past_tokens > past ? entries[i].past_tokens : past;
    }
    if (!price_batch(pad->price, &pad->stages[index], model, pad->table, setup->threads, 1.0, count,
                     tokens, past, price_ps, &extrapolated, err))
        return false;
    *price_ps = price_scale(*price_ps, 1.0 / setup->pad_ratio);
    return true;
}

/* The same of a piece. */
static bool pad_price_padded_piece(struct pad *pad, int index, int32_t piece, const int32_t *own,
                                   const int32_t *past, int32_t count, int64_t *price_ps,
                                   struct err *err)
{
    const struct setup *setup = pad->setup;
    const struct model *model = &setup->models[setup->stages[index].model].model;
    int32_t tokens = 0, longest_past = 0;
    int extrapolated;

    for (int32_t i = 0; i < count; i++) {
        tokens = own[i] > tokens ? own[i] : tokens;
        longest_past = past[i] > longest_past ? past[i] : longest_past;
    }
    if (!price_piece_batch(pad->price, &pad->passes[index]->pieces[piece], model, pad->table,
                           setup->threads, 1.0, count, tokens, longest_past, price_ps,
                           &extrapolated, err))
        return false;
    *price_ps = price_scale(*price_ps, 1.0 / setup->pad_ratio);
    return true;
}

/* As a step of continuous batching. */
static struct continuous_batch batch_of(const struct pad *pad, int32_t count)
{
    struct continuous_batch batch = { .count = count,
                                      .entry_count = count,
                                      .entries = pad->entries };

    for (int32_t i = 0; i < count; i++) {
        const struct continuous_entry *entry = &pad->entries[i];

        batch.tokens += entry->tokens;
        if (entry->tokens > 1) {
            batch.chunk_tokens += entry->tokens;
            batch.chunk_past_tokens += entry->past_tokens;
        } else {
            batch.decodes++;
            batch.decode_past_tokens += entry->past_tokens;
        }
    }
    return batch;
}

bool pad_price_batch(struct pad *pad, int index, const struct frame_entry *entries, int count,
                     int64_t *price_ps, struct err *err)
{
    struct continuous_batch batch;
    int32_t extrapolated;

    pad = pad_at(pad, &index);
    if (pad->setup->stages[index].batch_size > 1)
        return pad_price_padded(pad, index, entries, count, price_ps, err);
    for (int i = 0; i < count; i++)
        pad->entries[i] = (struct continuous_entry){ .tag = entries[i].request,
                                                     .tokens = entries[i].tokens,
                                                     .past_tokens = entries[i].past_tokens };
    batch = batch_of(pad, count);
    return step_price_batch(pad->batches[index], &batch, price_ps, &extrapolated, err);
}

bool pad_price_piece_batch(struct pad *pad, int index, int32_t piece, const int32_t *counts,
                           const int32_t *past, int32_t count, int64_t *price_ps, struct err *err)
{
    struct continuous_batch batch;
    int32_t extrapolated;

    pad = pad_at(pad, &index);
    if (pad->setup->stages[index].batch_size > 1)
        return pad_price_padded_piece(pad, index, piece, counts, past, count, price_ps, err);
    for (int32_t i = 0; i < count; i++)
        pad->entries[i] =
            (struct continuous_entry){ .tag = i, .tokens = counts[i], .past_tokens = past[i] };
    batch = batch_of(pad, count);
    return step_price_batch(pad->piece_batches[index][piece], &batch, price_ps, &extrapolated, err);
}

bool pad_price_piece(struct pad *pad, int index, int32_t piece, int32_t new_tokens,
                     int32_t past_tokens, int64_t *price_ps, struct err *err)
{
    const struct setup *setup;
    const struct model *model;
    int extrapolated;

    pad = pad_at(pad, &index);
    setup = pad->setup;
    model = &setup->models[setup->stages[index].model].model;
    if (!price_piece(pad->price, &pad->passes[index]->pieces[piece], model, pad->table,
                     setup->threads, 1.0, new_tokens, past_tokens, price_ps, &extrapolated, err))
        return false;
    *price_ps = price_scale(*price_ps, 1.0 / setup->pad_ratio);
    return true;
}

bool pad_check(struct pad *pad, int index, int32_t new_tokens, int32_t past_tokens, struct err *err)
{
    const struct pass *pass = pad->passes[index];
    int64_t price_ps;

    if (pad->batches[index]) {
        struct frame_entry alone = { .tokens = new_tokens, .past_tokens = past_tokens };

        return pad_price_batch(pad, index, &alone, 1, &price_ps, err);
    }
    if (!pass)
        return pad_price(pad, index, new_tokens, past_tokens, &price_ps, err);
    for (int32_t i = 0; i < pass->piece_count; i++)
        if (pass->pieces[i].position == pad->setup->stages[index].position &&
            !pad_price_piece(pad, index, i, new_tokens, past_tokens, &price_ps, err))
            return false;
    return true;
}
