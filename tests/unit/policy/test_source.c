/* test_source.c - arrivals follow the rules of lib/policy/source.h, also against a naive model. */
#include "lib/policy/source.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "lib/format/workload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define CLOSED WORKLOAD_CLOSED
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static int make_arena(void **state)
{
    *state = arena_create();
    return 0;
}

static int end_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

struct row {
    int64_t arrival_ps, think_ps;
    int32_t client, session;
};

static struct workload *make_workload(struct arena *arena, const struct row *rows, size_t count)
{
    struct workload_builder *builder = workload_build(arena, NULL);
    struct workload *workload;

    workload_builder_reserve(builder, count);
    for (size_t i = 0; i < count; i++)
        workload_builder_add(builder, &(struct workload_request){ .request_id = (int64_t)i,
                                                                  .arrival_ps = rows[i].arrival_ps,
                                                                  .think_ps = rows[i].think_ps,
                                                                  .client = rows[i].client,
                                                                  .session = rows[i].session,
                                                                  .batch = 1 });
    workload = workload_builder_finish(builder);
    for (size_t i = 0; i < count; i++) { /* numbers without names */
        if (rows[i].client >= workload->client_count)
            workload->client_count = rows[i].client + 1;
        if (rows[i].session >= workload->session_count)
            workload->session_count = rows[i].session + 1;
    }
    return workload;
}

static struct source *make_source(void **state, const struct row *rows, size_t count)
{
    return source_create(*state, make_workload(*state, rows, count));
}

static void assert_next(struct source *source, size_t request, int64_t arrival_ps)
{
    int64_t taken_ps = -1;
    size_t left = source_left(source);

    assert_int_equal(source_peek_ps(source), arrival_ps);
    assert_int_equal(source_take(source, &taken_ps), request);
    assert_int_equal(taken_ps, arrival_ps);
    assert_int_equal(source_left(source), left - 1);
}

static void assert_nothing_known(const struct source *source)
{
    assert_true(source_peek_ps(source) == SOURCE_NEVER);
}

static void open_rows_arrive_at_their_times_in_file_order(void **state)
{
    static const struct row rows[] = { { 0, 0, -1, -1 }, { 5, 0, -1, -1 }, { 5, 9, -1, -1 } };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_int_equal(source_left(source), 3);
    assert_next(source, 0, 0);
    assert_next(source, 1, 5);
    source_ended(source, 0, 3);
    assert_next(source, 2, 5); /* think means nothing without a client or session */
    assert_nothing_known(source);
    assert_int_equal(source_left(source), 0);
}

static void a_client_waits_for_its_previous_request_and_thinks(void **state)
{
    static const struct row rows[] = {
        { CLOSED, 10, 0, -1 }, { CLOSED, 4, 1, -1 }, { CLOSED, 3, 0, -1 }, { CLOSED, 0, 1, -1 }
    };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_next(source, 1, 4); /* a first row arrives at its think */
    assert_next(source, 0, 10);
    assert_nothing_known(source);
    assert_int_equal(source_left(source), 2);
    source_ended(source, 0, 50);
    source_ended(source, 1, 52);
    assert_next(source, 3, 52);
    assert_next(source, 2, 53);
    source_ended(source, 2, 60); /* nobody waits for these */
    source_ended(source, 3, 61);
    assert_nothing_known(source);
}

static void turns_of_a_session_run_in_order(void **state)
{
    static const struct row rows[] = {
        { 0, 0, -1, 0 }, { 1, 2, -1, 0 }, { 9, 2, -1, 0 }, { CLOSED, 7, -1, 0 }, { 20, 0, -1, 1 }
    };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_next(source, 0, 0);
    assert_next(source, 4, 20); /* the other turns are not known yet */
    source_ended(source, 0, 4);
    assert_next(source, 1, 6); /* its time 1 has passed: end 4 + think 2 */
    source_ended(source, 1, 6);
    assert_next(source, 2, 9); /* its own time is later than 6 + 2 */
    source_ended(source, 2, 11);
    assert_next(source, 3, 18);
}

static void a_row_with_both_waits_for_both_and_thinks_once(void **state)
{
    static const struct row rows[] = { { CLOSED, 0, 0, -1 },
                                       { CLOSED, 0, -1, 0 },
                                       { CLOSED, 5, 0, 0 } };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_next(source, 0, 0);
    assert_next(source, 1, 0);
    source_ended(source, 0, 30);
    assert_nothing_known(source);
    source_ended(source, 1, 20);
    assert_next(source, 2, 35);
}

static void both_ties_to_one_row_are_released_together(void **state)
{
    static const struct row rows[] = { { 3, 0, 0, 0 }, { CLOSED, 5, 0, 0 } };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_next(source, 0, 3);
    assert_nothing_known(source);
    source_ended(source, 0, 8);
    assert_next(source, 1, 13);
}

static void a_row_with_a_time_does_not_wait_for_its_client(void **state)
{
    static const struct row rows[] = {
        { CLOSED, 100, 0, -1 }, { 1, 0, 0, -1 }, { CLOSED, 5, 0, -1 }, { 2, 0, 0, -1 }
    };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_next(source, 1, 1);
    assert_next(source, 3, 2);
    source_ended(source, 1, 10); /* the row without a time waits for the row before it */
    assert_next(source, 2, 15);
    assert_next(source, 0, 100);
}

static void ties_go_to_open_rows_then_to_file_order(void **state)
{
    static const struct row rows[] = {
        { CLOSED, 7, 3, -1 }, { CLOSED, 7, 1, -1 }, { 2, 0, -1, 0 },
        { 3, 0, -1, 0 },      { 7, 0, 2, -1 },      { 7, 0, -1, -1 }
    };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_next(source, 2, 2);
    source_ended(source, 2, 7);
    assert_next(source, 4, 7);
    assert_next(source, 5, 7);
    assert_next(source, 0, 7);
    assert_next(source, 1, 7);
    assert_next(source, 3, 7);
}

static void times_beyond_the_end_saturate(void **state)
{
    static const struct row rows[] = { { 0, 0, 0, -1 }, { CLOSED, INT64_MAX - 5, 0, -1 } };
    struct source *source = make_source(state, rows, LENGTH(rows));

    assert_next(source, 0, 0);
    source_ended(source, 0, INT64_MAX - 5);
    assert_next(source, 1, SOURCE_NEVER - 1);
}

/* The rules again, by looking at every row every time. */
struct naive {
    const struct workload *workload;
    bool taken[80];
    int64_t ended_ps[80]; /* -1 = not yet */
};

static int64_t naive_arrival_ps(const struct naive *naive, size_t i, bool *is_open)
{
    const struct workload_request row = workload_at(naive->workload, i);
    bool has_time = row.arrival_ps != CLOSED, has_waited = false, seen_client = has_time,
         seen_session = false;
    int64_t time_ps = has_time ? row.arrival_ps : 0;

    for (size_t j = i; j-- > 0;) {
        const struct workload_request other = workload_at(naive->workload, j);
        bool is_client = !seen_client && row.client >= 0 && other.client == row.client;
        bool is_session = !seen_session && row.session >= 0 && other.session == row.session;

        if (!is_client && !is_session)
            continue;
        seen_client = seen_client || is_client;
        seen_session = seen_session || is_session;
        has_waited = true;
        if (naive->ended_ps[j] < 0)
            return SOURCE_NEVER;
        if (naive->ended_ps[j] + row.think_ps > time_ps)
            time_ps = naive->ended_ps[j] + row.think_ps;
    }
    *is_open = has_time && !has_waited;
    return has_time || has_waited ? time_ps : row.think_ps;
}

/* The first untaken row by (arrival, open first, file order), or count. */
static size_t naive_next(const struct naive *naive, int64_t *arrival_ps)
{
    size_t best = naive->workload->count;
    bool best_is_open = false;

    *arrival_ps = SOURCE_NEVER;
    for (size_t i = 0; i < naive->workload->count; i++) {
        bool is_open = false;
        int64_t time_ps = naive->taken[i] ? SOURCE_NEVER : naive_arrival_ps(naive, i, &is_open);

        if (time_ps > *arrival_ps || time_ps == SOURCE_NEVER)
            continue;
        if (time_ps == *arrival_ps && (best_is_open || !is_open))
            continue;
        best = i;
        best_is_open = is_open;
        *arrival_ps = time_ps;
    }
    return best;
}

static struct workload *random_workload(struct arena *arena, struct rng *rng)
{
    struct row rows[80];
    size_t count = 1 + (size_t)rng_below(rng, 80);
    uint64_t clients = 1 + rng_below(rng, 5), sessions = 1 + rng_below(rng, 5);
    uint64_t kinds = 1 + rng_below(rng, 3);
    int64_t time_ps = 0;

    for (size_t i = 0; i < count; i++) {
        rows[i] = (struct row){ CLOSED, (int64_t)rng_below(rng, 4), -1, -1 };
        if (rng_below(rng, 3) < kinds)
            rows[i].client = (int32_t)rng_below(rng, clients);
        if (rng_below(rng, 4) < kinds)
            rows[i].session = (int32_t)rng_below(rng, sessions);
        if ((rows[i].client < 0 && rows[i].session < 0) || rng_below(rng, 3) == 0)
            rows[i].arrival_ps = time_ps += (int64_t)rng_below(rng, 3);
    }
    return make_workload(arena, rows, count);
}

/* Runs a workload to its end with requests that end in random order at random later times. */
static void run_against_naive(struct arena *arena, struct rng *rng)
{
    struct naive naive = { .workload = random_workload(arena, rng) };
    struct source *source = source_create(arena, naive.workload);
    size_t running[80] = { 0 }, running_count = 0, taken = 0, count = naive.workload->count;
    int64_t now_ps = 0;

    for (size_t i = 0; i < count; i++)
        naive.ended_ps[i] = -1;
    while (taken < count || running_count > 0) {
        int64_t expected_ps, arrival_ps = -1;
        size_t expected = naive_next(&naive, &expected_ps);

        assert_true(source_peek_ps(source) == expected_ps);
        assert_int_equal(source_left(source), count - taken);
        if (expected < count && (running_count == 0 || rng_below(rng, 2) == 0)) {
            assert_int_equal(source_take(source, &arrival_ps), expected);
            assert_true(arrival_ps == expected_ps);
            naive.taken[expected] = true;
            running[running_count++] = expected;
            taken++;
            if (arrival_ps > now_ps)
                now_ps = arrival_ps;
        } else {
            size_t which;

            assert_true(running_count > 0); /* never stuck */
            which = (size_t)rng_below(rng, running_count);
            now_ps += (int64_t)rng_below(rng, 3);
            naive.ended_ps[running[which]] = now_ps;
            source_ended(source, running[which], now_ps);
            running[which] = running[--running_count];
        }
    }
    assert_nothing_known(source);
}

static void random_workloads_arrive_as_in_the_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct arena *arena = arena_create();
        struct rng rng = rng_stream(seed, RNG_TEST, 0);

        run_against_naive(arena, &rng);
        arena_destroy(arena);
    }
}

/* Takes and ends everything; every request must come exactly once. Returns the last arrival. */
static int64_t drain(struct source *source, size_t count)
{
    int64_t arrival_ps = 0, last_ps = 0;

    for (size_t i = 0; i < count; i++) {
        size_t request = source_take(source, &arrival_ps);

        assert_true(arrival_ps >= last_ps);
        last_ps = arrival_ps;
        source_ended(source, request, arrival_ps + 1);
    }
    assert_int_equal(source_left(source), 0);
    return last_ps;
}

static void half_a_million_rows_of_each_kind_are_quick(void **state)
{
    enum { COUNT = 500000 };
    struct row *rows = arena_array(*state, COUNT, sizeof *rows);

    for (int32_t i = 0; i < COUNT; i++) /* 1000 clients in a closed loop */
        rows[i] = (struct row){ CLOSED, 1, i % 1000, -1 };
    assert_int_equal(drain(make_source(state, rows, COUNT), COUNT), 1 + 2 * (COUNT / 1000 - 1));
    for (int32_t i = 0; i < COUNT; i++) /* as many clients as rows, latest first */
        rows[i] = (struct row){ CLOSED, COUNT - i, i, -1 };
    assert_int_equal(drain(make_source(state, rows, COUNT), COUNT), COUNT);
    for (int32_t i = 0; i < COUNT; i++) /* open rows */
        rows[i] = (struct row){ i, 0, -1, -1 };
    assert_int_equal(drain(make_source(state, rows, COUNT), COUNT), COUNT - 1);
}

static void open_rows_take_no_memory(void **state)
{
    struct workload *few, *many;
    size_t before_bytes, few_bytes;
    struct row open[200];

    for (int i = 0; i < 200; i++)
        open[i] = (struct row){ i, 1, -1, -1 };
    few = make_workload(*state, open, 2);
    many = make_workload(*state, open, 200);
    before_bytes = arena_used_bytes(*state);
    source_create(*state, few);
    few_bytes = arena_used_bytes(*state) - before_bytes;
    source_create(*state, many);
    assert_int_equal(arena_used_bytes(*state) - before_bytes, 2 * few_bytes);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(open_rows_arrive_at_their_times_in_file_order),
        RULE(a_client_waits_for_its_previous_request_and_thinks),
        RULE(turns_of_a_session_run_in_order),
        RULE(a_row_with_both_waits_for_both_and_thinks_once),
        RULE(both_ties_to_one_row_are_released_together),
        RULE(a_row_with_a_time_does_not_wait_for_its_client),
        RULE(ties_go_to_open_rows_then_to_file_order),
        RULE(times_beyond_the_end_saturate),
        RULE(random_workloads_arrive_as_in_the_naive_model),
        RULE(open_rows_take_no_memory),
        RULE(half_a_million_rows_of_each_kind_are_quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
