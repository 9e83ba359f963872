/* setup_slices.c - stages on several devices: from the slices of a SETUP to a pass. */
#include "runner/setup/setup.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/policy/pass.h"
#include "lib/policy/pass_owners.h"
#include "lib/policy/plan.h"

static const unsigned computed =
    1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN;

/* The blocks of a layer that the stage has parts of. */
static unsigned blocks_of(const struct setup_stage *stage, int32_t layer)
{
    unsigned blocks = 0;

    for (int i = 0; i < stage->slice_count; i++)
        if (stage->slices[i].layer_first <= layer && layer <= stage->slices[i].layer_last)
            blocks |= stage->slices[i].blocks;
    return stage->slice_count > 0 ? blocks & computed : computed;
}

/* A sum that is not complete: what attention or the FFN's first half has made crosses, and beside
 * it what that will be added to. */
static struct setup_border border_of(const struct model *model, bool is_in_attention,
                                     bool is_in_ffn)
{
    if (is_in_attention)
        return (struct setup_border){ model->heads * model->head_dim, model->hidden, true };
    if (is_in_ffn)
        return (struct setup_border){ model->ffn_hidden, model->hidden, false };
    return (struct setup_border){ model->hidden, 0, false };
}

struct setup_border setup_border_in(const struct setup_stage *stage, const struct model *model)
{
    unsigned first = stage->layer_count > 0 ? blocks_of(stage, stage->layer_first) : computed;
    bool has_attn = first & 1u << BLOCK_ATTN, has_proj = first & 1u << BLOCK_PROJ;

    return border_of(model, !has_attn && has_proj,
                     !has_attn && !has_proj && !(first & 1u << BLOCK_FFN_UP));
}

struct setup_border setup_border_out(const struct setup_stage *stage, const struct model *model)
{
    int32_t layer = stage->layer_first + stage->layer_count - 1;
    unsigned last = stage->layer_count > 0 ? blocks_of(stage, layer) : computed;
    bool has_down = last & 1u << BLOCK_FFN_DOWN, has_up = last & 1u << BLOCK_FFN_UP;

    return border_of(model, !has_down && !has_up && !(last & 1u << BLOCK_PROJ),
                     !has_down && has_up);
}

/* As lib/policy wants it; devices are positions. */
static struct plan_stage plan_of(struct arena *arena, const struct setup_stage *stage,
                                 const struct model *model)
{
    struct setup_border in = setup_border_in(stage, model), out = setup_border_out(stage, model);
    struct plan_slice *slices = arena_array(arena, (size_t)stage->slice_count + 1, sizeof *slices);
    int32_t *devices = arena_array(arena, (size_t)stage->position_count + 1, sizeof *devices);

    for (int32_t i = 0; i < stage->position_count; i++)
        devices[i] = i;
    for (int i = 0; i < stage->slice_count; i++) {
        const struct setup_slice *slice = &stage->slices[i];

        slices[i] = (struct plan_slice){ .blocks = slice->blocks,
                                         .layer_first = slice->layer_first,
                                         .layer_last = slice->layer_last,
                                         .device = slice->position,
                                         .part_first = slice->part_first,
                                         .part_last = slice->part_last,
                                         .part_of = slice->part_of,
                                         .is_implied = slice->is_implied };
    }
    return (struct plan_stage){ .id = stage->id,
                                .device_count = stage->position_count,
                                .devices = devices,
                                .slice_count = stage->slice_count,
                                .slices = slices,
                                .has_embed = stage->has_embed,
                                .has_lm_head = stage->has_lm_head,
                                .layer_count = stage->layer_count,
                                .in = { stage->has_embed ? 0 : in.output, in.residual },
                                .out = { stage->is_last ? 0 : out.output, out.residual },
                                .wire_bits = stage->wire_bits,
                                .wire_bits_in = stage->wire_bits_in,
                                .encode_value_ps = stage->encode_value_ps,
                                .decode_value_ps = stage->decode_value_ps };
}

void setup_owners(struct arena *arena, const struct setup_stage *stage, const struct model *model,
                  int32_t layer, struct pass_owners *owners)
{
    struct plan_stage plan = plan_of(arena, stage, model);

    pass_owners_find(arena, &plan, model, layer, owners);
}

/* Parts in order, without a hole or an overlap. units 0: the sequence, in ranges. */
static bool tiles(const struct pass_shares *shares, int64_t units)
{
    int64_t at = 0;

    for (int32_t i = 0; i < shares->count; i++) {
        const struct pass_share *share = &shares->shares[i];
        bool is_range = units == 0;

        if ((is_range ? share->range.first : share->first) != at ||
            (is_range && share->range.of != shares->shares[0].range.of))
            return false;
        at = is_range ? share->range.end : share->end;
    }
    return shares->count > 0 && at == (units > 0 ? units : shares->shares[0].range.of);
}

static bool slice_ok(const struct setup_stage *stage, const struct setup_slice *slice,
                     const struct model *model)
{
    const unsigned ends = 1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD;
    bool is_end = slice->layer_first < 0;

    if (slice->blocks == 0 || slice->blocks >= 1u << BLOCK_COUNT || slice->part_of < 1 ||
        slice->part_first < 0 || slice->part_last < slice->part_first ||
        slice->part_last >= slice->part_of || slice->position < 0 ||
        slice->position >= stage->position_count)
        return false;
    for (int block = 0; block < BLOCK_COUNT && slice->part_of > 1; block++)
        if (slice->blocks & 1u << block &&
            !model_can_cut(model, (enum model_block)block, slice->part_of))
            return false;
    if (is_end)
        return slice->layer_last < 0 && (slice->blocks & ~ends) == 0;
    return (slice->blocks & ends) == 0 && slice->layer_first >= stage->layer_first &&
           slice->layer_last >= slice->layer_first &&
           slice->layer_last < stage->layer_first + stage->layer_count;
}

/* Of each block all or nothing, and from the first to the last that is here all: a stage is a run
 * of blocks in model order. */
static bool layers_ok(struct arena *arena, const struct plan_stage *plan,
                      const struct setup_stage *stage, const struct model *model,
                      int32_t *bad_layer)
{
    static const enum model_block order[] = { BLOCK_ATTN, BLOCK_PROJ, BLOCK_FFN_UP,
                                              BLOCK_FFN_DOWN };
    const int64_t units[] = { model->kv_heads, model->heads, model->ffn_hidden, model->ffn_hidden };
    bool has_begun = false, has_ended = false, is_ok = true;

    for (int32_t i = 0; is_ok && i < stage->layer_count; i++) {
        struct pass_owners owners;
        bool is_any = false;

        *bad_layer = stage->layer_first + i;
        pass_owners_find(arena, plan, model, *bad_layer, &owners);
        for (int b = 0; is_ok && b < 4; b++) {
            const struct pass_shares *shares = &owners.blocks[order[b]];
            bool is_here = shares->count > 0;

            is_ok = !is_here || (!has_ended && tiles(shares, units[b]));
            has_ended = has_ended || (has_begun && !is_here);
            has_begun = has_begun || is_here;
            is_any = is_any || is_here;
        }
        is_ok = is_ok && is_any &&
                (!stage->has_embed || i > 0 || owners.blocks[BLOCK_ATTN].count) &&
                (owners.blocks[BLOCK_CONN].count == 0 || tiles(&owners.blocks[BLOCK_CONN], 0));
    }
    return is_ok && !(stage->has_lm_head && has_ended);
}

static bool ends_ok(struct arena *arena, const struct plan_stage *plan, const struct model *model)
{
    struct pass_owners owners;

    pass_owners_find(arena, plan, model, -1, &owners);
    return owners.blocks[BLOCK_EMBED].count == (plan->has_embed ? 1 : 0) &&
           (plan->has_lm_head ? tiles(&owners.blocks[BLOCK_LM_HEAD], model->vocab)
                              : owners.blocks[BLOCK_LM_HEAD].count == 0);
}

bool setup_check_slices(struct arena *arena, const struct setup_stage *stage,
                        const struct model *model, struct err *err)
{
    struct plan_stage plan = plan_of(arena, stage, model);
    int32_t layer = stage->layer_first;

    for (int i = 0; i < stage->slice_count; i++)
        if (!slice_ok(stage, &stage->slices[i], model))
            return err_set(err, ERR_INPUT, "setup: slice %d of stage %d is impossible", i,
                           stage->id);
    if (!layers_ok(arena, &plan, stage, model, &layer))
        return err_set(err, ERR_INPUT, "setup: layer %d of stage %d is not there once", layer,
                       stage->id);
    return ends_ok(arena, &plan, model) ||
           err_set(err, ERR_INPUT, "setup: embed or lm_head of stage %d is not there once",
                   stage->id);
}

const struct pass *setup_compile(struct arena *arena, const struct setup *setup, int index,
                                 int32_t *next_id)
{
    const struct setup_stage *stage = &setup->stages[index];
    struct plan_stage *plan = arena_alloc(arena, sizeof *plan);
    struct pass_options options = { .has_all_reduce = setup->collective == COLLECTIVE_RING,
                                    .has_batches = stage->has_batches,
                                    .next_id = *next_id };
    const struct pass *pass;

    *plan = plan_of(arena, stage, &setup->models[stage->model].model);
    pass = pass_compile(arena, plan, &setup->models[stage->model].model, &options);
    *next_id = options.next_id;
    return pass;
}
