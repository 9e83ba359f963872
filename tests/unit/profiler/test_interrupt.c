/* test_interrupt.c - signals are held, told of once, and given back as they were. */
#include "lib/base/err.h"
#include "profiler/measure/interrupt.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool is_blocked(int number)
{
    sigset_t mask;

    sigprocmask(SIG_SETMASK, NULL, &mask);
    return sigismember(&mask, number) == 1;
}

static void a_held_signal_is_told_of_and_does_not_kill(void **state)
{
    struct interrupt interrupt;
    struct err err = ERR_INIT;

    (void)state;
    assert_true(interrupt_hold(&interrupt, &err));
    assert_false(interrupt_came(&interrupt, &err));
    assert_int_equal(raise(SIGINT), 0);
    assert_true(interrupt_came(&interrupt, &err));
    assert_string_equal(err.text, "interrupted");
    assert_false(interrupt_came(&interrupt, &err));
    assert_int_equal(raise(SIGTERM), 0); /* too late: dropped */
    assert_int_equal(raise(SIGHUP), 0);
    interrupt_release(&interrupt);
    assert_false(is_blocked(SIGINT) || is_blocked(SIGTERM) || is_blocked(SIGHUP));
}

static void an_ignored_signal_stays_ignored(void **state)
{
    struct interrupt interrupt;
    struct err err = ERR_INIT;
    void (*old)(int) = signal(SIGHUP, SIG_IGN);

    (void)state;
    assert_true(interrupt_hold(&interrupt, &err));
    assert_int_equal(raise(SIGHUP), 0);
    assert_false(interrupt_came(&interrupt, &err));
    assert_false(is_blocked(SIGHUP));
    assert_true(is_blocked(SIGINT));
    interrupt_release(&interrupt);
    signal(SIGHUP, old);
}

/* A shell starts what it leaves in the background with SIGINT ignored, nohup with SIGHUP. */
static int take_defaults(void **state)
{
    (void)state;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_held_signal_is_told_of_and_does_not_kill),
        cmocka_unit_test(an_ignored_signal_stays_ignored),
    };

    return cmocka_run_group_tests(tests, take_defaults, NULL);
}
