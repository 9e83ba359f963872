/* test_team.c - every item is done once, by ranges that do not depend on timing. */
#include "lib/base/err.h"
#include "lib/kernels/team.h"
#include "tests/unit/kernels/shapes.h"
#include <time.h>

struct items {
    int done[100], first_of[100];
};

static void mark(void *arg, int first, int last)
{
    struct items *items = arg;

    for (int i = first; i < last; i++) {
        items->done[i]++;
        items->first_of[i] = first;
    }
}

static void check_threads(int threads)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct team *team = team_create(arena, threads, &err);
    const struct timespec nap = { 0, 2000000 };

    assert_non_null(team);
    for (int turn = 0; turn < 300; turn++) {
        struct items items = { { 0 }, { 0 } };
        int count = turn % 101;

        if (turn % 100 == 99) /* longer than they spin */
            nanosleep(&nap, NULL);
        team_run(team, mark, &items, count);
        for (int i = 0; i < 100; i++)
            assert_int_equal(items.done[i], i < count);
        for (int t = 0; t < threads; t++)
            if (count * t / threads < count * (t + 1) / threads)
                assert_int_equal(items.first_of[count * t / threads], count * t / threads);
    }
    team_destroy(team);
    arena_destroy(arena);
}

static void every_item_is_done_once_by_a_fixed_range(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++)
        check_threads(threads);
}

static void no_team_is_the_caller_alone(void **state)
{
    struct items items = { { 0 }, { 0 } };

    (void)state;
    team_run(NULL, mark, &items, 100);
    for (int i = 0; i < 100; i++)
        assert_true(items.done[i] == 1 && items.first_of[i] == 0);
    team_run(NULL, mark, NULL, 0);
    team_destroy(NULL);
}

static void a_team_that_never_worked_ends(void **state)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;

    (void)state;
    team_destroy(team_create(arena, 3, &err));
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once_by_a_fixed_range),
        cmocka_unit_test(no_team_is_the_caller_alone),
        cmocka_unit_test(a_team_that_never_worked_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
