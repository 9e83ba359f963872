/* test_clock.c - clocks go forward, and a sleep never ends early. */
#include "lib/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

static void clocks_never_go_back(void **state)
{
    int64_t now_ns = clock_now_ns(), raw_ns = clock_raw_ns();

    (void)state;
    assert_true(now_ns > 0 && raw_ns > 0);
    for (int i = 0; i < 1000; i++) {
        int64_t next_ns = clock_now_ns(), next_raw_ns = clock_raw_ns();

        assert_true(next_ns >= now_ns && next_raw_ns >= raw_ns);
        now_ns = next_ns;
        raw_ns = next_raw_ns;
    }
}

static void a_sleep_reaches_its_instant(void **state)
{
    static const int64_t wait_ns[] = { -1000000, 0, 20000, 3000000 };

    (void)state;
    for (int i = 0; i < 4; i++) {
        int64_t instant_ns = clock_now_ns() + wait_ns[i];

        clock_sleep_until_ns(instant_ns);
        assert_true(clock_now_ns() >= instant_ns);
    }
    clock_sleep_until_ns(INT64_MIN + 1000000); /* long past: returns at once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_never_go_back),
        cmocka_unit_test(a_sleep_reaches_its_instant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
