/* test_decoder_changes.c - transformers while devices fail, change or move, by hand; and what does
 * not fit into memory. A step on one device takes 25 ms. */
#include "tests/unit/sim/tiny_model.h"

#include "lib/format/cluster.h"
#include "lib/format/trace.h"

static void events(const char *rows_of_events)
{
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv",
                  arena_printf(fixture.arena, "time_s,target,event,value\n%s", rows_of_events));
}

static void assert_first_token_ms(size_t index, int64_t first_token)
{
    assert_int_equal(fixture.result.requests[index].first_token_ps, first_token * MS);
}

static void a_decoder_that_fails_keeps_its_first_token_and_frees_its_cache(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,3\n1,0,chat,4,3\n2,0.100,chat,4,1\n");
    events("0.080,a,down,\n0.090,a,up,\n");
    fixture_must_run(); /* the self-check would find a cache that is left */
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_first_token_ms(0, 25);
    assert_int_equal(fixture.result.requests[0].finish_ps, TRACE_NONE);
    assert_int_equal(fixture.result.requests[1].status, TRACE_FAILED);
    assert_first_token_ms(1, 50);
    assert_request_ms(2, 100, 100, 125);
    assert_int_equal(fixture.result.devices[0].busy_ps, 105 * MS);
}

static void a_speed_counts_for_steps_that_wait(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n1,0,chat,4,1\n");
    events("0.010,a,speed_ratio,0.5\n0.030,a,speed_ratio,1\n");
    fixture_must_run();
    assert_first_token_ms(0, 25);
    assert_request_ms(1, 0, 25, 75); /* started at half the speed */
    assert_request_ms(0, 0, 0, 100); /* the second step came after it */
}

static void a_speed_is_known_to_least_idle(void **state)
{
    (void)state;
    fixture_write("p.csv",
                  "service,replica,stage,device,model\nchat,0,0,a,tiny\nchat,1,0,b,tiny\n");
    fixture_write("w.csv", W "0,0,chat,4,1\n1,0,chat,4,1\n2,0,chat,4,1\n3,0.002,chat,4,1\n");
    events("0.001,a,speed_ratio,0.1\n");
    fixture_must_run();
    assert_request_ms(2, 0, 25, 275);
    assert_int_equal(fixture.result.requests[3].replica, 1);
    assert_request_ms(3, 2, 25, 50);
}

static void a_decoder_ends_where_it_began_though_the_epoch_is_another(void **state)
{
    (void)state;
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block,epoch,from_s\n"
                           "chat,0,0,a,tiny,,all,0,\n"
                           "chat,0,0,b,tiny,,embed,1,0.030\nchat,0,0,b,tiny,0,layer,1,0.030\n"
                           "chat,0,1,a,tiny,1,layer,1,0.030\nchat,0,1,a,tiny,,lm_head,1,0.030\n");
    fixture_write("w.csv", W "0,0,chat,4,3\n1,0.031,chat,4,1\n");
    fixture.options.switch_cost_ps = 10 * MS;
    fixture_must_run();
    assert_int_equal(fixture.result.migrations, 2);
    assert_first_token_ms(0, 25);
    assert_request_ms(0, 0, 0, 85);   /* 50, a switch of 10, 25 */
    assert_request_ms(1, 31, 40, 98); /* on b until 52, on a behind request 0 */
}

static void slices_that_stay_are_no_migration(void **state)
{
    (void)state;
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block,epoch,from_s\n"
                           "chat,0,0,a,tiny,,embed,0,\nchat,0,0,a,tiny,0,layer,0,\n"
                           "chat,0,1,b,tiny,1,layer,0,\nchat,0,1,b,tiny,,lm_head,0,\n"
                           "chat,4,0,a,tiny,,embed,1,0.001\nchat,4,0,a,tiny,0,layer,1,0.001\n"
                           "chat,4,1,c,tiny,1,layer,1,0.001\nchat,4,1,c,tiny,,lm_head,1,0.001\n");
    fixture_write("w.csv", W "0,0.002,chat,4,1\n");
    fixture.options.switch_cost_ps = 10 * MS;
    fixture_must_run();
    assert_int_equal(fixture.result.migrations, 1); /* c */
    assert_request_ms(0, 2, 2, 27);
}

static void a_worker_delays_every_step_of_every_stage(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,3\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture_write("o.csv", "where,dist,mean_s\nworker,constant,0.001\nsubmit,constant,0.002\n");
    fixture_must_run();
    assert_request_ms(0, 0, 3, 80);
    assert_first_token_ms(0, 28);
    assert_int_equal(fixture.result.requests[0].e2e_ps, 80 * MS);
}

/* ---- memory ---- */

static void a_cache_without_room_is_refused(void **state)
{
    const struct model *model;
    int64_t room_bytes;

    (void)state;
    place_on_one_device();
    fixture_write("w.csv",
                  W "0,0,chat,4,2\n1,0,chat,4,3\n2,0,chat,2,2\n3,1,chat,4,6\n4,2,chat,4,7\n");
    assert_true(fixture_load());
    model = fixture.scenario.input.plan->services[0].model;
    room_bytes = model_weight_bytes(model) + (int64_t)10 * 2 * model_kv_bytes_per_token(model);
    room_bytes += model_part_work_bytes(model, BLOCK_ATTN, (struct model_part){ 0, 0, 1 },
                                        &(struct model_step){ 4, 1, 4 });
    fixture_cluster(
        arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\n", (long long)room_bytes),
        NULL);
    fixture.options.memory = SERVE_MEMORY_REFUSE;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED); /* 6 + 7 tokens */
    assert_int_equal(fixture.result.requests[2].status, TRACE_OK);      /* 6 + 4 */
    assert_int_equal(fixture.result.requests[3].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[4].status, TRACE_REFUSED); /* 11 */
    assert_int_equal(fixture.result.devices[0].peak_bytes, room_bytes);
}

static void replicas_that_do_not_fit_are_left_out_in_file_order(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes,activation_bytes\n"
                   "x,0,0.010,600,10\ny,0,0.010,300,200\nz,0,0.010,350,5\n");
    fixture_write("p.csv", "service,replica,stage,device,executable\n"
                           "s,0,0,a,x\nr,0,0,a,y\nq,0,0,a,z\ns,1,0,b,x\n");
    fixture_cluster("device,type,memory_bytes,reserved_bytes\na,t,1000,40\nb,t,,\n", NULL);
    fixture_write("w.csv",
                  "request_id,arrival_s,service\n0,0,s\n1,0,r\n2,0,q\n3,0.001,s\n4,0.001,s\n");
    assert_false(fixture_run());
    fixture.options.memory = SERVE_MEMORY_REFUSE;
    fixture_must_run(); /* x fits, y's activations do not, z fits as if y had never been there */
    assert_request_ms(0, 0, 0, 10);
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.requests[1].replica, -1);
    assert_request_ms(2, 0, 10, 20);
    assert_int_equal(fixture.result.requests[3].replica, 3);
    assert_int_equal(fixture.result.devices[0].peak_bytes, 600 + 350 + 10 + 40);
    for (int kind = 0; kind < SERVE_FAST_COUNT; kind++) { /* whatever way it is computed */
        fixture.options.fast_path = (enum serve_fast)kind;
        if (!fixture_load() || !serve_run(fixture.arena, &fixture.scenario.input, &fixture.options,
                                          NULL, &fixture.result, &fixture.err))
            fail_msg("%s", fixture.err.text);
        assert_int_equal(fixture.result.refused[SERVE_REFUSAL_PLACEMENT].count, 1);
        assert_int_equal(fixture.result.refused[SERVE_REFUSAL_PLACEMENT].first_id, 1);
    }
    fixture.options.rules = SERVE_ALPASERVE;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED);
}

/* Failed when a device is down, but refused when it was memory that left the replica out. */
static void what_is_left_out_is_not_down(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes\nx,0,0.010,600\n");
    fixture_write("p.csv", "service,replica,stage,device,executable\ns,0,0,a,x\ns,1,0,b,x\n"
                           "r,0,0,b,x\n");
    fixture_cluster("device,type,memory_bytes\na,t,1000\nb,t,500\n", NULL);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,r\n1,0,s\n2,0.020,s\n3,0.020,r\n");
    fixture.options.memory = SERVE_MEMORY_REFUSE;
    events("0.015,a,down,\n0.016,b,down,\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_REFUSED);
    assert_request_ms(1, 0, 0, 10);
    assert_int_equal(fixture.result.requests[2].status, TRACE_FAILED);
    assert_int_equal(fixture.result.requests[3].status, TRACE_REFUSED);
}

static void a_device_needs_what_its_fullest_epoch_needs(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes\nx,0,0.010,600\ny,0,0.010,500\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,epoch,from_s\n"
                           "s,0,0,a,y,0,\ns,0,0,a,x,1,0.005\ns,0,0,a,y,2,0.010\n");
    fixture_cluster("device,type,memory_bytes\na,t,600\n", NULL);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    fixture_must_run();
    assert_int_equal(fixture.result.devices[0].peak_bytes, 600);
    fixture_cluster("device,type,memory_bytes\na,t,599\n", NULL);
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "devices.csv:2: device 'a' has"));
}

static void admission_of_models_is_refused(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,1\n");
    for (int kind = ADMIT_SLO; kind < ADMIT_KIND_COUNT; kind++) {
        fixture.options.admission = (enum admit_kind)kind;
        assert_false(fixture_run());
        assert_non_null(strstr(fixture.err.text, "--admission: this version"));
        assert_non_null(strstr(fixture.err.text, "service 'chat' is a model"));
    }
}

static void alpaserve_of_models_is_refused(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,1\n");
    fixture.options.rules = SERVE_ALPASERVE;
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "--rules alpaserve: for executables alone"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_decoder_that_fails_keeps_its_first_token_and_frees_its_cache),
        TEST(a_speed_counts_for_steps_that_wait),
        TEST(a_speed_is_known_to_least_idle),
        TEST(a_decoder_ends_where_it_began_though_the_epoch_is_another),
        TEST(slices_that_stay_are_no_migration),
        TEST(a_worker_delays_every_step_of_every_stage),
        TEST(a_cache_without_room_is_refused),
        TEST(replicas_that_do_not_fit_are_left_out_in_file_order),
        TEST(what_is_left_out_is_not_down),
        TEST(a_device_needs_what_its_fullest_epoch_needs),
        TEST(admission_of_models_is_refused),
        TEST(alpaserve_of_models_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
