/* test_flow_naive.c - the flow model against a simulation that is too simple to be wrong: every
 * flow by itself, all rates anew at every event, water rising from zero. */
#include "sim/network/flow.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MAX_RESOURCES 8
#define MAX_FLOWS 24
#define MAX_CHANGES 6
#define MAX_USES 5
#define CASES 3000

struct naive_flow {
    int64_t start_ps;
    double bytes, bound, penalty; /* bound INFINITY = none */
    int use_count;
    struct flow_use uses[MAX_USES];
};

struct naive_change {
    int64_t time_ps;
    int resource;
    double capacity;
};

struct naive_case {
    int resource_count, flow_count, change_count;
    double capacity[MAX_RESOURCES];
    bool is_pipe[MAX_RESOURCES];
    struct naive_flow flows[MAX_FLOWS];
    struct naive_change changes[MAX_CHANGES]; /* in order of time */
};

/* ---- the simple simulation ---- */

static double room_of(const struct naive_case *c, const double *capacity, const double *rate,
                      int resource, double *weight_of_rising, const bool *is_fixed,
                      const bool *is_active)
{
    double room = capacity[resource];

    *weight_of_rising = 0;
    for (int f = 0; f < c->flow_count; f++)
        for (int u = 0; u < c->flows[f].use_count && is_active[f]; u++) {
            if (c->flows[f].uses[u].resource != resource)
                continue;
            if (is_fixed[f])
                room -= c->flows[f].uses[u].weight * rate[f];
            else
                *weight_of_rising += c->flows[f].uses[u].weight / c->flows[f].penalty;
        }
    return room > 0 ? room : 0;
}

/* The level at which the flow stops rising at the latest because of itself. */
static double own_level(const struct naive_case *c, const double *capacity, int f)
{
    const struct naive_flow *flow = &c->flows[f];
    double bound = flow->bound;

    for (int u = 0; u < flow->use_count; u++) {
        double weight = 0;

        if (!c->is_pipe[flow->uses[u].resource])
            continue;
        for (int v = 0; v < flow->use_count; v++)
            if (flow->uses[v].resource == flow->uses[u].resource)
                weight += flow->uses[v].weight;
        bound = fmin(bound, capacity[flow->uses[u].resource] / weight);
    }
    return bound * flow->penalty;
}

static void naive_rates(const struct naive_case *c, const double *capacity, const bool *is_active,
                        double *rate)
{
    bool is_fixed[MAX_FLOWS] = { false };

    for (;;) {
        double full[MAX_RESOURCES], level = INFINITY, weight;

        for (int r = 0; r < c->resource_count; r++) {
            double room = room_of(c, capacity, rate, r, &weight, is_fixed, is_active);

            full[r] = weight > 0 && !c->is_pipe[r] ? room / weight : INFINITY;
            level = fmin(level, full[r]);
        }
        for (int f = 0; f < c->flow_count; f++)
            if (is_active[f] && !is_fixed[f])
                level = fmin(level, own_level(c, capacity, f));
        if (!isfinite(level))
            return;
        for (int f = 0; f < c->flow_count; f++) {
            bool stops = own_level(c, capacity, f) <= level * (1 + 1e-11);

            if (!is_active[f] || is_fixed[f])
                continue;
            for (int u = 0; u < c->flows[f].use_count; u++)
                stops = stops || full[c->flows[f].uses[u].resource] <= level * (1 + 1e-11);
            if (stops) {
                is_fixed[f] = true;
                rate[f] = level / c->flows[f].penalty;
            }
        }
    }
}

/* Ends in seconds; NAN where a flow never ends. */
static void naive_run(const struct naive_case *c, double *finish_s)
{
    double capacity[MAX_RESOURCES] = { 0 }, left[MAX_FLOWS] = { 0 }, now_s = 0;
    bool is_active[MAX_FLOWS] = { false }, is_done[MAX_FLOWS] = { false };
    int next_change = 0;

    for (int r = 0; r < c->resource_count; r++)
        capacity[r] = c->capacity[r];
    for (int f = 0; f < c->flow_count; f++) {
        left[f] = c->flows[f].bytes;
        finish_s[f] = NAN;
    }
    for (;;) {
        double rate[MAX_FLOWS] = { 0 }, next_s = INFINITY;

        naive_rates(c, capacity, is_active, rate);
        for (int f = 0; f < c->flow_count; f++) {
            if (is_active[f] && !(left[f] > 0))
                next_s = now_s;
            else if (is_active[f] && rate[f] > 0)
                next_s = fmin(next_s, now_s + left[f] / rate[f]);
            if (!is_active[f] && !is_done[f])
                next_s = fmin(next_s, (double)c->flows[f].start_ps / 1e12);
        }
        if (next_change < c->change_count)
            next_s = fmin(next_s, (double)c->changes[next_change].time_ps / 1e12);
        if (!isfinite(next_s))
            return;
        for (int f = 0; f < c->flow_count; f++) {
            left[f] -= is_active[f] ? rate[f] * (next_s - now_s) : 0;
            if (is_active[f] &&
                left[f] <= rate[f] * (1e-12 + next_s * 1e-15) + c->flows[f].bytes * 1e-14) {
                is_active[f] = false;
                is_done[f] = true;
                finish_s[f] = next_s;
            }
        }
        now_s = next_s;
        for (; next_change < c->change_count &&
               (double)c->changes[next_change].time_ps / 1e12 <= now_s;
             next_change++)
            capacity[c->changes[next_change].resource] = c->changes[next_change].capacity;
        for (int f = 0; f < c->flow_count; f++)
            if (!is_done[f] && (double)c->flows[f].start_ps / 1e12 <= now_s)
                is_active[f] = true;
    }
}

/* ---- ours ---- */

/* solves_all: every resource counts as changed at every event. order: in which flows that begin
 * together are started. */
static void flow_run(const struct naive_case *c, bool solves_all, const int *order,
                     int64_t *finish_ps)
{
    struct arena *arena = arena_create();
    struct flow_net *net = flow_create(arena);
    double capacity[MAX_RESOURCES];
    int32_t routes[MAX_FLOWS];
    bool is_begun[MAX_FLOWS] = { false };
    int next_change = 0;

    for (int r = 0; r < c->resource_count; r++) {
        capacity[r] = c->capacity[r];
        (void)flow_add_resource(net, capacity[r], c->is_pipe[r] ? FLOW_FAT_PIPE : FLOW_SHARED);
    }
    for (int f = 0; f < c->flow_count; f++) {
        const struct naive_flow *flow = &c->flows[f];

        routes[f] =
            flow_add_route(net, flow->uses, flow->use_count,
                           isfinite(flow->bound) ? flow->bound : FLOW_UNBOUNDED, flow->penalty);
        finish_ps[f] = FLOW_NEVER;
    }
    for (;;) {
        int64_t next_ps = flow_next_ps(net);
        int ended;

        for (int f = 0; f < c->flow_count; f++)
            if (!is_begun[f] && c->flows[f].start_ps < next_ps)
                next_ps = c->flows[f].start_ps;
        if (next_change < c->change_count && c->changes[next_change].time_ps < next_ps)
            next_ps = c->changes[next_change].time_ps;
        if (next_ps == FLOW_NEVER)
            break;
        ended = flow_advance(net, next_ps);
        for (int i = 0; i < ended; i++)
            finish_ps[flow_ended(net, i)] = next_ps;
        for (; next_change < c->change_count && c->changes[next_change].time_ps == next_ps;
             next_change++) {
            capacity[c->changes[next_change].resource] = c->changes[next_change].capacity;
            flow_set_capacity(net, c->changes[next_change].resource,
                              c->changes[next_change].capacity);
        }
        for (int i = 0; i < c->flow_count; i++)
            if (!is_begun[order[i]] && c->flows[order[i]].start_ps == next_ps) {
                is_begun[order[i]] = true;
                flow_start(net, routes[order[i]], c->flows[order[i]].bytes, order[i]);
            }
        for (int r = 0; solves_all && r < c->resource_count; r++)
            flow_set_capacity(net, r, capacity[r]);
    }
    arena_destroy(arena);
}

/* ---- random cases ---- */

static double pick(struct rng *rng, const double *values, uint64_t count)
{
    return values[rng_below(rng, count)];
}

static void flow_draw(struct rng *rng, const struct naive_case *c, struct naive_flow *flow)
{
    static const double weights[] = { 1, 1, 1, 2, 0.5, 3.7037037037037036e-02, 1.3 };
    static const double bounds[] = { 1, 7, 50 }, penalties[] = { 1, 1, 1, 2, 0.5, 0.7 };
    static const double sizes[] = { 0, 1, 10, 100, 33.3 };
    static const int64_t grid_ps[] = { INT64_C(1000000000000), INT64_C(250000000001) };

    flow->start_ps = (int64_t)rng_below(rng, 12) * grid_ps[rng_below(rng, 2)];
    flow->bytes = pick(rng, sizes, 5) * (1 + (double)rng_below(rng, 3));
    flow->penalty = pick(rng, penalties, 6);
    flow->bound = rng_below(rng, 4) == 0 ? pick(rng, bounds, 3) : INFINITY;
    flow->use_count = (int)rng_below(rng, MAX_USES + 1);
    if (flow->use_count == 0 && !isfinite(flow->bound))
        flow->use_count = 1;
    for (int u = 0; u < flow->use_count; u++)
        flow->uses[u] = (struct flow_use){ (int32_t)rng_below(rng, (uint64_t)c->resource_count),
                                           pick(rng, weights, 7) };
}

static struct naive_case case_draw(uint64_t number)
{
    static const double capacities[] = { 10, 10, 10, 1, 5, 12.5, 100, 7.77 };
    static const double changed[] = { 10, 0, 2, 50, 0.3 };
    struct rng rng = rng_stream(1, RNG_TEST, number);
    struct naive_case c = { 0 };

    c.resource_count = 1 + (int)rng_below(&rng, MAX_RESOURCES);
    c.flow_count = 1 + (int)rng_below(&rng, MAX_FLOWS);
    for (int r = 0; r < c.resource_count; r++) {
        c.capacity[r] = pick(&rng, capacities, 8);
        c.is_pipe[r] = rng_below(&rng, 5) == 0;
    }
    for (int f = 0; f < c.flow_count; f++) {
        flow_draw(&rng, &c, &c.flows[f]);
        if (f > 0 && rng_below(&rng, 3) == 0) { /* the route of another, at another instant */
            int64_t start_ps = c.flows[f].start_ps;
            double bytes = c.flows[f].bytes;

            c.flows[f] = c.flows[rng_below(&rng, (uint64_t)f)];
            c.flows[f].start_ps = start_ps;
            c.flows[f].bytes = bytes;
        }
    }
    c.change_count = rng_below(&rng, 3) == 0 ? (int)rng_below(&rng, MAX_CHANGES + 1) : 0;
    for (int i = 0; i < c.change_count; i++)
        c.changes[i] =
            (struct naive_change){ (i > 0 ? c.changes[i - 1].time_ps : 0) +
                                       (int64_t)rng_below(&rng, 4) * INT64_C(777777777777),
                                   (int)rng_below(&rng, (uint64_t)c.resource_count),
                                   pick(&rng, changed, 5) };
    return c;
}

static const int in_order[MAX_FLOWS] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                         12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23 };

static void ends_are_those_of_the_simple_simulation(void **state)
{
    int64_t finish_ps[MAX_FLOWS];
    double finish_s[MAX_FLOWS];
    int ended = 0, blocked = 0;

    (void)state;
    for (uint64_t number = 0; number < CASES; number++) {
        const struct naive_case c = case_draw(number);

        naive_run(&c, finish_s);
        flow_run(&c, false, in_order, finish_ps);
        for (int f = 0; f < c.flow_count; f++) {
            double ours_s = (double)finish_ps[f] / 1e12;

            if (isnan(finish_s[f]) != (finish_ps[f] == FLOW_NEVER) ||
                (!isnan(finish_s[f]) && fabs(ours_s - finish_s[f]) > 1e-10 * (1 + ours_s)))
                fail_msg("case %d, flow %d ends at %.12f s, not at %.12f s", (int)number, f, ours_s,
                         finish_s[f]);
            ended += !isnan(finish_s[f]);
            blocked += isnan(finish_s[f]);
        }
    }
    assert_in_range(ended, 8 * CASES, MAX_FLOWS * CASES);
    assert_in_range(blocked, 100, CASES);
}

static void a_part_solved_is_bit_equal_to_all_solved(void **state)
{
    int64_t part_ps[MAX_FLOWS], all_ps[MAX_FLOWS];

    (void)state;
    for (uint64_t number = 0; number < CASES; number++) {
        const struct naive_case c = case_draw(number);

        flow_run(&c, false, in_order, part_ps);
        flow_run(&c, true, in_order, all_ps);
        for (int f = 0; f < c.flow_count; f++)
            assert_int_equal(part_ps[f], all_ps[f]);
    }
}

static void the_order_of_flows_that_begin_together_changes_no_end(void **state)
{
    int64_t one_ps[MAX_FLOWS], other_ps[MAX_FLOWS];
    int backwards[MAX_FLOWS];

    (void)state;
    for (uint64_t number = 0; number < CASES; number++) {
        const struct naive_case c = case_draw(number);

        for (int f = 0; f < c.flow_count; f++)
            backwards[f] = c.flow_count - 1 - f;
        flow_run(&c, false, in_order, one_ps);
        flow_run(&c, false, backwards, other_ps);
        for (int f = 0; f < c.flow_count; f++)
            assert_int_equal(one_ps[f], other_ps[f]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_are_those_of_the_simple_simulation),
        cmocka_unit_test(a_part_solved_is_bit_equal_to_all_solved),
        cmocka_unit_test(the_order_of_flows_that_begin_together_changes_no_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
