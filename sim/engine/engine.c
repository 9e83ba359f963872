/* engine.c - winner tree: every inner node holds the smaller key of its two children.
 *
 * A key is two 64-bit words, so that 32-bit boards compare it natively. Setting or clearing a slot
 * replays one path from leaf to root, branch-free; the root is the next event. */
#include "sim/engine/engine.h"

#include "lib/base/arena.h"
#include <assert.h>
#include <stddef.h>

struct key {
    uint64_t time_ps;
    uint64_t order; /* class:8 | slot:24 | seq:32; the sequence may wrap, a slot holds one event */
};

struct engine {
    struct key *node; /* node[1] is the root, leaves begin at node[width] */
    int width;        /* power of two >= slot_count */
    int slot_count;
    uint32_t seq;
    int64_t now_ps;
    int64_t event_count;
};

static const struct key empty = { UINT64_MAX, UINT64_MAX };

static struct key smaller(struct key a, struct key b)
{
    bool take_a = a.time_ps < b.time_ps || (a.time_ps == b.time_ps && a.order <= b.order);

    return take_a ? a : b;
}

struct engine *engine_create(struct arena *arena, int slot_count)
{
    struct engine *engine = arena_alloc(arena, sizeof(*engine));

    assert(slot_count >= 1 && slot_count <= ENGINE_MAX_SLOTS);
    engine->slot_count = slot_count;
    engine->width = 1;
    while (engine->width < slot_count)
        engine->width *= 2;
    engine->node = arena_array(arena, 2 * (size_t)engine->width, sizeof(*engine->node));
    for (int i = 0; i < 2 * engine->width; i++)
        engine->node[i] = empty;
    return engine;
}

static void replay(struct engine *engine, int slot, struct key key)
{
    int i = engine->width + slot;

    assert(slot >= 0 && slot < engine->slot_count);
    engine->node[i] = key;
    for (; i > 1; i /= 2) {
        key = smaller(key, engine->node[i ^ 1]);
        engine->node[i / 2] = key;
    }
}

void engine_set(struct engine *engine, int slot, int64_t time_ps, enum engine_class class)
{
    struct key key;

    assert(time_ps >= engine->now_ps && time_ps != ENGINE_NEVER);
    key.time_ps = (uint64_t)time_ps;
    key.order = (uint64_t) class << 56 | (uint64_t)slot << 32 | engine->seq++;
    replay(engine, slot, key);
}

void engine_clear(struct engine *engine, int slot)
{
    replay(engine, slot, empty);
}

int engine_next(struct engine *engine)
{
    struct key top = engine->node[1];
    int slot = (int)(top.order >> 32 & 0xffffff);

    if (top.time_ps == UINT64_MAX)
        return -1;
    assert((int64_t)top.time_ps >= engine->now_ps);
    engine->now_ps = (int64_t)top.time_ps;
    engine->event_count++;
    replay(engine, slot, empty);
    return slot;
}

int64_t engine_peek_ps(const struct engine *engine)
{
    uint64_t time_ps = engine->node[1].time_ps;

    return time_ps == UINT64_MAX ? ENGINE_NEVER : (int64_t)time_ps;
}

void engine_advance(struct engine *engine, int64_t time_ps)
{
    assert(time_ps >= engine->now_ps && time_ps <= engine_peek_ps(engine));
    engine->now_ps = time_ps;
    engine->event_count++;
}

int64_t engine_now_ps(const struct engine *engine)
{
    return engine->now_ps;
}

int64_t engine_after_ps(int64_t instant_ps, int64_t duration_ps)
{
    return duration_ps > ENGINE_LAST_PS - instant_ps ? ENGINE_LAST_PS : instant_ps + duration_ps;
}

int64_t engine_event_count(const struct engine *engine)
{
    return engine->event_count;
}
