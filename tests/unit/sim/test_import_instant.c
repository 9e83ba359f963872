/* test_import_instant.c - dates and seconds of foreign files are kept to the picosecond. */
#include "sim/import/instant.h"

#include "lib/base/units.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_instant(struct instant seen, int64_t seconds, int64_t ps)
{
    assert_true(seen.seconds == seconds);
    assert_true(seen.ps == ps);
}

static void seconds_are_exact_and_rounded_half_to_even(void **state)
{
    struct instant at;

    (void)state;
    assert_true(instant_parse_seconds("79.42642", &at));
    assert_instant(at, 79, 426420000000);
    assert_true(instant_parse_seconds("5", &at));
    assert_instant(at, 5, 0);
    assert_true(instant_parse_seconds("1e-05", &at));
    assert_instant(at, 0, 10000000);
    assert_true(instant_parse_seconds("0.0000000000005", &at));
    assert_instant(at, 0, 0);
    assert_true(instant_parse_seconds("0.0000000000015", &at));
    assert_instant(at, 0, 2);
    assert_true(instant_parse_seconds("-0.25", &at));
    assert_instant(at, -1, 750000000000);
    assert_true(instant_parse_seconds("-3", &at));
    assert_instant(at, -3, 0);
}

static void seconds_may_pass_what_is_simulated(void **state)
{
    struct instant at;

    (void)state;
    assert_true(instant_parse_seconds("1700158546.6805900", &at));
    assert_instant(at, 1700158546, 680590000000);
    assert_true(instant_parse_seconds("-1700158546.25", &at));
    assert_instant(at, -1700158547, 750000000000);
    assert_true(instant_parse_seconds("99999999.9999999999999", &at));
    assert_instant(at, 100000000, 0);
    assert_true(instant_parse_seconds("10000000.", &at));
    assert_instant(at, 10000000, 0);
    assert_false(instant_parse_seconds("99999999999999999999", &at));
    assert_false(instant_parse_seconds("1e30", &at));
    assert_false(instant_parse_seconds("100000000.5.5", &at));
    assert_false(instant_parse_seconds("100000000s", &at));
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "-", ".", "abc", "nan", "inf", "1 ", " 1", "0x10", "1,5"
    };
    struct instant at;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(instant_parse_seconds(bad[i], &at));
}

static void dates_are_seconds_since_1970_utc(void **state)
{
    struct instant at;

    (void)state;
    assert_true(instant_parse_date("2023-11-16 18:15:46.6805900", &at));
    assert_instant(at, 1700158546, 680590000000);
    assert_true(instant_parse_date("1970-01-01 00:00:00", &at));
    assert_instant(at, 0, 0);
    assert_true(instant_parse_date("2000-02-29T23:59:59Z", &at));
    assert_instant(at, 951868799, 0);
    assert_true(instant_parse_date("1969-12-31 23:59:59.5", &at));
    assert_instant(at, -1, 500000000000);
    assert_true(instant_parse_date("2024-05-10 00:00:00.009930+00:00", &at));
    assert_instant(at, 1715299200, 9930000000);
    assert_true(instant_parse_date("2024-05-10 02:00:00+02:00", &at));
    assert_instant(at, 1715299200, 0);
    assert_true(instant_parse_date("2024-05-09 19:30:00-04:30", &at));
    assert_instant(at, 1715299200, 0);
    assert_true(instant_parse_date("2024-12-31 23:59:59.9999999999996", &at));
    assert_instant(at, 1735689600, 0);
}

static void dates_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "2023-11-16",
        "2023-11-16 18:15",
        "2023-11-16_18:15:46",
        "2023-13-16 18:15:46",
        "2023-00-16 18:15:46",
        "2023-11-31 18:15:46",
        "2023-02-29 18:15:46",
        "1900-02-29 18:15:46",
        "2023-11-00 18:15:46",
        "2023-11-16 24:15:46",
        "2023-11-16 18:60:46",
        "2023-11-16 18:15:60",
        "2023-11-16 18:15:46.",
        "2023-11-16 18:15:46x",
        "2023-11-16 18:15:46+0200",
        "2023-11-16 18:15:46+24:00",
        "2023-11-16 18:15:46.00000000000000000000000000000000000000000000",
        "0000-01-01 00:00:00",
        "23-11-16 18:15:46",
    };
    struct instant at;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (instant_parse_date(bad[i], &at))
            fail_msg("'%s' was taken", bad[i]);
}

static void differences_are_exact_and_bounded(void **state)
{
    struct instant early = { 1700158546, 999999999999 }, late = { 1700158548, 1 };
    int64_t ps;

    (void)state;
    assert_true(instant_difference(late, early, &ps));
    assert_true(ps == 1000000000002);
    assert_true(instant_difference(early, late, &ps));
    assert_true(ps == -1000000000002);
    late.seconds = early.seconds + 9000000;
    assert_true(instant_difference(late, early, &ps));
    late.ps = 999999999999;
    assert_true(instant_difference(late, early, &ps));
    assert_true(ps == UNITS_MAX_PS);
    late.seconds++;
    assert_false(instant_difference(late, early, &ps));
    assert_false(instant_difference(early, late, &ps));
    assert_int_equal(instant_compare(early, late), -1);
    assert_int_equal(instant_compare(late, early), 1);
    assert_int_equal(instant_compare(late, late), 0);
    assert_instant(instant_minus(early, 1000000000000), 1700158545, 999999999999);
    assert_instant(instant_minus(early, -1), 1700158547, 0);
    assert_instant(instant_minus((struct instant){ 0, 0 }, 1), -1, 999999999999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_are_exact_and_rounded_half_to_even),
        cmocka_unit_test(seconds_may_pass_what_is_simulated),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(dates_are_seconds_since_1970_utc),
        cmocka_unit_test(dates_that_are_none_are_refused),
        cmocka_unit_test(differences_are_exact_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
