/* collective.c - the steps of each operation and algorithm, slot by slot. */
#include "lib/policy/collective.h"

#include "lib/base/arena.h"
#include "lib/base/wide.h"
#include <assert.h>
#include <stddef.h>

const char *const collective_algorithm_names[COLLECTIVE_ALGORITHM_COUNT] = {
    [COLLECTIVE_RING] = "ring",
    [COLLECTIVE_STAR] = "star",
    [COLLECTIVE_TREE] = "tree",
};

struct touch {          /* a step that a participant sent or received */
    int32_t step, next; /* -1 = the last */
};

struct builder {
    struct arena *arena;
    struct collective *collective;
    const int64_t *before; /* bytes of parts 0 to i - 1, for i = 0 .. participants */
    int32_t step_room, dep_room, touch_count, touch_room, slot_first;
    struct touch *touches;
    int32_t *latest,
        *current; /* by participant: touches of its last slot, of this one; -1 = none */
};

/* Doubles the room of an array when it is full. */
#define MAKE_ROOM(builder, items, count, room)                                                     \
    do {                                                                                           \
        if ((count) == (room)) {                                                                   \
            int32_t larger = arena_wider(room, 64);                                                \
            (items) = arena_grow((builder)->arena, (items), (size_t)(room), (size_t)larger,        \
                                 sizeof(*(items)));                                                \
            (room) = larger;                                                                       \
        }                                                                                          \
    } while (0)

/* ---- steps ---- */

/* Of the parts from first on, past the last going on with 0. */
static int64_t parts_bytes(const struct builder *builder, int32_t first, int32_t count)
{
    int32_t participants = builder->collective->participants, end = first + count;

    if (end <= participants)
        return builder->before[end] - builder->before[first];
    return builder->before[participants] - builder->before[first] +
           builder->before[end - participants];
}

static void touch_add(struct builder *builder, int32_t participant, int32_t step)
{
    MAKE_ROOM(builder, builder->touches, builder->touch_count, builder->touch_room);
    builder->touches[builder->touch_count] = (struct touch){ step, builder->current[participant] };
    builder->current[participant] = builder->touch_count++;
}

/* All that the participant sent and received in its last slot. */
static void deps_add(struct builder *builder, struct collective_step *step, int32_t participant)
{
    struct collective *collective = builder->collective;

    for (int32_t at = builder->latest[participant]; at >= 0; at = builder->touches[at].next) {
        MAKE_ROOM(builder, collective->deps, collective->dep_count, builder->dep_room);
        collective->deps[collective->dep_count++] = builder->touches[at].step;
        step->dep_count++;
    }
}

/* Participants as seen from the root: 0 is the root. waits_for_both: the receiver takes its
 * messages in order of slots. */
static void step_add(struct builder *builder, int32_t from, int32_t to, int32_t first_part,
                     int32_t part_count, bool is_sum, bool waits_for_both)
{
    struct collective *collective = builder->collective;
    int32_t count = collective->participants, root = collective->root;
    struct collective_step step = {
        .from = (from + root) % count,
        .to = (to + root) % count,
        .first_part = (first_part % count + root) % count,
        .part_count = part_count,
        .is_sum = is_sum,
        .slot = collective->slot_count,
        .first_dep = collective->dep_count,
    };

    step.bytes = parts_bytes(builder, step.first_part, part_count);
    deps_add(builder, &step, step.from);
    if (waits_for_both)
        deps_add(builder, &step, step.to);
    MAKE_ROOM(builder, collective->steps, collective->step_count, builder->step_room);
    touch_add(builder, step.from, collective->step_count);
    touch_add(builder, step.to, collective->step_count);
    collective->steps[collective->step_count++] = step;
}

static void slot_end(struct builder *builder)
{
    struct collective *collective = builder->collective;

    for (; builder->slot_first < collective->step_count; builder->slot_first++) {
        const struct collective_step *step = &collective->steps[builder->slot_first];
        const int32_t ends[2] = { step->from, step->to };

        for (int i = 0; i < 2; i++)
            if (builder->current[ends[i]] >= 0) {
                builder->latest[ends[i]] = builder->current[ends[i]];
                builder->current[ends[i]] = -1;
            }
    }
    collective->slot_count++;
}

/* ---- ring ---- */

/* Each slot, everybody sends one part to the next; participant 0 begins with part `first`. */
static void ring_turn(struct builder *builder, int32_t first, bool is_sum)
{
    int32_t count = builder->collective->participants;

    for (int32_t slot = 0; slot < count - 1; slot++) {
        for (int32_t i = 0; i < count; i++)
            step_add(builder, i, (i + 1) % count, (i + first + 2 * count - slot) % count, 1, is_sum,
                     false);
        slot_end(builder);
    }
}

/* Part after part down the ring, each a slot behind the one before. */
static void ring_broadcast(struct builder *builder)
{
    int32_t count = builder->collective->participants;

    for (int32_t slot = 0; slot < 2 * count - 2; slot++) {
        for (int32_t from = 0; from < count - 1; from++)
            if (slot - from >= 0 && slot - from < count)
                step_add(builder, from, from + 1, slot - from, 1, false, false);
        slot_end(builder);
    }
}

/* The part of the farthest goes first, so that all arrive in the last slot. */
static void ring_scatter(struct builder *builder)
{
    int32_t count = builder->collective->participants;

    for (int32_t slot = 0; slot < count - 1; slot++) {
        for (int32_t from = 0; from <= slot; from++)
            step_add(builder, from, from + 1, count - 1 - (slot - from), 1, false, false);
        slot_end(builder);
    }
}

/* Each sends its own part, then what comes from those behind it. */
static void ring_gather(struct builder *builder)
{
    int32_t count = builder->collective->participants;

    for (int32_t slot = 0; slot < count - 1; slot++) {
        for (int32_t from = slot + 1; from < count; from++)
            step_add(builder, from, (from + 1) % count, from - slot, 1, false, false);
        slot_end(builder);
    }
}

static void ring_build(struct builder *builder)
{
    switch (builder->collective->kind) {
    case COLLECTIVE_SEND:
    case COLLECTIVE_BROADCAST:
        ring_broadcast(builder);
        break;
    case COLLECTIVE_SCATTER:
        ring_scatter(builder);
        break;
    case COLLECTIVE_GATHER:
        ring_gather(builder);
        break;
    case COLLECTIVE_ALL_GATHER:
        ring_turn(builder, 0, false);
        break;
    case COLLECTIVE_REDUCE_SCATTER:
        ring_turn(builder, -1, true);
        break;
    case COLLECTIVE_REDUCE:
        ring_turn(builder, -1, true);
        ring_gather(builder);
        break;
    case COLLECTIVE_ALL_REDUCE:
        ring_turn(builder, -1, true);
        ring_turn(builder, 0, false);
        break;
    case COLLECTIVE_KIND_COUNT:
        assert(false);
    }
}

/* ---- star and tree ---- */

/* What travels between the root and the others on one way. */
enum load {
    LOAD_WHOLE,  /* the vector */
    LOAD_SUM,    /* the vector, to be added */
    LOAD_PARTS,  /* those of the participants that it comes from or goes to */
    LOAD_OTHERS, /* star: all parts but the receiver's; tree: the vector */
};

static void star_way(struct builder *builder, bool is_out, enum load load)
{
    int32_t count = builder->collective->participants;

    for (int32_t i = 1; i < count; i++) {
        int32_t first = load == LOAD_PARTS ? i : 0, parts = load == LOAD_PARTS ? 1 : count;

        if (load == LOAD_OTHERS) {
            first = i + 1;
            parts = count - 1;
        }
        step_add(builder, is_out ? 0 : i, is_out ? i : 0, first, parts, load == LOAD_SUM, false);
    }
    slot_end(builder);
}

/* Participant i, whose lowest bit is b, hangs below i - b and holds i to i + b - 1 below itself.
 * Out: the highest bit first; in: the lowest. */
static void tree_way(struct builder *builder, bool is_out, enum load load)
{
    int32_t count = builder->collective->participants, highest = 1;

    while (2 * highest < count)
        highest *= 2;
    for (int32_t bit = is_out ? highest : 1; bit >= 1 && bit <= highest;
         bit = is_out ? bit / 2 : 2 * bit) {
        for (int32_t i = bit; i < count; i += 2 * bit) {
            int32_t below = i + bit <= count ? bit : count - i;
            int32_t first = load == LOAD_PARTS ? i : 0;

            step_add(builder, is_out ? i - bit : i, is_out ? i : i - bit, first,
                     load == LOAD_PARTS ? below : count, load == LOAD_SUM, !is_out);
        }
        slot_end(builder);
    }
}

static void way(struct builder *builder, bool is_out, enum load load)
{
    if (builder->collective->algorithm == COLLECTIVE_STAR)
        star_way(builder, is_out, load);
    else
        tree_way(builder, is_out, load);
}

static void rooted_build(struct builder *builder)
{
    switch (builder->collective->kind) {
    case COLLECTIVE_SEND:
    case COLLECTIVE_BROADCAST:
        way(builder, true, LOAD_WHOLE);
        break;
    case COLLECTIVE_SCATTER:
        way(builder, true, LOAD_PARTS);
        break;
    case COLLECTIVE_GATHER:
        way(builder, false, LOAD_PARTS);
        break;
    case COLLECTIVE_REDUCE:
        way(builder, false, LOAD_SUM);
        break;
    case COLLECTIVE_ALL_GATHER:
        way(builder, false, LOAD_PARTS);
        way(builder, true, LOAD_OTHERS);
        break;
    case COLLECTIVE_REDUCE_SCATTER:
        way(builder, false, LOAD_SUM);
        way(builder, true, LOAD_PARTS);
        break;
    case COLLECTIVE_ALL_REDUCE:
        way(builder, false, LOAD_SUM);
        way(builder, true, LOAD_WHOLE);
        break;
    case COLLECTIVE_KIND_COUNT:
        assert(false);
    }
}

/* ---- all of it ---- */

struct collective *collective_steps_of(struct arena *arena, enum collective_kind kind,
                                       enum collective_algorithm algorithm, int32_t participants,
                                       const int64_t *part_bytes, int32_t root)
{
    struct collective *collective = arena_alloc(arena, sizeof(*collective));
    int64_t *before = arena_array(arena, (size_t)participants + 1, sizeof(*before));
    struct builder builder = { .arena = arena, .collective = collective, .before = before };

    assert(participants >= 1 && root >= 0 && root < participants);
    assert(kind != COLLECTIVE_SEND || participants == 2);
    collective->kind = kind;
    collective->algorithm = algorithm;
    collective->participants = participants;
    collective->root = root;
    builder.latest = arena_array(arena, (size_t)participants, sizeof(*builder.latest));
    builder.current = arena_array(arena, (size_t)participants, sizeof(*builder.current));
    for (int32_t i = 0; i < participants; i++) {
        assert(part_bytes[i] >= 0 && part_bytes[i] <= INT64_MAX - before[i]);
        before[i + 1] = before[i] + part_bytes[i];
        builder.latest[i] = builder.current[i] = -1;
    }
    if (participants == 1)
        return collective;
    if (kind == COLLECTIVE_SEND)
        star_way(&builder, true, LOAD_WHOLE);
    else if (algorithm == COLLECTIVE_RING)
        ring_build(&builder);
    else
        rooted_build(&builder);
    return collective;
}

struct collective *collective_steps(struct arena *arena, enum collective_kind kind,
                                    enum collective_algorithm algorithm, int32_t participants,
                                    int64_t bytes)
{
    int64_t *parts = arena_array(arena, (size_t)participants, sizeof(*parts));
    int64_t before = 0;

    assert(bytes >= 0);
    for (int32_t i = 0; i < participants; i++) {
        uint64_t rest;
        int64_t after = (int64_t)wide_div(wide_mul((uint64_t)bytes, (uint64_t)i + 1),
                                          (uint64_t)participants, &rest);

        parts[i] = after - before;
        before = after;
    }
    return collective_steps_of(arena, kind, algorithm, participants, parts, 0);
}
