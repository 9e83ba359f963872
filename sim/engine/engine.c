/* engine.c - the winner tree's making and growing. */
#include "sim/engine/engine.h"

#include "lib/base/arena.h"

#define FIRST_WIDTH 16

static const struct engine_key empty = { UINT64_MAX, UINT64_MAX };

/* A tree of empty leaves, all free, the first to be taken first. */
static void tree_make(struct engine *engine, unsigned width)
{
    engine->width = width;
    engine->node = arena_array(engine->arena, 2 * (size_t)width, sizeof(*engine->node));
    engine->free_leaves = arena_array(engine->arena, width, sizeof(*engine->free_leaves));
    engine->free_count = 0;
    for (unsigned i = 0; i < 2 * width; i++)
        engine->node[i] = empty;
}

struct engine *engine_create(struct arena *arena, int slot_count)
{
    struct engine *engine = arena_alloc(arena, sizeof(*engine));

    assert(slot_count >= 1 && slot_count <= ENGINE_MAX_SLOTS);
    engine->arena = arena;
    engine->slot_count = slot_count;
    engine->taken = -1;
    engine->leaf_of = arena_array(arena, (size_t)slot_count, sizeof(*engine->leaf_of));
    for (int i = 0; i < slot_count; i++)
        engine->leaf_of[i] = -1;
    tree_make(engine, FIRST_WIDTH);
    for (int32_t leaf = FIRST_WIDTH; leaf > 0; leaf--)
        engine->free_leaves[engine->free_count++] = leaf - 1;
    return engine;
}

void engine_widen(struct engine *engine)
{
    const struct engine_key *old = engine->node;
    unsigned half = engine->width;

    assert(engine->free_count == 0);
    tree_make(engine, 2 * half);
    for (unsigned i = 0; i < half; i++)
        engine->node[engine->width + i] = old[half + i];
    for (unsigned i = engine->width - 1; i > 0; i--)
        engine->node[i] =
            engine_smaller(engine->node[2 * (size_t)i], engine->node[2 * (size_t)i + 1]);
    for (unsigned leaf = engine->width; leaf > half; leaf--)
        engine->free_leaves[engine->free_count++] = (int32_t)leaf - 1;
}
