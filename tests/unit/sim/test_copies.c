/* test_copies.c - alternatives of a stage: who passes which, who holds what, and what is left when
 * a device is down. */
#include "tests/unit/sim/tiny_model.h"

#include "lib/base/rng.h"
#include "lib/policy/copies.h"

#define BOXES "service,replica,stage,device,executable,copy\n"
#define P "service,replica,stage,device,model,layers,block,phase,copy\n"
#define BOX_W "request_id,arrival_s,service\n"

/* x: 10 ms, then 20 ms. */
static void place_boxes(void)
{
    fixture_stages("executable,stage,latency_s,batch\nx,0,0.01,1\nx,1,0.02,1\nx,0,0.015,2\n"
                   "x,1,0.03,2\n");
    fixture_write("p.csv", BOXES "s,0,0,a,x,0\ns,0,1,b,x,0\ns,0,1,c,x,7\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", NULL);
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
}

/* ---- choice ---- */

static void a_stage_with_two_copies_keeps_pace_with_one_half_as_slow(void **state)
{
    (void)state;
    place_boxes();
    fixture_write("w.csv", BOX_W "0,0,s\n1,0,s\n2,0,s\n3,0,s\n");
    fixture_must_run();
    for (int i = 0; i < 4; i++) /* b and c in turn, each free when the next one comes */
        assert_request_ms((size_t)i, 0, 10 * i, 10 * i + 30);
    assert_string_equal(fixture_stages_text(),
                        "# orrery: stages 1\n"
                        "request_id,service,replica,stage,device,start_s,finish_s,step,batch_id,"
                        "phase\n"
                        "0,s,0,0,a,0,0.01,0,,\n0,s,0,1,b,0.01,0.03,0,,\n"
                        "1,s,0,0,a,0.01,0.02,0,,\n1,s,0,1,c,0.02,0.04,0,,\n"
                        "2,s,0,0,a,0.02,0.03,0,,\n2,s,0,1,b,0.03,0.05,0,,\n"
                        "3,s,0,0,a,0.03,0.04,0,,\n3,s,0,1,c,0.04,0.06,0,,\n");
}

/* Both on b: they take turns, as one would. */
static void two_copies_on_a_device_gain_nothing(void **state)
{
    (void)state;
    place_boxes();
    fixture_write("p.csv", BOXES "s,0,0,a,x,0\ns,0,1,b,x,0\ns,0,1,b,x,7\n");
    fixture_write("w.csv", BOX_W "0,0,s\n1,0,s\n2,0,s\n3,0,s\n");
    fixture_must_run();
    for (int i = 0; i < 4; i++)
        assert_request_ms((size_t)i, 0, 10 * i, 20 * i + 30);
}

/* c is busy with another service's jobs when the request is dispatched: it goes to b. */
static void least_idle_goes_by_what_is_booked_on_the_copy(void **state)
{
    (void)state;
    place_boxes();
    fixture_stages("executable,stage,latency_s,batch\nx,0,0.01,1\nx,1,0.02,1\ny,0,0.5,1\n");
    fixture_write("p.csv", BOXES "s,0,0,a,x,0\ns,0,1,c,x,0\ns,0,1,b,x,1\nt,0,0,c,y,0\n");
    fixture.options.dispatch = DISPATCH_LEAST_IDLE;
    fixture_write("w.csv", BOX_W "0,0,t\n1,0.001,s\n2,0.1,s\n");
    fixture_must_run();
    assert_request_ms(1, 1, 1, 31);
    assert_request_ms(2, 100, 100, 130);
}

static void a_session_keeps_its_copies(void **state)
{
    int64_t busy_ps;

    (void)state;
    place_boxes();
    fixture.options.dispatch = DISPATCH_STICKY;
    fixture_write("w.csv", "request_id,arrival_s,service,session,client\n"
                           "0,0,s,,9\n1,0.1,s,,9\n2,0.2,s,,9\n3,0.3,s,,9\n");
    fixture_must_run();
    busy_ps = fixture.result.devices[1].busy_ps;
    assert_true(busy_ps == 0 || busy_ps == 80 * MS);
    assert_int_equal(busy_ps + fixture.result.devices[2].busy_ps, 80 * MS);
}

/* ---- failures ---- */

static void a_copy_that_is_down_is_passed_over(void **state)
{
    (void)state;
    place_boxes();
    fixture_write("w.csv", BOX_W "0,0.1,s\n1,0.2,s\n2,0.3,s\n3,0.5,s\n");
    fixture_write("events.csv",
                  "time_s,target,event,value\n0.05,b,down,\n0.25,c,down,\n0.4,b,up,\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run();
    assert_request_ms(0, 100, 100, 130);
    assert_request_ms(1, 200, 200, 230);
    assert_int_equal(fixture.result.requests[2].status, TRACE_FAILED); /* no copy is left */
    assert_request_ms(3, 500, 500, 530);
    assert_int_equal(fixture.result.devices[1].busy_ps, 20 * MS);
    assert_int_equal(fixture.result.devices[2].busy_ps, 40 * MS);
}

/* ---- batches ---- */

/* Each copy of stage 0 forms batches of its own; a batch goes the way of its oldest request. */
static void a_batch_goes_one_way(void **state)
{
    (void)state;
    place_boxes();
    fixture_write("p.csv", BOXES "s,0,0,a,x,0\ns,0,0,d,x,1\ns,0,1,b,x,0\ns,0,1,c,x,1\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\nd,t\n", NULL);
    fixture.options.batch =
        (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2, .wait_ps = 5 * MS };
    fixture_write("w.csv", BOX_W "0,0,s\n1,0,s\n2,0,s\n3,0,s\n");
    fixture_must_run();
    for (size_t i = 0; i < 4; i++)
        assert_request_ms(i, 0, 0, 45);
    for (int d = 0; d < 4; d++)
        assert_int_equal(fixture.result.devices[d].busy_ps, d == 1 || d == 2 ? 30 * MS : 15 * MS);
}

/* ---- models ---- */

/* The second layer on b or c: a request keeps its copy for all steps, and only there its cache. */
static void a_decoder_stays_where_its_cache_is(void **state)
{
    const struct plan *plan;

    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,embed,,0\nc,0,0,a,tiny,0,,,0\nc,0,1,b,tiny,1,,,0\n"
                             "c,0,1,b,tiny,,lm_head,,0\nc,0,1,c,tiny,1,,,1\n"
                             "c,0,1,c,tiny,,lm_head,,1\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", NULL);
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    fixture_write("w.csv", W "0,0,c,4,3\n1,0.2,c,2,2\n2,0.4,c,1,1\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 75);
    assert_request_ms(1, 200, 200, 250);
    assert_int_equal(fixture.result.devices[1].busy_ps, (3 + 1) * 13 * MS);
    assert_int_equal(fixture.result.devices[2].busy_ps, 2 * 13 * MS);
    assert_int_equal(fixture.result.devices[0].kv_peak_bytes, 7 * 64);
    assert_int_equal(fixture.result.devices[1].kv_peak_bytes, 7 * 64);
    assert_int_equal(fixture.result.devices[2].kv_peak_bytes, 4 * 64);
    plan = fixture.scenario.input.plan;
    assert_int_equal(plan->replicas[0].stage_count, 2);
    assert_int_equal(plan->replicas[0].total_count, 3);
    assert_int_equal(plan_stage_weight_bytes(plan, plan->stages[1], 1),
                     plan_stage_weight_bytes(plan, plan->stages[2], 2));
}

/* Prompts on a, decoding on b or c: a cache goes to the copy that its request will pass. */
static void a_cache_goes_to_the_copy_that_reads_it(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill,0\nc,0,0,b,tiny,,,decode,0\n"
                             "c,0,0,c,tiny,,,decode,1\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                                    "lan,switch,*,8e9,0.001\n");
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    fixture_write("w.csv", W "0,0,c,4,2\n1,0.2,c,2,2\n");
    fixture_must_run();
    assert_non_null(strstr(fixture_transfers(), "0,1,,a,b,lan,512,"));
    assert_non_null(strstr(fixture_transfers(), "1,1,,a,c,lan,256,"));
    assert_int_equal(fixture.result.kv_moves.messages, 2);
    assert_int_equal(fixture.result.devices[0].kv_peak_bytes, 4 * 128);
    assert_int_equal(fixture.result.devices[1].kv_peak_bytes, 6 * 128);
    assert_int_equal(fixture.result.devices[2].kv_peak_bytes, 4 * 128);
}

/* ---- a naive version ---- */

#define STAGES 3
#define REQUESTS 30
#define COPIES 3

static int64_t latencies_ps[STAGES], times_ps[REQUESTS];
static int copies[STAGES];

static int compare_times(const void *a, const void *b)
{
    int64_t x = times_ps[*(const int *)a], y = times_ps[*(const int *)b];

    return (x > y) - (x < y);
}

/* Request k passes copy k mod C of each stage; each copy serves who comes to it in order. */
static void pass_naively(void)
{
    int order[REQUESTS];

    for (int i = 0; i < REQUESTS; i++)
        order[i] = i;
    for (int s = 0; s < STAGES; s++) {
        int64_t free_ps[COPIES] = { 0 };

        qsort(order, REQUESTS, sizeof order[0], compare_times);
        for (int i = 0; i < REQUESTS; i++) {
            int64_t *free = &free_ps[order[i] % copies[s]], *time = &times_ps[order[i]];

            *time = (*time > *free ? *time : *free) + latencies_ps[s];
            *free = *time;
        }
    }
}

static void round_robin_is_what_a_naive_version_says(void **state)
{
    struct rng rng = rng_stream(17, RNG_TEST, 1);

    (void)state;
    fixture_cluster("device,type\nd0,t\nd1,t\nd2,t\nd3,t\nd4,t\nd5,t\nd6,t\nd7,t\nd8,t\n", NULL);
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    for (int round = 0; round < 40; round++) {
        const char *boxes = "executable,stage,latency_s\n", *placed = BOXES, *requests = BOX_W;
        int64_t at_ps = 0;

        for (int s = 0; s < STAGES; s++) {
            latencies_ps[s] = 1 + (int64_t)rng_below(&rng, 10000000);
            copies[s] = 1 + (int)rng_below(&rng, COPIES);
            boxes = arena_printf(fixture.arena, "%sx,%d,0.00000%07lld\n", boxes, s,
                                 (long long)latencies_ps[s]);
            for (int k = 0; k < copies[s]; k++)
                placed = arena_printf(fixture.arena, "%ss,0,%d,d%d,x,%d\n", placed, s,
                                      COPIES * s + k, 2 * k);
        }
        for (int i = 0; i < REQUESTS; i++) {
            at_ps += 1 + (int64_t)rng_below(&rng, 5000000);
            times_ps[i] = at_ps;
            requests =
                arena_printf(fixture.arena, "%s%d,0.%012lld,s\n", requests, i, (long long)at_ps);
        }
        fixture_stages(boxes);
        fixture_write("p.csv", placed);
        fixture_write("w.csv", requests);
        fixture_must_run();
        pass_naively();
        for (int i = 0; i < REQUESTS; i++)
            assert_int_equal(fixture.result.requests[i].finish_ps, times_ps[i]);
    }
}

/* ---- admission ---- */

/* 35 ms: who passes b or c behind two others is late. Whoever is dropped has had his turn. */
static void a_prediction_follows_the_way(void **state)
{
    const int64_t ends_ms[] = { 30, 40, -1, -1, 60 };

    (void)state;
    place_boxes();
    fixture.options.admission = ADMIT_SLO;
    fixture.options.slo_ps = 35 * MS;
    fixture_write("w.csv", BOX_W "0,0,s\n1,0.005,s\n2,0.01,s\n3,0.02,s\n4,0.03,s\n");
    fixture_must_run();
    for (size_t i = 0; i < 5; i++) {
        const struct serve_request *request = &fixture.result.requests[i];

        assert_int_equal(request->status, ends_ms[i] < 0 ? TRACE_DROPPED : TRACE_OK);
        if (ends_ms[i] >= 0)
            assert_int_equal(request->finish_ps, ends_ms[i] * MS);
    }
}

/* Alternatives of the last stage alone, so that nobody overtakes: what is booked comes true. */
static void predictions_are_what_a_naive_version_books(void **state)
{
    struct rng rng = rng_stream(23, RNG_TEST, 1);

    (void)state;
    fixture_cluster("device,type\nd0,t\nd1,t\nd2,t\nd3,t\n", NULL);
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    fixture.options.admission = ADMIT_SLO;
    for (int round = 0; round < 40; round++) {
        const char *placed = BOXES "s,0,0,d0,x,0\n", *requests = BOX_W;
        int64_t free_ps[1 + COPIES] = { 0 }, at_ps = 0;
        int count = 1 + (int)rng_below(&rng, COPIES);

        for (int s = 0; s < 2; s++)
            latencies_ps[s] = 1 + (int64_t)rng_below(&rng, 10000000);
        for (int k = 0; k < count; k++)
            placed = arena_printf(fixture.arena, "%ss,0,1,d%d,x,%d\n", placed, 1 + k, k);
        fixture.options.slo_ps =
            latencies_ps[0] + latencies_ps[1] + (int64_t)rng_below(&rng, 10000000);
        for (int i = 0; i < REQUESTS; i++) {
            int64_t *second = &free_ps[1 + i % count], first_ps, end_ps;

            at_ps += 1 + (int64_t)rng_below(&rng, 5000000);
            requests =
                arena_printf(fixture.arena, "%s%d,0.%012lld,s\n", requests, i, (long long)at_ps);
            first_ps = (at_ps > free_ps[0] ? at_ps : free_ps[0]) + latencies_ps[0];
            end_ps = (first_ps > *second ? first_ps : *second) + latencies_ps[1];
            times_ps[i] = end_ps - at_ps <= fixture.options.slo_ps ? end_ps : -1;
            if (times_ps[i] < 0)
                continue;
            free_ps[0] = first_ps;
            *second = end_ps;
        }
        fixture_stages(arena_printf(fixture.arena,
                                    "executable,stage,latency_s\nx,0,0.00000%07lld\n"
                                    "x,1,0.00000%07lld\n",
                                    (long long)latencies_ps[0], (long long)latencies_ps[1]));
        fixture_write("p.csv", placed);
        fixture_write("w.csv", requests);
        fixture_must_run();
        for (int i = 0; i < REQUESTS; i++) {
            assert_int_equal(fixture.result.requests[i].status,
                             times_ps[i] < 0 ? TRACE_DROPPED : TRACE_OK);
            if (times_ps[i] >= 0)
                assert_int_equal(fixture.result.requests[i].finish_ps, times_ps[i]);
        }
    }
}

/* ---- fixed batches of decoders ---- */

#define TWO_LAST                                                                                   \
    P "c,0,0,a,tiny,,embed,,0\nc,0,0,a,tiny,0,,,0\nc,0,1,b,tiny,1,,,0\n"                           \
      "c,0,1,b,tiny,,lm_head,,0\nc,0,1,c,tiny,1,,,1\nc,0,1,c,tiny,,lm_head,,1\n"

static int64_t place_pairs(const char *placed)
{
    fixture_write("p.csv", placed);
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", NULL);
    fixture.options.dispatch = DISPATCH_LEAST_OUTSTANDING;
    fixture.options.batch =
        (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2, .wait_ps = 5 * MS };
    fixture_write("w.csv", W "0,0,c,4,3\n1,0,c,4,3\n");
    fixture_must_run();
    fixture_write("w.csv", W "0,0,c,4,3\n1,0,c,4,3\n2,0,c,4,3\n3,0,c,4,3\n");
    return fixture.result.requests[0].finish_ps;
}

/* Each of two batches takes as long as one alone, since the last stage is the slower one. */
static void batches_of_decoders_pass_copies_side_by_side(void **state)
{
    int64_t alone_ps;

    (void)state;
    alone_ps = place_pairs(TWO_LAST);
    fixture_must_run();
    assert_true(fixture.result.requests[2].start_ps > 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(fixture.result.requests[i].finish_ps,
                         alone_ps + fixture.result.requests[i].start_ps);
    assert_int_equal(fixture.result.devices[1].busy_ps, fixture.result.devices[2].busy_ps);
    /* until its batch is made up a request may pass either: the first two held c, the others b */
    assert_int_equal(fixture.result.devices[0].kv_peak_bytes, 4 * 7 * 64);
    assert_int_equal(fixture.result.devices[1].kv_peak_bytes, 4 * 7 * 64);
    assert_int_equal(fixture.result.devices[2].kv_peak_bytes, 2 * 7 * 64);
}

/* With c down it is what b does alone, but for how many batches may be under way: here two. */
static void a_batch_of_decoders_passes_what_is_up(void **state)
{
    int64_t ends_ps[4];

    (void)state;
    (void)place_pairs(P "c,0,0,a,tiny,,embed,,0\nc,0,0,a,tiny,0,,,0\nc,0,1,b,tiny,1,,,0\n"
                        "c,0,1,b,tiny,,lm_head,,0\n");
    fixture_must_run();
    for (size_t i = 0; i < 4; i++)
        ends_ps[i] = fixture.result.requests[i].finish_ps;
    (void)place_pairs(TWO_LAST);
    fixture_write("events.csv", "time_s,target,event,value\n0,c,down,\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run();
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(fixture.result.requests[i].finish_ps, ends_ps[i]);
    assert_int_equal(fixture.result.devices[2].busy_ps, 0);
}

/* Each copy of stage 0 has places for batches of its own, which come back to it: two of (2 + 1) /
 * 2, rounded up. */
static void copies_of_stage_0_free_their_own_places(void **state)
{
    const char *requests = W;
    int64_t busy_ps;

    (void)state;
    (void)place_pairs(P "c,0,0,a,tiny,,embed,,0\nc,0,0,a,tiny,0,,,0\nc,0,1,c,tiny,1,,,0\n"
                        "c,0,1,c,tiny,,lm_head,,0\n");
    busy_ps = fixture.result.devices[2].busy_ps; /* of one batch */
    (void)place_pairs(P "c,0,0,a,tiny,,embed,,0\nc,0,0,a,tiny,0,,,0\nc,0,0,b,tiny,,embed,,1\n"
                        "c,0,0,b,tiny,0,,,1\nc,0,1,c,tiny,1,,,0\nc,0,1,c,tiny,,lm_head,,0\n");
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    for (int i = 0; i < 24; i++)
        requests = arena_printf(fixture.arena, "%s%d,0,c,4,3\n", requests, i);
    fixture_write("w.csv", requests);
    fixture_must_run();
    assert_int_equal(copies_batches(fixture.scenario.input.plan->replicas), 2);
    for (size_t i = 0; i < 24; i++)
        assert_int_equal(fixture.result.requests[i].status, TRACE_OK);
    assert_int_equal(fixture.result.devices[0].busy_ps, fixture.result.devices[1].busy_ps);
    assert_int_equal(fixture.result.devices[2].busy_ps, 12 * busy_ps);
}

/* ---- what is not combined ---- */

static void other_ways_of_serving_say_that_they_know_no_copies(void **state)
{
    (void)state;
    place_boxes();
    fixture_write("w.csv", BOX_W "0,0,s\n");
    fixture.options.rules = SERVE_ALPASERVE;
    assert_false(fixture_run());
    assert_string_equal(fixture.err.text,
                        "stage 1 of replica 0 of service 's' has 2 copies: this version does not "
                        "combine that with --rules alpaserve");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stage_with_two_copies_keeps_pace_with_one_half_as_slow),
        TEST(least_idle_goes_by_what_is_booked_on_the_copy),
        TEST(two_copies_on_a_device_gain_nothing),
        TEST(a_session_keeps_its_copies),
        TEST(a_copy_that_is_down_is_passed_over),
        TEST(a_batch_goes_one_way),
        TEST(a_decoder_stays_where_its_cache_is),
        TEST(a_cache_goes_to_the_copy_that_reads_it),
        TEST(round_robin_is_what_a_naive_version_says),
        TEST(a_prediction_follows_the_way),
        TEST(predictions_are_what_a_naive_version_books),
        TEST(batches_of_decoders_pass_copies_side_by_side),
        TEST(a_batch_of_decoders_passes_what_is_up),
        TEST(copies_of_stage_0_free_their_own_places),
        TEST(other_ways_of_serving_say_that_they_know_no_copies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
