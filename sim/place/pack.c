/* pack.c - see pack.h. States are reached in order of the devices that they use up, so that each
 * is final before anything follows from it. */
#include "sim/place/pack.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include <stddef.h>

#define START (-1)
#define DISPATCHER 0 /* as a size */

struct state {
    int32_t closed, used; /* nodes; devices of the open one, 0: none is open */
    int32_t sets;
    bool has_dispatcher;
};

struct cell {
    int64_t value;
    int32_t from;  /* cell; START */
    int32_t size;  /* what was added to it */
    bool did_open; /* its rest began a node */
};

struct pack {
    struct pack_input input;
    struct cell *cells;
};

static int32_t cell_count(const struct pack *pack)
{
    return (pack->input.node_count + 1) * pack->input.node_devices * (pack->input.set_count + 1) *
           2;
}

static int32_t index_of(const struct pack *pack, const struct state *state)
{
    int32_t at = state->closed * pack->input.node_devices + state->used;

    return (at * (pack->input.set_count + 1) + state->sets) * 2 + state->has_dispatcher;
}

static struct state state_of(const struct pack *pack, int32_t index)
{
    int32_t sets = pack->input.set_count + 1, at = index / 2 / sets;

    return (struct state){ at / pack->input.node_devices, at % pack->input.node_devices,
                           index / 2 % sets, index % 2 != 0 };
}

/* Nodes that a state needs are there, and nothing better reaches it. */
static void reach(struct pack *pack, int32_t from, const struct state *to, int32_t size,
                  bool did_open)
{
    int64_t more = size == DISPATCHER ? 0 : pack->input.values[size - 1];
    int64_t value = saturate_add(pack->cells[from].value, more);
    struct cell *cell;

    if (to->closed + (to->used > 0) > pack->input.node_count)
        return;
    cell = &pack->cells[index_of(pack, to)];
    if (value > cell->value)
        *cell = (struct cell){ value, from, size, did_open };
}

static int32_t capped(const struct pack *pack, int32_t sets)
{
    return sets < pack->input.set_count ? sets : pack->input.set_count;
}

/* A deployment, or the dispatcher as one of a device that counts for nothing. */
static void add(struct pack *pack, int32_t from, int32_t size)
{
    struct state before = state_of(pack, from), after = before;
    int32_t taken = size == DISPATCHER ? 1 : size, devices = pack->input.node_devices;
    int32_t rest = taken % devices;

    after.closed += taken / devices;
    after.has_dispatcher = before.has_dispatcher || size == DISPATCHER;
    if (rest == 0) {
        after.sets = capped(pack, before.sets + (size != DISPATCHER));
        reach(pack, from, &after, size, false);
        return;
    }
    if (before.used > 0 && before.used + rest <= devices) { /* shares the open node */
        after.used = before.used + rest;
        if (after.used == devices) {
            after.used = 0;
            after.closed++;
        }
        reach(pack, from, &after, size, false);
        after.closed = before.closed + taken / devices;
    }
    after.closed += before.used > 0;
    after.used = rest;
    after.sets = capped(pack, before.sets + (size != DISPATCHER));
    if (size == DISPATCHER) { /* what could share a node with it comes before it */
        after.used = 0;
        after.closed++;
    }
    reach(pack, from, &after, size, true);
}

const struct pack *pack_create(struct arena *arena, const struct pack_input *input)
{
    struct pack *pack = arena_alloc(arena, sizeof *pack);

    pack->input = *input;
    pack->cells = arena_array(arena, (size_t)cell_count(pack), sizeof *pack->cells);
    for (int32_t i = 0; i < cell_count(pack); i++)
        pack->cells[i].value = PACK_NONE;
    pack->cells[0] = (struct cell){ 0, START, 0, false };
    for (int32_t i = 0; i < cell_count(pack); i++) {
        if (pack->cells[i].value == PACK_NONE)
            continue;
        for (int32_t size = 1; size <= input->size_count; size++)
            if (input->values[size - 1] != PACK_NONE)
                add(pack, i, size);
        if (i % 2 == 0)
            add(pack, i, DISPATCHER);
    }
    return pack;
}

/* The first of the best states; START: there is none. */
static int32_t best_of(const struct pack *pack, int32_t sets, bool has_dispatcher)
{
    int32_t best = START;

    for (int32_t i = 0; i < cell_count(pack); i++) {
        struct state state = state_of(pack, i);

        if (state.sets == sets && state.has_dispatcher == has_dispatcher &&
            pack->cells[i].value > (best == START ? PACK_NONE : pack->cells[best].value))
            best = i;
    }
    return best;
}

int64_t pack_value(const struct pack *pack, int32_t sets, bool has_dispatcher)
{
    int32_t best = best_of(pack, sets, has_dispatcher);

    return best == START ? PACK_NONE : pack->cells[best].value;
}

const struct pack_deployment *pack_deployments(struct arena *arena, const struct pack *pack,
                                               int32_t sets, bool has_dispatcher, int32_t *count)
{
    int32_t devices = pack->input.node_devices, steps = 0, next = 0, open = -1;
    int32_t best = best_of(pack, sets, has_dispatcher), *way;
    struct pack_deployment *list;

    for (int32_t i = best; i != START; i = pack->cells[i].from)
        steps++;
    way = arena_array(arena, (size_t)steps + 1, sizeof *way);
    list = arena_array(arena, (size_t)steps + 1, sizeof *list);
    for (int32_t i = best, at = steps - 1; i != START; i = pack->cells[i].from)
        way[at--] = i;
    *count = 0;
    for (int32_t s = 1; s < steps; s++) {
        const struct cell *cell = &pack->cells[way[s]];
        int32_t taken = cell->size == DISPATCHER ? 1 : cell->size;
        struct pack_deployment one = { cell->size, next, -1, 0 };

        next += taken / devices;
        if (taken % devices > 0) {
            if (cell->did_open)
                open = next++;
            else
                one.rest_first = state_of(pack, way[s - 1]).used;
            one.rest_node = open;
        }
        if (cell->size != DISPATCHER)
            list[(*count)++] = one;
    }
    return list;
}
