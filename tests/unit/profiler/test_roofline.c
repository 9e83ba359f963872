/* test_roofline.c - the knee is found on curves of real and odd machines; the file is as specified.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include "profiler/device/roofline.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define KIB (INT64_C(1) << 10)
#define MIB (INT64_C(1) << 20)
#define MAX_ROWS 64
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static struct cost_roofline row_of(int threads, int64_t ws_bytes, double gbps)
{
    return (struct cost_roofline){ threads, roofline_metrics[ROOFLINE_WS_BW], ws_bytes, gbps * 1e9,
                                   roofline_units[ROOFLINE_WS_BW] };
}

/* Working sets that double from `first` on. */
static int make_curve(struct cost_roofline *rows, int64_t first, const double *gbps, int count)
{
    for (int i = 0; i < count; i++)
        rows[i] = row_of(1, first << i, gbps[i]);
    return count;
}

static int64_t knee_of(int64_t first, const double *gbps, int count)
{
    struct cost_roofline rows[MAX_ROWS];

    return roofline_knee(rows, make_curve(rows, first, gbps, count));
}

/* 1 MiB of L2, a part of an L3 of 480 MiB shared with other guests. */
static const double shared_gbps[] = { 357,  175,  175,  174,  170,  164,  73,   30,   29,
                                      28.5, 28.3, 28.1, 28.0, 25.2, 20.0, 17.5, 16.8, 16.8 };

static void a_shared_cache_ends_where_reading_is_halfway_to_memory(void **state)
{
    (void)state;
    assert_int_equal(knee_of(32 * KIB, shared_gbps, COUNT(shared_gbps)), 256 * MIB);
}

static void a_shared_cache_as_it_was_measured_on_another_day(void **state)
{
    static const double gbps[] = {
        164, 73, 30, 29.5, 29, 28.5, 28.2, 25.2, 20.0, 17.5, 16.8, 16.8
    };

    (void)state;
    assert_int_equal(knee_of(1 * MIB, gbps, COUNT(gbps)), 128 * MIB);
}

static void a_small_board_has_its_one_mib(void **state)
{
    static const double gbps[] = { 11.8, 8.3, 8.1, 8.1, 8.0, 6.5, 4.6, 4.3, 4.2, 4.2, 4.2, 4.2 };

    (void)state;
    assert_int_equal(knee_of(32 * KIB, gbps, COUNT(gbps)), 1 * MIB);
}

static void a_laptop_has_its_third_level_and_not_its_second(void **state)
{
    static const double gbps[] = { 70, 70, 69, 30, 30, 29, 29, 22, 13, 12, 12, 12 };

    (void)state;
    assert_int_equal(knee_of(256 * KIB, gbps, COUNT(gbps)), 32 * MIB);
}

static void one_step_straight_to_memory_is_the_knee(void **state)
{
    static const double gbps[] = { 40, 40, 40, 10, 10, 10 };

    (void)state;
    assert_int_equal(knee_of(32 * KIB, gbps, COUNT(gbps)), 128 * KIB);
}

static void without_a_level_step_the_middle_of_the_slope_is_taken(void **state)
{
    static const double gbps[] = { 100, 60, 36, 20, 12, 12 };

    (void)state;
    assert_int_equal(knee_of(32 * KIB, gbps, COUNT(gbps)), 128 * KIB);
}

static void a_flat_curve_has_no_knee(void **state)
{
    static const double same[] = { 5, 5, 5, 5, 5, 5 };
    static const double nearly[] = { 5.4, 5.0, 5.5, 5.1, 5.2, 4.9, 5.3 };
    static const double rising[] = { 4, 5, 6, 7, 8, 9 }; /* calls cost more than reading */

    (void)state;
    assert_int_equal(knee_of(32 * KIB, same, COUNT(same)), 0);
    assert_int_equal(knee_of(32 * KIB, nearly, COUNT(nearly)), 0);
    assert_int_equal(knee_of(32 * KIB, rising, COUNT(rising)), 0);
}

static void one_disturbed_size_decides_nothing(void **state)
{
    static const double clean[] = { 30, 30, 30, 30, 30, 30, 10, 10, 10, 10, 10 };

    (void)state;
    for (int at = 0; at < COUNT(clean); at++)
        for (int slow = 0; slow <= 1; slow++) {
            double gbps[COUNT(clean)];

            memcpy(gbps, clean, sizeof(clean));
            gbps[at] *= slow ? 0.8 : 1.25;
            assert_int_equal(knee_of(32 * KIB, gbps, COUNT(gbps)), 1 * MIB);
        }
}

static void the_order_of_rows_and_other_rows_do_not_matter(void **state)
{
    struct cost_roofline rows[MAX_ROWS], mixed[MAX_ROWS];
    int count = make_curve(rows, 32 * KIB, shared_gbps, COUNT(shared_gbps)), n = 0;

    (void)state;
    for (int i = 0; i < count; i++) {
        mixed[n++] = rows[(i * 7 + 3) % count];      /* 7 has no divisor in common with 18 */
        mixed[n++] = row_of(4, 32 * KIB << i, 50.0); /* more threads: no knee */
    }
    mixed[n++] = (struct cost_roofline){ 1, "sgemm_peak", 64 * MIB, 1e15, "GFLOP/s" };
    assert_int_equal(roofline_knee(mixed, n), roofline_knee(rows, count));
}

static void numbers_that_are_none_are_left_out(void **state)
{
    struct cost_roofline rows[MAX_ROWS];
    int count = make_curve(rows, 32 * KIB, shared_gbps, COUNT(shared_gbps));
    int64_t knee = roofline_knee(rows, count);

    (void)state;
    rows[count++] = row_of(1, 4096 * MIB, NAN);
    rows[count++] = row_of(1, 4096 * MIB, INFINITY);
    rows[count++] = row_of(1, 4096 * MIB, -1.0);
    rows[count++] = row_of(1, 4096 * MIB, 0.0);
    rows[count++] = row_of(1, 0, 1e-3);
    rows[count++] = row_of(0, COST_UNKNOWN, 1e-3); /* fewer threads, but no working set */
    assert_int_equal(roofline_knee(rows, count), knee);
}

static void too_few_sizes_have_no_knee(void **state)
{
    static const double gbps[] = { 40, 10, 10 };
    struct cost_roofline rows[MAX_ROWS];

    (void)state;
    assert_int_equal(roofline_knee(NULL, 0), 0);
    assert_int_equal(knee_of(32 * KIB, gbps, COUNT(gbps)), 0);
    for (int i = 0; i < 10; i++)
        rows[i] = row_of(1, 32 * KIB, 10.0 + i); /* one size, ten times */
    assert_int_equal(roofline_knee(rows, 10), 0);
}

static void more_sizes_than_there_is_room_for_do_no_harm(void **state)
{
    struct cost_roofline rows[200];

    (void)state;
    for (int i = 0; i < 200; i++)
        rows[i] = row_of(1, (200 - i) * KIB, i < 100 ? 10.0 : 50.0);
    assert_true(roofline_knee(rows, 200) >= 0);
}

static void a_reported_cache_is_doubted_only_when_it_was_read_beyond(void **state)
{
    struct cost_roofline rows[MAX_ROWS];
    int count = make_curve(rows, 32 * KIB, shared_gbps, COUNT(shared_gbps)); /* to 4 GiB */
    int64_t knee = roofline_knee(rows, count);

    (void)state;
    assert_int_equal(roofline_llc(480 * MIB, rows, count), knee);
    assert_int_equal(roofline_llc(0, rows, count), knee);
    assert_int_equal(roofline_llc(-1, rows, count), knee);
    assert_int_equal(roofline_llc(4096 * MIB, rows, count), 4096 * MIB);
    assert_int_equal(roofline_llc(INT64_MAX, rows, count), INT64_MAX);
    assert_int_equal(roofline_llc(480 * MIB, rows, 9), 480 * MIB); /* to 8 MiB alone */
    assert_int_equal(roofline_llc(480 * MIB, NULL, 0), 480 * MIB);
    assert_int_equal(roofline_llc(0, NULL, 0), 0);
}

static void the_best_of_a_metric_is_that_of_its_threads(void **state)
{
    const struct cost_roofline rows[] = { { 1, "sgemm_peak", 1, 100.0, "GFLOP/s" },
                                          { 1, "sgemm_peak", 2, 120.0, "GFLOP/s" },
                                          { 4, "sgemm_peak", 2, 400.0, "GFLOP/s" },
                                          { 1, "read_bw", 2, 4e9, "bytes/s" } };

    (void)state;
    assert_true(roofline_best(rows, 4, 1, ROOFLINE_SGEMM_PEAK) == 120.0);
    assert_true(roofline_best(rows, 4, 4, ROOFLINE_SGEMM_PEAK) == 400.0);
    assert_true(roofline_best(rows, 4, 1, ROOFLINE_READ_BW) == 4e9);
    assert_true(roofline_best(rows, 4, 2, ROOFLINE_READ_BW) == -1.0);
}

static void the_file_has_a_head_and_leaves_unknown_sizes_empty(void **state)
{
    const struct cost_roofline rows[] = { { 1, "ws_bw", 32 * KIB, 1.5e10, "bytes/s" },
                                          { 4, "timer_ns", COST_UNKNOWN, 15.25, "ns" } };
    struct arena *arena = arena_create();
    struct out *out = out_open_memory(arena);
    size_t length;

    (void)state;
    cost_write_roofline(out, rows, 2);
    assert_string_equal(out_memory(out, &length), "# orrery: roofline 1\n"
                                                  "threads,metric,ws_bytes,value,unit\n"
                                                  "1,ws_bw,32768,15000000000,bytes/s\n"
                                                  "4,timer_ns,,15.25,ns\n");
    out_abort(out);
    arena_destroy(arena);
}

/* On the real machine, in almost no time: how much, not how fast. */
static void a_measurement_gives_every_metric_for_every_thread_count(void **state)
{
    static const int threads[] = { 1, 2 };
    const struct roofline_plan plan = { .threads = threads,
                                        .thread_count = 2,
                                        .budget_ns = 1000000,
                                        .llc_bytes = 1 * MIB,
                                        .available_bytes = 64 * MIB };
    struct arena *arena = arena_create();
    struct cost_roofline *rows;
    struct err err = ERR_INIT;
    int count;

    (void)state;
    assert_true(roofline_measure(arena, &plan, &rows, &count, &err));
    for (int t = 0; t < 2; t++)
        for (int m = 0; m < ROOFLINE_METRIC_COUNT; m++) {
            int found = 0;

            for (int i = 0; i < count; i++)
                found += rows[i].threads == threads[t] &&
                         strcmp(rows[i].metric, roofline_metrics[m]) == 0;
            if (found == 0)
                fail_msg("no %s with %d threads", roofline_metrics[m], threads[t]);
        }
    for (int i = 0; i < count; i++) {
        assert_true(isfinite(rows[i].value));
        assert_true(rows[i].value > 0.0 || strcmp(rows[i].metric, "idle_resume_ns") == 0);
        assert_true(strcmp(rows[i].metric, "ws_bw") != 0 || rows[i].ws_bytes <= 16 * MIB);
    }
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shared_cache_ends_where_reading_is_halfway_to_memory),
        cmocka_unit_test(a_shared_cache_as_it_was_measured_on_another_day),
        cmocka_unit_test(a_small_board_has_its_one_mib),
        cmocka_unit_test(a_laptop_has_its_third_level_and_not_its_second),
        cmocka_unit_test(one_step_straight_to_memory_is_the_knee),
        cmocka_unit_test(without_a_level_step_the_middle_of_the_slope_is_taken),
        cmocka_unit_test(a_flat_curve_has_no_knee),
        cmocka_unit_test(one_disturbed_size_decides_nothing),
        cmocka_unit_test(the_order_of_rows_and_other_rows_do_not_matter),
        cmocka_unit_test(numbers_that_are_none_are_left_out),
        cmocka_unit_test(too_few_sizes_have_no_knee),
        cmocka_unit_test(more_sizes_than_there_is_room_for_do_no_harm),
        cmocka_unit_test(a_reported_cache_is_doubted_only_when_it_was_read_beyond),
        cmocka_unit_test(the_best_of_a_metric_is_that_of_its_threads),
        cmocka_unit_test(the_file_has_a_head_and_leaves_unknown_sizes_empty),
        cmocka_unit_test(a_measurement_gives_every_metric_for_every_thread_count),
    };

    return cmocka_run_group_tests_name("roofline", tests, NULL, NULL);
}
