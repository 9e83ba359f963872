/* test_machine.c - a thread that stays on one processor, and those that it begins. */
#include "runner/setup/machine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

static int count_processors(void)
{
    cpu_set_t mine;

    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    return CPU_COUNT(&mine);
}

static void *begun(void *arg)
{
    machine_leave_processor(arg);
    return (void *)(intptr_t)count_processors();
}

static void *stay(void *arg)
{
    int before = count_processors();
    cpu_set_t all, none;
    pthread_t thread;
    void *count;

    machine_stay_on_processor(*(const int32_t *)arg, &all);
    assert_int_equal(CPU_COUNT(&all), before);
    assert_int_equal(count_processors(), 1);
    assert_int_equal(pthread_create(&thread, NULL, begun, &all), 0);
    assert_int_equal(pthread_join(thread, &count), 0);
    assert_int_equal((intptr_t)count, before);
    CPU_ZERO(&none); /* not known: nothing changes */
    assert_int_equal(pthread_create(&thread, NULL, begun, &none), 0);
    assert_int_equal(pthread_join(thread, &count), 0);
    assert_int_equal((intptr_t)count, 1);
    return NULL;
}

static void a_thread_stays_and_those_that_it_begins_need_not(void **state)
{
    (void)state;
    for (int32_t number = 0; number < 5; number++) {
        int before = count_processors();
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, stay, &number), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(count_processors(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_stays_and_those_that_it_begins_need_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
