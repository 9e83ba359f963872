/* test_table.c - the states of requests and the counts of replicas. */
#include "runner/load/table.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

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

static void start(struct table *table, size_t request, int32_t replica, int32_t steps)
{
    table_arrive(table, request, 10 * (int64_t)request);
    table_start(table, request, replica, steps);
}

static void a_new_request_waits_and_has_no_times(void **state)
{
    struct table *table = table_create(*state, 2, 1, 1);

    assert_int_equal(table->requests[1].state, TABLE_WAITING);
    assert_int_equal(table->requests[1].replica, -1);
    assert_true(table->requests[1].arrival_ps == TRACE_NONE);
    assert_true(table->requests[1].finish_ps == TRACE_NONE);
    assert_true(table->replicas[0].is_up);
    assert_true(table->replicas[0].running == TABLE_NOBODY);
}

static void the_first_result_is_the_first_token_and_the_last_the_finish(void **state)
{
    struct table *table = table_create(*state, 1, 1, 1);
    const struct table_request *request = &table->requests[0];

    start(table, 0, 0, 3);
    assert_int_equal(table_result(table, 0, 0, 11, 100), TABLE_STEP);
    assert_int_equal(request->first_token_ps, 100);
    assert_int_equal(request->token, 11);
    assert_int_equal(table_result(table, 0, 1, 12, 200), TABLE_STEP);
    assert_true(request->finish_ps == TRACE_NONE);
    assert_int_equal(table_result(table, 0, 2, 13, 300), TABLE_FINISHED);
    assert_int_equal(request->first_token_ps, 100);
    assert_int_equal(request->finish_ps, 300);
    assert_int_equal(request->status, TRACE_OK);
    assert_int_equal(table->by_status[TRACE_OK], 1);
    assert_int_equal(table->ended_count, 1);
    assert_int_equal(table->ended[0], 0);
    assert_int_equal(table->running_count, 0);
}

static void a_request_of_one_step_finishes_with_its_first_token(void **state)
{
    struct table *table = table_create(*state, 1, 1, 1);

    start(table, 0, 0, 1);
    assert_int_equal(table_result(table, 0, 0, 5, 70), TABLE_FINISHED);
    assert_int_equal(table->requests[0].first_token_ps, 70);
    assert_int_equal(table->requests[0].finish_ps, 70);
}

static void results_out_of_turn_change_nothing(void **state)
{
    struct table *table = table_create(*state, 2, 1, 1);

    start(table, 0, 0, 2);
    assert_int_equal(table_result(table, 0, 1, 9, 50), TABLE_STALE);
    assert_int_equal(table_result(table, 1, 0, 9, 50), TABLE_STALE); /* has not arrived */
    assert_int_equal(table_result(table, 2, 0, 9, 50), TABLE_STALE); /* is no request */
    assert_int_equal(table_result(table, SIZE_MAX, 0, 9, 50), TABLE_STALE);
    assert_int_equal(table_result(table, 0, 0, 9, 50), TABLE_STEP);
    assert_int_equal(table_result(table, 0, 0, 9, 60), TABLE_STALE); /* twice */
    assert_int_equal(table->requests[0].first_token_ps, 50);
    table_end(table, 0, TRACE_FAILED, 80);
    assert_int_equal(table_result(table, 0, 1, 9, 90), TABLE_STALE);
    assert_int_equal(table->requests[0].status, TRACE_FAILED);
}

static void a_failed_request_keeps_what_it_had_and_has_no_finish(void **state)
{
    struct table *table = table_create(*state, 1, 1, 1);

    start(table, 0, 0, 5);
    table_result(table, 0, 0, 1, 40);
    table_end(table, 0, TRACE_FAILED, 60);
    assert_int_equal(table->requests[0].first_token_ps, 40);
    assert_true(table->requests[0].finish_ps == TRACE_NONE);
    assert_int_equal(table->by_status[TRACE_FAILED], 1);
}

static void a_request_that_never_ran_can_be_refused(void **state)
{
    struct table *table = table_create(*state, 1, 1, 1);

    table_arrive(table, 0, 5);
    table_end(table, 0, TRACE_REFUSED, 5);
    assert_int_equal(table->requests[0].replica, -1);
    assert_int_equal(table->by_status[TRACE_REFUSED], 1);
    assert_int_equal(table->replicas[0].outstanding, 0);
}

static void the_running_ones_of_a_replica_are_listed_whatever_order_they_end_in(void **state)
{
    struct table *table = table_create(*state, 6, 2, 2);
    const size_t order[5] = { 2, 0, 4, 1, 3 };
    size_t left = 5;

    for (size_t i = 0; i < 5; i++)
        start(table, i, 1, 1);
    start(table, 5, 0, 1);
    for (size_t i = 0; i < 5; i++) {
        size_t listed = 0;

        table_end(table, order[i], TRACE_FAILED, 1);
        left--;
        for (size_t r = table->replicas[1].running; r != TABLE_NOBODY;
             r = table->requests[r].next) {
            assert_int_equal(table->requests[r].state, TABLE_RUNNING);
            assert_int_equal(table->requests[r].replica, 1);
            listed++;
        }
        assert_int_equal(listed, left);
        assert_int_equal(table->replicas[1].outstanding, left);
    }
    assert_int_equal(table->replicas[0].running, 5);
    assert_int_equal(table->running_count, 1);
}

static void backlog_is_steps_at_the_first_stage_times_their_mean(void **state)
{
    struct table *table = table_create(*state, 4, 1, 2);

    for (size_t i = 0; i < 4; i++)
        start(table, i, 0, 9);
    assert_int_equal(table_backlog_ps(table, 0), 0);
    table_sent(table, 0, 0);
    table_sent(table, 1, 0);
    assert_int_equal(table_backlog_ps(table, 0), 2); /* nothing is known yet: 1 ps each */
    table_computed(table, 0, 0, 1000);
    assert_int_equal(table_backlog_ps(table, 0), 1000);
    table_sent(table, 0, 0);
    table_sent(table, 2, 0);
    table_sent(table, 3, 1);
    table_computed(table, 1, 0, 2000);
    assert_int_equal(table_backlog_ps(table, 0), 2 * 1500);
    table_computed(table, 1, 0, 1500); /* it waits there no more */
    assert_int_equal(table_backlog_ps(table, 0), 2 * 1500);
    table_computed(table, 0, 1, 8000); /* nor does it elsewhere */
    assert_int_equal(table_backlog_ps(table, 0), 2 * 1500);
    assert_int_equal(table_backlog_ps(table, 1), 8000);
    table_end(table, 0, TRACE_FAILED, 1);
    assert_int_equal(table_backlog_ps(table, 0), 1500);
    table_restart(table, 2, 1);
    assert_int_equal(table_backlog_ps(table, 0), 0);
    table_computed(table, 2, 0, 1500); /* of the first attempt */
    assert_int_equal(table_backlog_ps(table, 0), 0);
}

static void a_step_that_took_no_time_is_not_counted_in_the_mean(void **state)
{
    struct table *table = table_create(*state, 4, 1, 1);

    for (size_t i = 0; i < 4; i++) {
        start(table, i, 0, 2);
        table_sent(table, i, 0);
    }
    table->stages[0].outstanding = 1;
    table_computed(table, 0, 0, 0);
    table_computed(table, 1, 0, -700);
    assert_int_equal(table_backlog_ps(table, 0), 2); /* nothing is known yet: 1 ps each */
    assert_int_equal(table_last_backlog_ps(table, 0), 1);
    table_computed(table, 2, 0, 1000);
    assert_int_equal(table_backlog_ps(table, 0), 1000);
    assert_int_equal(table_last_backlog_ps(table, 0), 1000);
}

static void times_of_a_broken_worker_do_not_overflow(void **state)
{
    struct table *table = table_create(*state, 2, 1, 1);

    start(table, 0, 0, 2);
    start(table, 1, 0, 2);
    table->stages[0].outstanding = 1;
    table_sent(table, 1, 0);
    for (int i = 0; i < 3; i++) {
        table_sent(table, 0, 0);
        table_computed(table, 0, 0, UNITS_MAX_PS);
    }
    assert_true(table_backlog_ps(table, 0) == UNITS_MAX_PS);
    assert_true(table_last_backlog_ps(table, 0) == UNITS_MAX_PS);
}

static void backlog_of_the_last_stage_is_what_passes_it_times_its_mean(void **state)
{
    struct table *table = table_create(*state, 3, 2, 2);

    assert_int_equal(table_last_backlog_ps(table, 1), 0);
    table->stages[1].outstanding = 2;
    assert_int_equal(table_last_backlog_ps(table, 1), 2); /* nothing is known yet: 1 ps each */
    table_computed(table, 0, 1, 1000);
    assert_int_equal(table_last_backlog_ps(table, 1), 2 * 1000);
    table_computed(table, 1, 1, 2000);
    assert_int_equal(table_last_backlog_ps(table, 1), 2 * 1500);
    table->stages[1].outstanding = 1;
    assert_int_equal(table_last_backlog_ps(table, 1), 1500);
    assert_int_equal(table_last_backlog_ps(table, 0), 0);
}

static void a_restarted_request_waits_as_if_never_dispatched(void **state)
{
    struct table *table = table_create(*state, 2, 2, 2);
    size_t found;

    start(table, 0, 0, 3);
    start(table, 1, 0, 3);
    table->requests[0].start_ps = 60;
    table_result(table, 0, 0, 7, 70);
    table_restart(table, 0, 80);
    assert_int_equal(table->requests[0].state, TABLE_WAITING);
    assert_int_equal(table->requests[0].replica, -1);
    assert_int_equal(table->requests[0].step, 0);
    assert_int_equal(table->requests[0].begun_ps, 80);
    assert_true(table->requests[0].start_ps == TRACE_NONE);
    assert_true(table->requests[0].first_token_ps == TRACE_NONE);
    assert_int_equal(table->replicas[0].outstanding, 1);
    assert_int_equal(table->replicas[0].running, 1);
    assert_int_equal(table->running_count, 1);
    assert_int_equal(table_result(table, 0, 1, 7, 90), TABLE_STALE); /* of the first attempt */
    assert_false(table_find(table, 0, &found));
    assert_false(table_find(table, -1, &found));
    assert_false(table_find(table, INT64_MAX, &found));
    assert_true(table_find(table, table_name(table, 0), &found));
    assert_int_equal(found, 0);
    assert_true(table_find(table, 1, &found)); /* another one's first */
    assert_int_equal(found, 1);
    table_start(table, 0, 1, 3);
    assert_int_equal(table_result(table, 0, 0, 7, 95), TABLE_STEP);
    assert_int_equal(table->requests[0].first_token_ps, 95);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_new_request_waits_and_has_no_times),
        TEST(the_first_result_is_the_first_token_and_the_last_the_finish),
        TEST(a_request_of_one_step_finishes_with_its_first_token),
        TEST(results_out_of_turn_change_nothing),
        TEST(a_failed_request_keeps_what_it_had_and_has_no_finish),
        TEST(a_request_that_never_ran_can_be_refused),
        TEST(the_running_ones_of_a_replica_are_listed_whatever_order_they_end_in),
        TEST(backlog_is_steps_at_the_first_stage_times_their_mean),
        TEST(a_step_that_took_no_time_is_not_counted_in_the_mean),
        TEST(times_of_a_broken_worker_do_not_overflow),
        TEST(backlog_of_the_last_stage_is_what_passes_it_times_its_mean),
        TEST(a_restarted_request_waits_as_if_never_dispatched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
