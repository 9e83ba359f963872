/* chain_visit.c - the fastest way of a lone request through a chain when every unit may be on any
 * device with room for it: EdgeShard's first program, with a memory that each way has to itself. */
#include "sim/place/chain.h"

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include "lib/base/saturate.h"
#include "sim/place/chain_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ASK_EVERY 64 /* states, between looks at the clock */

#define NOBODY (-1)
#define FIRST_SLOTS 1024

struct state {             /* a way through the first units */
    double cost, least;    /* so far; of any whole way that begins like this */
    uint64_t hash;         /* of what each device holds */
    int32_t units, kind;   /* placed; where the last one is */
    int32_t lead;          /* where the first one is */
    int32_t before, order; /* NOBODY: none; of being found */
};

struct load { /* of a device: what the units on it hold */
    int64_t held_bytes, work_bytes;
};

struct visitor {
    struct arena *arena;
    const struct chain *chain;
    const struct chain_visits *visits;
    double *rests; /* [units][kind]: from the last of them to the end, with all the memory there is
                    */
    /* By units placed and kind: of those still to come, but the last, the least cost and size; and
     * the kinds in order of that cost. */
    double *least_costs;
    int64_t *least_bytes;
    int32_t *by_cost;
    double last_least;   /* of the last unit and the way back */
    double border_least; /* of a message */
    int32_t *counts;     /* scratch, by kind */
    double best;         /* what is known: nothing above it is of interest */
    struct state *states;
    int32_t count, room, most;
    int32_t *heap, heap_count;
    int32_t *slots, slot_count;  /* a hash table of states; NOBODY = free */
    struct load *loads, *others; /* scratch, by kind */
};

/* ---- costs ---- */

static double *rest_at(const struct visitor *v, int32_t units, int32_t kind)
{
    return &v->rests[(size_t)(units - 1) * (size_t)v->chain->kind_count + (size_t)kind];
}

static bool may_hold(const struct visitor *v, int32_t kind, int32_t unit)
{
    return unit >= v->visits->lead_count || !v->visits->may_lead || v->visits->may_lead[kind];
}

/* Of going to the next unit on a device of the kind. */
static double step_cost(const struct visitor *v, int32_t units, int32_t from, int32_t to)
{
    const struct chain *chain = v->chain;
    double cost = chain_units(chain, to)[units];

    if (units == 0)
        return chain_entry(chain, to) + cost;
    return from == to ? cost : chain->border_cost(chain->arg, from, to, units - 1) + cost;
}

/* The paper's program, backwards and without memory. */
static void rests_fill(struct visitor *v)
{
    const struct chain *chain = v->chain;

    for (int32_t units = chain->unit_count; units > 0; units--)
        for (int32_t k = 0; k < chain->kind_count; k++) {
            double *rest = rest_at(v, units, k);

            if (units == chain->unit_count) {
                *rest = chain_with_exit(chain, CHAIN_LATENCY, 0, k);
                continue;
            }
            *rest = INFINITY;
            for (int32_t next = 0; next < chain->kind_count; next++) {
                double with = step_cost(v, units, k, next) + *rest_at(v, units + 1, next);

                if (may_hold(v, next, units) && with < *rest)
                    *rest = with;
            }
        }
}

/* ---- what is still to come costs at least: by memory ---- */

static size_t index_of(const struct visitor *v, int32_t units, int32_t kind)
{
    return (size_t)units * (size_t)v->chain->kind_count + (size_t)kind;
}

static void order_fill(const struct visitor *v, int32_t units)
{
    int32_t *order = &v->by_cost[index_of(v, units, 0)];

    for (int32_t k = 0; k < v->chain->kind_count; k++) {
        double cost = v->least_costs[index_of(v, units, k)];
        int32_t at = k;

        for (; at > 0 && cost < v->least_costs[index_of(v, units, order[at - 1])]; at--)
            order[at] = order[at - 1];
        order[at] = k;
    }
}

static void leasts_fill(struct visitor *v)
{
    const struct chain *chain = v->chain;
    int32_t last = chain->unit_count - 1;
    size_t count = (size_t)chain->unit_count * (size_t)chain->kind_count;

    v->least_costs = arena_array(v->arena, count, sizeof *v->least_costs);
    v->least_bytes = arena_array(v->arena, count, sizeof *v->least_bytes);
    v->by_cost = arena_array(v->arena, count, sizeof *v->by_cost);
    v->counts = arena_array(v->arena, (size_t)chain->kind_count, sizeof *v->counts);
    v->last_least = v->border_least = INFINITY;
    for (int32_t k = 0; k < chain->kind_count; k++) {
        double cost = chain_with_exit(chain, CHAIN_LATENCY, chain_units(chain, k)[last], k);

        v->last_least = cost < v->last_least ? cost : v->last_least;
        v->least_costs[index_of(v, last, k)] = INFINITY;
        v->least_bytes[index_of(v, last, k)] = INT64_MAX;
        for (int32_t u = last - 1; u >= 0; u--) {
            size_t at = index_of(v, u, k), behind = index_of(v, u + 1, k);
            int64_t bytes =
                v->visits->held_bytes[(size_t)k * (size_t)chain->unit_count + (size_t)u];

            cost = chain_units(chain, k)[u];
            v->least_costs[at] = cost < v->least_costs[behind] ? cost : v->least_costs[behind];
            v->least_bytes[at] = bytes < v->least_bytes[behind] ? bytes : v->least_bytes[behind];
        }
    }
    for (int32_t u = 0; u < last; u++) {
        order_fill(v, u);
        for (int32_t from = 0; from < chain->kind_count; from++)
            for (int32_t to = 0; to < chain->kind_count; to++) {
                double cost = from == to ? INFINITY : chain->border_cost(chain->arg, from, to, u);

                v->border_least = cost < v->border_least ? cost : v->border_least;
            }
    }
}

/* How many of the units to come, but the last, the kind has room for: all, or less. */
static int32_t count_with_room(const struct visitor *v, int32_t units, int32_t kind,
                               const struct load *load, int32_t left)
{
    int64_t bytes = v->least_bytes[index_of(v, units, kind)];
    int64_t free_bytes =
        v->visits->room_bytes[kind] - saturate_add(load->held_bytes, load->work_bytes);

    if (free_bytes < 0)
        return 0;
    return bytes == 0 || free_bytes / bytes >= left ? left : (int32_t)(free_bytes / bytes);
}

/* Every unit to come at its least cost, the cheapest devices first, as many as they have room for.
 * INFINITY: all together have no room for so many. */
static double units_least(const struct visitor *v, int32_t units, const int32_t *counts)
{
    int32_t left = v->chain->unit_count - 1 - units;
    double sum = v->last_least;

    for (int32_t i = 0; left > 0 && i < v->chain->kind_count; i++) {
        int32_t k = v->by_cost[index_of(v, units, i)];
        int32_t count = counts[k] < left ? counts[k] : left;

        if (count > 0)
            sum += count * v->least_costs[index_of(v, units, k)];
        left -= count;
    }
    return left > 0 ? INFINITY : sum;
}

/* One message for each device beside the last one that it takes at least to hold what is to come.
 * Takes the counts. */
static double messages_least(const struct visitor *v, int32_t units, int32_t kind, int32_t *counts)
{
    int32_t left = v->chain->unit_count - 1 - units - counts[kind];
    double sum = 0;

    counts[kind] = 0;
    while (left > 0) {
        int32_t most = 0;

        for (int32_t k = 1; k < v->chain->kind_count; k++)
            most = counts[k] > counts[most] ? k : most;
        left -= counts[most];
        counts[most] = 0;
        sum += v->border_least;
    }
    return sum;
}

static double memory_least(const struct visitor *v, int32_t units, int32_t kind,
                           const struct load *loads)
{
    int32_t left = v->chain->unit_count - 1 - units;
    double sum;

    for (int32_t k = 0; k < v->chain->kind_count; k++)
        v->counts[k] = count_with_room(v, units, k, &loads[k], left);
    sum = units_least(v, units, v->counts);
    return isinf(sum) ? sum : sum + messages_least(v, units, kind, v->counts);
}

/* ---- memory ---- */

static struct load load_with(const struct visitor *v, struct load load, int32_t kind, int32_t unit,
                             bool is_tied)
{
    size_t at = (size_t)kind * (size_t)v->chain->unit_count + (size_t)unit;
    int64_t work_bytes = v->visits->work_bytes[at];

    load.held_bytes = saturate_add(load.held_bytes, v->visits->held_bytes[at]);
    if (is_tied)
        load.held_bytes -= v->visits->tied_bytes;
    if (work_bytes > load.work_bytes)
        load.work_bytes = work_bytes;
    return load;
}

static bool is_tied(const struct visitor *v, int32_t lead, int32_t kind, int32_t unit)
{
    return unit > 0 && unit == v->chain->unit_count - 1 && lead == kind;
}

/* By kind, what a way has put there. */
static void loads_find(const struct visitor *v, int32_t state, struct load *loads)
{
    memset(loads, 0, (size_t)v->chain->kind_count * sizeof *loads);
    for (; state != NOBODY; state = v->states[state].before) {
        const struct state *at = &v->states[state];

        loads[at->kind] = load_with(v, loads[at->kind], at->kind, at->units - 1,
                                    is_tied(v, at->lead, at->kind, at->units - 1));
    }
}

static uint64_t load_hash(int32_t kind, const struct load *load)
{
    const int64_t words[] = { kind, load->held_bytes, load->work_bytes };

    return hash_bytes(HASH_START, words, sizeof words);
}

/* Devices that are alike are first used in their order. */
static bool is_out_of_turn(const struct visitor *v, const struct load *loads, int32_t kind)
{
    if (loads[kind].held_bytes > 0 || loads[kind].work_bytes > 0)
        return false;
    for (int32_t k = v->visits->alike[kind]; k < kind; k++)
        if (v->visits->alike[k] == v->visits->alike[kind] && loads[k].held_bytes == 0 &&
            loads[k].work_bytes == 0)
            return true;
    return false;
}

/* ---- states ---- */

static bool is_before(const struct visitor *v, int32_t a, int32_t b)
{
    const struct state *x = &v->states[a], *y = &v->states[b];

    if (x->least < y->least || x->least > y->least)
        return x->least < y->least;
    return x->units != y->units ? x->units > y->units : x->order < y->order;
}

static void heap_push(struct visitor *v, int32_t state)
{
    int32_t at = v->heap_count++;

    for (; at > 0 && is_before(v, state, v->heap[(at - 1) / 2]); at = (at - 1) / 2)
        v->heap[at] = v->heap[(at - 1) / 2];
    v->heap[at] = state;
}

static int32_t heap_pop(struct visitor *v)
{
    int32_t top = v->heap[0], last = v->heap[--v->heap_count], at = 0;

    for (;;) {
        int32_t child = 2 * at + 1;

        if (child + 1 < v->heap_count && is_before(v, v->heap[child + 1], v->heap[child]))
            child++;
        if (child >= v->heap_count || !is_before(v, v->heap[child], last))
            break;
        v->heap[at] = v->heap[child];
        at = child;
    }
    v->heap[at] = last;
    return top;
}

/* Whatever is still to come is the same for both. The loads of b are in v->others. */
static bool is_same(struct visitor *v, int32_t a, const struct state *b)
{
    const struct state *x = &v->states[a];

    if (x->hash != b->hash || x->units != b->units || x->kind != b->kind || x->lead != b->lead)
        return false;
    loads_find(v, a, v->loads);
    for (int32_t k = 0; k < v->chain->kind_count; k++)
        if (v->loads[k].held_bytes != v->others[k].held_bytes ||
            v->loads[k].work_bytes != v->others[k].work_bytes)
            return false;
    return true;
}

static uint64_t slot_hash(const struct state *state)
{
    const int32_t words[] = { state->units, state->kind, state->lead };

    return hash_bytes(state->hash, words, sizeof words);
}

static void slots_widen(struct visitor *v)
{
    int32_t *old = v->slots, old_count = v->slot_count;

    v->slot_count = old_count > 0 ? 2 * old_count : FIRST_SLOTS;
    v->slots = arena_array(v->arena, (size_t)v->slot_count, sizeof *v->slots);
    for (int32_t i = 0; i < v->slot_count; i++)
        v->slots[i] = NOBODY;
    for (int32_t i = 0; i < old_count; i++) {
        uint32_t at;

        if (old[i] == NOBODY)
            continue;
        at = (uint32_t)slot_hash(&v->states[old[i]]) & (uint32_t)(v->slot_count - 1);
        while (v->slots[at] != NOBODY)
            at = (at + 1) & (uint32_t)(v->slot_count - 1);
        v->slots[at] = old[i];
    }
}

/* Keeps a state unless one like it is as cheap. Its loads are in v->others. */
static void state_add(struct visitor *v, struct state state)
{
    uint32_t at;

    if (2 * (v->count + 1) > v->slot_count)
        slots_widen(v);
    at = (uint32_t)slot_hash(&state) & (uint32_t)(v->slot_count - 1);
    while (v->slots[at] != NOBODY && !is_same(v, v->slots[at], &state))
        at = (at + 1) & (uint32_t)(v->slot_count - 1);
    if (v->slots[at] != NOBODY && !(state.cost < v->states[v->slots[at]].cost))
        return;
    if (v->count == v->room) {
        int32_t room = arena_wider(v->room, FIRST_SLOTS);

        v->states =
            arena_grow(v->arena, v->states, (size_t)v->room, (size_t)room, sizeof *v->states);
        v->heap = arena_grow(v->arena, v->heap, (size_t)v->room, (size_t)room, sizeof *v->heap);
        v->room = room;
    }
    state.order = v->count;
    v->states[v->count] = state;
    v->slots[at] = v->count;
    heap_push(v, v->count++);
}

/* The next unit, on every device that has room for it. */
static void expand(struct visitor *v, int32_t number)
{
    const struct state from =
        number == NOBODY ? (struct state){ .lead = NOBODY, .kind = NOBODY } : v->states[number];
    int32_t unit = from.units;

    loads_find(v, number, v->others);
    for (int32_t k = 0; k < v->chain->kind_count; k++) {
        struct state next = { .units = unit + 1, .kind = k, .before = number };
        struct load before, after;

        next.lead = unit == 0 ? k : from.lead;
        next.cost = from.cost + step_cost(v, unit, from.kind, k);
        next.least = next.cost + *rest_at(v, unit + 1, k);
        if (!(next.least < v->best) || !may_hold(v, k, unit))
            continue;
        before = v->others[k];
        after = load_with(v, before, k, unit, is_tied(v, next.lead, k, unit));
        if (saturate_add(after.held_bytes, after.work_bytes) > v->visits->room_bytes[k] ||
            is_out_of_turn(v, v->others, k))
            continue;
        next.hash = from.hash - load_hash(k, &before) + load_hash(k, &after);
        v->others[k] = after;
        if (next.units < v->chain->unit_count) {
            double least = next.cost + memory_least(v, next.units, k, v->others);

            next.least = least > next.least ? least : next.least;
        }
        if (next.least < v->best)
            state_add(v, next);
        v->others[k] = before;
    }
}

/* ---- answers ---- */

static struct chain_answer answer_of(struct visitor *v, int32_t state)
{
    struct chain_answer answer = { .is_feasible = true, .cost = v->states[state].least };
    int32_t s;

    for (int32_t at = state; at != NOBODY; at = v->states[at].before)
        answer.stage_count += v->states[at].before == NOBODY ||
                              v->states[v->states[at].before].kind != v->states[at].kind;
    answer.stages = arena_array(v->arena, (size_t)answer.stage_count, sizeof *answer.stages);
    s = answer.stage_count - 1;
    answer.stages[s].last = v->chain->unit_count - 1;
    for (int32_t at = state; at != NOBODY; at = v->states[at].before) {
        const struct state *of = &v->states[at];

        answer.stages[s].kind = of->kind;
        answer.stages[s].first = of->units - 1;
        if (of->before != NOBODY && v->states[of->before].kind != of->kind)
            answer.stages[--s].last = of->units - 2;
    }
    return answer;
}

/* A state that a cheaper one has taken the place of. */
static bool is_stale(struct visitor *v, int32_t number)
{
    const struct state *state = &v->states[number];
    uint32_t at = (uint32_t)slot_hash(state) & (uint32_t)(v->slot_count - 1);

    for (; v->slots[at] != NOBODY; at = (at + 1) & (uint32_t)(v->slot_count - 1))
        if (v->slots[at] == number)
            return false;
    return true;
}

static void forget(struct visitor *v)
{
    v->count = v->heap_count = 0;
    for (int32_t i = 0; i < v->slot_count; i++)
        v->slots[i] = NOBODY;
}

static bool is_late(const struct chain *chain)
{
    return chain->is_over && chain->is_over(chain->is_over_arg);
}

/* Unit by unit, the states that promise most. Of a unit heap_pop gives them in order. */
static int32_t beam(struct visitor *v)
{
    int32_t *kept = arena_array(v->arena, CHAIN_BEAM, sizeof *kept), kept_count;

    forget(v);
    expand(v, NOBODY);
    for (int32_t units = 1; units <= v->chain->unit_count; units++) {
        for (kept_count = 0; kept_count < CHAIN_BEAM && v->heap_count > 0;) {
            int32_t top = heap_pop(v);

            if (!is_stale(v, top))
                kept[kept_count++] = top;
        }
        if (kept_count == 0 || is_late(v->chain))
            return NOBODY;
        v->heap_count = 0;
        for (int32_t i = 0; i < kept_count && units < v->chain->unit_count; i++)
            expand(v, kept[i]);
    }
    return kept[0];
}

struct chain_answer chain_visit(struct arena *arena, const struct chain *chain,
                                const struct chain_visits *visits, const struct chain_answer *known,
                                int32_t max_states, bool *is_exact, double *bound)
{
    size_t kinds = (size_t)chain->kind_count, units = (size_t)chain->unit_count;
    struct visitor v = { .arena = arena, .chain = chain, .visits = visits, .best = INFINITY };
    int32_t found = NOBODY;
    uint32_t ticks = 0;

    if (known->is_feasible)
        v.best = known->cost;
    v.rests = arena_array(arena, kinds * units, sizeof *v.rests);
    v.loads = arena_array(arena, kinds, sizeof *v.loads);
    v.others = arena_array(arena, kinds, sizeof *v.others);
    *is_exact = true;
    *bound = v.best;
    rests_fill(&v);
    leasts_fill(&v);
    expand(&v, NOBODY);
    while (v.heap_count > 0 && found == NOBODY && *is_exact) {
        int32_t top = heap_pop(&v);

        if (v.states[top].units == chain->unit_count) {
            found = top;
            *bound = v.states[top].least;
        } else if (v.count > max_states || (++ticks % ASK_EVERY == 0 && is_late(chain))) {
            *is_exact = false;
            *bound = v.states[top].least;
        } else if (!is_stale(&v, top)) {
            expand(&v, top);
        }
    }
    if (!*is_exact)
        found = beam(&v);
    return found == NOBODY ? *known : answer_of(&v, found);
}
