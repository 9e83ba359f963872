/* setup.c - writes and reads SETUP: what a worker is told before a run. */
#include "runner/setup/setup.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/kernels/codec.h"
#include "lib/policy/pass.h"
#include "lib/wire/frame.h"
#include "runner/setup/setup_json.h"
#include <inttypes.h>
#include <math.h>

/* Bounds of a shape: products of two of them stay far inside int32. */
enum bound {
    MAX_LAYERS = 1 << 14,
    MAX_HEADS = 1 << 12,
    MAX_WIDTH = 1 << 20,
    MAX_VOCAB = 1 << 24,
    MAX_THREADS = 1 << 12,
    MAX_SLOTS = 1 << 10,
};

/* ---- writing ---- */

/* The integer fields of a model, by the name they travel under. */
struct model_field {
    const char *key;
    size_t at;
    int32_t min, max;
};
#define FIELD(name, min, max)                                                                      \
    {                                                                                              \
#name, offsetof(struct setup_model, name), min, max                                        \
    }
static const struct model_field model_fields[] = {
    FIELD(model.layers, 1, MAX_LAYERS),
    FIELD(model.hidden, 1, MAX_WIDTH),
    FIELD(model.heads, 1, MAX_HEADS),
    FIELD(model.kv_heads, 1, MAX_HEADS),
    FIELD(model.head_dim, 1, MAX_HEADS),
    FIELD(model.ffn_hidden, 1, MAX_WIDTH),
    FIELD(model.vocab, 1, MAX_VOCAB),
    FIELD(model.weight_bits, 1, 64),
    FIELD(model.kv_bits, 1, 64),
    FIELD(model.max_context, 0, FRAME_MAX_TOKENS),
    FIELD(max_tokens, 1, FRAME_MAX_TOKENS),
    FIELD(max_seqs, 1, SETUP_MAX_SEQS),
    FIELD(max_total_tokens, 1, FRAME_MAX_TOKENS),
};
#undef FIELD
enum { MODEL_FIELD_COUNT = sizeof model_fields / sizeof model_fields[0] };

static int32_t *field_of(struct setup_model *model, int i)
{
    return (int32_t *)(void *)((char *)model + model_fields[i].at);
}

static void put_model(struct json_writer *json, const struct setup_model *model)
{
    struct setup_model copy = *model;

    json_begin_object(json, NULL);
    json_put_text(json, "name", model->model.name);
    json_put_int(json, "kind", model->model.kind);
    json_put_int(json, "ffn", model->model.ffn);
    json_put_int(json, "norm", model->model.norm);
    json_put_int(json, "positions", model->model.positions);
    json_put_bool(json, "tied_lm_head", model->model.tied_lm_head);
    for (int i = 0; i < MODEL_FIELD_COUNT; i++)
        json_put_int(json, model_fields[i].key, *field_of(&copy, i));
    json_end_object(json);
}

/* The integer fields of a slice. */
struct slice_field {
    const char *key;
    size_t at;
    int32_t min, max;
};
#define FIELD(name, min, max)                                                                      \
    {                                                                                              \
#name, offsetof(struct setup_slice, name), min, max                                        \
    }
static const struct slice_field slice_fields[] = {
    FIELD(layer_first, -1, MAX_LAYERS),       FIELD(layer_last, -1, MAX_LAYERS),
    FIELD(position, 0, PASS_MAX_DEVICES - 1), FIELD(part_first, 0, INT32_MAX),
    FIELD(part_last, 0, INT32_MAX),           FIELD(part_of, 1, INT32_MAX),
};
#undef FIELD
enum { SLICE_FIELD_COUNT = sizeof slice_fields / sizeof slice_fields[0] };

static void put_slices(struct json_writer *json, const struct setup_stage *stage)
{
    json_begin_array(json, "workers");
    for (int32_t i = 0; i < stage->position_count; i++)
        json_put_int(json, NULL, stage->workers[i]);
    json_end_array(json);
    json_begin_array(json, "slices");
    for (int i = 0; i < stage->slice_count; i++) {
        const struct setup_slice *slice = &stage->slices[i];

        json_begin_object(json, NULL);
        json_put_int(json, "blocks", slice->blocks);
        for (int k = 0; k < SLICE_FIELD_COUNT; k++)
            json_put_int(
                json, slice_fields[k].key,
                *(const int32_t *)(const void *)((const char *)slice + slice_fields[k].at));
        json_put_bool(json, "is_implied", slice->is_implied);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_stage(struct arena *arena, struct json_writer *json,
                      const struct setup_stage *stage)
{
    json_begin_object(json, NULL);
    json_put_int(json, "id", stage->id);
    json_put_int(json, "model", stage->model);
    json_put_int(json, "layer_first", stage->layer_first);
    json_put_int(json, "layer_count", stage->layer_count);
    json_put_bool(json, "has_embed", stage->has_embed);
    json_put_bool(json, "has_lm_head", stage->has_lm_head);
    json_put_bool(json, "is_last", stage->is_last);
    json_put_int(json, "wire_bits", stage->wire_bits);
    json_put_int(json, "wire_bits_in", stage->wire_bits_in);
    json_put_int(json, "encode_value_ps", stage->encode_value_ps);
    json_put_int(json, "decode_value_ps", stage->decode_value_ps);
    json_put_int(json, "depth", stage->depth);
    json_put_int(json, "next_depth", stage->next_depth);
    json_put_int(json, "previous_worker", stage->previous_worker);
    json_put_int(json, "batch_size", stage->batch_size);
    json_put_int(json, "batch_limit", stage->batch_limit);
    json_put_bool(json, "has_batches", stage->has_batches);
    json_put_int(json, "cache_count", stage->cache_count);
    /* as text: it may be above 2^53 */
    json_put_text(json, "batch_wait_ps", arena_printf(arena, "%" PRId64, stage->batch_wait_ps));
    json_put_int(json, "generation", stage->generation);
    setup_put_nexts(arena, json, stage);
    json_put_int(json, "position", stage->position);
    setup_put_moves(json, stage);
    put_slices(json, stage);
    json_end_object(json);
}

const char *setup_encode(struct arena *arena, const struct setup *setup)
{
    struct setup_text text = setup_begin_text(arena);
    struct json_writer *json = text.json;

    json_put_int(json, "worker", setup->worker);
    /* 64-bit values go as text: JSON numbers are exact to 2^53 only */
    json_put_text(json, "session", arena_printf(arena, "%" PRId64, setup->session));
    json_put_text(json, "seed", arena_printf(arena, "%" PRId64, (int64_t)setup->seed));
    json_put_int(json, "threads", setup->threads);
    json_put_int(json, "kv_slots", setup->kv_slots);
    json_put_text(json, "memory_bytes", arena_printf(arena, "%" PRId64, setup->memory_bytes));
    json_put_text(json, "bind", setup->bind);
    json_put_int(json, "collective", setup->collective);
    json_put_bool(json, "has_clamp", setup->has_clamp);
    json_put_bool(json, "tells_exchanges", setup->tells_exchanges);
    json_put_double(json, "pad_ratio", setup->pad_ratio);
    if (setup->pad_ratio > 0) {
        json_put_text(json, "pad_type", setup->pad_type);
        json_put_text(json, "pad_kernels", setup->pad_kernels);
        json_put_text(json, "pad_interp", setup->pad_interp);
    }
    json_begin_array(json, "models");
    for (int i = 0; i < setup->model_count; i++)
        put_model(json, &setup->models[i]);
    json_end_array(json);
    json_begin_array(json, "stages");
    for (int i = 0; i < setup->stage_count; i++)
        put_stage(arena, json, &setup->stages[i]);
    json_end_array(json);
    return setup_end_text(&text);
}

/* ---- reading ---- */

static bool get_model(const struct json *object, struct setup_model *model, struct err *err)
{
    int32_t kind, ffn, norm, positions;

    if (!setup_get_text(object, "name", &model->model.name, err) ||
        !setup_get_int(object, "kind", 0, MODEL_KIND_COUNT - 1, &kind, err) ||
        !setup_get_int(object, "ffn", 0, MODEL_FFN_COUNT - 1, &ffn, err) ||
        !setup_get_int(object, "norm", 0, MODEL_NORM_COUNT - 1, &norm, err) ||
        !setup_get_int(object, "positions", 0, MODEL_POSITIONS_COUNT - 1, &positions, err) ||
        !setup_get_bool(object, "tied_lm_head", &model->model.tied_lm_head, err))
        return false;
    for (int i = 0; i < MODEL_FIELD_COUNT; i++)
        if (!setup_get_int(object, model_fields[i].key, model_fields[i].min, model_fields[i].max,
                           field_of(model, i), err))
            return false;
    model->model.kind = (enum model_kind)kind;
    model->model.ffn = (enum model_ffn)ffn;
    model->model.norm = (enum model_norm)norm;
    model->model.positions = (enum model_positions)positions;
    if (model->model.heads % model->model.kv_heads != 0 ||
        (int64_t)(model->model.heads + 2 * model->model.kv_heads) * model->model.head_dim >
            INT64_C(4) * MAX_WIDTH ||
        model->max_tokens / model->max_seqs > model->max_total_tokens)
        return err_set(err, ERR_INPUT, "setup: the shape of model '%s' is impossible",
                       model->model.name);
    return true;
}

static bool get_workers(struct arena *arena, const struct json *object, struct setup_stage *stage,
                        struct err *err)
{
    const struct json *workers;
    int count;

    if (!setup_get_array(object, "workers", &workers, &count, err))
        return false;
    if (count > PASS_MAX_DEVICES || (count > 0 && stage->position >= count))
        return err_set(err, ERR_INPUT, "setup: stage %d is on %d workers", stage->id, count);
    stage->position_count = count;
    stage->workers = arena_array(arena, (size_t)count + 1, sizeof *stage->workers);
    for (int i = 0; i < count; i++) {
        int64_t worker;

        if (!json_int(json_at(workers, i), &worker) || worker < 0 || worker > INT32_MAX)
            return err_set(err, ERR_INPUT, "setup: workers: expected numbers");
        stage->workers[i] = (int32_t)worker;
    }
    return true;
}

static bool get_slices(struct arena *arena, const struct json *object, const struct model *model,
                       struct setup_stage *stage, struct err *err)
{
    const struct json *slices;

    if (!get_workers(arena, object, stage, err) ||
        !setup_get_array(object, "slices", &slices, &stage->slice_count, err))
        return false;
    stage->slices = arena_array(arena, (size_t)stage->slice_count + 1, sizeof *stage->slices);
    for (int i = 0; i < stage->slice_count; i++) {
        const struct json *item = json_at(slices, i);
        struct setup_slice *slice = &stage->slices[i];
        int32_t blocks = 0;

        if (!setup_get_int(item, "blocks", 1, (1 << BLOCK_COUNT) - 1, &blocks, err) ||
            !setup_get_bool(item, "is_implied", &slice->is_implied, err))
            return false;
        slice->blocks = (unsigned)blocks;
        for (int k = 0; k < SLICE_FIELD_COUNT; k++)
            if (!setup_get_int(item, slice_fields[k].key, slice_fields[k].min, slice_fields[k].max,
                               (int32_t *)(void *)((char *)slice + slice_fields[k].at), err))
                return false;
    }
    return stage->position_count == 0 || setup_check_slices(arena, stage, model, err);
}

static bool get_stage(struct arena *arena, const struct json *object, const struct setup *setup,
                      struct setup_stage *stage, struct err *err)
{
    if (!setup_get_int(object, "id", 0, FRAME_MAX_STAGE, &stage->id, err) ||
        !setup_get_int(object, "model", 0, setup->model_count - 1, &stage->model, err) ||
        !setup_get_int(object, "layer_first", 0, MAX_LAYERS, &stage->layer_first, err) ||
        !setup_get_int(object, "layer_count", 0, MAX_LAYERS, &stage->layer_count, err) ||
        !setup_get_bool(object, "has_embed", &stage->has_embed, err) ||
        !setup_get_bool(object, "has_lm_head", &stage->has_lm_head, err) ||
        !setup_get_bool(object, "is_last", &stage->is_last, err) ||
        !setup_get_int(object, "wire_bits", 0, CODEC_MAX_BITS, &stage->wire_bits, err) ||
        !setup_get_int(object, "wire_bits_in", 0, CODEC_MAX_BITS, &stage->wire_bits_in, err) ||
        !setup_get_int(object, "encode_value_ps", 0, INT32_MAX, &stage->encode_value_ps, err) ||
        !setup_get_int(object, "decode_value_ps", 0, INT32_MAX, &stage->decode_value_ps, err) ||
        !setup_get_int(object, "depth", 0, INT32_MAX, &stage->depth, err) ||
        !setup_get_int(object, "next_depth", 0, INT32_MAX, &stage->next_depth, err) ||
        !setup_get_int(object, "previous_worker", SETUP_COORDINATOR, INT32_MAX,
                       &stage->previous_worker, err) ||
        !setup_get_int(object, "batch_size", 1, SETUP_MAX_SEQS, &stage->batch_size, err) ||
        !setup_get_int(object, "batch_limit", 0, INT32_MAX, &stage->batch_limit, err) ||
        !setup_get_bool(object, "has_batches", &stage->has_batches, err) ||
        !setup_get_int(object, "cache_count", 1, INT32_MAX, &stage->cache_count, err) ||
        !setup_get_int64(object, "batch_wait_ps", &stage->batch_wait_ps, err) ||
        !setup_get_int(object, "generation", 0, FRAME_MAX_GENERATION, &stage->generation, err) ||
        !setup_get_nexts(arena, object, stage, err) ||
        !setup_get_int(object, "position", 0, PASS_MAX_DEVICES - 1, &stage->position, err))
        return false;
    if (stage->batch_wait_ps < 0 || stage->batch_size > setup->models[stage->model].max_seqs)
        return err_set(err, ERR_INPUT, "setup: the batches of stage %d are impossible", stage->id);
    if (stage->layer_first + stage->layer_count > setup->models[stage->model].model.layers)
        return err_set(err, ERR_INPUT, "setup: stage %d has layers that its model has not",
                       stage->id);
    if (stage->is_last != stage->has_lm_head)
        return err_set(err, ERR_INPUT, "setup: stage %d: the last stage alone has the lm_head",
                       stage->id);
    return setup_get_moves(arena, object, &setup->models[stage->model].model, stage, err) &&
           get_slices(arena, object, &setup->models[stage->model].model, stage, err);
}

static bool get_pad(const struct json *object, struct setup *setup, struct err *err)
{
    const struct json *ratio = json_get(object, "pad_ratio");

    if (!ratio || !json_double(ratio, &setup->pad_ratio) || !isfinite(setup->pad_ratio) ||
        setup->pad_ratio < 0)
        return err_set(err, ERR_INPUT, "setup: pad_ratio: expected a number of at least 0");
    return !(setup->pad_ratio > 0) ||
           (setup_get_text(object, "pad_type", &setup->pad_type, err) &&
            setup_get_text(object, "pad_kernels", &setup->pad_kernels, err) &&
            setup_get_text(object, "pad_interp", &setup->pad_interp, err));
}

static bool get_lists(struct arena *arena, const struct json *object, struct setup *setup,
                      struct err *err)
{
    const struct json *models, *stages;

    if (!setup_get_array(object, "models", &models, &setup->model_count, err) ||
        !setup_get_array(object, "stages", &stages, &setup->stage_count, err))
        return false;
    setup->models = arena_array(arena, (size_t)setup->model_count, sizeof *setup->models);
    setup->stages = arena_array(arena, (size_t)setup->stage_count, sizeof *setup->stages);
    for (int i = 0; i < setup->model_count; i++)
        if (!get_model(json_at(models, i), &setup->models[i], err))
            return false;
    for (int i = 0; i < setup->stage_count; i++)
        if (!get_stage(arena, json_at(stages, i), setup, &setup->stages[i], err))
            return false;
    return setup->stage_count > 0 || err_set(err, ERR_INPUT, "setup: stages: expected one or more");
}

struct setup *setup_decode(struct arena *arena, const unsigned char *text, size_t length_bytes,
                           struct err *err)
{
    const struct json *object = setup_parse(arena, text, length_bytes, "setup", err);
    struct setup *setup = arena_alloc(arena, sizeof *setup);
    int64_t seed;
    int32_t collective;

    if (!object || !setup_get_int(object, "worker", 0, INT32_MAX, &setup->worker, err) ||
        !setup_get_int64(object, "session", &setup->session, err) ||
        !setup_get_int64(object, "seed", &seed, err) ||
        !setup_get_int(object, "threads", 1, MAX_THREADS, &setup->threads, err) ||
        !setup_get_int(object, "kv_slots", 0, MAX_SLOTS, &setup->kv_slots, err) ||
        !setup_get_int64(object, "memory_bytes", &setup->memory_bytes, err) ||
        !setup_get_text(object, "bind", &setup->bind, err) ||
        !setup_get_int(object, "collective", 0, COLLECTIVE_ALGORITHM_COUNT - 1, &collective, err) ||
        !setup_get_bool(object, "has_clamp", &setup->has_clamp, err) ||
        !setup_get_bool(object, "tells_exchanges", &setup->tells_exchanges, err) ||
        !get_pad(object, setup, err) || !get_lists(arena, object, setup, err))
        return NULL;
    if (setup->memory_bytes < 0) {
        err_set(err, ERR_INPUT, "setup: memory_bytes: expected at least 0");
        return NULL;
    }
    setup->seed = (uint64_t)seed;
    setup->collective = (enum collective_algorithm)collective;
    return setup;
}
