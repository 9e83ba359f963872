/* test_trace.c - the rules of traces/README.md for requests, stages and transfers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/trace.h"
#include "tests/unit/scratch.h"

#define HEAD "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s"
#define STAGE_HEAD "request_id,service,replica,stage,device,start_s,finish_s"

static bool load(struct scratch *scratch, const char *text, struct trace_requests *requests)
{
    return trace_requests_load(scratch->arena, scratch_write(scratch, "r.csv", text), requests,
                               scratch_err(scratch));
}

static bool load_stages(struct scratch *scratch, const char *text, struct trace_stages *stages)
{
    return trace_stages_load(scratch->arena, scratch_write(scratch, "s.csv", text), stages,
                             scratch_err(scratch));
}

static void expect_error(struct scratch *scratch, const char *text, const char *begin)
{
    struct trace_requests requests;

    assert_false(load(scratch, text, &requests));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    if (strncmp(scratch_message(scratch), begin, strlen(begin)) != 0)
        fail_msg("'%s' does not begin with '%s'", scratch_message(scratch), begin);
}

static void expect_stage_error(struct scratch *scratch, const char *text, const char *begin)
{
    struct trace_stages stages;

    assert_false(load_stages(scratch, text, &stages));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    if (strncmp(scratch_message(scratch), begin, strlen(begin)) != 0)
        fail_msg("'%s' does not begin with '%s'", scratch_message(scratch), begin);
}

static void a_request_may_leave_everything_but_its_end_empty(void **state)
{
    struct trace_requests r;

    assert_true(load(*state, HEAD "\n0,chat,,0.5,,,2\n", &r));
    assert_int_equal(r.count, 1);
    assert_string_equal(r.requests[0].service, "chat");
    assert_int_equal(r.requests[0].replica, -1);
    assert_int_equal(r.requests[0].arrival_ps, UNITS_PS_PER_S / 2);
    assert_int_equal(r.requests[0].start_ps, TRACE_NONE);
    assert_int_equal(r.requests[0].first_token_ps, TRACE_NONE);
    assert_int_equal(r.requests[0].finish_ps, 2 * UNITS_PS_PER_S);
    assert_int_equal(r.requests[0].prompt_tokens, 0);
    assert_int_equal(r.requests[0].status, TRACE_OK);
    assert_string_equal(r.requests[0].client, "");
    assert_int_equal(r.requests[0].e2e_ps, TRACE_NONE);
    assert_true(load(*state, HEAD "\n", &r));
    assert_int_equal(r.count, 0);
}

static void a_real_start_may_be_negative_and_before_the_arrival(void **state)
{
    struct trace_requests r;

    assert_true(load(*state, HEAD "\n0,a,0,0.1,-0.002,,0.3\n", &r));
    assert_int_equal(r.requests[0].start_ps, -2 * UNITS_PS_PER_MS);
}

static void only_an_ok_request_must_have_arrived_and_finished(void **state)
{
    struct trace_requests r;

    assert_true(load(*state,
                     HEAD ",status\n0,a,,1,,,,dropped\n1,a,,1,,,,refused\n"
                          "2,a,0,1,2,,,failed\n3,a,0,,,,,failed\n",
                     &r));
    assert_int_equal(r.requests[0].status, TRACE_DROPPED);
    assert_int_equal(r.requests[1].status, TRACE_REFUSED);
    assert_int_equal(r.requests[3].arrival_ps, TRACE_NONE);
    expect_error(*state, HEAD "\n0,a,0,1,,,\n",
                 "r.csv:2:7: finish_s is '': expected seconds, since the status is ok");
    expect_error(*state, HEAD ",status\n0,a,0,,,,3,ok\n", "r.csv:2:4: arrival_s is ''");
    expect_error(*state, HEAD ",status\n0,a,0,1,,,3,lost\n", "r.csv:2:8: status is 'lost'");
}

static void rows_in_any_order_come_back_in_workload_order(void **state)
{
    struct trace_requests r;

    assert_true(load(*state, HEAD "\n7,a,0,1,1,,9\n3,b,1,0,0,,8\n5,c,2,0,0,,7\n", &r));
    assert_int_equal(r.count, 3);
    assert_int_equal(r.requests[0].request_id, 3);
    assert_string_equal(r.requests[0].service, "b");
    assert_int_equal(r.requests[1].request_id, 5);
    assert_int_equal(r.requests[2].request_id, 7);
    expect_error(*state, HEAD "\n7,a,0,1,1,,9\n3,b,1,0,0,,8\n7,c,2,0,0,,7\n",
                 "r.csv:4:1: request_id is '7': line 2 has it already");
}

static void bad_request_fields_are_named(void **state)
{
    static const struct {
        const char *row, *begin;
    } bad[] = {
        { ",a,0,1,1,1,2", "r.csv:2:1: request_id is ''" },
        { "-1,a,0,1,1,1,2", "r.csv:2:1: request_id is '-1'" },
        { "0,,0,1,1,1,2", "r.csv:2:2: service is ''" },
        { "0,a,-1,1,1,1,2", "r.csv:2:3: replica is '-1'" },
        { "0,a,0,x,1,1,2", "r.csv:2:4: arrival_s is 'x'" },
        { "0,a,0,1,nan,1,2", "r.csv:2:5: start_s is 'nan'" },
        { "0,a,0,1,1,1e999,2", "r.csv:2:6: first_token_s is '1e999'" },
        { "0,a,0,1,1,1,inf", "r.csv:2:7: finish_s is 'inf'" },
        { "0,a,0,1", "r.csv:2: " },
        { "0,a,0,1,3,,2", "r.csv:2:7: finish_s is '2': must not be before start_s" },
        { "0,a,0,1,1.5,1.4,2", "r.csv:2:6: first_token_s is '1.4': must not be before start_s" },
        { "0,a,0,1,1,2.1,2", "r.csv:2:6: first_token_s is '2.1': must not be after finish_s" },
        { "0,a,0,9000001,1,1,2", "r.csv:2:4: arrival_s is '9000001': expected at most 9000000 " },
        { "0,a,0,-9.3e9,1,1,2", "r.csv:2:4: arrival_s is '-9.3e9': expected at least -9000000 " },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[160];

        (void)snprintf(text, sizeof text, HEAD "\n%s\n", bad[i].row);
        expect_error(*state, text, bad[i].begin);
    }
    expect_error(*state, HEAD ",e2e_s\n0,a,0,1,1,1,2,-0.1\n", "r.csv:2:8: e2e_s is '-0.1': must ");
    expect_error(*state, HEAD ",prompt_tokens\n0,a,0,1,1,1,2,-1\n", "r.csv:2:8: prompt_tokens");
    expect_error(*state, HEAD ",output_tokens\n0,a,0,1,1,1,2,1.5\n", "r.csv:2:8: output_tokens");
    expect_error(*state, HEAD ",e2e_s\n0,a,0,1,1,1,2,x\n", "r.csv:2:8: e2e_s is 'x'");
    expect_error(*state, "request_id,service\n0,a\n", "r.csv:1: missing column 'replica'");
}

static void missing_files_are_system_errors(void **state)
{
    struct scratch *scratch = *state;
    struct trace_requests requests;
    struct trace_stages stages;
    const char *path = arena_printf(scratch->arena, "%s/none.csv", scratch->folder);

    assert_false(trace_requests_load(scratch->arena, path, &requests, scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
    assert_false(trace_stages_load(scratch->arena, path, &stages, scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
}

static void requests_that_are_written_read_back_the_same(void **state)
{
    static const char text[] =
        "# orrery: requests 1\n"
        "# seed: 1\n" HEAD ",prompt_tokens,output_tokens,client,status,e2e_s\n"
        "0,chat,1,0.126146556213,0.5,0.75,2,16,4,c0,ok,2.01\n"
        "1,\"a,b\",,1,,,,,,,dropped,\n"
        "9,chat,0,1,-0.000000000001,,3,,,,ok,\n";
    static const char *const meta[] = { "seed", "1", NULL };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct trace_requests r;

    assert_true(load(scratch, text, &r));
    trace_requests_begin(out, meta);
    for (size_t i = 0; i < r.count; i++)
        trace_request_put(out, &r.requests[i]);
    assert_string_equal(scratch_text(out), text);
}

static void stages_that_are_written_read_back_the_same(void **state)
{
    static const char text[] = "# orrery: stages 1\n" STAGE_HEAD ",step,batch_id,phase\n"
                               "0,chat,1,0,0:1,0.5,0.75,0,3,prefill\n"
                               "0,chat,1,1,0:0,0.75,0.75,1,,decode\n"
                               "1,bert,0,0,0:0,-0.5,1,,,\n";
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct trace_stages s;

    assert_true(load_stages(scratch, text, &s));
    assert_int_equal(s.count, 3);
    assert_int_equal(s.stages[0].phase, OP_PREFILL);
    assert_int_equal(s.stages[1].batch_id, -1);
    assert_int_equal(s.stages[2].phase, OP_ANY);
    assert_int_equal(s.stages[2].step, -1);
    assert_int_equal(s.stages[2].start_ps, -UNITS_PS_PER_S / 2);
    trace_stages_begin(out, NULL);
    for (size_t i = 0; i < s.count; i++)
        trace_stage_put(out, &s.stages[i]);
    assert_string_equal(scratch_text(out), text);
}

static void bad_stage_fields_are_named(void **state)
{
    static const struct {
        const char *row, *begin;
    } bad[] = {
        { "x,a,0,0,d,1,2,,,", "s.csv:2:1: request_id is 'x'" },
        { "0,,0,0,d,1,2,,,", "s.csv:2:2: service is ''" },
        { "0,a,,0,d,1,2,,,", "s.csv:2:3: replica is ''" },
        { "0,a,0,-1,d,1,2,,,", "s.csv:2:4: stage is '-1'" },
        { "0,a,0,0,,1,2,,,", "s.csv:2:5: device is ''" },
        { "0,a,0,0,d,,2,,,", "s.csv:2:6: start_s is ''" },
        { "0,a,0,0,d,1,,,,", "s.csv:2:7: finish_s is ''" },
        { "0,a,0,0,d,1,0.5,,,", "s.csv:2:7: finish_s is '0.5': must not be before start_s" },
        { "0,a,0,0,d,1,2,-1,,", "s.csv:2:8: step is '-1'" },
        { "0,a,0,0,d,1,2,,x,", "s.csv:2:9: batch_id is 'x'" },
        { "0,a,0,0,d,1,2,,,any", "s.csv:2:10: phase is 'any'" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[160];

        (void)snprintf(text, sizeof text, STAGE_HEAD ",step,batch_id,phase\n%s\n", bad[i].row);
        expect_stage_error(*state, text, bad[i].begin);
    }
}

static void stages_are_sorted_by_request_step_stage_and_device(void **state)
{
    static const int lines[] = { 7, 3, 4, 8, 6, 2, 5 };
    struct scratch *scratch = *state;
    struct trace_stages s;

    assert_true(load_stages(scratch,
                            STAGE_HEAD ",step\n3,a,0,0,d,0,1,\n1,a,0,0,e,0,1,0\n1,a,0,1,d,0,1,0\n"
                                       "4,a,0,0,d,0,1,\n1,a,0,1,d,0,1,2\n1,a,0,0,d,0,1,\n"
                                       "1,a,0,0,f,0,1,1\n",
                            &s));
    assert_int_equal(s.stages[0].line, 2);
    assert_true(trace_stages_sort(&s, scratch_err(scratch)));
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(s.stages[i].line, lines[i]);
}

static void a_stage_that_is_there_twice_is_found_when_sorting(void **state)
{
    struct scratch *scratch = *state;
    struct trace_stages s;

    assert_true(load_stages(scratch,
                            STAGE_HEAD ",step\n1,a,0,0,d,0,1,\n1,a,0,0,e,0,1,\n2,a,0,0,d,0,1,\n"
                                       "1,a,1,0,d,5,6,0\n",
                            &s));
    assert_false(trace_stages_sort(&s, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "s.csv:5: same request_id, step, stage and device as line 2");
}

static void transfers_are_written_with_their_times(void **state)
{
    static const struct trace_transfer transfers[] = {
        { 4, 2, -1, "a", "b", "lan", 3072, UNITS_PS_PER_S, UNITS_PS_PER_S + 1 },
        { 5, 0, 7, "source", "a", "", 0, 0, 0 },
    };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);

    trace_transfers_begin(out, NULL);
    for (int i = 0; i < 2; i++)
        trace_transfer_put(out, &transfers[i]);
    assert_string_equal(scratch_text(out),
                        "# orrery: transfers 1\n"
                        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,"
                        "receive_s\n"
                        "4,2,,a,b,lan,3072,1,1.000000000001\n"
                        "5,0,7,source,a,,0,0,0\n");
}

static void utilisation_is_written_to_six_decimals(void **state)
{
    static const struct trace_utilisation rows[] = {
        { 0, UNITS_PS_PER_S, "device", "a", UNITS_PS_PER_S, 0, 0, 0 },
        { 0, 3, "device", "b,c", 1, 2, 12000000, 4096 },
        { 7 * UNITS_PS_PER_S, 8 * UNITS_PS_PER_S, "link", "lan/a", UNITS_PS_PER_S / 1000000 * 50300,
          TRACE_NONE, 1500001, TRACE_NONE },
        { 0, 2000000, "device", "d", 1, 3, INT64_C(9000000000000000000),
          TRACE_NONE }, /* halves to even */
    };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);

    trace_utilisation_begin(out, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        trace_utilisation_put(out, &rows[i]);
    assert_string_equal(scratch_text(out),
                        "# orrery: utilisation 1\n"
                        "window_start_s,window_end_s,kind,target,busy_ratio,gap_ratio,queue_mean,"
                        "kv_peak_bytes\n"
                        "0,1,device,a,1,0,0,0\n"
                        "0,0.000000000003,device,\"b,c\",0.333333,0.666667,12,4096\n"
                        "7,8,link,lan/a,0.0503,,1.500001,\n"
                        "0,0.000002,device,d,0,0.000002,9000000000000,\n");
}

static void long_traces_are_read_whole(void **state)
{
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct trace_requests r;

    out_text(out, HEAD "\n");
    for (int i = 2000; i > 0; i--)
        out_printf(out, "%d,s%d,0,%d,%d,,%d\n", i, i % 3, i, i, i + 1);
    assert_true(load(scratch, scratch_text(out), &r));
    assert_int_equal(r.count, 2000);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(r.requests[i].request_id, i + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_request_may_leave_everything_but_its_end_empty),
        scratch_test(a_real_start_may_be_negative_and_before_the_arrival),
        scratch_test(only_an_ok_request_must_have_arrived_and_finished),
        scratch_test(rows_in_any_order_come_back_in_workload_order),
        scratch_test(bad_request_fields_are_named),
        scratch_test(missing_files_are_system_errors),
        scratch_test(requests_that_are_written_read_back_the_same),
        scratch_test(stages_that_are_written_read_back_the_same),
        scratch_test(bad_stage_fields_are_named),
        scratch_test(stages_are_sorted_by_request_step_stage_and_device),
        scratch_test(a_stage_that_is_there_twice_is_found_when_sorting),
        scratch_test(transfers_are_written_with_their_times),
        scratch_test(utilisation_is_written_to_six_decimals),
        scratch_test(long_traces_are_read_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
