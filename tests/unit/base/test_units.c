/* test_units.c - decimals are read exactly, written shortest, and refused when they are none. */
#include "lib/base/units.h"

#include "lib/base/rng.h"
#include "lib/base/wide.h"
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static void decimals_are_scaled_exactly(void **state)
{
    static const struct {
        const char *text;
        int decimals;
        int64_t value;
    } cases[] = {
        { "0", 12, 0 },
        { "-0", 12, 0 },
        { "0.000", 3, 0 },
        { "0e999999999999999999999", 0, 0 },
        { "0.126", 12, INT64_C(126000000000) },
        { "+1.5", 1, 15 },
        { ".5", 3, 500 },
        { "5.", 3, 5000 },
        { "1e-3", 12, INT64_C(1000000000) },
        { "1E+3", 0, 1000 },
        { "-2.5", 1, -25 },
        { "12.5e-1", 2, 125 },
        { "0.0000001e7", 0, 1 },
        { "1000000000000e-12", 0, 1 },
        { "0.1", 12, INT64_C(100000000000) },
        { "9223372036854775807", 0, INT64_MAX },
        { "-9223372036854775808", 0, INT64_MIN },
        { "922337203685477580.7", 1, INT64_MAX },
        { "1e-400", 12, 0 },
        { "123456789e-99999999999999999999", 12, 0 },
        { "000000000000000000000000000000007", 0, 7 },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        int64_t value = -1;

        if (!units_parse_decimal(cases[i].text, cases[i].decimals, &value))
            fail_msg("%s was refused", cases[i].text);
        if (value != cases[i].value)
            fail_msg("%s gave %" PRId64, cases[i].text, value);
    }
}

static void further_digits_are_rounded_half_to_even(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        { "0.5", 0 },
        { "1.5", 2 },
        { "2.5", 2 },
        { "2.50000000000000000000000001", 3 },
        { "2.49", 2 },
        { "-0.5", 0 },
        { "-1.5", -2 },
        { "-2.5", -2 },
        { "-2.51", -3 },
        { "0.05", 0 },
        { "0.06e1", 1 },
        { "0.4999999999999999999999", 0 },
        { "9223372036854775806.5", INT64_MAX - 1 },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        int64_t value = -99;

        assert_true(units_parse_decimal(cases[i].text, 0, &value));
        if (value != cases[i].value)
            fail_msg("%s gave %" PRId64, cases[i].text, value);
    }
}

static void what_is_no_finite_decimal_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "abc",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "infinity",
        "0x10",
        "0x1p3",
        "1e",
        "1e+",
        "e5",
        ".",
        "-",
        "+",
        "1.2.3",
        "1,5",
        " 1",
        "1 ",
        "1\n",
        "--1",
        "+-1",
        "1e5.0",
        "1_000",
        "1e999",
        "-1e999",
        "9223372036854775808",
        "-9223372036854775809",
        "9223372036854775807.5",
        "1e99999999999999999999999999",
        "99999999999999999999",
        "184467440737095516170",
    };
    int64_t value;
    double number;

    (void)state;
    for (size_t i = 0; i < LENGTH(texts); i++)
        if (units_parse_decimal(texts[i], 0, &value))
            fail_msg("'%s' was taken", texts[i]);
    for (size_t i = 0; i < 25; i++)
        if (units_parse_double(texts[i], &number) || units_parse_int(texts[i], &value))
            fail_msg("'%s' was taken", texts[i]);
}

static void a_very_long_text_is_read_to_its_end(void **state)
{
    static char text[100002];
    int64_t value;

    (void)state;
    memset(text, '0', sizeof text - 1);
    memcpy(text, "1.5", 3);
    assert_true(units_parse_decimal(text, 1, &value));
    assert_int_equal(value, 15);
    text[100000] = '1'; /* a last digit 99 998 places further decides a tie */
    assert_true(units_parse_decimal(text, 0, &value));
    assert_int_equal(value, 2);
    memcpy(text, "2.5", 3);
    assert_true(units_parse_decimal(text, 0, &value));
    assert_int_equal(value, 3);
    memset(text, '9', 100);
    assert_false(units_parse_decimal(text, 0, &value));
}

static void seconds_and_ns_become_picoseconds_within_bounds(void **state)
{
    int64_t time_ps;

    (void)state;
    assert_true(units_parse_seconds("0.000000000001", &time_ps));
    assert_int_equal(time_ps, 1);
    assert_true(units_parse_seconds("0.0000000000015", &time_ps));
    assert_int_equal(time_ps, 2);
    assert_true(units_parse_seconds("-1.25", &time_ps));
    assert_int_equal(time_ps, -INT64_C(1250000000000));
    assert_true(units_parse_ns("12.5", &time_ps));
    assert_int_equal(time_ps, 12500);
    assert_true(units_parse_seconds("9000000", &time_ps));
    assert_int_equal(time_ps, UNITS_MAX_PS);
    assert_false(units_parse_seconds("9000000.000000000001", &time_ps));
    assert_false(units_parse_seconds("-9000001", &time_ps));
    assert_false(units_parse_ns("1e17", &time_ps));
    assert_false(units_parse_seconds("1s", &time_ps));
}

static void durations_carry_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t time_ps;
    } cases[] = {
        { "0", 0 },
        { "0s", 0 },
        { "60s", 60 * UNITS_PS_PER_S },
        { "250us", 250 * UNITS_PS_PER_US },
        { "1.5ms", 1500 * UNITS_PS_PER_US },
        { "10ns", 10 * UNITS_PS_PER_NS },
        { "5ps", 5 },
        { "1e3s", 1000 * UNITS_PS_PER_S },
        { "2min", 120 * UNITS_PS_PER_S },
        { "0.5h", 1800 * UNITS_PS_PER_S },
        { "0.0000000000001min", 6 },        /* exact beyond 12 decimals of a minute */
        { "0.00000000000002500001min", 2 }, /* 1.5000006 ps */
        { "0.00000000000002500min", 2 },    /* 1.5 ps: half to even */
        { "0.0000000000000416666h", 150 },  /* 149.99976 ps */
        { "1e-30h", 0 },
        { "2500h", 9000000 * UNITS_PS_PER_S },
    };
    static const char *const refused[] = { "1",    "60",     "-1s",   "s",    "",     "1 s",
                                           "1sec", "1S",     "1m",    "nans", "infs", "1e",
                                           "1es",  "1e999s", "2501h", "00",   "1s ",  "1e9h" };
    int64_t time_ps;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        if (!units_parse_duration(cases[i].text, &time_ps))
            fail_msg("%s was refused", cases[i].text);
        if (time_ps != cases[i].time_ps)
            fail_msg("%s gave %" PRId64, cases[i].text, time_ps);
    }
    for (size_t i = 0; i < LENGTH(refused); i++)
        if (units_parse_duration(refused[i], &time_ps))
            fail_msg("'%s' was taken", refused[i]);
}

static void rates_are_positive_and_per_second(void **state)
{
    static const char *const refused[] = { "",      "0",     "-1/s", "1/",    "/s",  "1/day", "nan",
                                           "inf/s", "1e999", "5 /s", "1/s/s", "0/h", "1e-400" };
    double rate;

    (void)state;
    assert_true(units_parse_rate("200/s", &rate) && rate == 200);
    assert_true(units_parse_rate("12/min", &rate) && rate == 0.2);
    assert_true(units_parse_rate("3600/h", &rate) && rate == 1);
    assert_true(units_parse_rate("0.5", &rate) && rate == 0.5);
    for (size_t i = 0; i < LENGTH(refused); i++)
        if (units_parse_rate(refused[i], &rate))
            fail_msg("'%s' was taken", refused[i]);
}

static void sizes_know_powers_of_ten_and_of_two(void **state)
{
    static const struct {
        const char *text;
        int64_t size_bytes;
    } cases[] = {
        { "4096", 4096 },
        { "1B", 1 },
        { "64kB", 64000 },
        { "512MB", 512000000 },
        { "2GB", 2000000000 },
        { "1TB", INT64_C(1000000000000) },
        { "64KiB", 65536 },
        { "512MiB", INT64_C(536870912) },
        { "1.5GiB", INT64_C(1610612736) },
        { "8388607TiB", INT64_C(8388607) << 40 },
        { "0.0000000009TiB", 990 }, /* 989.56 */
    };
    static const char *const refused[] = {
        "-1", "4k",    "4KB",        "4kib",   "x",
        "",   "1e999", "8388608TiB", "1e7TiB", "18446744073709551615GiB"
    };
    int64_t size_bytes;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        if (!units_parse_bytes(cases[i].text, &size_bytes))
            fail_msg("%s was refused", cases[i].text);
        if (size_bytes != cases[i].size_bytes)
            fail_msg("%s gave %" PRId64, cases[i].text, size_bytes);
    }
    for (size_t i = 0; i < LENGTH(refused); i++)
        if (units_parse_bytes(refused[i], &size_bytes))
            fail_msg("'%s' was taken", refused[i]);
}

static void integers_and_doubles_are_whole_texts(void **state)
{
    int64_t value;
    double number;

    (void)state;
    assert_true(units_parse_int("-42", &value) && value == -42);
    assert_true(units_parse_int("+7", &value) && value == 7);
    assert_true(units_parse_int("-9223372036854775808", &value) && value == INT64_MIN);
    assert_false(units_parse_int("1.0", &value));
    assert_false(units_parse_int("1e3", &value));
    assert_false(units_parse_int("9223372036854775808", &value));
    assert_true(units_parse_double("-1.5e-3", &number) && number == -1.5e-3);
    assert_true(units_parse_double("9007199254740993", &number) && number == 9007199254740992.0);
    assert_true(units_parse_double("1e-400", &number) && number == 0);
    assert_false(units_parse_double("1e999", &number));
    assert_false(units_parse_double("1.5x", &number));
}

static void times_are_written_shortest(void **state)
{
    char text[UNITS_TEXT_BYTES];

    (void)state;
    assert_string_equal(units_format_seconds(INT64_C(126000000000), text), "0.126");
    assert_string_equal(units_format_seconds(12 * UNITS_PS_PER_S, text), "12");
    assert_string_equal(units_format_seconds(-1, text), "-0.000000000001");
    assert_string_equal(units_format_seconds(0, text), "0");
    assert_string_equal(units_format_seconds(INT64_MAX, text), "9223372.036854775807");
    assert_string_equal(units_format_seconds(INT64_MIN, text), "-9223372.036854775808");
    assert_string_equal(units_format_ns(12500, text), "12.5");
    assert_string_equal(units_format_ns(-1, text), "-0.001");
    assert_string_equal(units_format_ns(INT64_MIN, text), "-9223372036854775.808");
    assert_string_equal(units_format_ns(100000, text), "100");
}

static void every_time_reads_back_as_written(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 1);
    char text[UNITS_TEXT_BYTES];
    int64_t back;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        int64_t time_ps = (int64_t)rng_below(&rng, UINT64_C(1) << (1 + i % 62));

        time_ps = i % 2 == 0 ? time_ps : -time_ps;
        assert_true(units_parse_seconds(units_format_seconds(time_ps, text), &back));
        assert_int_equal(back, time_ps);
        assert_true(units_parse_ns(units_format_ns(time_ps, text), &back));
        assert_int_equal(back, time_ps);
    }
}

static void people_read_three_digits_and_a_unit(void **state)
{
    static const struct {
        int64_t time_ps;
        const char *text;
    } times[] = {
        { 0, "0 s" },
        { 7, "7 ps" },
        { 999, "999 ps" },
        { 1000, "1.00 ns" },
        { 3200 * UNITS_PS_PER_NS, "3.20 us" },
        { 126 * UNITS_PS_PER_MS, "126 ms" },
        { 12345678, "12.3 us" },
        { 999499999, "999 us" },
        { 999500001, "1.00 ms" },
        { 9996000, "10.0 us" },
        { 1500 * UNITS_PS_PER_MS, "1.50 s" },
        { -1500 * UNITS_PS_PER_MS, "-1.50 s" },
        { 12345 * UNITS_PS_PER_S, "12345 s" },
        { INT64_MIN, "-9223372 s" },
    };
    static const struct {
        int64_t size_bytes;
        const char *text;
    } sizes[] = {
        { 0, "0 B" },
        { 999, "999 B" },
        { 1000, "0.98 KiB" },
        { 1023, "1.00 KiB" },
        { 65536, "64.0 KiB" },
        { INT64_C(1610612736), "1.50 GiB" },
        { INT64_MAX, "8388608 TiB" },
    };
    char text[UNITS_TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < LENGTH(times); i++)
        assert_string_equal(units_format_human(times[i].time_ps, text), times[i].text);
    for (size_t i = 0; i < LENGTH(sizes); i++)
        assert_string_equal(units_format_bytes(sizes[i].size_bytes, text), sizes[i].text);
}

static void doubles_are_written_shortest_and_read_back(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 2);
    char text[UNITS_TEXT_BYTES];

    (void)state;
    assert_string_equal(units_format_double(0.1, text), "0.1");
    assert_string_equal(units_format_double(1e30, text), "1e+30");
    assert_string_equal(units_format_double(0, text), "0");
    assert_string_equal(units_format_double(-1234.5, text), "-1234.5");
    assert_string_equal(units_format_double(1.0 / 3, text), "0.3333333333333333");
    assert_string_equal(units_format_double(0.1 + 0.2, text), "0.30000000000000004");
    assert_string_equal(units_format_double(5e-324, text), "5e-324");
    assert_string_equal(units_format_double((double)NAN, text), "");
    assert_string_equal(units_format_double((double)-INFINITY, text), "");
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rng_next(&rng);
        double value;

        memcpy(&value, &bits, sizeof value);
        if (isfinite(value))
            assert_true(strtod(units_format_double(value, text), NULL) == value);
    }
}

static void mul_div_rounds_half_to_even_and_saturates(void **state)
{
    (void)state;
    assert_int_equal(units_mul_div(3, 1, 2), 2);
    assert_int_equal(units_mul_div(5, 1, 2), 2);
    assert_int_equal(units_mul_div(-3, 1, 2), -2);
    assert_int_equal(units_mul_div(-5, 1, 2), -2);
    assert_int_equal(units_mul_div(7, 1, 3), 2);
    assert_int_equal(units_mul_div(8, 1, 3), 3);
    assert_int_equal(units_mul_div(0, INT64_MAX, 1), 0);
    assert_int_equal(units_mul_div(INT64_MAX, INT64_MAX, INT64_MAX), INT64_MAX);
    assert_int_equal(units_mul_div(INT64_MIN, INT64_MAX, INT64_MAX), INT64_MIN);
    assert_int_equal(units_mul_div(INT64_MIN, 1, 1), INT64_MIN);
    assert_int_equal(units_mul_div(INT64_MAX, 2, 1), INT64_MAX);
    assert_int_equal(units_mul_div(INT64_MIN, 2, 1), INT64_MIN);
    assert_int_equal(units_mul_div(INT64_MAX, INT64_MAX, 1), INT64_MAX);
    assert_int_equal(units_mul_div(INT64_MAX, 3, 2), INT64_MAX);
    /* 12 500 000 000 bytes at 1 Gbit/s: the product needs 77 bits */
    assert_int_equal(units_mul_div(INT64_C(100000000000), UNITS_PS_PER_S, 1000000000),
                     100 * UNITS_PS_PER_S);
}

/* quotient * divisor + rest, by the independent path of the product. */
static void check_division(struct wide dividend, uint64_t divisor)
{
    uint64_t rest = 0, quotient = wide_div(dividend, divisor, &rest);
    struct wide back = wide_add(wide_mul(quotient, divisor), (struct wide){ 0, rest });

    assert_true(rest < divisor);
    assert_true(back.high == dividend.high && back.low == dividend.low);
}

static void wide_products_and_quotients_undo_each_other(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 3);
    struct wide most = wide_mul(UINT64_MAX, UINT64_MAX);

    (void)state;
    assert_true(most.high == UINT64_MAX - 1 && most.low == 1);
    check_division((struct wide){ UINT64_MAX - 1, UINT64_MAX }, UINT64_MAX);
    check_division((struct wide){ 1, 0 }, 3);
    check_division((struct wide){ (UINT64_C(1) << 63) - 1, UINT64_MAX }, UINT64_C(1) << 63);
    /* the first guess of a digit is too large by one and by two */
    check_division((struct wide){ UINT64_C(0x7fffffff80000000), 0 }, UINT64_C(0x80000000ffffffff));
    check_division((struct wide){ UINT64_C(0x8000000000000000), 3 }, UINT64_C(0x80000000ffffffff));
    for (int i = 0; i < 100000; i++) {
        uint64_t divisor = rng_next(&rng) >> (i % 64), high = rng_next(&rng);

        divisor = divisor == 0 ? 1 : divisor;
        if (i % 3 == 0)
            divisor |= UINT64_C(0xffffffff);
        check_division((struct wide){ high % divisor, rng_next(&rng) }, divisor);
    }
}

#ifdef __SIZEOF_INT128__
__extension__ typedef __int128 int128;

static void mul_div_equals_the_compilers_128_bits(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 4);

    (void)state;
    for (int i = 0; i < 100000; i++) {
        int64_t a = (int64_t)(rng_next(&rng) >> (i % 60)), b, c;
        int128 product, quotient, rest;

        a = i % 2 == 0 ? a : -a;
        b = (int64_t)(rng_next(&rng) >> (1 + i % 61)) + 1;
        c = (int64_t)(rng_next(&rng) >> (1 + i % 59)) / 2 + 1;
        product = (int128)a * b;
        quotient = product / c;
        rest = product % c;
        rest = rest < 0 ? -rest : rest;
        if (2 * rest > c || (2 * rest == c && quotient % 2 != 0))
            quotient += product < 0 ? -1 : 1;
        if (quotient > INT64_MAX)
            quotient = INT64_MAX;
        if (quotient < INT64_MIN)
            quotient = INT64_MIN;
        assert_int_equal(units_mul_div(a, b, c), (int64_t)quotient);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_are_scaled_exactly),
        cmocka_unit_test(further_digits_are_rounded_half_to_even),
        cmocka_unit_test(what_is_no_finite_decimal_is_refused),
        cmocka_unit_test(a_very_long_text_is_read_to_its_end),
        cmocka_unit_test(seconds_and_ns_become_picoseconds_within_bounds),
        cmocka_unit_test(durations_carry_a_unit),
        cmocka_unit_test(rates_are_positive_and_per_second),
        cmocka_unit_test(sizes_know_powers_of_ten_and_of_two),
        cmocka_unit_test(integers_and_doubles_are_whole_texts),
        cmocka_unit_test(times_are_written_shortest),
        cmocka_unit_test(every_time_reads_back_as_written),
        cmocka_unit_test(people_read_three_digits_and_a_unit),
        cmocka_unit_test(doubles_are_written_shortest_and_read_back),
        cmocka_unit_test(mul_div_rounds_half_to_even_and_saturates),
        cmocka_unit_test(wide_products_and_quotients_undo_each_other),
#ifdef __SIZEOF_INT128__
        cmocka_unit_test(mul_div_equals_the_compilers_128_bits),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
