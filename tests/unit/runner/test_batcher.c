/* test_batcher.c - who leaves a stage 0 with whom: lib/policy decides, here is the queue. */
#include "runner/worker/batcher.h"

#include "lib/base/arena.h"
#include "runner/setup/setup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#define MS INT64_C(1000000)
#define BOOT (INT64_C(200) * 24 * 3600 * 1000000000) /* more than int64 has picoseconds */

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

static struct batcher *batcher_of(struct arena *arena, int32_t size, int64_t wait_ms, int32_t limit)
{
    const struct setup_stage stage = { .batch_size = size,
                                       .batch_limit = limit,
                                       .batch_wait_ps = wait_ms * 1000000000 };

    return batcher_create(arena, &stage, 64);
}

/* The batch that leaves now: how many jobs, which follow each other from first on. */
static int64_t leave(struct batcher *batcher, int64_t now_ns, int32_t first)
{
    int64_t until_ns, count;

    assert_true(batcher_head_ns(batcher, now_ns, &until_ns) < BATCHER_NEVER_NS);
    count = batcher_count(batcher);
    for (int32_t i = 0; i < count; i++)
        assert_int_equal(batcher_take(batcher), first + i);
    batcher_leave(batcher);
    return count;
}

static void what_waits_leaves_together_up_to_the_size(void **state)
{
    struct batcher *batcher = batcher_of(*state, 3, 0, 0);
    int64_t until_ns;

    assert_true(batcher_head_ns(batcher, BOOT, &until_ns) == BATCHER_NEVER_NS);
    assert_true(until_ns == BATCHER_NEVER_NS);
    for (int32_t i = 0; i < 100; i++)
        batcher_push(batcher, i, 1000 + i, BOOT + i * MS);
    assert_int_equal(batcher_head_ns(batcher, BOOT + 200 * MS, &until_ns), BOOT);
    for (int32_t i = 0; i < 99; i += 3)
        assert_int_equal(leave(batcher, BOOT + 200 * MS, i), 3);
    assert_int_equal(leave(batcher, BOOT + 200 * MS, 99), 1);
}

static void the_oldest_waits_for_others(void **state)
{
    struct batcher *batcher = batcher_of(*state, 2, 10, 0);
    int64_t until_ns;

    batcher_push(batcher, 0, 7, BOOT);
    assert_true(batcher_head_ns(batcher, BOOT + 1 * MS, &until_ns) == BATCHER_NEVER_NS);
    assert_true(until_ns >= BOOT + 10 * MS && until_ns <= BOOT + 10 * MS + 1);
    assert_int_equal(leave(batcher, BOOT + 10 * MS, 0), 1);
    batcher_push(batcher, 1, 8, BOOT + 20 * MS);
    batcher_push(batcher, 2, 9, BOOT + 21 * MS);
    assert_int_equal(leave(batcher, BOOT + 21 * MS, 1), 2);
}

static void so_many_batches_are_under_way(void **state)
{
    struct batcher *batcher = batcher_of(*state, 2, 0, 1);
    int64_t until_ns;

    for (int32_t i = 0; i < 4; i++)
        batcher_push(batcher, i, 10 + i, BOOT);
    assert_int_equal(leave(batcher, BOOT, 0), 2);
    assert_true(batcher_head_ns(batcher, BOOT + MS, &until_ns) == BATCHER_NEVER_NS);
    assert_int_equal(batcher_release(batcher, 11, 4), -1);
    assert_true(batcher_head_ns(batcher, BOOT + MS, &until_ns) == BATCHER_NEVER_NS);
    assert_int_equal(batcher_release(batcher, 10, 4), -1); /* the last of its batch */
    assert_int_equal(batcher_release(batcher, 13, 4), 3);  /* one that waits */
    assert_int_equal(leave(batcher, BOOT + MS, 2), 1);
    assert_int_equal(batcher_drop(batcher), -1);
}

/* Who looks only when a step has ended finds both. */
static void it_waits_from_when_it_has_come(void **state)
{
    struct batcher *batcher = batcher_of(*state, 3, 10, 0);
    int64_t until_ns;

    batcher_push(batcher, 0, 7, BOOT);
    batcher_push(batcher, 1, 8,
                 BOOT + 8 * MS); /* looked at with the first, when a step had ended */
    assert_true(batcher_head_ns(batcher, BOOT + 9 * MS, &until_ns) == BATCHER_NEVER_NS);
    assert_true(until_ns >= BOOT + 10 * MS && until_ns <= BOOT + 10 * MS + 1);
    assert_int_equal(batcher_head_ns(batcher, BOOT + 10 * MS + 1, &until_ns), BOOT);
    assert_int_equal(leave(batcher, BOOT + 10 * MS + 1, 0), 2);
}

static void a_place_is_free_behind_what_was_sent_before(void **state)
{
    struct batcher *batcher = batcher_of(*state, 2, 0, 1);
    int64_t until_ns;

    batcher_push(batcher, 0, 10, BOOT);
    assert_int_equal(leave(batcher, BOOT, 0), 1);
    batcher_push(batcher, 1, 11, BOOT);
    assert_int_equal(batcher_release(batcher, 10, 3), -1);
    assert_true(batcher_head_ns(batcher, BOOT + MS, &until_ns) == BATCHER_NEVER_NS);
    assert_int_equal(until_ns, BOOT + MS + BATCHER_LATE_NS);
    batcher_push(batcher, 2, 12, BOOT);
    assert_int_equal(leave(batcher, BOOT + MS, 1), 2);
    assert_int_equal(batcher_release(batcher, 11, 9), -1); /* some are lost */
    assert_int_equal(batcher_release(batcher, 12, 9), -1);
    batcher_push(batcher, 3, 13, BOOT);
    assert_true(batcher_head_ns(batcher, BOOT + MS, &until_ns) == BATCHER_NEVER_NS);
    assert_int_equal(leave(batcher, until_ns, 3), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_waits_leaves_together_up_to_the_size),
        TEST(the_oldest_waits_for_others),
        TEST(so_many_batches_are_under_way),
        TEST(it_waits_from_when_it_has_come),
        TEST(a_place_is_free_behind_what_was_sent_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
