/* setup_slices.c - stages on several devices: from the slices of a SETUP to a pass. */
#include "runner/setup/setup.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/policy/pass.h"
#include "lib/policy/pass_owners.h"
#include "lib/policy/plan.h"

/* As lib/policy wants it; devices are positions. */
static struct plan_stage plan_of(struct arena *arena, const struct setup_stage *stage,
                                 const struct model *model)
{
    struct plan_border in = { stage->has_embed ? 0 : model->hidden, 0 };
    struct plan_border out = { stage->is_last ? 0 : model->hidden, 0 };
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
                                .in = in,
                                .out = out,
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

static bool layer_ok(struct arena *arena, const struct plan_stage *plan, const struct model *model,
                     int32_t layer)
{
    struct pass_owners owners;

    pass_owners_find(arena, plan, model, layer, &owners);
    return tiles(&owners.blocks[BLOCK_ATTN], model->kv_heads) &&
           tiles(&owners.blocks[BLOCK_PROJ], model->heads) &&
           tiles(&owners.blocks[BLOCK_FFN_UP], model->ffn_hidden) &&
           tiles(&owners.blocks[BLOCK_FFN_DOWN], model->ffn_hidden) &&
           (owners.blocks[BLOCK_CONN].count == 0 || tiles(&owners.blocks[BLOCK_CONN], 0));
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

    for (int i = 0; i < stage->slice_count; i++)
        if (!slice_ok(stage, &stage->slices[i], model))
            return err_set(err, ERR_INPUT, "setup: slice %d of stage %d is impossible", i,
                           stage->id);
    for (int32_t i = 0; i < stage->layer_count; i++)
        if (!layer_ok(arena, &plan, model, stage->layer_first + i))
            return err_set(err, ERR_INPUT, "setup: layer %d of stage %d is not there once",
                           stage->layer_first + i, stage->id);
    return ends_ok(arena, &plan, model) ||
           err_set(err, ERR_INPUT, "setup: embed or lm_head of stage %d is not there once",
                   stage->id);
}

const struct pass *setup_compile(struct arena *arena, const struct setup *setup, int index,
                                 int32_t *next_id)
{
    const struct setup_stage *stage = &setup->stages[index];
    struct plan_stage *plan = arena_alloc(arena, sizeof *plan);
    struct pass_options options = { setup->collective == COLLECTIVE_RING, *next_id };
    const struct pass *pass;

    *plan = plan_of(arena, stage, &setup->models[stage->model].model);
    pass = pass_compile(arena, plan, &setup->models[stage->model].model, &options);
    *next_id = options.next_id;
    return pass;
}
