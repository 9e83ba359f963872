/* test_decoder.c - transformers: steps through stages, first tokens, KV cache, refusals, costs. */
#include "tests/unit/sim/tiny_model.h"

#include "sim/report/report.h"

#define NS UNITS_PS_PER_NS

static void a_request_by_hand_over_two_devices_and_a_source(void **state)
{
    const struct serve_request *request;

    (void)state;
    place_on_two_devices();
    fixture_write("w.csv", W "0,0,chat,4,3\n");
    fixture_must_run();
    request = &fixture.result.requests[0];
    assert_int_equal(request->start_ps, MS + 16 * NS);
    assert_int_equal(request->first_token_ps, 28 * MS + (16 + 128 + 4) * NS);
    assert_int_equal(request->finish_ps, 3 * 28 * MS + (16 + 128 + 4) * NS + 2 * (4 + 32 + 4) * NS);
    assert_int_equal(fixture.result.moved_bytes, 16 + 128 + 4 + 2 * (4 + 32 + 4));
    assert_int_equal(fixture.result.extrapolated_costs, 0);
    assert_non_null(strstr(fixture_stages_text(),
                           "0,chat,0,0,a,0.001000016,0.013000016,0,,prefill\n"
                           "0,chat,0,1,b,0.014000144,0.027000144,0,,prefill\n"
                           "0,chat,0,0,a,0.029000152,0.041000152,1,,decode\n"));
    assert_non_null(strstr(fixture_transfers(), "0,0,,source,a,lan,16,0,0.001000016\n"
                                                "0,0,,a,b,lan,128,0.013000016,0.014000144\n"
                                                "0,0,,b,source,lan,4,0.027000144,0.028000148\n"
                                                "0,1,,source,a,lan,4,"));
    assert_non_null(
        strstr(fixture_requests(), "\n0,chat,0,0,0.001000016,0.028000148,0.084000228,4,3,,ok,"));
}

static void steps_of_requests_interleave_in_order_of_becoming_ready(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n1,0,chat,4,2\n2,0.03,chat,4,1\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 75);
    assert_int_equal(fixture.result.requests[0].first_token_ps, 25 * MS);
    assert_request_ms(2, 30, 75, 100); /* ready at 30, after the step that was ready at 25 */
    assert_int_equal(fixture.result.requests[2].first_token_ps, 100 * MS);
    assert_request_ms(1, 0, 25, 125);
    assert_int_equal(fixture.result.requests[1].first_token_ps, 50 * MS);
}

static void metrics_of_tokens_follow_their_definitions(void **state)
{
    struct report report = { .inputs = &fixture.scenario.inputs };

    (void)state;
    place_on_two_devices();
    fixture_write("w.csv", W "0,0,chat,4,3\n1,10,chat,4,1\n");
    fixture.metrics.has_all = fixture.options.has_parts = true;
    fixture_must_run();
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.all.ttft.count, 2);
    assert_int_equal(report.all.ttft.max, 28 * MS + 148 * NS);
    assert_int_equal(report.all.tpot.count, 1); /* one token has no gap between tokens */
    assert_int_equal(report.all.tpot.mean, 28 * MS + 40 * NS);
    assert_int_equal(report.all.itl.count, 2);
    assert_int_equal(report.all.itl.min, 28 * MS + 40 * NS);
    assert_int_equal(report.all.itl.max, 28 * MS + 40 * NS);
    assert_int_equal(report.all.queue.count, 2);
    assert_int_equal(report.all.queue.max, MS + 16 * NS); /* its way in */
    assert_int_equal(report.all.output_tokens, 4);
    assert_int_equal(report.warning_count, 0);
}

/* Activations of a prompt, of the widest block. */
static int64_t widest_bytes(const struct model *model, int64_t prompt_tokens)
{
    const struct model_step step = { prompt_tokens, 1, prompt_tokens };
    int64_t most = 0;

    for (int block = 0; block < BLOCK_COUNT; block++) {
        int64_t bytes = model_part_work_bytes(model, (enum model_block)block,
                                              (struct model_part){ 0, 0, 1 }, &step);

        most = bytes > most ? bytes : most;
    }
    return most;
}

static void the_cache_is_held_from_dispatch_to_end(void **state)
{
    const struct model *model;
    int64_t weight_bytes, kv_bytes_per_token;

    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n1,0,chat,8,2\n2,10,chat,4,2\n");
    fixture_must_run();
    model = fixture.scenario.input.plan->services[0].model;
    weight_bytes = model_weight_bytes(model);
    kv_bytes_per_token = 2 * model_kv_bytes_per_token(model);
    assert_int_equal(kv_bytes_per_token, 2 * 2 * 8 * 4);
    assert_int_equal(fixture.result.devices[0].peak_bytes,
                     weight_bytes + (6 + 10) * kv_bytes_per_token + widest_bytes(model, 8));
    fixture_cluster(arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\n",
                                 (long long)weight_bytes - 1),
                    NULL);
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "devices.csv:2: device 'a'"));
}

/* One byte less than a run needs: an error, a refusal, or a warning. */
static void what_memory_lacks_is_an_error_a_refusal_or_a_warning(void **state)
{
    struct report report = { .inputs = &fixture.scenario.inputs };
    int64_t peak_bytes;

    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "7,0,chat,4,2\n9,5,chat,3,2\n");
    fixture_must_run();
    peak_bytes = fixture.result.devices[0].peak_bytes;
    fixture_cluster(
        arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\n", (long long)peak_bytes),
        NULL);
    fixture_must_run();
    fixture_cluster(arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\n",
                                 (long long)peak_bytes - 1),
                    NULL);
    assert_false(fixture_run());
    assert_int_equal(fixture.err.kind, ERR_INPUT);
    assert_non_null(strstr(fixture.err.text, "w.csv:2:4: request 7 with 6 tokens comes to its "
                                             "replica at 0 s, and device 'a' would then hold"));
    fixture.options.memory = SERVE_MEMORY_REFUSE;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.requests[1].status, TRACE_OK);
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_string_equal(report.warnings[1],
                        "1 request refused: memory has no room for KV cache and "
                        "activations (request 7, with 6 tokens)");
    fixture.options.memory = SERVE_MEMORY_WARN;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.devices[0].peak_bytes, peak_bytes);
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.warning_count, 2);
    assert_non_null(strstr(report.warnings[1], "device 'a' would need"));
    fixture_cluster("device,type,memory_bytes\na,t,1\n", NULL); /* not even the weights */
    fixture_must_run();
    assert_int_equal(fixture.result.devices[0].peak_bytes, peak_bytes);
}

static void a_context_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv",
                  "request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s\n"
                  "0,,chat,60,5,me,0\n1,,chat,60,4,me,0.007\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.requests[0].replica, -1);
    assert_int_equal(fixture.result.requests[1].status, TRACE_OK); /* the client goes on */
    assert_int_equal(fixture.result.requests[1].arrival_ps, 7 * MS);
    assert_non_null(strstr(fixture_requests(), "\n0,chat,,0,,,,60,5,me,refused,"));
}

static void extrapolated_costs_are_counted_and_warned_of(void **state)
{
    struct report report = { .inputs = &fixture.scenario.inputs };

    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,32,1\n");
    fixture_must_run();
    assert_true(fixture.result.extrapolated_costs > 0);
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.warning_count, 2);
    assert_non_null(strstr(report.warnings[1], "extrapolated"));
}

static void anchors_off_by_more_than_3_percent_are_warned_of(void **state)
{
    struct cost_anchor anchors[3] = {
        { .model = "tiny",
          .phase = OP_PREFILL,
          .tokens = 8,
          .batch = 1,
          .threads = 1,
          .layers = 2,
          .n = 5,
          .forward_mean_ps = 102 * MS,
          .ci_ps = MS,
          .sum_chain_ps = 100 * MS,
          .kappa = 1.02 },
        { .model = "tiny",
          .phase = OP_PREFILL,
          .tokens = 16,
          .batch = 1,
          .threads = 1,
          .layers = 2,
          .n = 5,
          .forward_mean_ps = 95 * MS,
          .ci_ps = MS,
          .sum_chain_ps = 100 * MS,
          .kappa = 0.95 },
        { .model = "tiny",
          .phase = OP_DECODE,
          .tokens = 1,
          .kv_len = 8,
          .batch = 1,
          .threads = 1,
          .layers = 2,
          .n = 5,
          .forward_mean_ps = 104 * MS,
          .ci_ps = MS,
          .sum_chain_ps = 100 * MS,
          .kappa = 1.04 },
    };
    struct report report = { .inputs = &fixture.scenario.inputs };
    struct out *out;

    (void)state;
    out = out_open(fixture.arena, fixture_path("costs/t/anchors.csv"), &fixture.err);
    assert_non_null(out);
    cost_write_anchors(out, anchors, 3);
    assert_true(out_commit(out, &fixture.err));
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n");
    fixture_must_run();
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.warning_count, 3);
    assert_int_equal(report.loud_count, 2);
    assert_ptr_equal(report.loud_warnings[0], report.warnings[1]);
    assert_non_null(strstr(report.warnings[1],
                           "costs of 't': kappa of tiny prefill is 0.950 (16 "
                           "tokens, 0 keys): a whole forward took 5.0 % shorter"));
    assert_non_null(strstr(report.warnings[1], "--kappa on would correct for it"));
    assert_non_null(strstr(report.warnings[2], "kappa of tiny decode is 1.040 (1 tokens, 8 keys)"));
}

static void write_anchors(const char *lines)
{
    fixture_write("costs/t/anchors.csv",
                  arena_printf(fixture.arena,
                               "model,phase,s,kv_len,batch,threads,dtype,forward_mean_ns,"
                               "sum_chain_ns,kappa\n%s",
                               lines));
}

static int64_t finish_ps(void)
{
    fixture_must_run();
    return fixture.result.requests[0].finish_ps;
}

static void kappa_scales_each_phase_by_its_nearest_anchor(void **state)
{
    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n");
    write_anchors("tiny,prefill,8,8,1,1,f32,1,1,1.5\ntiny,prefill,2,2,1,1,,1,1,1.25\n"
                  "tiny,decode,1,6,1,,f32,1,1,0.5\ntiny,decode,1,6,1,2,f32,1,1,9\n"
                  "tiny,decode,1,5,1,1,q8_0,1,1,9\nreader,decode,1,5,1,1,f32,1,1,9\n");
    int64_t plain_ps = finish_ps();
    assert_false(fixture.result.lacks_kappa);
    fixture.options.has_kappa = true;
    /* 4 tokens lie as near to 2 as to 8, and 8 stands first; each step makes 25 calls of 1 ms */
    assert_int_equal(plain_ps, 50 * MS);
    assert_int_equal(finish_ps(), 25 * MS * 3 / 2 + 25 * MS / 2);
    assert_false(fixture.result.lacks_kappa);
}

static void a_step_without_an_anchor_keeps_its_cost_and_says_so(void **state)
{
    struct report report = { .inputs = &fixture.scenario.inputs, .has_kappa = true };

    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n");
    write_anchors("tiny,prefill,4,4,1,1,f32,1,1,1.01\n");
    fixture.options.has_kappa = true;
    assert_int_equal(finish_ps(), 25 * MS * 101 / 100 + 25 * MS);
    assert_true(fixture.result.lacks_kappa);
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.loud_count, 1);
    assert_non_null(strstr(report.loud_warnings[0], "without an anchor"));
}

static void only_anchors_of_what_runs_are_warned_of(void **state)
{
    struct report report = { .inputs = &fixture.scenario.inputs, .has_kappa = true };

    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n");
    write_anchors("tiny,prefill,4,4,1,1,f32,1,1,1.029\nreader,prefill,4,4,1,1,f32,1,1,2\n"
                  "tiny,prefill,4,4,1,4,f32,1,1,2\ntiny,decode,1,6,1,0,f32,1,1,0.96\n"
                  "tiny,decode,1,8,1,1,f32,1,1,0.95\n");
    (void)finish_ps();
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.loud_count, 1);
    assert_non_null(strstr(report.loud_warnings[0], "decode is 0.950 (1 tokens, 8 keys)"));
    assert_non_null(strstr(report.loud_warnings[0], "--kappa on corrects for it"));
}

static void a_disturbed_table_is_warned_of(void **state)
{
    struct report report = { .inputs = &fixture.scenario.inputs };

    (void)state;
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n");
    fixture_write("costs/t/device.csv", "key,value\nquality,good: 40 rounds\n");
    (void)finish_ps();
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.loud_count, 0);
    fixture_write("costs/t/device.csv", "key,value\nquality,disturbed: memory hog\n");
    (void)finish_ps();
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    assert_int_equal(report.loud_count, 1);
    assert_string_equal(report.loud_warnings[0],
                        "costs of 't' were measured under disturbance: disturbed: memory hog");
}

static void an_encoder_has_one_step_and_its_first_token_is_its_finish(void **state)
{
    (void)state;
    fixture_write("p.csv", "service,replica,stage,device,model\nread,0,0,a,reader\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n0,0,read,8\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[0].first_token_ps,
                     fixture.result.requests[0].finish_ps);
    assert_non_null(strstr(fixture_stages_text(), ",0,,prefill\n"));
}

static void an_operator_without_a_measured_row_ends_the_run(void **state)
{
    struct out *out;

    (void)state;
    out = out_open(fixture.arena, fixture_path("costs/t/kernels.csv"), &fixture.err);
    cost_write_kernels(out, "test", NULL, rows, 3);
    assert_true(out_commit(out, &fixture.err));
    place_on_one_device();
    fixture_write("w.csv", W "0,0,chat,4,2\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "costs/t"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_by_hand_over_two_devices_and_a_source),
        TEST(steps_of_requests_interleave_in_order_of_becoming_ready),
        TEST(metrics_of_tokens_follow_their_definitions),
        TEST(the_cache_is_held_from_dispatch_to_end),
        TEST(what_memory_lacks_is_an_error_a_refusal_or_a_warning),
        TEST(a_context_that_does_not_fit_is_refused),
        TEST(extrapolated_costs_are_counted_and_warned_of),
        TEST(anchors_off_by_more_than_3_percent_are_warned_of),
        TEST(kappa_scales_each_phase_by_its_nearest_anchor),
        TEST(a_step_without_an_anchor_keeps_its_cost_and_says_so),
        TEST(only_anchors_of_what_runs_are_warned_of),
        TEST(a_disturbed_table_is_warned_of),
        TEST(an_encoder_has_one_step_and_its_first_token_is_its_finish),
        TEST(an_operator_without_a_measured_row_ends_the_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
