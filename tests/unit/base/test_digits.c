/* test_digits.c - the same text as printf, at every length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "lib/base/digits.h"
#include <inttypes.h>
#include <stdio.h>

static void check(int64_t value)
{
    char expected[32], text[32] = { 0 };
    const char *end;

    (void)snprintf(expected, sizeof expected, "%" PRId64, value);
    end = digits_put_int(text, value);
    assert_string_equal(text, expected);
    assert_int_equal(end - text, strlen(expected));
    memset(text, 0, sizeof text);
    (void)snprintf(expected, sizeof expected, "%" PRIu64, (uint64_t)value);
    end = digits_put(text, (uint64_t)value);
    assert_string_equal(text, expected);
    assert_int_equal(end - text, strlen(expected));
}

static void integers_read_as_printf_writes_them(void **state)
{
    uint64_t power = 1;

    (void)state;
    for (int64_t value = 0; value < 20000; value++)
        check(value);
    for (int digits = 1; digits <= 19; digits++, power *= 10)
        for (int64_t near = -1; near <= 1; near++) {
            check((int64_t)power + near);
            check(-((int64_t)power + near));
            check((int64_t)(power * 7) + near);
        }
    check(INT64_MAX);
    check(INT64_MIN);
}

static void fixed_digits_have_zeros_in_front_and_drop_what_is_above(void **state)
{
    char text[16] = { 0 };

    (void)state;
    assert_ptr_equal(digits_put_fixed(text, 42, 6), text + 6);
    assert_string_equal(text, "000042");
    digits_put_fixed(text, 1234567, 6);
    assert_string_equal(text, "234567");
    assert_ptr_equal(digits_put_fixed(text, 7, 0), text);
    assert_string_equal(text, "234567");
    assert_ptr_equal(digits_text(text, "ab"), text + 2);
    assert_string_equal(text, "ab4567");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_read_as_printf_writes_them),
        cmocka_unit_test(fixed_digits_have_zeros_in_front_and_drop_what_is_above),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
