/* test_engine.c - the order of events: one test a tie rule, and a naive sorted list as oracle. */
#include "sim/engine/engine.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena *arena;

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static void an_empty_engine_has_no_event(void **state)
{
    struct engine *engine = engine_create(arena, 3);

    (void)state;
    assert_int_equal(engine_next(engine), -1);
    assert_true(engine_peek_ps(engine) == ENGINE_NEVER);
    assert_int_equal(engine_now_ps(engine), 0);
    assert_int_equal(engine_event_count(engine), 0);
}

static void earlier_time_comes_first(void **state)
{
    struct engine *engine = engine_create(arena, 3);

    (void)state;
    engine_set(engine, 0, 30, ENGINE_COMPLETION);
    engine_set(engine, 1, 10, ENGINE_EXOGENOUS);
    engine_set(engine, 2, 20, ENGINE_LINK_ARRIVAL);
    assert_int_equal(engine_peek_ps(engine), 10);
    assert_int_equal(engine_next(engine), 1);
    assert_int_equal(engine_now_ps(engine), 10);
    assert_int_equal(engine_next(engine), 2);
    assert_int_equal(engine_next(engine), 0);
    assert_int_equal(engine_now_ps(engine), 30);
    assert_int_equal(engine_event_count(engine), 3);
}

static void completion_comes_before_link_arrival(void **state)
{
    struct engine *engine = engine_create(arena, 2);

    (void)state;
    engine_set(engine, 0, 5, ENGINE_LINK_ARRIVAL);
    engine_set(engine, 1, 5, ENGINE_COMPLETION);
    assert_int_equal(engine_next(engine), 1);
    assert_int_equal(engine_next(engine), 0);
}

static void link_arrival_comes_before_exogenous_arrival(void **state)
{
    struct engine *engine = engine_create(arena, 2);

    (void)state;
    engine_set(engine, 0, 5, ENGINE_EXOGENOUS);
    engine_set(engine, 1, 5, ENGINE_LINK_ARRIVAL);
    assert_int_equal(engine_next(engine), 1);
    assert_int_equal(engine_next(engine), 0);
}

static void lower_slot_comes_first(void **state)
{
    struct engine *engine = engine_create(arena, 5);

    (void)state;
    for (int slot = 4; slot >= 0; slot--)
        engine_set(engine, slot, 7, ENGINE_COMPLETION);
    for (int slot = 0; slot < 5; slot++)
        assert_int_equal(engine_next(engine), slot);
}

static void events_of_one_slot_come_in_the_order_of_setting(void **state)
{
    struct engine *engine = engine_create(arena, 1);

    (void)state;
    for (int i = 1; i <= 3; i++) {
        engine_set(engine, 0, 9, ENGINE_COMPLETION);
        assert_int_equal(engine_next(engine), 0);
        assert_int_equal(engine_event_count(engine), i);
    }
    assert_int_equal(engine_next(engine), -1);
}

static void a_slot_set_again_holds_only_the_new_event(void **state)
{
    struct engine *engine = engine_create(arena, 2);

    (void)state;
    engine_set(engine, 0, 5, ENGINE_COMPLETION);
    engine_set(engine, 0, 8, ENGINE_COMPLETION);
    engine_set(engine, 1, 6, ENGINE_COMPLETION);
    assert_int_equal(engine_next(engine), 1);
    assert_int_equal(engine_next(engine), 0);
    assert_int_equal(engine_now_ps(engine), 8);
    assert_int_equal(engine_next(engine), -1);
}

static void a_cleared_slot_has_no_event(void **state)
{
    struct engine *engine = engine_create(arena, 2);

    (void)state;
    engine_set(engine, 0, 5, ENGINE_COMPLETION);
    engine_set(engine, 1, 6, ENGINE_COMPLETION);
    engine_clear(engine, 0);
    engine_clear(engine, 0);
    assert_int_equal(engine_next(engine), 1);
    assert_int_equal(engine_next(engine), -1);
}

static void an_event_may_be_planned_for_this_very_instant(void **state)
{
    struct engine *engine = engine_create(arena, 1);

    (void)state;
    engine_set(engine, 0, 4, ENGINE_COMPLETION);
    engine_next(engine);
    engine_set(engine, 0, 4, ENGINE_COMPLETION);
    assert_int_equal(engine_next(engine), 0);
    assert_int_equal(engine_now_ps(engine), 4);
}

static void advancing_moves_time_and_counts_an_event(void **state)
{
    struct engine *engine = engine_create(arena, 1);

    (void)state;
    engine_set(engine, 0, 10, ENGINE_COMPLETION);
    engine_advance(engine, 3);
    engine_advance(engine, 3);
    engine_advance(engine, 10);
    assert_int_equal(engine_now_ps(engine), 10);
    assert_int_equal(engine_event_count(engine), 3);
    assert_int_equal(engine_next(engine), 0);
}

static void sums_of_times_saturate_instead_of_overflowing(void **state)
{
    (void)state;
    assert_int_equal(engine_after_ps(1, 2), 3);
    assert_true(engine_after_ps(ENGINE_LAST_PS, 1) == ENGINE_LAST_PS);
    assert_true(engine_after_ps(INT64_MAX / 2 + 5, INT64_MAX / 2 + 5) == ENGINE_LAST_PS);
}

/* True when the call ends in abort(): run in a child, since assert is never compiled out. */
static bool aborts(void (*call)(struct engine *engine), struct engine *engine)
{
    const struct rlimit no_core = { 0, 0 };
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(3);
        call(engine);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void set_in_the_past(struct engine *engine)
{
    engine_set(engine, 0, 9, ENGINE_COMPLETION);
}

static void advance_into_the_past(struct engine *engine)
{
    engine_advance(engine, 9);
}

static void advance_over_an_event(struct engine *engine)
{
    engine_advance(engine, 21);
}

static void set_now(struct engine *engine)
{
    engine_set(engine, 0, 10, ENGINE_COMPLETION);
}

static void the_past_is_a_programming_error(void **state)
{
    struct engine *engine = engine_create(arena, 2);

    (void)state;
    engine_set(engine, 1, 20, ENGINE_COMPLETION);
    engine_advance(engine, 10);
    assert_true(aborts(set_in_the_past, engine));
    assert_true(aborts(advance_into_the_past, engine));
    assert_true(aborts(advance_over_an_event, engine));
    assert_false(aborts(set_now, engine));
}

/* ---- oracle: a list kept sorted by (time, class, slot) ---- */

struct pending {
    bool is_set;
    int64_t time_ps;
    enum engine_class class;
};

static int naive_first(const struct pending *pending, int count)
{
    int first = -1;

    for (int i = 0; i < count; i++) {
        const struct pending *a = &pending[i], *b = first < 0 ? NULL : &pending[first];

        if (a->is_set &&
            (!b || a->time_ps < b->time_ps || (a->time_ps == b->time_ps && a->class < b->class)))
            first = i;
    }
    return first;
}

static void the_tree_agrees_with_a_sorted_list(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 1);
    struct pending pending[67];

    (void)state;
    for (int slots = 1; slots <= 67; slots += 11) {
        struct engine *engine = engine_create(arena, slots);

        memset(pending, 0, sizeof(pending));
        for (int i = 0; i < 4000; i++) {
            int slot = (int)rng_below(&rng, (uint64_t)slots);
            int64_t now_ps = engine_now_ps(engine);
            uint64_t what = rng_below(&rng, 8);

            if (what < 4) { /* few distinct delays: ties are the rule */
                pending[slot].is_set = true;
                pending[slot].time_ps = now_ps + (int64_t)rng_below(&rng, 4) * 10;
                pending[slot].class = (enum engine_class)rng_below(&rng, 3);
                engine_set(engine, slot, pending[slot].time_ps, pending[slot].class);
            } else if (what == 4) {
                pending[slot].is_set = false;
                engine_clear(engine, slot);
            } else {
                int expected = naive_first(pending, slots);

                assert_int_equal(engine_next(engine), expected);
                if (expected >= 0) {
                    assert_true(engine_now_ps(engine) == pending[expected].time_ps);
                    pending[expected].is_set = false;
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_engine_has_no_event),
        cmocka_unit_test(earlier_time_comes_first),
        cmocka_unit_test(completion_comes_before_link_arrival),
        cmocka_unit_test(link_arrival_comes_before_exogenous_arrival),
        cmocka_unit_test(lower_slot_comes_first),
        cmocka_unit_test(events_of_one_slot_come_in_the_order_of_setting),
        cmocka_unit_test(a_slot_set_again_holds_only_the_new_event),
        cmocka_unit_test(a_cleared_slot_has_no_event),
        cmocka_unit_test(an_event_may_be_planned_for_this_very_instant),
        cmocka_unit_test(advancing_moves_time_and_counts_an_event),
        cmocka_unit_test(sums_of_times_saturate_instead_of_overflowing),
        cmocka_unit_test(the_past_is_a_programming_error),
        cmocka_unit_test(the_tree_agrees_with_a_sorted_list),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
