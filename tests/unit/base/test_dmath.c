/* test_dmath.c - exp, log and pow agree with libm to 1e-14 and have the same bits everywhere. */
#include "lib/base/dmath.h"

#include "lib/base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-14 * fabs(expected)))
        fail_msg("%.17g is not %.17g", value, expected);
}

static void log_is_right_over_the_whole_range(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 1);

    (void)state;
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = rng_next(&rng) % UINT64_C(0x7ff0000000000000);
        double any, around_1 = 1 + ldexp(rng_uniform(&rng) - 0.5, -(i % 40));

        bits = bits == 0 ? 1 : bits;
        memcpy(&any, &bits, sizeof any);
        assert_near(dmath_log(any), log(any));
        assert_near(dmath_log(around_1), log(around_1));
    }
    assert_near(dmath_log(5e-324), -744.4400719213812); /* the smallest subnormal */
    assert_true(dmath_log(1) == 0 && !signbit(dmath_log(1)));
}

static void exp_is_right_over_the_whole_range(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 2);

    (void)state;
    for (int i = 0; i < 50000; i++) {
        double wide = -708 + 1417 * rng_uniform(&rng);
        double small = ldexp(rng_uniform(&rng) - 0.5, -(i % 60));

        assert_near(dmath_exp(wide), exp(wide));
        assert_near(dmath_exp(small), exp(small));
    }
    assert_true(dmath_exp(0) == 1);
}

static void exp_ends_in_0_and_infinity(void **state)
{
    (void)state;
    assert_true(dmath_exp(-746) == 0);
    assert_true(dmath_exp(-1e300) == 0);
    assert_true(dmath_exp(-(double)INFINITY) == 0);
    assert_true(isinf(dmath_exp(709.79)));
    assert_true(isinf(dmath_exp(711)));
    assert_true(isinf(dmath_exp((double)INFINITY)));
    assert_true(isfinite(dmath_exp(709.78)));
    assert_true(isnan(dmath_exp((double)NAN)));
    assert_true(dmath_exp(-745) > 0); /* subnormal */
}

static void pow_is_right_even_with_large_results(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 3);

    (void)state;
    for (int i = 0; i < 50000; i++) {
        double x = dmath_exp(1400 * rng_uniform(&rng) - 700);
        double y = 700 * (2 * rng_uniform(&rng) - 1) / fabs(log(x));
        double near = 0.5 + rng_uniform(&rng), power = 40 * rng_uniform(&rng) - 20;

        assert_near(dmath_pow(x, y), pow(x, y));
        assert_near(dmath_pow(near, power), pow(near, power));
    }
    assert_near(dmath_pow(1.0000001, 1e9), pow(1.0000001, 1e9));
}

static void pow_has_its_corners(void **state)
{
    (void)state;
    assert_true(dmath_pow(7, 0) == 1);
    assert_true(dmath_pow(1, 1e308) == 1);
    assert_true(dmath_pow(2, 10) == 1024);
    assert_true(isinf(dmath_pow(2, 1e300)));
    assert_true(dmath_pow(2, -1e300) == 0);
    assert_true(dmath_pow(0.5, 1e300) == 0);
    assert_true(isinf(dmath_pow(0.5, -2000)));
}

static void bits_are_the_same_on_every_machine(void **state)
{
    /* The nearest double by 50-digit decimal arithmetic, but for exp(1), one unit above it. */
    const struct {
        double value;
        uint64_t bits;
    } golden[] = {
        { dmath_log(2), UINT64_C(0x3fe62e42fefa39ef) },
        { dmath_log(10), UINT64_C(0x40026bb1bbb55516) },
        { dmath_log(0.1), UINT64_C(0xc0026bb1bbb55515) },
        { dmath_log(1.0001), UINT64_C(0x3f1a368d0657fcd4) },
        { dmath_log(5e-324), UINT64_C(0xc0874385446d71c3) },
        { dmath_exp(1), UINT64_C(0x4005bf0a8b14576a) },
        { dmath_exp(-1), UINT64_C(0x3fd78b56362cef38) },
        { dmath_exp(0.3), UINT64_C(0x3ff599058c8c1a96) },
        { dmath_exp(700), UINT64_C(0x7f0d945df4f8ec8e) },
        { dmath_exp(-740), UINT64_C(0x0000000000000055) },
        { dmath_pow(10, -300), UINT64_C(0x01a56e1fc2f8f359) },
        { dmath_pow(1.5, 0.5), UINT64_C(0x3ff3988e1409212e) },
        { dmath_pow(0.37, 123.4), UINT64_C(0x34dfe1e98f0a7dfe) },
        { dmath_pow(1.0000001, 1e9), UINT64_C(0x48f349445c228792) },
        { dmath_sqrt(2), UINT64_C(0x3ff6a09e667f3bcd) },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(golden); i++)
        if (bits_of(golden[i].value) != golden[i].bits)
            fail_msg("value %zu is %.17g", i, golden[i].value);
}

/* Two thousand results hashed into one number: any changed bit shows. */
static void a_sweep_of_results_has_the_pinned_sum(void **state)
{
    uint64_t sum = 0;

    (void)state;
    for (int i = 1; i <= 1000; i++) {
        sum = sum * 31 + bits_of(dmath_log(i * 0.37));
        sum = sum * 31 + bits_of(dmath_exp(i * 0.61 - 300));
        sum = sum * 31 + bits_of(dmath_pow(i * 0.011, i * 0.029 - 10));
    }
    assert_int_equal(sum, UINT64_C(0x31f5565f334842be));
}

static void rounding_is_half_to_even_and_saturates(void **state)
{
    static const struct {
        double value;
        long long rounded;
    } cases[] = {
        { 0.5, 0 },
        { 1.5, 2 },
        { 2.5, 2 },
        { -0.5, 0 },
        { -1.5, -2 },
        { -2.5, -2 },
        { 2.4999999999999996, 2 },
        { -2.6, -3 },
        { 0.49999999999999994, 0 },
        { 4503599627370495.5, 4503599627370496 },
        { 9007199254740993e3, 9007199254740993024 },
        { 1e300, INT64_MAX },
        { -1e300, INT64_MIN },
        { 0x1p63, INT64_MAX },
        { -0x1p63, INT64_MIN },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        if (dmath_round(cases[i].value) != cases[i].rounded)
            fail_msg("%.17g gave %lld", cases[i].value, dmath_round(cases[i].value));
    assert_int_equal(dmath_round((double)NAN), 0);
    assert_int_equal(dmath_round((double)INFINITY), INT64_MAX);
    assert_int_equal(dmath_round(-(double)INFINITY), INT64_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_is_right_over_the_whole_range),
        cmocka_unit_test(exp_is_right_over_the_whole_range),
        cmocka_unit_test(exp_ends_in_0_and_infinity),
        cmocka_unit_test(pow_is_right_even_with_large_results),
        cmocka_unit_test(pow_has_its_corners),
        cmocka_unit_test(bits_are_the_same_on_every_machine),
        cmocka_unit_test(a_sweep_of_results_has_the_pinned_sum),
        cmocka_unit_test(rounding_is_half_to_even_and_saturates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
