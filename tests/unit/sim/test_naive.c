/* test_naive.c - random cases run by the simulator and by naive.h, request by request. */
#include "tests/unit/sim/case_files.h"
#include "tests/unit/sim/naive_loop.h"

#include "lib/policy/standstill.h"

#include <stdlib.h>

/* Both, request by request: for whoever looks into a case. */
static void show_both(void)
{
    for (int i = 0; i < random_case.request_count; i++) {
        const struct serve_request *seen = &fixture.result.requests[i];
        const struct naive_request *expected = &naive.requests[i];

        fprintf(stderr, "%d: %s %d, %.9f, %.9f, %.9f; expected %s %d, %.9f, %.9f, %.9f\n", i,
                trace_status_names[seen->status], seen->replica, (double)seen->arrival_ps / 1e12,
                (double)seen->start_ps / 1e12, (double)seen->finish_ps / 1e12,
                trace_status_names[expected->status], expected->replica,
                (double)expected->arrival_ps / 1e12, (double)expected->start_ps / 1e12,
                (double)expected->finish_ps / 1e12);
    }
}

static void assert_as_naive(uint64_t seed, const char *how)
{
    for (int i = 0; i < random_case.request_count; i++) {
        const struct serve_request *seen = &fixture.result.requests[i];
        const struct naive_request *expected = &naive.requests[i];

        if (seen->is_taken && seen->status == expected->status &&
            seen->replica == expected->replica && seen->arrival_ps == expected->arrival_ps &&
            seen->start_ps == expected->start_ps && seen->finish_ps == expected->finish_ps)
            continue;
        fail_msg("case %llu, %s, request %d: %s on %d from %lld, start %lld, end %lld; expected "
                 "%s on %d from %lld, start %lld, end %lld",
                 (unsigned long long)seed, how, i, trace_status_names[seen->status], seen->replica,
                 (long long)seen->arrival_ps, (long long)seen->start_ps, (long long)seen->finish_ps,
                 trace_status_names[expected->status], expected->replica,
                 (long long)expected->arrival_ps, (long long)expected->start_ps,
                 (long long)expected->finish_ps);
    }
}

static int stuck_count; /* of cases in which nobody can go on, each way of running them */

static void run_case(uint64_t seed, const struct case_may *may)
{
    case_draw(seed, may);
    case_begin();
    case_write(NULL);
    if (!fixture_load())
        fail_msg("case %llu: %s", (unsigned long long)seed, fixture.err.text);
    if (getenv("ORACLE_SEED"))
        case_show();
    naive_run();
    fixture.options.network = SERVE_NETWORK_FIFO; /* as naive.h */
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        fixture.options.fast_path = (enum serve_fast)fast;
        fixture.err = (struct err)ERR_INIT;
        if (serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, NULL,
                      &fixture.result, &fixture.err) == naive.is_stuck)
            fail_msg("case %llu: %s", (unsigned long long)seed, fixture.err.text);
        if (naive.is_stuck) {
            assert_non_null(strstr(fixture.err.text, "blocked: "));
            assert_non_null(standstill_possible(fixture.arena, fixture.scenario.input.plan));
            stuck_count++;
            continue;
        }
        if (getenv("ORACLE_SEED"))
            show_both();
        assert_as_naive(seed, serve_fast_names[fixture.result.fast_path]);
    }
}

/* ORACLE_SEED=N shows and runs one case alone, ORACLE_CASES=N so many of each kind. */
static void run_cases(uint64_t first, uint64_t count, const struct case_may *may)
{
    const char *one = getenv("ORACLE_SEED"), *many = getenv("ORACLE_CASES");

    if (many)
        count = strtoull(many, NULL, 10);
    if (one && strtoull(one, NULL, 10) / 1000000 == first / 1000000)
        run_case(strtoull(one, NULL, 10), may);
    for (uint64_t i = 0; !one && i < count; i++)
        run_case(first + i, may);
}

static void plain_cases_equal_the_naive_simulator(void **state)
{
    (void)state;
    run_cases(0, 300, &(struct case_may){ .wide = true });
}

static void links_do(void **state)
{
    (void)state;
    run_cases(1000000, 300, &(struct case_may){ .links = true, .wide = true });
}

static void failures_and_epochs_do(void **state)
{
    (void)state;
    run_cases(2000000, 400,
              &(struct case_may){ .links = true, .wide = true, .events = true, .epochs = true });
}

static void batches_and_overheads_do(void **state)
{
    (void)state;
    run_cases(3000000, 400, &(struct case_may){ .wide = true, .batches = true, .overheads = true });
}

static void objectives_do(void **state)
{
    (void)state;
    run_cases(4000000, 300, &(struct case_may){ .wide = true, .objectives = true });
}

static void all_together_do(void **state)
{
    (void)state;
    run_cases(5000000, 500,
              &(struct case_may){ .links = true,
                                  .wide = true,
                                  .batches = true,
                                  .events = true,
                                  .epochs = true,
                                  .objectives = true,
                                  .overheads = true });
}

static void bounded_queues_do(void **state)
{
    (void)state;
    run_cases(6000000, 500, &(struct case_may){ .links = true, .wide = true, .rooms = true });
    run_cases(7000000, 500,
              &(struct case_may){ .links = true,
                                  .wide = true,
                                  .batches = true,
                                  .events = true,
                                  .epochs = true,
                                  .objectives = true,
                                  .overheads = true,
                                  .rooms = true });
    assert_true(stuck_count > 0 || getenv("ORACLE_SEED") || getenv("ORACLE_CASES"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(plain_cases_equal_the_naive_simulator),
        TEST(links_do),
        TEST(failures_and_epochs_do),
        TEST(batches_and_overheads_do),
        TEST(objectives_do),
        TEST(all_together_do),
        TEST(bounded_queues_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
