/* test_wire_bits.c - stages that send their values in few bits: fewer bytes, and time to code them.
 */
#include "tests/unit/sim/tiny_model.h"

#define DEVICES "device,type,encode_value_ns,decode_value_ns,speed_ratio\n"
#define LINKS                                                                                      \
    "medium,kind,node,bits_per_s,latency_s\n"                                                      \
    "lan,switch,a,8e6,0\nlan,switch,b,8e6,0\nlan,switch,source,8e6,0\n"
#define BOXES "executable,stage,latency_s,output_bytes\n"
#define PLACED "service,replica,stage,device,executable,wire_bits\n"

/* 4000 bytes are 1000 values: in 8 bits 1000 bytes and 8; at 1 byte a us. */
static void an_executable_sends_less_and_computes_longer(void **state)
{
    (void)state;
    fixture_stages(BOXES "x,0,0.020,4000\nx,1,0.030,4000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,8\ns,0,1,b,x,8\n");
    fixture_cluster(DEVICES "a,t,1000,,\nb,t,,3000,0.5\n", LINKS);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    fixture_must_run();
    /* 20 + 1 ms to code, 1.008 of link, (30 + 3) / 0.5, 4 of link back: what leaves the last stage
     * is as it is. */
    assert_int_equal(fixture.result.requests[0].finish_ps, 92 * MS + 8 * UNITS_PS_PER_US);
    assert_string_equal(fixture_transfers(),
                        "# orrery: transfers 1\n"
                        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,"
                        "receive_s\n"
                        "0,0,,source,a,lan,0,0,0\n"
                        "0,0,,a,b,lan,1008,0.021,0.022008\n"
                        "0,0,,b,source,lan,4000,0.088008,0.092008\n");
}

static void all_ways_agree_on_it(void **state)
{
    const char *requests = NULL;

    (void)state;
    fixture_stages(BOXES "x,0,0.020,4000\nx,1,0.030,4000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,5\ns,0,1,b,x,\n");
    fixture_cluster(DEVICES "a,t,7,,\nb,t,,11,\n", LINKS);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.001,s\n2,0.09,s\n");
    for (int way = 0; way < SERVE_FAST_COUNT; way++) {
        assert_true(fixture_load());
        fixture.options.fast_path = (enum serve_fast)way;
        assert_true(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, NULL,
                              &fixture.result, &fixture.err));
        assert_int_equal(fixture.result.fast_path, way);
        if (requests)
            assert_string_equal(fixture_requests(), requests);
        requests = fixture_requests();
    }
}

static void values_that_are_no_f32_are_an_error(void **state)
{
    (void)state;
    fixture_stages(BOXES "x,0,0.020,4001\nx,1,0.030,4000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,8\ns,0,1,b,x,8\n");
    fixture_cluster(DEVICES "a,t,,,\nb,t,,,\n", LINKS);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "output_bytes of stage 0 of 'x' is '4001': with "
                                             "wire_bits 8 expected a multiple of 4"));
}

/* Two layers of 11 ms, embed 1, lm_head 2. A hidden state has 8 values a token: 5 tokens are 40, in
 * 4 bits 5 words and 8 bytes; one token is one word. Coding 0.1 ms a value, restoring 0.2. */
static void a_model_does_so_for_every_token(void **state)
{
    (void)state;
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block,wire_bits\n"
                           "s,0,0,a,tiny,,embed,4\ns,0,0,a,tiny,0,layer,\n"
                           "s,0,1,b,tiny,1,layer,\ns,0,1,b,tiny,,lm_head,\n");
    fixture_cluster(DEVICES "a,t,100000,,\nb,t,,200000,\n", LINKS);
    fixture_write("w.csv", W "0,0,s,5,2\n");
    fixture_must_run();
    assert_string_equal(
        fixture_transfers(),
        "# orrery: transfers 1\n"
        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,receive_s\n"
        "0,0,,source,a,lan,20,0,0.00002\n"
        "0,0,,a,b,lan,28,0.01602,0.016048\n"      /* 12 + 40 x 0.1 */
        "0,0,,b,source,lan,4,0.037048,0.037052\n" /* 13 + 40 x 0.2 */
        "0,1,,source,a,lan,4,0.037052,0.037056\n"
        "0,1,,a,b,lan,12,0.049856,0.049868\n"       /* 12 + 8 x 0.1 */
        "0,1,,b,source,lan,4,0.064468,0.064472\n"); /* 13 + 8 x 0.2 */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_executable_sends_less_and_computes_longer),
        TEST(all_ways_agree_on_it),
        TEST(values_that_are_no_f32_are_an_error),
        TEST(a_model_does_so_for_every_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
