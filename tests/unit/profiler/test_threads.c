/* test_threads.c - the best thread count is a claim only where intervals allow it. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "profiler/device/threads.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MS INT64_C(1000000000) /* in ps */

static void the_fastest_is_taken_in_each_phase(void **state)
{
    const struct threads_cost costs[] = { { 1, 15 * MS, 183 * MS, MS / 10, MS },
                                          { 2, 10 * MS, 104 * MS, MS / 10, MS },
                                          { 4, 12 * MS, 60 * MS, MS / 10, MS } };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(costs, 3, &decode, &prefill);
    assert_int_equal(decode.threads, 2);
    assert_true(decode.is_clear);
    assert_int_equal(decode.cost_ps, 10 * MS);
    assert_int_equal(decode.slowest, 1);
    assert_int_equal(prefill.threads, 4);
    assert_true(prefill.is_clear);
}

static void where_intervals_overlap_the_smaller_count_is_taken(void **state)
{
    const struct threads_cost costs[] = { { 4, 10 * MS, 60 * MS, MS, MS },
                                          { 2, 11 * MS, 104 * MS, MS, MS },
                                          { 1, 20 * MS, 183 * MS, MS, MS } };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(costs, 3, &decode, &prefill);
    assert_int_equal(decode.threads, 2);
    assert_int_equal(decode.fastest, 4);
    assert_int_equal(decode.cost_ps, 11 * MS);
    assert_false(decode.is_clear);
    assert_true(prefill.is_clear);
}

static void the_fastest_with_fewest_threads_can_still_be_unclear(void **state)
{
    const struct threads_cost costs[] = { { 1, 10 * MS, 10 * MS, MS, 0 },
                                          { 2, 11 * MS, 11 * MS, MS, 0 } };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(costs, 2, &decode, &prefill);
    assert_int_equal(decode.threads, 1);
    assert_false(decode.is_clear);
    assert_true(prefill.is_clear);
}

static void touching_intervals_overlap_and_a_picosecond_apart_do_not(void **state)
{
    const struct threads_cost costs[] = { { 1, 12, 13, 1, 1 }, { 2, 10, 10, 1, 1 } };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(costs, 2, &decode, &prefill);
    assert_int_equal(decode.threads, 1);
    assert_int_equal(prefill.threads, 2);
}

static void an_interval_that_is_not_known_makes_nothing_clear(void **state)
{
    const struct threads_cost costs[] = { { 2, 5 * MS, 5 * MS, -1, 0 },
                                          { 1, 10 * MS, 10 * MS, 0, -1 } };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(costs, 2, &decode, &prefill);
    assert_int_equal(decode.threads, 1);
    assert_false(decode.is_clear);
    assert_int_equal(prefill.threads, 1);
    assert_false(prefill.is_clear);
}

static void what_was_not_measured_is_never_the_best(void **state)
{
    const struct threads_cost costs[] = { { 1, 0, -1, 0, 0 }, { 2, 10 * MS, 0, 0, 0 } };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(costs, 2, &decode, &prefill);
    assert_int_equal(decode.threads, 2);
    assert_int_equal(prefill.threads, 0);
    threads_best(NULL, 0, &decode, &prefill);
    assert_int_equal(decode.threads, 0);
}

static void equal_costs_give_the_smaller_count_in_any_order(void **state)
{
    const struct threads_cost up[] = { { 1, MS, MS, 0, 0 }, { 2, MS, MS, 0, 0 } };
    const struct threads_cost down[] = { { 2, MS, MS, 0, 0 }, { 1, MS, MS, 0, 0 } };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(up, 2, &decode, &prefill);
    assert_int_equal(decode.threads, 1);
    threads_best(down, 2, &decode, &prefill);
    assert_int_equal(decode.threads, 1);
}

static void the_largest_times_do_not_overflow(void **state)
{
    const struct threads_cost costs[] = {
        { 1, INT64_MAX, INT64_MAX, INT64_MAX, 0 },
        { 2, INT64_MAX - 1, 1, INT64_MAX, 0 },
    };
    struct threads_choice decode, prefill;

    (void)state;
    threads_best(costs, 2, &decode, &prefill);
    assert_int_equal(decode.threads, 1);
    assert_int_equal(prefill.threads, 2);
}

static void the_sentence_says_what_is_clear_and_what_is_not(void **state)
{
    const struct threads_cost costs[] = { { 1, 15 * MS, 180 * MS, 0, 0 },
                                          { 4, 14 * MS, 60 * MS, 2 * MS, 0 } };
    struct arena *arena = arena_create();

    (void)state;
    assert_string_equal(threads_sentence(arena, costs, 2),
                        "best with 1 thread for decode (15.0 ms a step, no clear difference to 4) "
                        "and 4 threads for prefill (60.0 ms, 3.00 times as fast as with 1)");
    arena_destroy(arena);
}

static void there_is_no_sentence_without_a_choice(void **state)
{
    const struct threads_cost one[] = { { 1, MS, MS, 0, 0 } };
    const struct threads_cost half[] = { { 1, MS, 0, 0, 0 }, { 2, 3 * MS, MS, 0, 0 } };
    struct arena *arena = arena_create();

    (void)state;
    assert_null(threads_sentence(arena, one, 1));
    assert_null(threads_sentence(arena, NULL, 0));
    assert_string_equal(threads_sentence(arena, half, 2),
                        "best with 1 thread for decode (1.00 ms a step, 3.00 times as fast as "
                        "with 2)");
    arena_destroy(arena);
}

static void lists_of_threads_are_read_strictly(void **state)
{
    static const char *const bad[] = { "",
                                       ",",
                                       "1,",
                                       ",1",
                                       "0",
                                       "-1",
                                       "257",
                                       "1,1",
                                       "1, 2",
                                       "one",
                                       "1;2",
                                       "1.5",
                                       "1,2,3,4,5,6,7,8,9" };
    struct arena *arena = arena_create();
    int threads[THREADS_MAX_COUNTS], count;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = ERR_INIT;

        assert_false(threads_parse(arena, "--threads", bad[i], threads, &count, &err));
        assert_non_null(strstr(err.text, "--threads is '"));
    }
    struct err err = ERR_INIT;
    assert_true(threads_parse(arena, "--threads", "4,1,256", threads, &count, &err));
    assert_int_equal(count, 3);
    assert_int_equal(threads[0], 4);
    assert_int_equal(threads[2], 256);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_is_taken_in_each_phase),
        cmocka_unit_test(where_intervals_overlap_the_smaller_count_is_taken),
        cmocka_unit_test(the_fastest_with_fewest_threads_can_still_be_unclear),
        cmocka_unit_test(touching_intervals_overlap_and_a_picosecond_apart_do_not),
        cmocka_unit_test(an_interval_that_is_not_known_makes_nothing_clear),
        cmocka_unit_test(what_was_not_measured_is_never_the_best),
        cmocka_unit_test(equal_costs_give_the_smaller_count_in_any_order),
        cmocka_unit_test(the_largest_times_do_not_overflow),
        cmocka_unit_test(the_sentence_says_what_is_clear_and_what_is_not),
        cmocka_unit_test(there_is_no_sentence_without_a_choice),
        cmocka_unit_test(lists_of_threads_are_read_strictly),
    };

    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
