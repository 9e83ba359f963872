/* engine.c - an empty winner tree. */
#include "sim/engine/engine.h"

#include "lib/base/arena.h"
#include <stddef.h>

struct engine *engine_create(struct arena *arena, int slot_count)
{
    struct engine *engine = arena_alloc(arena, sizeof(*engine));

    assert(slot_count >= 1 && slot_count <= ENGINE_MAX_SLOTS);
    engine->slot_count = slot_count;
    engine->taken = -1;
    engine->width = 1;
    while (engine->width < slot_count)
        engine->width *= 2;
    engine->node = arena_array(arena, 2 * (size_t)engine->width, sizeof(*engine->node));
    for (int i = 0; i < 2 * engine->width; i++)
        engine->node[i] = (struct engine_key){ UINT64_MAX, UINT64_MAX };
    return engine;
}
