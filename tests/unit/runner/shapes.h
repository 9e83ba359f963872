/* shapes.h - a tiny model, cut into stages as the tests need it. */
#ifndef ORRERY_TESTS_RUNNER_SHAPES_H
#define ORRERY_TESTS_RUNNER_SHAPES_H

#include "lib/base/arena.h"
#include "runner/setup/setup.h"

static inline struct model tiny_model(void)
{
    return (struct model){ .name = "tiny",
                           .kind = MODEL_DECODER,
                           .ffn = MODEL_GELU,
                           .norm = MODEL_LAYERNORM,
                           .positions = MODEL_LEARNED,
                           .layers = 4,
                           .hidden = 64,
                           .heads = 4,
                           .kv_heads = 4,
                           .head_dim = 16,
                           .ffn_hidden = 128,
                           .vocab = 300,
                           .tied_lm_head = true,
                           .weight_bits = 32,
                           .kv_bits = 32,
                           .max_context = 64 };
}

/* Layers first..first+count-1; the ends where they belong. */
static inline struct setup tiny_setup(struct arena *arena, const struct model *model, int32_t stage,
                                      int32_t first, int32_t count)
{
    struct setup setup = { .seed = 7,
                           .session = INT64_MAX,
                           .threads = 1,
                           .kv_slots = 1,
                           .bind = "127.0.0.1:0",
                           .model_count = 1,
                           .stage_count = 1 };

    setup.models = arena_array(arena, 1, sizeof *setup.models);
    setup.stages = arena_array(arena, 1, sizeof *setup.stages);
    setup.models[0] = (struct setup_model){ *model, 12, 1, 32 };
    setup.stages[0] = (struct setup_stage){ .id = stage,
                                            .previous_worker = SETUP_COORDINATOR,
                                            .batch_size = 1,
                                            .cache_count = 1,
                                            .next_divisor = 1,
                                            .layer_first = first,
                                            .layer_count = count,
                                            .has_embed = first == 0,
                                            .has_lm_head = first + count == model->layers,
                                            .is_last = first + count == model->layers };
    return setup;
}

#endif
