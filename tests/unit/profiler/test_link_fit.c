/* test_link_fit.c - known links are found again from their times. */
#include "profiler/link/link_fit.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define POINTS 5
#define BURSTS 3

static const int64_t sizes[POINTS] = { 64, 1024, 16384, 262144, 4194304 };
static const int lengths[BURSTS] = { 1, 16, 48 };

static int set_up(void **state)
{
    *state = arena_create();
    return 0;
}

static int tear_down(void **state)
{
    arena_destroy(*state);
    return 0;
}

/* 100 Mbit/s (80 ns a byte), 200 us latency, 10 us a message. */
static void measure(struct link_point points[POINTS], struct link_burst bursts[BURSTS])
{
    for (int i = 0; i < POINTS; i++)
        points[i] = (struct link_point){ sizes[i], 210000 + 80 * sizes[i], 10 };
    for (int i = 0; i < BURSTS; i++)
        bursts[i] = (struct link_burst){ lengths[i], 400000 + 10000 * (int64_t)lengths[i] };
}

static void a_linear_link_is_found_again(void **state)
{
    struct link_point points[POINTS];
    struct link_burst bursts[BURSTS];
    struct link_fit fit;
    struct err err = ERR_INIT;

    measure(points, bursts);
    assert_true(link_fit(*state, points, POINTS, bursts, BURSTS, &fit, &err));
    assert_true(fit.bits_per_s > 99.999e6 && fit.bits_per_s < 100.001e6);
    assert_in_range(fit.per_message_ps, 9999000, 10001000);
    assert_in_range(fit.latency_ps, 199900000, 200100000);
    assert_true(fit.max_error_ratio < 1e-4);
    assert_true(link_fit_ns(&fit, 1000000) > 80.2e6 && link_fit_ns(&fit, 1000000) < 80.22e6);
}

static void the_error_of_the_fit_is_that_of_its_points(void **state)
{
    struct link_point points[POINTS];
    struct link_burst bursts[BURSTS];
    struct link_fit fit;
    struct err err = ERR_INIT;

    measure(points, bursts);
    points[2].time_ns = points[2].time_ns * 5 / 4; /* 25 % slower than the line */
    assert_true(link_fit(*state, points, POINTS, bursts, BURSTS, &fit, &err));
    assert_true(fit.max_error_ratio > 0.1 && fit.max_error_ratio < 0.25);
    assert_true(fit.median_error_ratio > 0 && fit.median_error_ratio < fit.max_error_ratio);
}

/* 20 Mbit/s behind a bucket of 5000 bytes: what fits into it takes 300 us, whatever its size. */
static void the_bend_of_a_shaped_link_is_found_and_its_rate_with_it(void **state)
{
    static const int64_t many[] = { 64, 256, 1024, 4096, 16384, 65536, 262144 };
    struct link_point points[7];
    struct link_burst bursts[BURSTS];
    struct link_fit fit;
    struct err err = ERR_INIT;

    measure(points, bursts);
    for (int i = 0; i < 7; i++)
        points[i] =
            (struct link_point){ many[i], 300000 + (many[i] > 5000 ? 400 * (many[i] - 5000) : 0),
                                 10 };
    assert_true(link_fit(*state, points, 7, bursts, BURSTS, &fit, &err));
    assert_in_range(fit.burst_bytes, 4800, 5200);
    assert_true(fit.bits_per_s > 19.9e6 && fit.bits_per_s < 20.1e6);
    assert_in_range(fit.latency_ps + fit.per_message_ps, 290000000, 310000000);
    assert_true(fit.max_error_ratio > 1); /* the row has no bucket, and says what that costs */
}

static void a_straight_link_has_no_bend(void **state)
{
    struct link_point points[POINTS];
    struct link_burst bursts[BURSTS];
    struct link_fit fit;
    struct err err = ERR_INIT;

    measure(points, bursts);
    for (int i = 0; i < POINTS; i++) /* noise of 10 %, up and down in turn */
        points[i].time_ns += (i % 2 ? 1 : -1) * points[i].time_ns / 10;
    assert_true(link_fit(*state, points, POINTS, bursts, BURSTS, &fit, &err));
    assert_int_equal(fit.burst_bytes, 0);
}

static void framing_is_the_payloads_share_of_a_packet(void **state)
{
    (void)state;
    assert_true(link_efficiency_ratio(1500) > 0.9564 && link_efficiency_ratio(1500) < 0.9565);
    assert_true(link_efficiency_ratio(65536) > 0.998);
    assert_true(link_efficiency_ratio(0) == 1);
    assert_true(link_efficiency_ratio(20) == 1);
}

static void nothing_is_ever_negative(void **state)
{
    struct link_point points[2] = { { 64, 10, 1 }, { 4096, 100000, 1 } };
    struct link_burst falling[2] = { { 1, 500 }, { 16, 400 } },
                      steep[2] = { { 1, 1 }, { 16, 900000 } };
    struct link_fit fit;
    struct err err = ERR_INIT;

    assert_true(link_fit(*state, points, 2, falling, 2, &fit, &err));
    assert_int_equal(fit.per_message_ps, 0);
    assert_true(fit.latency_ps >= 0);
    assert_true(link_fit(*state, points, 2, steep, 2, &fit, &err));
    assert_true(fit.latency_ps >= 0 && fit.per_message_ps >= 0);
}

static void times_that_tell_nothing_are_errors(void **state)
{
    struct link_point flat[2] = { { 64, 1000, 1 }, { 4096, 1000, 1 } };
    struct link_point falling[2] = { { 64, 1000, 1 }, { 4096, 500, 1 } };
    struct link_point one_size[2] = { { 64, 1000, 1 }, { 64, 1200, 1 } };
    struct link_point nothing[2] = { { 64, 0, 1 }, { 4096, 500, 1 } };
    struct link_point good[2] = { { 64, 1000, 1 }, { 4096, 5000, 1 } };
    struct link_burst bursts[2] = { { 1, 100 }, { 16, 200 } };
    struct link_burst one_length[2] = { { 4, 100 }, { 4, 200 } };
    const struct link_point *const bad[] = { flat, falling, one_size, nothing };
    struct link_fit fit;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = ERR_INIT;

        assert_false(link_fit(*state, bad[i], 2, bursts, 2, &fit, &err));
        assert_int_equal(err.kind, ERR_SYSTEM);
    }
    struct err err = ERR_INIT;
    assert_false(link_fit(*state, good, 2, one_length, 2, &fit, &err));
    assert_non_null(strstr(err.text, "bursts of one length"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_linear_link_is_found_again),
        TEST(the_error_of_the_fit_is_that_of_its_points),
        TEST(the_bend_of_a_shaped_link_is_found_and_its_rate_with_it),
        TEST(a_straight_link_has_no_bend),
        TEST(framing_is_the_payloads_share_of_a_packet),
        TEST(nothing_is_ever_negative),
        TEST(times_that_tell_nothing_are_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
