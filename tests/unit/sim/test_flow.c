/* test_flow.c - who gets what of shared resources, and when flows end. */
#include "sim/network/flow.h"

#include "lib/base/arena.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S INT64_C(1000000000000)

static struct arena *arena;
static struct flow_net *net;

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    net = flow_create(arena);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static int32_t link(double capacity)
{
    return flow_add_resource(net, capacity, FLOW_SHARED);
}

static int32_t over(int32_t resource)
{
    const struct flow_use use = { resource, 1 };

    return flow_add_route(net, &use, 1, FLOW_UNBOUNDED, 1);
}

static int32_t over_both(int32_t first, int32_t second)
{
    const struct flow_use uses[] = { { first, 1 }, { second, 1 } };

    return flow_add_route(net, uses, 2, FLOW_UNBOUNDED, 1);
}

static void assert_next(int64_t time_ps, int32_t tag)
{
    assert_int_equal(flow_next_ps(net), time_ps);
    assert_int_equal(flow_advance(net, time_ps), 1);
    assert_int_equal(flow_ended(net, 0), tag);
}

static void assert_rate(int32_t route, double rate)
{
    assert_true(fabs(flow_rate(net, route) - rate) <= rate * 1e-12);
}

static void a_flow_alone_has_the_least_capacity_of_its_route(void **state)
{
    int32_t route = over_both(link(100), link(50));

    (void)state;
    flow_start(net, route, 125, 7);
    assert_next(2 * S + S / 2, 7);
    assert_int_equal(flow_next_ps(net), FLOW_NEVER);
    assert_int_equal(flow_count(net), 0);
}

static void what_a_flow_cannot_use_goes_to_the_others(void **state)
{
    int32_t first = link(10), second = link(1);

    (void)state;
    flow_start(net, over_both(first, second), 10, 0);
    flow_start(net, over(first), 90, 1);
    assert_int_equal(flow_next_ps(net), 10 * S);
    assert_int_equal(flow_advance(net, 10 * S), 2);
    assert_int_equal(flow_ended(net, 0), 0);
    assert_int_equal(flow_ended(net, 1), 1);
}

static void flows_that_come_and_go_change_the_rates_of_those_that_stay(void **state)
{
    int32_t route = over(link(10));

    (void)state;
    flow_start(net, route, 100, 0); /* alone for 4 s, 40 bytes */
    assert_int_equal(flow_advance(net, 4 * S), 0);
    flow_start(net, route, 20, 1); /* both at 5: until 8 s */
    assert_next(8 * S, 1);
    assert_next(12 * S, 0);
}

static void a_weight_says_how_much_a_flow_takes(void **state)
{
    int32_t air = link(1);
    const struct flow_use fast = { air, 0.125 }, slow = { air, 0.5 };
    int32_t fast_route = flow_add_route(net, &fast, 1, FLOW_UNBOUNDED, 1);
    int32_t slow_route = flow_add_route(net, &slow, 1, FLOW_UNBOUNDED, 1);

    (void)state; /* a slow station drags all down to its pace */
    flow_start(net, fast_route, 100, 0);
    assert_rate(fast_route, 8);
    flow_start(net, slow_route, 100, 1);
    assert_rate(fast_route, 1.6);
    assert_rate(slow_route, 1.6);
}

static void weights_of_one_resource_add_up(void **state)
{
    int32_t air = link(1);
    const struct flow_use twice[] = { { air, 0.25 }, { air, 0.25 } }, once = { air, 0.5 };
    int32_t route = flow_add_route(net, twice, 2, FLOW_UNBOUNDED, 1);

    (void)state;
    assert_int_equal(flow_add_route(net, &once, 1, FLOW_UNBOUNDED, 1), route);
    flow_start(net, route, 10, 0);
    assert_rate(route, 2);
}

static void a_penalty_of_two_halves_the_share(void **state)
{
    const struct flow_use use = { link(9), 1 };
    int32_t plain = flow_add_route(net, &use, 1, FLOW_UNBOUNDED, 1);
    int32_t punished = flow_add_route(net, &use, 1, FLOW_UNBOUNDED, 2);

    (void)state;
    assert_int_not_equal(plain, punished);
    flow_start(net, plain, 100, 0);
    flow_start(net, punished, 100, 1);
    assert_rate(plain, 6);
    assert_rate(punished, 3);
}

static void a_bound_leaves_the_rest_to_others(void **state)
{
    const struct flow_use use = { link(9), 1 };
    int32_t plain = flow_add_route(net, &use, 1, FLOW_UNBOUNDED, 1);
    int32_t bounded = flow_add_route(net, &use, 1, 2, 1);

    (void)state;
    flow_start(net, plain, 100, 0);
    flow_start(net, bounded, 100, 1);
    assert_rate(plain, 7);
    assert_rate(bounded, 2);
}

static void a_bound_alone_is_enough(void **state)
{
    int32_t route = flow_add_route(net, NULL, 0, 4, 1);

    (void)state;
    flow_start(net, route, 8, 0);
    flow_start(net, route, 8, 1);
    assert_int_equal(flow_next_ps(net), 2 * S);
    assert_int_equal(flow_advance(net, 2 * S), 2);
}

static void a_fat_pipe_gives_each_flow_its_capacity(void **state)
{
    int32_t pipe = flow_add_resource(net, 10, FLOW_FAT_PIPE), shared = link(15);
    int32_t alone = over(pipe), both = over_both(pipe, shared);

    (void)state;
    flow_start(net, alone, 100, 0);
    flow_start(net, alone, 100, 1);
    flow_start(net, both, 100, 2);
    assert_rate(alone, 10);
    assert_rate(both, 10);
    flow_start(net, both, 100, 3);
    assert_rate(both, 7.5);
    flow_set_capacity(net, pipe, 5);
    assert_rate(alone, 5);
    assert_rate(both, 5);
}

static void a_capacity_that_changes_counts_from_then_on(void **state)
{
    int32_t resource = link(10), route = over(resource);

    (void)state;
    flow_start(net, route, 100, 0);
    (void)flow_advance(net, 4 * S);
    flow_set_capacity(net, resource, 5);
    assert_next(16 * S, 0);
    assert_int_equal(flow_busy_ps(net, resource), 16 * S);
}

static void without_capacity_a_flow_waits(void **state)
{
    int32_t resource = link(10), other = link(10), route = over_both(resource, other);
    int32_t neighbour = over(other);

    (void)state;
    flow_start(net, route, 100, 0);
    flow_start(net, neighbour, 100, 1);
    (void)flow_advance(net, 4 * S);
    flow_set_capacity(net, resource, 0);
    assert_rate(route, 0);
    assert_rate(neighbour, 10);
    assert_next(12 * S, 1);
    assert_int_equal(flow_next_ps(net), FLOW_NEVER);
    (void)flow_advance(net, 100 * S);
    flow_set_capacity(net, resource, 10);
    assert_next(108 * S, 0);
    assert_int_equal(flow_busy_ps(net, resource), 10 * S);
}

static void nothing_to_move_ends_at_once(void **state)
{
    int32_t route = over(link(10));

    (void)state;
    (void)flow_advance(net, 3 * S);
    flow_start(net, route, 0, 5);
    assert_next(3 * S, 5);
}

static void flows_that_end_together_are_told_in_order_of_starting(void **state)
{
    int32_t routes[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        routes[i] = over(link(10));
    for (int i = 0; i < 12; i++)
        flow_start(net, routes[(i * 7 + 3) % 4], 30, i);
    assert_int_equal(flow_next_ps(net), 9 * S);
    assert_int_equal(flow_advance(net, 9 * S), 12);
    for (int i = 0; i < 12; i++)
        assert_int_equal(flow_ended(net, i), i);
}

static void one_route_is_one_number(void **state)
{
    int32_t a = link(1), b = link(1);
    int32_t route = over_both(a, b);
    const struct flow_use turned[] = { { b, 1 }, { a, 1 } }, half[] = { { a, 0.5 }, { b, 1 } };

    (void)state;
    assert_int_equal(flow_add_route(net, turned, 2, FLOW_UNBOUNDED, 1), route);
    assert_int_not_equal(flow_add_route(net, turned, 2, 3, 1), route);
    assert_int_not_equal(flow_add_route(net, half, 2, FLOW_UNBOUNDED, 1), route);
    assert_int_not_equal(over(a), route);
    for (int i = 0; i < 1000; i++)
        (void)over(link(1));
    assert_int_equal(over_both(a, b), route);
}

static void busy_is_the_share_of_the_capacity_that_was_used(void **state)
{
    int32_t fast = link(10), slow = link(5);

    (void)state;
    flow_start(net, over_both(fast, slow), 50, 0);
    (void)flow_advance(net, 4 * S);
    assert_int_equal(flow_busy_ps(net, fast), 2 * S);
    assert_int_equal(flow_busy_ps(net, slow), 4 * S);
    assert_next(10 * S, 0);
    (void)flow_advance(net, 20 * S);
    assert_int_equal(flow_busy_ps(net, fast), 5 * S);
    assert_int_equal(flow_busy_ps(net, slow), 10 * S);
    assert_true(fabs(flow_bytes(net, slow) - 50) < 1e-9);
}

/* Days of flows that follow each other on one route: the count of bytes is taken back now and then,
 * and no flow loses a microsecond by it. */
static void counts_of_bytes_stay_small(void **state)
{
    int32_t route = over(link(1e8));
    int64_t last_ps = 0;

    (void)state;
    flow_start(net, route, 1e9, 0);
    for (int i = 1; i < 5000;
         i++) { /* the one before has half as much left: both need 20 s for that */
        int64_t next_ps;

        flow_start(net, route, 2e9, i);
        next_ps = flow_next_ps(net);
        assert_int_equal(flow_advance(net, next_ps), 1);
        assert_int_equal(flow_ended(net, 0), i - 1);
        last_ps = next_ps;
    }
    assert_in_range(last_ps, 99980 * S - S / 1000000, 99980 * S + S / 1000000);
}

/* Shares that differ by twelve orders of magnitude. */
static void a_tiny_share_beside_a_huge_one_keeps_its_digits(void **state)
{
    int32_t shared = link(1), narrow = link(1e-3);
    const struct flow_use huge[] = { { shared, 1e9 }, { narrow, 1e9 } }, tiny = { shared, 1e-3 };
    int32_t huge_route = flow_add_route(net, huge, 2, FLOW_UNBOUNDED, 1);
    int32_t tiny_route = flow_add_route(net, &tiny, 1, FLOW_UNBOUNDED, 1);

    (void)state;
    flow_start(net, huge_route, 1, 0);
    flow_start(net, tiny_route, 1, 1);
    assert_rate(huge_route, 1e-12);
    assert_rate(tiny_route, 999);
}

int main(void)
{
#define RULE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        RULE(a_flow_alone_has_the_least_capacity_of_its_route),
        RULE(what_a_flow_cannot_use_goes_to_the_others),
        RULE(flows_that_come_and_go_change_the_rates_of_those_that_stay),
        RULE(a_weight_says_how_much_a_flow_takes),
        RULE(weights_of_one_resource_add_up),
        RULE(a_penalty_of_two_halves_the_share),
        RULE(a_bound_leaves_the_rest_to_others),
        RULE(a_bound_alone_is_enough),
        RULE(a_fat_pipe_gives_each_flow_its_capacity),
        RULE(a_capacity_that_changes_counts_from_then_on),
        RULE(without_capacity_a_flow_waits),
        RULE(nothing_to_move_ends_at_once),
        RULE(flows_that_end_together_are_told_in_order_of_starting),
        RULE(one_route_is_one_number),
        RULE(busy_is_the_share_of_the_capacity_that_was_used),
        RULE(counts_of_bytes_stay_small),
        RULE(a_tiny_share_beside_a_huge_one_keeps_its_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
