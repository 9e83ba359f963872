/* test_stations.c - queues that are looked at when a device is free; what is booked; stages on
 * several devices; ties; times at the end of the calendar. By hand. */
#include "tests/unit/sim/fixture.h"

#include "lib/format/cluster.h"
#include "lib/format/trace.h"

#define STAGES "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define OBJECTIVES "request_id,arrival_s,service,slo_s\n"

static void assert_dropped(size_t index, int32_t replica)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_DROPPED);
    assert_int_equal(request->replica, replica);
    assert_int_equal(request->start_ps, TRACE_NONE);
    assert_int_equal(request->finish_ps, TRACE_NONE);
}

/* ---- objectives ---- */

static void slo_drops_at_dispatch_what_would_be_late(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0.002\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv",
                  OBJECTIVES "0,0,s,\n1,0,s,0.022\n2,0,s,0.033999\n3,0,s,0.034\n4,0.1,s,\n");
    fixture.options.admission = ADMIT_SLO;
    fixture.options.slo_ps = 30 * MS; /* of those without their own */
    fixture_must_run();
    assert_request_ms(0, 0, 0, 10);
    assert_request_ms(1, 0, 12, 22);
    assert_dropped(2, -1);
    assert_request_ms(3, 0, 24, 34);
    assert_request_ms(4, 100, 100, 110);
    /* what is dropped takes nothing and is not booked */
    assert_int_equal(fixture.result.devices[0].busy_ps, 40 * MS);
    assert_int_equal(fixture.result.devices[0].offered_ps, 48 * MS);
}

static void late_drops_when_the_first_stage_would_start(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\nx,1,0.005,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_write("w.csv", OBJECTIVES "0,0,s,0.015\n1,0,s,0.024\n2,0,s,0.025\n3,0,s,\n");
    fixture.options.admission = ADMIT_LATE;
    fixture_must_run();
    assert_request_ms(0, 0, 0, 15);
    assert_dropped(1, 0);
    assert_request_ms(2, 0, 10, 25);
    assert_request_ms(3, 0, 20, 35);
}

/* In batches of two each would be 6 ms and a gap of 1, alone 10 and 1. */
static void what_is_dropped_late_was_offered(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0.001\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", OBJECTIVES "0,0,s,\n1,0,s,0.015\n2,0,s,0.015\n3,0.001,s,\n");
    fixture.options.admission = ADMIT_LATE;
    fixture_must_run();
    assert_dropped(1, 0);
    assert_dropped(2, 0);
    assert_int_equal(fixture.result.devices[0].offered_ps, 44 * MS);
    assert_int_equal(fixture.result.devices[0].busy_ps, 20 * MS);
    fixture_write("costs/t/stages.csv", "executable,stage,batch,latency_s,gap_s\n"
                                        "x,0,1,0.010,0.001\nx,0,2,0.012,0.002\n");
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    fixture_must_run();
    assert_dropped(1, 0);
    assert_dropped(2, 0);
    assert_int_equal(fixture.result.devices[0].offered_ps, 2 * 11 * MS + 2 * 7 * MS);
}

/* 4 tokens in and 16 bytes on at 1 byte / ms, a latency of 1: 17 + 10 + 17 + 5 + 17, which nothing
 * but links makes longer than 15. */
static void links_count_towards_an_objective(void **state)
{
    static const enum admit_kind kinds[] = { ADMIT_SLO, ADMIT_LATE };

    (void)state;
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "l,switch,*,8000,0.001\n");
    fixture_write("costs/t/stages.csv", "executable,stage,latency_s,output_bytes\n"
                                        "x,0,0.010,16\nx,1,0.005,16\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens,slo_s\n"
                           "0,0,s,4,0.066\n1,1,s,4,0.065999\n");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        fixture.options.admission = kinds[i];
        fixture_must_run();
        assert_request_ms(0, 0, 17, 66);
        assert_dropped(1, kinds[i] == ADMIT_SLO ? -1 : 0);
    }
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    fixture_must_run();
    assert_request_ms(0, 0, 17, 66);
    assert_dropped(1, 0);
}

static void overheads_count_towards_an_objective(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\nx,1,0.005,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_write("w.csv", OBJECTIVES "0,0,s,0.024\n1,1,s,0.023999\n2,2,s,0.024\n"
                                      "3,2,s,0.033999\n");
    fixture_write("o.csv", "where,dist,mean_s\ndispatch,constant,0.003\nworker,constant,0.003\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture.options.admission = ADMIT_SLO;
    fixture_must_run();
    assert_request_ms(0, 0, 6, 24);
    assert_dropped(1, -1);
    assert_request_ms(2, 2000, 2006, 2024);
    assert_dropped(3, -1); /* stage 0 is promised to 2, which is on its way there */
}

/* Dropped jobs of b do not keep r, which comes to b from a, out of time. */
static void what_is_dropped_late_is_no_longer_booked(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010,0\ntwo,0,0.005,0\ntwo,1,0.005,0\n");
    fixture_write("p.csv", PLACED "s,0,0,b,one\nr,0,0,a,two\nr,0,1,b,two\n");
    fixture_write("w.csv", OBJECTIVES "0,0,s,\n1,0,s,0.001\n2,0,s,0.001\n3,0,s,0.001\n"
                                      "4,0.010,r,0.015\n");
    fixture.options.admission = ADMIT_LATE;
    fixture_must_run();
    for (size_t i = 1; i < 4; i++)
        assert_dropped(i, 0);
    assert_request_ms(4, 10, 10, 20);
}

static void what_is_dropped_late_lets_its_other_devices_go_on(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010,0\ntwo,0,0.010,0\n");
    fixture_write("p.csv", PLACED "q,0,0,a,one\ns,0,0,a,two\ns,0,0,b,two\nr,0,0,b,one\n");
    fixture_write("w.csv", OBJECTIVES "0,0,q,\n1,0.001,s,0.005\n2,0.002,r,\n");
    fixture.options.admission = ADMIT_LATE;
    fixture_must_run();
    assert_dropped(1, 1);
    assert_request_ms(2, 2, 10, 20);
}

/* The end of b's gap falls on the instant at which a, which comes first, starts the job on both. */
static void a_planned_look_ends_with_the_start_of_a_job(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010,0.004\ntwo,0,0.010,0\n");
    fixture_write("p.csv", PLACED "t,0,0,a,two\nr,0,0,b,one\ns,0,0,a,two\ns,0,0,b,two\n");
    fixture_write("w.csv", REQUESTS "0,0,r\n1,0.004,t\n2,0.006,s\n");
    fixture.options.admission = ADMIT_LATE;
    fixture_must_run();
    assert_request_ms(2, 6, 14, 24);
}

/* ---- the rule of dlsim ---- */

static void dlsim_jobs_that_meet_others_are_late_in_every_form(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0.007\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0.020,s\n3,0.038,s\n4,0.060,s\n");
    fixture.options.rules = SERVE_DLSIM;
    for (int kind = ADMIT_NONE; kind < ADMIT_KIND_COUNT; kind++) {
        fixture.options.admission = (enum admit_kind)kind;
        fixture_must_run();
        assert_request_ms(0, 0, 0, 10);
        assert_request_ms(1, 0, 14, 24);
        assert_request_ms(2, 20, 28, 38);
        assert_request_ms(3, 38, 38, 48); /* ends go before arrivals; there is no gap */
        assert_request_ms(4, 60, 60, 70);
    }
}

/* The job of a and b waits for b, and so a has work as well. */
static void dlsim_devices_have_work_while_anything_waits_there(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010,0\ntwo,0,0.010,0\n");
    fixture_write("p.csv", PLACED "q,0,0,a,one\nr,0,0,b,one\ns,0,0,a,two\ns,0,0,b,two\n");
    fixture_write("w.csv", REQUESTS "0,0,r\n1,0.001,s\n2,0.002,q\n");
    fixture.options.rules = SERVE_DLSIM;
    fixture_must_run();
    assert_request_ms(1, 1, 14, 24);
    assert_request_ms(2, 2, 28, 38);
}

/* ---- order ---- */

/* Both jobs end at 10 and go to c: that of the device whose name comes first is first there. */
static void ends_of_one_instant_go_by_the_names_of_devices(void **state)
{
    static const char *const orders[] = { "n:2,t\nn:10,t\nc,t\n", "c,t\nn:10,t\nspare,t\nn:2,t\n" };

    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\nx,1,0.005,0\n");
    fixture_write("p.csv", PLACED "s,0,0,n:10,x\ns,0,1,c,x\nr,0,0,n:2,x\nr,0,1,c,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,r\n");
    for (int i = 0; i < 3; i++) {
        if (i < 2)
            fixture_cluster(arena_printf(fixture.arena, "device,type\n%s", orders[i]), NULL);
        else
            fixture.files.cluster = NULL; /* devices as the placement names them */
        fixture_must_run();
        assert_request_ms(1, 0, 0, 15);
        assert_request_ms(0, 0, 0, 20);
    }
}

/* ---- stages on several devices ---- */

static void a_stage_of_several_types_sends_what_its_first_device_makes(void **state)
{
    (void)state;
    fixture_write("costs/t/stages.csv", "executable,stage,latency_s,gap_s,output_bytes\n"
                                        "x,0,0.010,0.001,1000\nx,1,0.001,0,0\n");
    fixture_write("costs/u/stages.csv", "executable,stage,latency_s,gap_s,output_bytes\n"
                                        "x,0,0.004,0.003,5000\nx,1,0.001,0,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,0,b,x\ns,0,1,c,x\n");
    fixture_cluster("device,type\na,t\nb,u\nc,t\n",
                    "medium,kind,node,bits_per_s,latency_s\nl,switch,a,1e6,0\nl,switch,c,1e6,0\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 19);  /* the slower latency, 8 on the link, 1 */
    assert_request_ms(1, 0, 13, 32); /* the longer gap */
    assert_int_equal(fixture.result.moved_bytes, 2000);
}

static void a_stage_of_several_types_needs_a_batch_size_of_them_all(void **state)
{
    (void)state;
    fixture_write("costs/t/stages.csv",
                  "executable,stage,latency_s,batch\nx,0,0.010,1\nx,0,0.012,4\n");
    fixture_write("costs/u/stages.csv", "executable,stage,latency_s,batch\nx,0,0.004,2\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,0,b,x\n");
    fixture_cluster("device,type\na,t\nb,u\n", NULL);
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "'x' have no batch size in common"));
    fixture_write("costs/u/stages.csv",
                  "executable,stage,latency_s,batch\nx,0,0.004,2\nx,0,0.1,4\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 100); /* 4 is the only one */
}

static void alpaserve_refuses_what_it_does_not_know(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    fixture.options.rules = SERVE_ALPASERVE;
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv", "time_s,target,event,value\n1,a,down,\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "--rules alpaserve: knows no events"));
    fixture.files.events = NULL;
    fixture.files.overhead = fixture_path("o.csv");
    fixture_write("o.csv", "where,dist,mean_s\nworker,constant,1\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "knows the overhead of the response alone"));
    fixture_write("o.csv", "where,dist,mean_s\nresponse,constant,9000000\n");
    fixture_write("w.csv", REQUESTS "0,1,s\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "simulated time passes 9000000 s"));
}

/* ---- the end of the calendar ---- */

static void a_gap_may_go_beyond_the_calendar_and_a_job_may_not(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,5000000,5000000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    fixture_must_run();
    assert_int_equal(fixture.result.end_ps, 5000000 * UNITS_PS_PER_S);
    assert_int_equal(fixture.result.devices[0].gap_ps, 0);
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "simulated time passes 9000000 s"));
    fixture_cluster("device,type,speed_ratio\na,t,0.000001\n", NULL);
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "simulated time passes 9000000 s"));
    fixture_stages(STAGES "x,0,0,0\n");
    fixture_must_run();
}

static void offered_work_saturates(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0,8000000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,s\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "simulated time passes 9000000 s"));
}

static void bytes_moved_saturate(void **state)
{
    struct out *out;

    (void)state;
    fixture_stages("executable,stage,latency_s,output_bytes\nx,0,0,1125899906842624\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_cluster("device,type\na,t\n",
                    "medium,kind,node,bits_per_s,latency_s\nl,switch,*,1e15,0\n");
    fixture_write("w.csv", "");
    out = out_open(fixture.arena, fixture_path("w.csv"), &fixture.err);
    out_text(out, REQUESTS);
    for (int i = 0; i < 9000; i++) /* each 2^50 bytes, and takes 9 s */
        out_printf(out, "%d,0,s\n", i);
    assert_true(out_commit(out, &fixture.err));
    fixture_must_run();
    assert_int_equal(fixture.result.moved_bytes, INT64_MAX);
    for (int i = 0; i < fixture.result.link_count; i++)
        assert_true(fixture.result.links[i].bytes == 0 ||
                    fixture.result.links[i].bytes == INT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(slo_drops_at_dispatch_what_would_be_late),
        TEST(late_drops_when_the_first_stage_would_start),
        TEST(what_is_dropped_late_was_offered),
        TEST(links_count_towards_an_objective),
        TEST(overheads_count_towards_an_objective),
        TEST(what_is_dropped_late_is_no_longer_booked),
        TEST(what_is_dropped_late_lets_its_other_devices_go_on),
        TEST(a_planned_look_ends_with_the_start_of_a_job),
        TEST(dlsim_jobs_that_meet_others_are_late_in_every_form),
        TEST(dlsim_devices_have_work_while_anything_waits_there),
        TEST(ends_of_one_instant_go_by_the_names_of_devices),
        TEST(a_stage_of_several_types_sends_what_its_first_device_makes),
        TEST(a_stage_of_several_types_needs_a_batch_size_of_them_all),
        TEST(alpaserve_refuses_what_it_does_not_know),
        TEST(a_gap_may_go_beyond_the_calendar_and_a_job_may_not),
        TEST(offered_work_saturates),
        TEST(bytes_moved_saturate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
