/* setup_moves.c - which phase a stage is of, and what of its KV caches goes where. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/policy/pass.h"
#include "lib/policy/pass_owners.h"
#include "lib/wire/frame.h"
#include "runner/setup/setup.h"
#include "runner/setup/setup_json.h"

/* The integer fields of a move, by the name they travel under. */
struct move_field {
    const char *key;
    size_t at;
    int32_t max;
};
#define FIELD(name, max)                                                                           \
    {                                                                                              \
#name, offsetof(struct setup_move, name), max                                              \
    }
static const struct move_field move_fields[] = {
    FIELD(to_stage, FRAME_MAX_STAGE), FIELD(to_worker, INT32_MAX),  FIELD(layer_first, INT32_MAX),
    FIELD(layer_last, INT32_MAX),     FIELD(head_first, INT32_MAX), FIELD(head_count, INT32_MAX),
};
#undef FIELD
enum { MOVE_FIELD_COUNT = sizeof move_fields / sizeof move_fields[0] };

static int32_t *field_of(struct setup_move *move, int i)
{
    return (int32_t *)(void *)((char *)move + move_fields[i].at);
}

void setup_put_moves(struct json_writer *json, const struct setup_stage *stage)
{
    json_put_int(json, "phase", stage->phase);
    json_put_int(json, "twin", stage->twin);
    json_begin_array(json, "moves");
    for (int i = 0; i < stage->move_count; i++) {
        struct setup_move move = stage->moves[i];

        json_begin_object(json, NULL);
        for (int k = 0; k < MOVE_FIELD_COUNT; k++)
            json_put_int(json, move_fields[k].key, *field_of(&move, k));
        json_end_object(json);
    }
    json_end_array(json);
}

/* It is a part of what the stage has, as far as layers tell: which heads are here is asked when a
 * cache is read. */
static bool move_ok(const struct setup_stage *stage, const struct model *model,
                    const struct setup_move *move)
{
    return stage->phase == SETUP_PROMPTS && move->layer_first >= stage->layer_first &&
           move->layer_last >= move->layer_first &&
           move->layer_last < stage->layer_first + stage->layer_count && move->head_count > 0 &&
           move->head_first < model->kv_heads &&
           move->head_count <= model->kv_heads - move->head_first;
}

bool setup_get_moves(struct arena *arena, const struct json *object, const struct model *model,
                     struct setup_stage *stage, struct err *err)
{
    const struct json *moves;
    int32_t phase;

    if (!setup_get_int(object, "phase", 0, SETUP_PHASE_COUNT - 1, &phase, err) ||
        !setup_get_int(object, "twin", SETUP_NOBODY, FRAME_MAX_STAGE, &stage->twin, err) ||
        !setup_get_array(object, "moves", &moves, &stage->move_count, err))
        return false;
    stage->phase = (enum setup_phase)phase;
    stage->moves = arena_array(arena, (size_t)stage->move_count + 1, sizeof *stage->moves);
    for (int i = 0; i < stage->move_count; i++) {
        for (int k = 0; k < MOVE_FIELD_COUNT; k++)
            if (!setup_get_int(json_at(moves, i), move_fields[k].key, 0, move_fields[k].max,
                               field_of(&stage->moves[i], k), err))
                return false;
        if (!move_ok(stage, model, &stage->moves[i]))
            return err_set(err, ERR_INPUT, "setup: move %d of stage %d is impossible", i,
                           stage->id);
    }
    return true;
}

int32_t setup_cache_positions(const struct setup_stage *stage, const struct model *model,
                              int32_t *positions)
{
    bool has_cache[PASS_MAX_DEVICES] = { false };
    int32_t count = 0;

    if (stage->position_count == 0) {
        positions[0] = 0;
        return stage->layer_count > 0;
    }
    for (int i = 0; i < stage->slice_count && model->kind == MODEL_DECODER; i++)
        if (stage->slices[i].blocks & 1u << BLOCK_ATTN)
            has_cache[stage->slices[i].position] = true;
    for (int32_t p = 0; p < stage->position_count; p++)
        if (has_cache[p])
            positions[count++] = p;
    return count;
}
