/* engine.h - simulated time and the order of events; knows nothing of devices or models.
 *
 * A winner tree: whoever can have an event pending (a device, a route of the network) owns one
 * slot, and a slot holds at most one event. The tree is as wide as events are pending, however many
 * slots there are. Order is total: time, then class (completions, then link arrivals, then
 * exogenous arrivals), then slot, then the order of setting. Arrivals from outside are a stream
 * that the caller merges in with engine_advance: they never enter the tree.
 *
 * The calls of the event loop are inline: a simulated event costs tens of nanoseconds. The members
 * of struct engine are theirs and engine.c's alone. */
#ifndef ORRERY_SIM_ENGINE_ENGINE_H
#define ORRERY_SIM_ENGINE_ENGINE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* Ties at one instant are broken by meaning: what ends comes before what begins. */
enum engine_class { ENGINE_COMPLETION, ENGINE_LINK_ARRIVAL, ENGINE_EXOGENOUS };

#define ENGINE_NEVER INT64_MAX
#define ENGINE_LAST_PS (INT64_MAX - 1)
#define ENGINE_MAX_SLOTS (1 << 24)

struct engine_key {
    uint64_t time_ps;
    uint64_t order; /* class:8 | slot:24 | seq:32; the sequence may wrap, a slot holds one event */
};

struct engine {
    struct arena *arena;
    struct engine_key *node; /* node[1] is the root, leaves begin at node[width] */
    unsigned width;          /* leaves: a power of two, as many as events were ever pending */
    unsigned free_count;     /* leaves that hold no event: free_leaves[0] to [free_count - 1] */
    int32_t *free_leaves;
    int32_t *leaf_of; /* by slot; -1 = no event */
    int slot_count;
    int taken; /* slot whose event was taken but still stands in the tree, -1 = none */
    uint32_t seq;
    int64_t now_ps;
    int64_t event_count;
};

/* Time starts at 0. slot_count >= 1. */
struct engine *engine_create(struct arena *arena, int slot_count);
void engine_widen(struct engine *engine); /* for engine_set alone: more leaves */

/* The smaller of two keys without a branch: which of two events comes first is a coin toss that no
 * branch predictor wins. gcc makes conditional moves of the first form, clang of the second. */
static inline struct engine_key engine_smaller(struct engine_key a, struct engine_key b)
{
#if defined(__SIZEOF_INT128__) && !defined(__clang__)
    __extension__ unsigned __int128 x, y;

    x = a.time_ps;
    x = x << 64 | a.order;
    y = b.time_ps;
    y = y << 64 | b.order;
    x = x < y ? x : y;
    return (struct engine_key){ (uint64_t)(x >> 64), (uint64_t)x };
#else
    uint64_t is_a = (uint64_t)(a.time_ps < b.time_ps) |
                    ((uint64_t)(a.time_ps == b.time_ps) & (uint64_t)(a.order < b.order));
    uint64_t mask = 0 - is_a;

    return (struct engine_key){ b.time_ps ^ ((a.time_ps ^ b.time_ps) & mask),
                                b.order ^ ((a.order ^ b.order) & mask) };
#endif
}

/* Every inner node holds the smaller key of its children: replays one path from leaf to root. The
 * tree is walked in words of 64 bits, two a node, which processors address without arithmetic. */
static inline void engine_replay(struct engine *engine, int32_t leaf, struct engine_key key)
{
    uint64_t *word = (uint64_t *)engine->node;
    size_t i = 2 * (engine->width + (size_t)leaf);

    word[i] = key.time_ps;
    word[i + 1] = key.order;
    while (i > 2) {
        size_t sibling = i ^ 2;

        key = engine_smaller(key, (struct engine_key){ word[sibling], word[sibling + 1] });
        i = i / 2 & ~(size_t)1;
        word[i] = key.time_ps;
        word[i + 1] = key.order;
    }
}

/* The same for a leaf that was empty: the key rises until it meets an earlier one, and all above
 * that stays as it is. Mostly that is near the leaf. */
static inline void engine_raise(struct engine *engine, int32_t leaf, struct engine_key key)
{
    struct engine_key *node = engine->node;
    size_t i = engine->width + (size_t)leaf;

    node[i] = key;
    for (i /= 2; i > 0 && (node[i].time_ps > key.time_ps ||
                           (node[i].time_ps == key.time_ps && node[i].order > key.order));
         i /= 2)
        node[i] = key;
}

/* Plans the slot's event, in place of the one it had. A time before engine_now_ps is a programming
 * error (assert); the present instant is allowed. Which leaf a slot has says nothing: order is in
 * the keys. So the leaf of the event that was just taken goes to the first slot that plans one:
 * one replay does for both. */
static inline void engine_set(struct engine *engine, int slot, int64_t time_ps,
                              enum engine_class class)
{
    int32_t leaf = engine->leaf_of[slot];
    struct engine_key key;

    assert(slot >= 0 && slot < engine->slot_count);
    assert(time_ps >= engine->now_ps && time_ps != ENGINE_NEVER);
    key.time_ps = (uint64_t)time_ps;
    key.order = (uint64_t) class << 56 | (uint64_t)slot << 32 | engine->seq++;
    if (leaf < 0 && engine->taken < 0) {
        if (engine->free_count == 0)
            engine_widen(engine);
        leaf = engine->leaf_of[slot] = engine->free_leaves[--engine->free_count];
        engine_raise(engine, leaf, key);
        return;
    }
    if (leaf < 0) {
        leaf = engine->leaf_of[slot] = engine->leaf_of[engine->taken];
        engine->leaf_of[engine->taken] = -1;
        engine->taken = -1;
    } else if (engine->taken == slot) {
        engine->taken = -1;
    }
    engine_replay(engine, leaf, key);
}

/* Cancels the slot's event, if it has one. */
static inline void engine_clear(struct engine *engine, int slot)
{
    int32_t leaf = engine->leaf_of[slot];

    assert(slot >= 0 && slot < engine->slot_count);
    if (leaf < 0)
        return;
    if (engine->taken == slot)
        engine->taken = -1;
    engine->leaf_of[slot] = -1;
    engine->free_leaves[engine->free_count++] = leaf;
    engine_replay(engine, leaf, (struct engine_key){ UINT64_MAX, UINT64_MAX });
}

/* The event that was taken leaves the tree late: its place mostly goes to another at once. */
static inline void engine_settle(struct engine *engine)
{
    if (engine->taken >= 0)
        engine_clear(engine, engine->taken);
}

/* Instant of the first event, or ENGINE_NEVER. */
static inline int64_t engine_peek_ps(struct engine *engine)
{
    engine_settle(engine);
    return engine->node[1].time_ps == UINT64_MAX ? ENGINE_NEVER : (int64_t)engine->node[1].time_ps;
}

/* Takes the first event: time moves to it and its slot is empty again. -1 when none is pending. */
static inline int engine_next(struct engine *engine)
{
    struct engine_key top;

    engine_settle(engine);
    top = engine->node[1];
    if (top.time_ps == UINT64_MAX)
        return -1;
    assert((int64_t)top.time_ps >= engine->now_ps);
    engine->now_ps = (int64_t)top.time_ps;
    engine->event_count++;
    engine->taken = (int)(top.order >> 32 & 0xffffff);
    return engine->taken;
}

/* Moves time to an instant that lies neither in the past nor after the first event, and counts one
 * event: an exogenous arrival. */
static inline void engine_advance(struct engine *engine, int64_t time_ps)
{
    assert(time_ps >= engine->now_ps && time_ps <= engine_peek_ps(engine));
    engine->now_ps = time_ps;
    engine->event_count++;
}

static inline int64_t engine_now_ps(const struct engine *engine)
{
    return engine->now_ps;
}

/* instant + duration, both >= 0, at most ENGINE_LAST_PS: a run that gets there is beyond what can
 * be simulated, and its owner stops it. */
static inline int64_t engine_after_ps(int64_t instant_ps, int64_t duration_ps)
{
    return duration_ps > ENGINE_LAST_PS - instant_ps ? ENGINE_LAST_PS : instant_ps + duration_ps;
}

/* Events taken so far, exogenous ones included. */
static inline int64_t engine_event_count(const struct engine *engine)
{
    return engine->event_count;
}

#endif
