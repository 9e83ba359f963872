/* test_dispatch.c - each rule chooses the replica that it names, and never one that is down. */
#include "lib/policy/dispatch.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

static const struct dispatch_request plain = { .request_id = 1, .session = -1, .client = -1 };

static int make_arena(void **state)
{
    *state = arena_create();
    return 0;
}

static int end_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

static void names_are_those_of_the_command_line(void **state)
{
    (void)state;
    assert_string_equal(dispatch_names[DISPATCH_LEAST_IDLE], "least-idle");
    assert_string_equal(dispatch_names[DISPATCH_ROUND_ROBIN], "round-robin");
    assert_string_equal(dispatch_names[DISPATCH_LEAST_OUTSTANDING], "least-outstanding");
    assert_string_equal(dispatch_names[DISPATCH_RANDOM], "random");
    assert_string_equal(dispatch_names[DISPATCH_STICKY], "sticky");
    assert_string_equal(dispatch_names[DISPATCH_LEAST_LAST_STAGE], "least-last-stage");
}

static void static_rules_look_at_no_replica(void **state)
{
    for (int kind = 0; kind < DISPATCH_COUNT; kind++) {
        struct dispatch *calm = dispatch_create(*state, (enum dispatch_kind)kind, 1, 1);
        struct dispatch *wild = dispatch_create(*state, (enum dispatch_kind)kind, 1, 1);
        struct rng rng = rng_stream(3, RNG_TEST, (uint64_t)kind);
        int differ = 0;

        for (int i = 0; i < 500; i++) {
            struct dispatch_request request = { i, -1, i % 7 };
            struct dispatch_replica idle[3] = { 0 }, busy[3];

            for (int k = 0; k < 3; k++) {
                idle[k] = (struct dispatch_replica){ .is_up = true, .number = k };
                busy[k] = (struct dispatch_replica){ true, (int64_t)rng_below(&rng, 9),
                                                     (int64_t)rng_below(&rng, 9),
                                                     (int64_t)rng_below(&rng, 9), k };
            }
            differ += dispatch_choose(calm, 0, &request, idle, 3) !=
                      dispatch_choose(wild, 0, &request, busy, 3);
        }
        assert_int_equal(differ == 0, dispatch_is_static((enum dispatch_kind)kind));
    }
}

static void no_rule_chooses_a_replica_that_is_down(void **state)
{
    for (int kind = 0; kind < DISPATCH_COUNT; kind++) {
        struct dispatch *dispatch = dispatch_create(*state, (enum dispatch_kind)kind, 1, 1);

        for (int up = 0; up < 16; up++) {
            struct dispatch_replica replicas[4] = { 0 };

            for (int i = 0; i < 4; i++)
                replicas[i].is_up = (up >> i & 1) != 0;
            for (int i = 0; i < 50; i++) {
                struct dispatch_request request = { i, -1, -1 };
                int chosen = dispatch_choose(dispatch, 0, &request, replicas, 4);

                if (up == 0)
                    assert_int_equal(chosen, -1);
                else
                    assert_true(chosen >= 0 && chosen < 4 && replicas[chosen].is_up);
            }
            assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 0), -1);
        }
    }
}

static void least_idle_takes_the_shortest_backlog_then_the_first(void **state)
{
    struct dispatch *dispatch = dispatch_create(*state, DISPATCH_LEAST_IDLE, 1, 1);
    struct dispatch_replica replicas[] = {
        { true, 30, 0, 0, 0 }, { true, 10, 9, 0, 1 }, { true, 10, 1, 0, 2 }, { false, 0, 0, 0, 3 }
    };

    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 1);
    replicas[1].is_up = false;
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 2);
    replicas[0].backlog_ps = 0;
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 0);
}

static void least_outstanding_takes_the_fewest_then_the_first(void **state)
{
    struct dispatch *dispatch = dispatch_create(*state, DISPATCH_LEAST_OUTSTANDING, 1, 1);
    struct dispatch_replica replicas[] = {
        { true, 0, 3, 0, 0 }, { true, 99, 2, 0, 1 }, { true, 5, 2, 0, 2 }, { false, 0, 0, 0, 3 }
    };

    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 1);
    replicas[1].outstanding++;
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 2);
}

static void least_last_stage_takes_the_end_that_is_free_first_then_the_first(void **state)
{
    struct dispatch *dispatch = dispatch_create(*state, DISPATCH_LEAST_LAST_STAGE, 1, 1);
    struct dispatch_replica replicas[] = {
        { true, 0, 0, 30, 0 }, { true, 90, 9, 10, 1 }, { true, 0, 1, 10, 2 }, { false, 0, 0, 0, 3 }
    };

    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 1);
    replicas[1].last_backlog_ps++;
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 2);
    replicas[2].is_up = false;
    replicas[0].last_backlog_ps = 11; /* a tie goes to the first of the file */
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 4), 0);
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas + 3, 1), -1);
}

static void round_robin_goes_in_file_order_for_each_service(void **state)
{
    struct dispatch *dispatch = dispatch_create(*state, DISPATCH_ROUND_ROBIN, 2, 1);
    struct dispatch_replica replicas[3] = { { .is_up = true },
                                            { .is_up = true },
                                            { .is_up = true } };

    for (int i = 0; i < 7; i++)
        assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 3), i % 3);
    for (int i = 0; i < 4; i++) /* the other service starts with its own first */
        assert_int_equal(dispatch_choose(dispatch, 1, &plain, replicas, 2), i % 2);
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 3), 1);
    replicas[2].is_up = false; /* passed over, and the turn goes on behind it */
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 3), 0);
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 3), 1);
    replicas[2].is_up = true;
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 3), 2);
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 3), 0);
    assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 3), 1);
    for (int i = 0; i < 4; i++) /* with fewer of them the turn goes on, wrapped */
        assert_int_equal(dispatch_choose(dispatch, 0, &plain, replicas, 2), i % 2);
}

static void random_is_uniform_and_repeats_with_its_seed(void **state)
{
    struct dispatch *one = dispatch_create(*state, DISPATCH_RANDOM, 2, 7);
    struct dispatch *same = dispatch_create(*state, DISPATCH_RANDOM, 2, 7);
    struct dispatch *other = dispatch_create(*state, DISPATCH_RANDOM, 2, 8);
    struct dispatch_replica replicas[4] = {
        { .is_up = true }, { .is_up = false }, { .is_up = true }, { .is_up = true }
    };
    int seen[4] = { 0 }, differ = 0;

    for (int i = 0; i < 9000; i++) {
        int chosen = dispatch_choose(one, 0, &plain, replicas, 4);

        seen[chosen]++;
        if (i % 3 == 0) /* draws for another service shift nothing */
            (void)dispatch_choose(same, 1, &plain, replicas, 4);
        assert_int_equal(dispatch_choose(same, 0, &plain, replicas, 4), chosen);
        differ += dispatch_choose(other, 0, &plain, replicas, 4) != chosen;
    }
    assert_int_equal(seen[1], 0);
    assert_in_range(seen[0], 2800, 3200);
    assert_in_range(seen[2], 2800, 3200);
    assert_in_range(differ, 5700, 6300);
}

static int choose_sticky(struct dispatch *dispatch, const struct dispatch_replica *replicas,
                         int64_t request_id, int32_t session, int32_t client)
{
    const struct dispatch_request request = { request_id, session, client };

    return dispatch_choose(dispatch, 0, &request, replicas, 4);
}

static void sticky_keys_on_session_then_client_then_request(void **state)
{
    struct dispatch *dispatch = dispatch_create(*state, DISPATCH_STICKY, 1, 1);
    struct dispatch_replica replicas[4] = {
        { true, 5, 5, 0, 0 }, { true, 0, 0, 0, 1 }, { true, 1, 1, 0, 2 }, { true, 9, 9, 0, 3 }
    };
    int by_session[4] = { 0 }, by_request[4] = { 0 };

    for (int32_t key = 0; key < 4000; key++) {
        int chosen = choose_sticky(dispatch, replicas, 1, key, 3);

        by_session[chosen]++;
        assert_int_equal(choose_sticky(dispatch, replicas, 2, key, 4), chosen);
        chosen = choose_sticky(dispatch, replicas, 1, -1, key);
        assert_int_equal(choose_sticky(dispatch, replicas, 2, -1, key), chosen);
        by_request[choose_sticky(dispatch, replicas, key, -1, -1)]++;
    }
    for (int i = 0; i < 4; i++) {
        assert_in_range(by_session[i], 850, 1150);
        assert_in_range(by_request[i], 850, 1150);
    }
}

static void sticky_moves_only_what_was_on_the_replica_that_went_down(void **state)
{
    struct dispatch *dispatch = dispatch_create(*state, DISPATCH_STICKY, 1, 1);
    struct dispatch_replica all[4] = {
        { .is_up = true, .number = 0 },
        { .is_up = true, .number = 1 },
        { .is_up = true, .number = 2 },
        { .is_up = true, .number = 3 },
    };
    int moved[4] = { 0 };

    for (int32_t key = 0; key < 1000; key++) {
        struct dispatch_replica less[4] = { all[0], all[1], { .is_up = false }, all[3] };
        struct dispatch_replica turned[4] = { all[3], all[1], all[2], all[0] };
        int before = choose_sticky(dispatch, all, 0, key, -1);
        int after = choose_sticky(dispatch, less, 0, key, -1);

        assert_int_equal(turned[choose_sticky(dispatch, turned, 0, key, -1)].number, before);
        if (before == 2)
            moved[after]++;
        else
            assert_int_equal(after, before);
    }
    assert_true(moved[0] > 40 && moved[1] > 40 && moved[2] == 0 && moved[3] > 40);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(names_are_those_of_the_command_line),
        RULE(static_rules_look_at_no_replica),
        RULE(no_rule_chooses_a_replica_that_is_down),
        RULE(least_idle_takes_the_shortest_backlog_then_the_first),
        RULE(least_outstanding_takes_the_fewest_then_the_first),
        RULE(least_last_stage_takes_the_end_that_is_free_first_then_the_first),
        RULE(round_robin_goes_in_file_order_for_each_service),
        RULE(random_is_uniform_and_repeats_with_its_seed),
        RULE(sticky_keys_on_session_then_client_then_request),
        RULE(sticky_moves_only_what_was_on_the_replica_that_went_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
