/* test_samples.c - clean mean, outliers and intervals on samples whose answer is known. */
#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "profiler/measure/samples.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void add(struct arena *arena, struct samples *samples, int64_t ns, int proc, bool is_dirty)
{
    samples_add(arena, samples,
                (struct sample){ ns, ns / 2, proc, samples->count, is_dirty, false });
}

static void no_sample_gives_no_summary(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    assert_false(samples_summarize(arena, &samples, &summary));
    assert_int_equal(summary.n, 0);
    assert_true(samples_half_ratio(&summary) == 1.0);
    arena_destroy(arena);
}

static void one_sample_has_a_mean_and_no_interval(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    add(arena, &samples, 500, 0, false);
    assert_true(samples_summarize(arena, &samples, &summary));
    assert_int_equal(summary.n, 1);
    assert_int_equal(summary.mean_ps, 500000);
    assert_int_equal(summary.half_ps, -1);
    assert_int_equal(summary.proc_min_ps, 500000);
    assert_true(samples_half_ratio(&summary) == 1.0);
    arena_destroy(arena);
}

static void preempted_samples_do_not_count(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    for (int i = 0; i < 10; i++)
        add(arena, &samples, 1000, 0, false);
    for (int i = 0; i < 30; i++)
        add(arena, &samples, 5000, 0, true);
    assert_true(samples_summarize(arena, &samples, &summary));
    assert_int_equal(summary.n, 10);
    assert_int_equal(summary.n_dirty, 30);
    assert_int_equal(summary.mean_ps, 1000000);
    assert_false(summary.is_fallback);
    arena_destroy(arena);
}

static void without_clean_samples_all_are_used_by_cpu_time(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    for (int i = 0; i < 20; i++)
        add(arena, &samples, 8000, 0, true);
    assert_true(samples_summarize(arena, &samples, &summary));
    assert_true(summary.is_fallback);
    assert_int_equal(summary.n, 20);
    assert_int_equal(summary.mean_ps, 4000000); /* cpu_ns is half */
    for (int i = 0; i < samples.count; i++)
        samples.items[i].cpu_ns = 0; /* several threads: wall time is all there is */
    assert_true(samples_summarize(arena, &samples, &summary));
    assert_int_equal(summary.mean_ps, 8000000);
    arena_destroy(arena);
}

static void outliers_beyond_eight_deviations_are_dropped_and_counted(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    for (int i = 0; i < 41; i++)
        add(arena, &samples, 10000 + 100 * (i % 5 - 2), 0, false); /* median 10000, MAD 100 */
    add(arena, &samples, 10790, 0, false);
    add(arena, &samples, 10810, 0, false);
    assert_true(samples_summarize(arena, &samples, &summary));
    assert_int_equal(summary.mad_ps, 100000);
    assert_int_equal(summary.median_ps, 10000000);
    assert_int_equal(summary.n_outlier, 1);
    assert_int_equal(summary.n, 42);
    arena_destroy(arena);
}

/* The clock ticks in tens of ns: equal times with one tick more are no outliers. */
static void a_clock_tick_is_no_outlier(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    for (int i = 0; i < 50; i++)
        add(arena, &samples, i % 10 ? 200 : 240, 0, false);
    assert_true(samples_summarize(arena, &samples, &summary));
    assert_int_equal(summary.n_outlier, 0);
    assert_int_equal(summary.mean_ps, 204000);
    arena_destroy(arena);
}

/* Two kinds of process, 10 and 13 us, no spread inside: an interval from single samples would be
 * narrow, that from blocks must hold the difference. */
static void the_interval_sees_differences_between_processes(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    for (int proc = 0; proc < 5; proc++)
        for (int i = 0; i < 40; i++)
            add(arena, &samples, (proc == 2 ? 13000 : 10000) + i % 3, proc, false);
    samples_summarize(arena, &samples, &summary);
    assert_int_equal(summary.n_proc, 5);
    assert_int_equal(summary.n_outlier, 0); /* a slow process is no outlier */
    assert_int_equal(summary.proc_max_ps, 13000975);
    struct samples even = { NULL, 0, 0 };
    for (int proc = 0; proc < 4; proc++)
        for (int i = 0; i < 40; i++)
            add(arena, &even, proc % 2 ? 13000 : 10000, proc, false);
    samples_summarize(arena, &even, &summary);
    assert_int_equal(summary.proc_min_ps, 10000000);
    assert_int_equal(summary.proc_max_ps, 13000000);
    assert_true(summary.half_ps > 500000);
    arena_destroy(arena);
}

static void the_interval_covers_the_true_mean(void **state)
{
    int covered = 0;

    (void)state;
    for (int run = 0; run < 200; run++) {
        struct arena *arena = arena_create();
        struct rng rng = rng_stream((uint64_t)run, RNG_TEST, 0);
        struct samples samples = { NULL, 0, 0 };
        struct samples_summary summary;

        for (int proc = 0; proc < 5; proc++) {
            double shift = rng_normal(&rng, 0, 200);

            for (int i = 0; i < 20; i++)
                add(arena, &samples, (int64_t)rng_normal(&rng, 100000 + shift, 1000), proc, false);
        }
        samples_summarize(arena, &samples, &summary);
        covered += fabs((double)summary.mean_ps - 1e8) <= (double)summary.half_ps;
        arena_destroy(arena);
    }
    assert_in_range(covered, 170, 200);
}

static void quantiles_are_of_the_samples_kept(void **state)
{
    struct arena *arena = arena_create();
    struct samples samples = { NULL, 0, 0 };
    struct samples_summary summary;

    (void)state;
    for (int i = 0; i <= 100; i++)
        add(arena, &samples, 1000 + i, 0, false);
    samples_summarize(arena, &samples, &summary);
    assert_int_equal(summary.min_ps, 1000000);
    assert_int_equal(summary.median_ps, 1050000);
    assert_int_equal(summary.p95_ps, 1095000);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_sample_gives_no_summary),
        cmocka_unit_test(one_sample_has_a_mean_and_no_interval),
        cmocka_unit_test(preempted_samples_do_not_count),
        cmocka_unit_test(without_clean_samples_all_are_used_by_cpu_time),
        cmocka_unit_test(outliers_beyond_eight_deviations_are_dropped_and_counted),
        cmocka_unit_test(a_clock_tick_is_no_outlier),
        cmocka_unit_test(the_interval_sees_differences_between_processes),
        cmocka_unit_test(the_interval_covers_the_true_mean),
        cmocka_unit_test(quantiles_are_of_the_samples_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
