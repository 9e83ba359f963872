/* test_verdict.c - when a round is not believed, and how long to wait for a hot board. */
#include "lib/base/arena.h"
#include "profiler/measure/verdict.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000000)

/* A quiet second: 0.9 s of CPU time, all of it ours. */
static struct round_readings quiet(void)
{
    struct round_readings round = { .own_cpu_ns = SECOND * 9 / 10,
                                    .compute_ns = 12400,
                                    .memory_ns = 98000 };

    round.before = (struct machine_state){
        .t_ns = SECOND, .freq_khz = 1800000, .temp_mc = 50000, .busy_ns = 5 * SECOND
    };
    round.after = round.before;
    round.after.t_ns += SECOND;
    round.after.busy_ns += SECOND * 9 / 10;
    return round;
}

/* `low` rounds at 12.4 us and `high` ones at 13.45 us; memory 98 us within 3 %. */
static struct verdict_reference two_levels(int low, int high)
{
    int64_t compute[256], memory[256];

    for (int i = 0; i < low + high; i++) {
        compute[i] = (i < low ? 12400 : 13450) + i % 7;
        memory[i] = 95000 + i % 10 * 600;
    }
    return verdict_learn(compute, memory, (size_t)(low + high));
}

static void the_firmware_is_believed_and_old_sticky_bits_are_not_held_against_a_round(void **state)
{
    struct round_readings round = quiet();

    (void)state;
    assert_int_equal(verdict_evidence(&round), ROUND_OK);
    for (int bit = 0; bit < 20; bit++) {
        bool counts = bit < 4 || bit >= 16;

        round.before.throttle_bits = 0;
        round.after.throttle_bits = INT64_C(1) << bit;
        assert_int_equal(verdict_evidence(&round), counts ? ROUND_THROTTLED : ROUND_OK);
        round.before.throttle_bits = round.after.throttle_bits;
        assert_int_equal(verdict_evidence(&round), bit < 4 ? ROUND_THROTTLED : ROUND_OK);
    }
    round.before.throttle_bits = MACHINE_UNKNOWN;
    round.after.throttle_bits = 0x50000; /* since when is not known */
    assert_int_equal(verdict_evidence(&round), ROUND_OK);
}

static void a_clock_that_fell_by_over_two_percent_is_throttling(void **state)
{
    struct round_readings round = quiet();

    (void)state;
    round.after.freq_khz = 1764000;
    assert_int_equal(verdict_evidence(&round), ROUND_OK);
    round.after.freq_khz = 1763999;
    assert_int_equal(verdict_evidence(&round), ROUND_THROTTLED);
    round.after.freq_khz = MACHINE_UNKNOWN;
    assert_int_equal(verdict_evidence(&round), ROUND_OK);
}

static void five_percent_of_a_core_is_busy_unless_it_is_below_three_ticks(void **state)
{
    struct round_readings round = quiet();

    (void)state;
    round.after.busy_ns += 50000000;
    assert_int_equal(verdict_evidence(&round), ROUND_OK);
    round.after.busy_ns += 10000000;
    assert_int_equal(verdict_evidence(&round), ROUND_BUSY);
    round.after.t_ns = round.before.t_ns + SECOND / 10; /* two ticks in a short round */
    round.own_cpu_ns = SECOND / 10 - 20000000;
    round.after.busy_ns = round.before.busy_ns + SECOND / 10;
    assert_int_equal(verdict_evidence(&round), ROUND_OK);
    round = quiet();
    round.after.steal_ns = 60000000;
    assert_int_equal(verdict_evidence(&round), ROUND_STOLEN);
}

static void two_levels_of_a_quiet_machine_are_no_reason_to_flag(void **state)
{
    (void)state;
    for (int low = 30; low <= 75; low += 15) { /* of 100 */
        struct verdict_reference reference = two_levels(low, 100 - low);
        struct round_readings round = quiet();

        assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_OK);
        round.compute_ns = 13450;
        assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_OK);
        round.compute_ns = 12400 * 117 / 100; /* what a Raspberry Pi loses */
        assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_SLOW);
    }
}

static void one_steady_level_has_the_tight_limit_and_hysteresis(void **state)
{
    struct verdict_reference reference = two_levels(100, 0);
    struct round_readings round = quiet();

    (void)state;
    round.compute_ns = 12400 * 1015 / 1000;
    assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_OK);
    assert_int_equal(verdict_round(&round, &reference, ROUND_SLOW), ROUND_SLOW);
    round.compute_ns = 12400 * 1025 / 1000;
    assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_SLOW);
    round.compute_ns = 12405;
    assert_int_equal(verdict_round(&round, &reference, ROUND_SLOW), ROUND_OK);
}

static void a_run_that_is_mostly_throttled_is_not_its_own_reference(void **state)
{
    int64_t compute[100], memory[100];
    struct round_readings round = quiet();

    (void)state;
    for (int i = 0; i < 100; i++) {
        compute[i] = i < 15 ? 12400 : 14900;
        memory[i] = 98000;
    }
    struct verdict_reference reference = verdict_learn(compute, memory, 100);
    round.compute_ns = 14900;
    assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_SLOW);
}

static void a_neighbour_on_the_memory_bus_is_seen(void **state)
{
    struct verdict_reference reference = two_levels(50, 50);
    struct round_readings round = quiet();

    (void)state;
    round.memory_ns = 100400;
    assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_OK);
    round.memory_ns = 120000;
    assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_MEMORY);
    round.memory_ns = -1;
    assert_int_equal(verdict_round(&round, &reference, ROUND_OK), ROUND_OK);
}

static void few_rounds_and_none_are_judged_generously(void **state)
{
    int64_t compute[3] = { 100, -1, 102 }, memory[3] = { 1000, 0, 1000 };
    struct verdict_reference none = verdict_learn(compute, memory, 0);
    struct verdict_reference few = verdict_learn(compute, memory, 3);
    struct round_readings round = quiet();

    (void)state;
    assert_int_equal(verdict_round(&round, &none, ROUND_OK), ROUND_OK);
    assert_int_equal(few.rounds, 2);
    round.compute_ns = 110;
    round.memory_ns = 1190;
    assert_int_equal(verdict_round(&round, &few, ROUND_OK), ROUND_OK);
    round.compute_ns = 120;
    assert_int_equal(verdict_round(&round, &few, ROUND_OK), ROUND_SLOW);
    for (int i = 0; i < ROUND_VERDICT_COUNT; i++)
        assert_string_not_equal(round_verdict_name((enum round_verdict)i), "?");
}

static void a_hot_board_waits_until_cool_and_three_canaries_are_good(void **state)
{
    struct cooling cooling;

    (void)state;
    cooling_begin(&cooling, 50000, false);
    assert_int_equal(cooling_round(&cooling, ROUND_OK, 0), COOLING_KEEP);
    assert_int_equal(cooling_round(&cooling, ROUND_BUSY, 0), COOLING_KEEP);
    assert_int_equal(cooling_round(&cooling, ROUND_THROTTLED, 0), COOLING_WAIT);
    assert_int_equal(cooling_wait(&cooling, 60000, true, 1 * SECOND), COOLING_WAIT);
    assert_int_equal(cooling_wait(&cooling, 55001, true, 2 * SECOND), COOLING_WAIT);
    assert_int_equal(cooling_wait(&cooling, 55001, true, 3 * SECOND), COOLING_WAIT);
    assert_int_equal(cooling_wait(&cooling, 55000, false, 4 * SECOND), COOLING_WAIT);
    assert_int_equal(cooling_wait(&cooling, 55000, true, 5 * SECOND), COOLING_WAIT);
    assert_int_equal(cooling_wait(&cooling, 55000, true, 6 * SECOND), COOLING_WAIT);
    assert_int_equal(cooling_wait(&cooling, 55000, true, 7 * SECOND), COOLING_RETRY);
}

static void after_five_retries_the_slow_board_is_taken_as_it_is(void **state)
{
    struct cooling cooling;
    int64_t now = 0;

    (void)state;
    cooling_begin(&cooling, 50000, false);
    for (int i = 0; i < COOLING_MAX_RETRIES; i++) {
        assert_int_equal(cooling_round(&cooling, ROUND_SLOW, now), COOLING_WAIT);
        assert_int_equal(cooling_wait(&cooling, 90000, false, now + 119 * SECOND), COOLING_WAIT);
        now += 120 * SECOND;
        assert_int_equal(cooling_wait(&cooling, 90000, false, now), COOLING_RETRY);
        assert_false(cooling.is_sustained);
    }
    assert_int_equal(cooling_round(&cooling, ROUND_SLOW, now), COOLING_KEEP);
    assert_true(cooling.is_sustained);
    cooling_begin(&cooling, MACHINE_UNKNOWN, true);
    assert_int_equal(cooling_round(&cooling, ROUND_THROTTLED, 0), COOLING_KEEP);
}

static void put_stat(const char *root, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/proc/stat", root);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void what_others_used_is_busy_time_less_our_own(void **state)
{
    struct arena *arena = arena_create();
    struct machine_state before, after;
    char root[] = "/tmp/orrery-stat-XXXXXX", proc[64];

    (void)state;
    assert_non_null(mkdtemp(root));
    snprintf(proc, sizeof(proc), "%s/proc", root);
    assert_int_equal(system(arena_printf(arena, "mkdir %s", proc)), 0);
    put_stat(root, "cpu  100 10 50 9000 40 0 5 7 3 0\ncpu0 1 2 3\nctxt 1234\nbtime 1\n");
    machine_read(&before, arena, root);
    assert_true(before.busy_ns == 165 * SECOND / 100 && before.steal_ns == 7 * SECOND / 100);
    assert_int_equal(before.switches, 1234);
    put_stat(root, "cpu  190 10 60 9000 90 0 5 27 3 0\nctxt 1300\n");
    machine_read(&after, arena, root);
    after.t_ns = before.t_ns + SECOND;
    assert_true(machine_others_busy_ratio(&before, &after, SECOND * 9 / 10) > 0.0999);
    assert_true(machine_others_busy_ratio(&before, &after, SECOND * 9 / 10) < 0.1001);
    assert_true(machine_others_busy_ratio(&before, &after, 2 * SECOND) == 0);
    assert_true(machine_steal_ratio(&before, &after) > 0.1999);
    assert_true(machine_others_busy_ratio(&before, &before, 0) == -1);
    static const char *const bad[] = { "",
                                       "cpu\n",
                                       "cpu  1 2\n",
                                       "cpu  1 2 3 4 5 6 7 99999999999999999999\n",
                                       "cpu  -1 2 3 4 5 6 7 8\n",
                                       "cpu  999999999999999999 0 0 0 0 0 0 0\n",
                                       "\nctxt x\n" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_stat(root, bad[i]);
        machine_read(&after, arena, root);
        assert_true(after.busy_ns == MACHINE_UNKNOWN && after.switches == MACHINE_UNKNOWN);
        assert_true(machine_others_busy_ratio(&before, &after, 0) == -1);
    }
    assert_int_equal(system(arena_printf(arena, "rm -r %s", root)), 0);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_firmware_is_believed_and_old_sticky_bits_are_not_held_against_a_round),
        cmocka_unit_test(a_clock_that_fell_by_over_two_percent_is_throttling),
        cmocka_unit_test(five_percent_of_a_core_is_busy_unless_it_is_below_three_ticks),
        cmocka_unit_test(two_levels_of_a_quiet_machine_are_no_reason_to_flag),
        cmocka_unit_test(one_steady_level_has_the_tight_limit_and_hysteresis),
        cmocka_unit_test(a_run_that_is_mostly_throttled_is_not_its_own_reference),
        cmocka_unit_test(a_neighbour_on_the_memory_bus_is_seen),
        cmocka_unit_test(few_rounds_and_none_are_judged_generously),
        cmocka_unit_test(a_hot_board_waits_until_cool_and_three_canaries_are_good),
        cmocka_unit_test(after_five_retries_the_slow_board_is_taken_as_it_is),
        cmocka_unit_test(what_others_used_is_busy_time_less_our_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
