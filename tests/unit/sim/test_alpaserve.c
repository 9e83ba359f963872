/* test_alpaserve.c - AlpaServe's rules, computed by hand. */
#include "sim/alpaserve/alpaserve.h"

#include "tests/unit/sim/booked.h"

#define HEAD "service,replica,stage,device,executable\n"
#define STAGES                                                                                     \
    "executable,stage,latency_s,batch\n"                                                           \
    "one,0,0.1,1\none,0,0.15,2\none,0,0.25,4\n"                                                    \
    "two,0,0.1,1\ntwo,1,0.06,1\n"                                                                  \
    "quick,0,0.01,1\n"
#define PIPELINE HEAD "a,0,0,x,two\na,0,1,y,two\n"

/* Without the two constants times are easy to add up: those of the file. */
static const struct overheads no_overheads;

static void a_pipeline_takes_its_stages_the_penalty_and_the_response(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);

    booked_add(b, 0, 0, 0);
    booked_add(b, 0, 10 * MS, 0);
    booked_run(b);
    /* 1 + 0.009 x 2 stages: 101.8 and 61.08 ms; then 11 ms */
    assert_ok(b, 0, 0, 0, INT64_C(173880000000));
    /* stage 0 from 101.8 to 203.6, stage 1 to 264.68 */
    assert_ok(b, 1, 0, INT64_C(101800000000), INT64_C(275680000000));
    assert_int_equal(b->result.end_ps, b->ends[1].finish_ps);
    assert_int_equal(b->result.event_count, 2);
    assert_int_equal(b->result.first_ps, 0);
    assert_int_equal(b->result.last_ps, 10 * MS);
    assert_int_equal(b->result.busy_ps[0], INT64_C(203600000000));
    assert_int_equal(b->result.busy_ps[1], INT64_C(122160000000));
}

static void every_stage_of_a_booking_is_told(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);
    const struct alpaserve_span *spans;

    b->input.overheads = &no_overheads;
    booked_add(b, 0, 5 * MS, 0);
    booked_add(b, 0, 10 * MS, 0);
    booked_run(b);
    assert_int_equal(b->span_count, 4);
    spans = b->spans;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(spans[i].index, i / 2);
        assert_int_equal(spans[i].number, i % 2);
        assert_int_equal(spans[i].stage, i % 2);
        assert_int_equal(spans[i].device, i % 2);
        assert_int_equal(spans[i].position, 0);
        assert_int_equal(spans[i].batch_id, -1);
        assert_int_equal(spans[i].batch_size, 1);
    }
    assert_true(spans[0].start_ps == 5 * MS && spans[0].finish_ps == 105 * MS);
    assert_true(spans[1].start_ps == 105 * MS && spans[1].finish_ps == 165 * MS);
    assert_true(spans[2].start_ps == 105 * MS && spans[2].finish_ps == 205 * MS);
    assert_true(spans[3].start_ps == 205 * MS && spans[3].finish_ps == 265 * MS);
    assert_true(spans[0].wait_ps == 0 && spans[1].wait_ps == 0);
    assert_true(spans[2].wait_ps == 95 * MS && spans[3].wait_ps == 0);
    assert_int_equal(b->result.wait_peak_ps[0], 95 * MS);
    assert_int_equal(b->result.wait_peak_ps[1], 0);
}

static void what_would_miss_its_objective_is_dropped_and_books_nothing(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);

    booked_add(b, 0, 0, INT64_C(173880000000));
    booked_add(b, 0, 10 * MS, INT64_C(265679999999)); /* would end 265.68 ms after its arrival */
    booked_add(b, 0, 10 * MS, INT64_C(265680000000));
    b->options.slo_ps = 100 * MS; /* of those without one of their own */
    booked_add(b, 0, 1000 * MS, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, INT64_C(173880000000));
    assert_gone(b, 1, TRACE_DROPPED, 10 * MS);
    assert_ok(b, 2, 0, INT64_C(101800000000), INT64_C(275680000000));
    assert_gone(b, 3, TRACE_DROPPED, 1000 * MS);
    assert_int_equal(b->result.dropped_count, 2);
    assert_int_equal(b->result.busy_ps[0], INT64_C(203600000000));
    assert_int_equal(b->result.end_ps, 1000 * MS);
}

static void the_replica_whose_last_stage_is_free_first_is_taken_then_the_first(void **state)
{
    /* Replica 1 has the shorter last stage, replica 2 only one. */
    struct booked *b = booked_create(
        *state, HEAD "a,0,0,x,two\na,0,1,y,two\na,1,0,u,quick\na,2,0,v,one\n", STAGES, NULL);

    b->input.overheads = &no_overheads;
    for (int i = 0; i < 5; i++)
        booked_add(b, 0, 0, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, 160 * MS); /* all are idle */
    assert_ok(b, 1, 1, 0, 10 * MS);
    assert_ok(b, 2, 2, 0, 100 * MS);
    assert_ok(b, 3, 1, 10 * MS, 20 * MS); /* 160, 10, 100 */
    assert_ok(b, 4, 1, 20 * MS, 30 * MS);
}

static void services_on_one_device_wait_for_each_other(void **state)
{
    struct booked *b =
        booked_create(*state, HEAD "a,0,0,x,one\nb,0,0,x,quick\nc,0,0,y,quick\n", STAGES, NULL);

    b->input.overheads = &no_overheads;
    booked_add(b, 0, 0, 0);
    booked_add(b, 1, 5 * MS, 0);
    booked_add(b, 2, 6 * MS, 0);
    booked_add(b, 0, 7 * MS, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, 100 * MS);
    assert_ok(b, 1, 1, 100 * MS, 110 * MS);
    assert_ok(b, 2, 2, 6 * MS, 16 * MS);
    assert_ok(b, 3, 0, 110 * MS, 210 * MS);
}

static void a_stage_on_several_devices_takes_them_all(void **state)
{
    /* a on x and y, b on y and z, c on z: no two devices have the same stages. */
    struct booked *b = booked_create(
        *state, HEAD "a,0,0,x,one\na,0,0,y,one\nb,0,0,y,quick\nb,0,0,z,quick\nc,0,0,z,one\n",
        STAGES, NULL);

    b->input.overheads = &no_overheads;
    booked_add(b, 0, 0, 0);
    booked_add(b, 2, 1 * MS, 0);
    booked_add(b, 1, 2 * MS, 0); /* y is free at 100, z at 101 */
    booked_add(b, 0, 3 * MS, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, 100 * MS);
    assert_ok(b, 1, 2, 1 * MS, 101 * MS);
    assert_ok(b, 2, 1, 101 * MS, 111 * MS);
    assert_ok(b, 3, 0, 111 * MS, 211 * MS);
    assert_int_equal(b->span_count, 2 + 1 + 2 + 2);
    assert_int_equal(b->result.busy_ps[0], 200 * MS); /* x */
    assert_int_equal(b->result.busy_ps[1], 210 * MS); /* y */
    assert_int_equal(b->result.busy_ps[2], 110 * MS); /* z */
}

static void two_stages_on_one_device_run_in_turn(void **state)
{
    struct booked *b = booked_create(*state, HEAD "a,0,0,x,two\na,0,1,x,two\n", STAGES, NULL);

    b->input.overheads = &no_overheads;
    booked_add(b, 0, 0, 0);
    booked_add(b, 0, 1 * MS, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, 160 * MS);
    assert_ok(b, 1, 0, 160 * MS, 320 * MS);
}

static void stages_named_by_layers_add_up_and_the_slowest_device_sets_the_pace(void **state)
{
    struct booked *b = booked_create(*state,
                                     "service,replica,stage,device,executable,layers\n"
                                     "a,0,0,x,two,0-1\na,0,0,y,two,0-1\n",
                                     STAGES, "device,type,speed_ratio\nx,t,1\ny,t,0.5\n");

    booked_add(b, 0, 0, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, INT64_C(333880000000)); /* 2 x 160 ms x 1.009 + 11 ms */
}

static void the_constants_may_be_others(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);
    struct overheads overheads = { .at[OVERHEAD_RESPONSE] = { .is_given = true,
                                                              .mean_ps = 4 * MS,
                                                              .scale_per_stage_ratio = 0.5 } };

    b->input.overheads = &overheads;
    booked_add(b, 0, 0, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, 324 * MS); /* (100 + 60) x 2 + 4 */
    overheads.at[OVERHEAD_WORKER].is_given = true;
    overheads.at[OVERHEAD_WORKER].mean_ps = 1;
    assert_false(booked_try(b));
    assert_non_null(strstr(b->err->text, "no overhead but that of the response"));
}

static void a_response_that_is_drawn_belongs_to_its_request(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);
    struct overheads overheads = { .at[OVERHEAD_RESPONSE] = { .is_given = true,
                                                              .dist = OVERHEAD_NORMAL,
                                                              .mean_ps = 50 * MS,
                                                              .sd_ps = 5 * MS } };

    b->input.overheads = &overheads;
    b->options.seed = 3;
    booked_add(b, 0, 0, 0);
    booked_add(b, 0, 1000 * MS, 0);
    booked_run(b);
    for (size_t i = 0; i < 2; i++)
        assert_ok(
            b, i, 0, (int64_t)i * 1000 * MS,
            (int64_t)i * 1000 * MS + 160 * MS +
                overhead_draw(&overheads.at[OVERHEAD_RESPONSE], 3, OVERHEAD_RESPONSE, 100 + i, 0));
    assert_true(b->ends[1].finish_ps - b->ends[0].finish_ps != 1000 * MS);
}

static void a_client_comes_back_when_its_request_has_ended(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);

    b->input.overheads = &no_overheads;
    booked_add(b, 0, 3 * MS, 0);
    booked_add_closed(b, 0, 7 * MS);
    booked_add_closed(b, 0, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 3 * MS, 163 * MS);
    assert_ok(b, 1, 0, 170 * MS, 330 * MS);
    assert_ok(b, 2, 0, 330 * MS, 490 * MS);
    assert_int_equal(b->ends[1].arrival_ps, 170 * MS);
}

static void items_take_the_smallest_profiled_batch_that_holds_them(void **state)
{
    struct booked *b = booked_create(*state, HEAD "a,0,0,x,one\n", STAGES, NULL);

    b->input.overheads = &no_overheads;
    booked_add(b, 0, 0, 0)->items = 2;
    booked_add(b, 0, 0, 0)->items = 3;
    booked_add(b, 0, 0, 0)->items = 5;
    booked_add(b, 0, 0, 0)->items = 4;
    booked_run(b);
    assert_ok(b, 0, 0, 0, 150 * MS);
    assert_ok(b, 1, 0, 150 * MS, 400 * MS);
    assert_gone(b, 2, TRACE_REFUSED, 0);
    assert_ok(b, 3, 0, 400 * MS, 650 * MS);
    assert_int_equal(b->spans[1].batch_size, 4);
    assert_int_equal(b->result.busy_ps[0], 650 * MS);
}

static void a_replica_that_is_left_out_serves_nobody(void **state)
{
    struct booked *b =
        booked_create(*state, HEAD "a,0,0,x,one\na,1,0,y,one\nb,0,0,x,one\n", STAGES, NULL);
    const bool is_left_out[3] = { true, false, true };

    b->input.overheads = &no_overheads;
    b->input.is_left_out = is_left_out;
    booked_add(b, 0, 1 * MS, 0);
    booked_add(b, 1, 2 * MS, 0);
    for (int i = 0; i < 2; i++) {
        booked_run(b);
        assert_ok(b, 0, 1, 1 * MS, 101 * MS);
        assert_gone(b, 1, TRACE_REFUSED, 2 * MS);
        b->options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 4 };
    }
}

static void an_epoch_brings_its_replicas_and_takes_devices(void **state)
{
    struct booked *b = booked_create(*state,
                                     "service,replica,stage,device,executable,epoch,from_s\n"
                                     "a,0,0,x,one,0,\nb,0,0,y,one,0,\n"
                                     "a,0,0,y,one,1,1\n"
                                     "a,0,0,x,quick,2,2\n",
                                     STAGES, NULL);
    const int64_t switch_ps[6] = { 0, 0, 0, 50 * MS, 30 * MS, 0 };

    b->input.overheads = &no_overheads;
    b->input.switch_ps = switch_ps;
    booked_add(b, 0, 950 * MS, 0);  /* x until 1050 */
    booked_add(b, 1, 960 * MS, 0);  /* y until 1060 */
    booked_add(b, 0, 1000 * MS, 0); /* y, taken 50 ms more */
    booked_add(b, 1, 1100 * MS, 0); /* nowhere */
    booked_add(b, 0, 2500 * MS, 0); /* x, taken from 2000 to 2030 */
    booked_run(b);
    assert_ok(b, 0, 0, 950 * MS, 1050 * MS);
    assert_int_equal(b->ends[1].start_ps, 960 * MS);
    assert_int_equal(b->ends[2].start_ps, 1110 * MS);
    assert_gone(b, 3, TRACE_REFUSED, 1100 * MS);
    assert_int_equal(b->ends[4].start_ps, 2500 * MS);
    assert_int_equal(b->ends[4].finish_ps, 2510 * MS);
    b->arrivals[4].arrival_ps = 2010 * MS;
    booked_run(b);
    assert_int_equal(b->ends[4].start_ps, 2030 * MS);
}

static void what_cannot_be_done_is_an_error(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);

    booked_add(b, 0, UNITS_MAX_PS - 5 * MS, 0);
    assert_false(booked_try(b));
    assert_string_equal(
        b->err->text,
        "simulated time passes 9000000 s: use a shorter workload (of a run, --until)");
    b = booked_create(*state, "service,replica,stage,device,model\na,0,0,x,gpt2\n", NULL, NULL);
    assert_false(booked_try(b));
    assert_string_equal(b->err->text,
                        "service 'a' is a model: --rules alpaserve know executables alone");
}

static void without_requests_nothing_happens(void **state)
{
    struct booked *b = booked_create(*state, PIPELINE, STAGES, NULL);

    booked_run(b);
    assert_int_equal(b->result.end_ps, 0);
    b->options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 4 };
    booked_run(b);
    assert_int_equal(b->result.event_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_pipeline_takes_its_stages_the_penalty_and_the_response),
        scratch_test(every_stage_of_a_booking_is_told),
        scratch_test(what_would_miss_its_objective_is_dropped_and_books_nothing),
        scratch_test(the_replica_whose_last_stage_is_free_first_is_taken_then_the_first),
        scratch_test(services_on_one_device_wait_for_each_other),
        scratch_test(a_stage_on_several_devices_takes_them_all),
        scratch_test(two_stages_on_one_device_run_in_turn),
        scratch_test(stages_named_by_layers_add_up_and_the_slowest_device_sets_the_pace),
        scratch_test(the_constants_may_be_others),
        scratch_test(a_response_that_is_drawn_belongs_to_its_request),
        scratch_test(a_client_comes_back_when_its_request_has_ended),
        scratch_test(items_take_the_smallest_profiled_batch_that_holds_them),
        scratch_test(a_replica_that_is_left_out_serves_nobody),
        scratch_test(an_epoch_brings_its_replicas_and_takes_devices),
        scratch_test(what_cannot_be_done_is_an_error),
        scratch_test(without_requests_nothing_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
