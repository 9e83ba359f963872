/* test_sliced_run.c - sliced stages among others: pipelines, shared devices, traces, memory, links
 * that fail; and their passes in closed form against those of events. */
#include "tests/unit/sim/sliced_rules.h"

#include "lib/format/cluster.h"

/* Intra-op and inter-op at once: two stages of two devices each. A stage runs one pass at a time;
 * while the second works on one request, the first works on the next. */
static void stages_of_several_devices_make_a_pipeline(void **state)
{
    int64_t stage[2], times[2], hand_over = message_ps(4 * HIDDEN * 4), gather = message_ps(8);
    int64_t begin_ps = 0, free_ps = 0;

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place(arena_printf(fixture.arena,
                       "chat,0,0,a,wide,,embed,\n%s%schat,0,1,c,wide,,lm_head,0/2\n"
                       "chat,0,1,d,wide,,lm_head,1/2\n",
                       equal_rows("0", 0, 2, "ab"), equal_rows("1", 3, 4, "cd")));
    /* The activation leaves the first stage, and enters the second, by its first device. */
    times[0] = times[1] = embed_ps(4) + message_ps(4 * HIDDEN * 4);
    compute(times, 2, norm_ps(4), even);
    ring_layers(times, 3, 2, 4, even);
    stage[0] = times[0];
    times[0] = times[1] = message_ps(4 * HIDDEN * 4);
    compute(times, 2, norm_ps(4), even);
    ring_layers(times, 2, 2, 4, even);
    stage[1] = times[0] + head_ps(VOCAB / 2) + gather;
    assert_true(stage[0] > stage[1] && hand_over - LATENCY > embed_ps(4));
    fixture_write("w.csv", W "0,0,chat,4,1\n1,0,chat,4,1\n2,0,chat,4,1\n");
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixture_must_run();
    for (size_t request = 0; request < 3; request++) {
        /* a's port is still taken by the activation of the request before. */
        begin_ps += stage[0] + (request > 0 ? hand_over - LATENCY - embed_ps(4) : 0);
        free_ps = larger(begin_ps + hand_over, free_ps) + stage[1];
        assert_int_equal(fixture.result.requests[request].finish_ps, free_ps);
    }
    assert_int_equal(fixture.result.passes_count, 2);
    assert_int_equal(fixture.result.passes[0].prefill.count, 3);
    assert_int_equal(fixture.result.passes[1].prefill.time_ps, 3 * stage[1]);
}

/* What crosses the border of two stages in fewer bits is coded by the first device of the one, and
 * restored by that of the other. */
static void first_devices_code_what_crosses_the_border_in_fewer_bits(void **state)
{
    int64_t plain_ps = 0, values = 4 * HIDDEN;

    (void)state;
    fixture.options.network = SERVE_NETWORK_FIFO;
    for (int is_coded = 0; is_coded < 2; is_coded++) {
        fixture_cluster("device,type,encode_value_ns,decode_value_ns\na,t,100,200\nb,t,3,3\n"
                        "c,t,300,50\nd,t,7,7\n",
                        NO_SOURCE);
        fixture_write(
            "p.csv",
            arena_printf(fixture.arena,
                         "service,replica,stage,device,model,layers,block,parts,wire_bits\n"
                         "chat,0,0,a,wide,,embed,,%s\nchat,0,0,a,wide,0-2,layer,0/2,\n"
                         "chat,0,0,b,wide,0-2,layer,1/2,\nchat,0,1,c,wide,3-4,layer,0/2,\n"
                         "chat,0,1,d,wide,3-4,layer,1/2,\nchat,0,1,c,wide,,lm_head,,\n",
                         is_coded ? "8" : ""));
        fixture_write("w.csv", W "0,0,chat,4,1\n");
        fixture_must_run();
        if (!is_coded)
            plain_ps = time_ps(0);
    }
    /* A quarter of the bytes, and the time to code and restore each value. */
    assert_in_range(time_ps(0), plain_ps + values * (100 + 50) * NS - 3 * values * NS,
                    plain_ps + values * (100 + 50) * NS - 3 * values * NS + 64 * NS);
    assert_sums(&fixture.result.passes[0].prefill);
}

/* Devices are busy for what they compute alone, and others use them meanwhile. */
static void others_use_a_device_while_it_waits(void **state)
{
    const struct sliced_sums *pass;

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place(arena_printf(fixture.arena,
                       "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,\n"
                       "other,0,0,b,wide,,all,\n",
                       equal_rows("0", 0, LAYERS - 1, "ab")));
    fixture_write("w.csv", W "0,0,chat,4,3\n1,0.002,other,4,2\n2,0.0021,chat,1,2\n");
    fixture_must_run();
    assert_int_equal(fixture.result.passes_count, 1);
    pass = &fixture.result.passes->prefill;
    assert_int_equal(pass->count, 2);
    assert_true(pass->wait_ps > 0);
    assert_sums(pass);
    assert_sums(&fixture.result.passes->decode);
    assert_int_equal(fixture.result.passes->decode.count, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fixture.result.requests[i].status, TRACE_OK);
    /* The other request is done before the first: it is not held up by whole passes. */
    assert_true(fixture.result.requests[1].finish_ps < fixture.result.requests[0].finish_ps);
}

static void rows_of_stages_and_messages_are_those_of_each_device(void **state)
{
    struct part whole = { HEADS, KV_HEADS, FFN };

    (void)state;
    fixture_cluster(DEVICES, LAN);
    place("chat,0,0,a,wide,,embed,\nchat,0,0,b,wide,0-4,layer,\nchat,0,0,a,wide,,lm_head,\n");
    fixture_write("w.csv", W "0,0,chat,1,1\n");
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixture_must_run();
    assert_string_equal(strchr(fixture_transfers(), '\n') + 1,
                        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,"
                        "receive_s\n"
                        "0,0,,source,a,lan,4,0,0.000120004\n"
                        "0,0,,a,b,lan,256,0.000131644,0.0002519\n"
                        "0,0,,b,a,lan,256,0.0028201,0.002940356\n"
                        "0,0,,a,source,lan,4,0.003019136,0.00313914\n");
    assert_string_equal(strchr(fixture_stages_text(), '\n') + 1,
                        "request_id,service,replica,stage,device,start_s,finish_s,step,batch_id,"
                        "phase\n"
                        "0,chat,0,0,a,0.000120004,0.003019136,0,,prefill\n"
                        "0,chat,0,0,b,0.0002519,0.0028201,0,,prefill\n");
    assert_int_equal(fixture.result.devices[0].busy_ps, embed_ps(1) + head_ps(VOCAB));
    assert_int_equal(fixture.result.devices[1].busy_ps,
                     LAYERS * (2 * norm_ps(1) + 2 * add_ps(1) + attn_ps(&whole, 1) +
                               proj_ps(&whole, 1) + ffn_ps(&whole, 1)));
}

/* ---- two fidelities ---- */

struct outcome {
    struct serve_result result;
    const char *requests;
};

/* Without observers: they ask for events. */
static struct outcome quiet_run(enum serve_fast fast_path)
{
    struct outcome outcome;

    fixture.options.fast_path = fast_path;
    assert_true(fixture_load());
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, NULL, &fixture.result,
                   &fixture.err))
        fail_msg("%s", fixture.err.text);
    outcome.result = fixture.result;
    outcome.requests = fixture_requests();
    return outcome;
}

static void assert_near(int64_t a, int64_t b, int64_t slack)
{
    assert_in_range(a + slack, b, b + 2 * slack);
}

static void assert_same_pass(const struct sliced_sums *a, const struct sliced_sums *b,
                             int64_t slack)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->messages, b->messages);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->compute_ps, b->compute_ps);
    assert_int_equal(a->wait_ps, b->wait_ps);
    assert_near(a->time_ps, b->time_ps, slack);
    assert_near(a->per_message_ps, b->per_message_ps, slack);
    assert_near(a->bytes_ps, b->bytes_ps, slack);
    assert_near(a->latency_ps, b->latency_ps, slack);
}

/* Bit for bit under FIFO; 1 ps a message under flows. */
static void assert_fidelities_agree(void)
{
    struct outcome fast = quiet_run(SERVE_FAST_ON), slow = quiet_run(SERVE_FAST_OFF);
    bool is_exact = fixture.options.network == SERVE_NETWORK_FIFO;
    int64_t slack = 0;

    for (int i = 0; i < slow.result.passes_count && !is_exact; i++)
        slack += slow.result.passes[i].prefill.messages + slow.result.passes[i].decode.messages;
    if (is_exact)
        assert_string_equal(fast.requests, slow.requests);
    assert_true(fast.result.closed_count > 0);
    assert_int_equal(slow.result.closed_count, 0);
    assert_near(fast.result.end_ps, slow.result.end_ps, slack);
    assert_int_equal(fast.result.event_count, slow.result.event_count);
    assert_int_equal(fast.result.moved_bytes, slow.result.moved_bytes);
    assert_int_equal(fast.result.wake_count, slow.result.wake_count);
    assert_int_equal(fast.result.wake_ps, slow.result.wake_ps);
    assert_int_equal(fast.result.extrapolated_costs, slow.result.extrapolated_costs);
    for (int i = 0; i < fixture.scenario.input.plan->cluster->device_count; i++) {
        assert_int_equal(fast.result.devices[i].busy_ps, slow.result.devices[i].busy_ps);
        assert_int_equal(fast.result.devices[i].offered_ps, slow.result.devices[i].offered_ps);
        assert_int_equal(fast.result.devices[i].peak_bytes, slow.result.devices[i].peak_bytes);
        assert_near(fast.result.devices[i].wait_peak_ps, slow.result.devices[i].wait_peak_ps,
                    slack);
    }
    for (int i = 0; i < slow.result.link_count; i++) {
        assert_int_equal(fast.result.links[i].bytes, slow.result.links[i].bytes);
        assert_near(fast.result.links[i].busy_ps, slow.result.links[i].busy_ps, slack);
    }
    for (int i = 0; i < slow.result.passes_count; i++) {
        assert_same_pass(&fast.result.passes[i].prefill, &slow.result.passes[i].prefill, slack);
        assert_same_pass(&fast.result.passes[i].decode, &slow.result.passes[i].decode, slack);
    }
}

static void passes_in_closed_form_equal_those_of_events(void **state)
{
    static const char *const workloads[] = {
        W "0,0,chat,4,3\n1,1,chat,1,2\n2,1.001,chat,4,4\n", /* alone, then two at once */
        "request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s\n"
        "0,,chat,4,3,x,0.1\n1,,chat,2,3,x,0.001\n2,,chat,4,1,y,0.2\n3,,chat,1,5,y,0\n",
        W "0,0,chat,4,5\n1,0,chat,2,5\n2,0.003,chat,1,9\n3,0.3,chat,4,2\n",
    };
    const char *placements[4];
    int64_t wakes = 0;

    (void)state;
    fixture_write("o.csv", "where,dist,mean_s,per_sequence_s\nstep,constant,0.0001,0.00003\n");
    fixture_write("costs/t/roofline.csv",
                  "threads,metric,ws_bytes,value,unit\n1,idle_resume_ns,,40000,ns\n");
    placements[0] = arena_printf(fixture.arena,
                                 "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,0/2\n"
                                 "chat,0,0,b,wide,,lm_head,1/2\n",
                                 equal_rows("0", 0, LAYERS - 1, "ab"));
    placements[1] =
        arena_printf(fixture.arena, "chat,0,0,d,wide,,embed,\n%s%schat,0,1,d,wide,,lm_head,\n",
                     equal_rows("0", 0, 2, "abcd"), equal_rows("1", 3, 4, "cd"));
    placements[2] = "chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-4,attn,0-2/4\n"
                    "chat,0,0,b,wide,0-4,attn,3/4\nchat,0,0,a,wide,0-4,proj,0/2\n"
                    "chat,0,0,b,wide,0-4,proj,1/2\nchat,0,0,c,wide,0-4,ffn,\n"
                    "chat,0,0,a,wide,,lm_head,\n";
    placements[3] = "chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-4,layer,0/2\n"
                    "chat,0,0,b,wide,0-4,layer,1/2\nchat,0,0,b,wide,,lm_head,\n";
    for (int i = 0; i < 48 * COLLECTIVE_ALGORITHM_COUNT; i++) {
        fixture_cluster("device,type,speed_ratio\na,t,1\nb,t,0.7\nc,t,1.3\nd,t,0.9\n",
                        i / 12 % 2 ? NO_SOURCE
                                   : "medium,kind,node,bits_per_s,latency_s,per_message_s\n"
                                     "air,wifi,*,3e8,0.0003,0.00004\n");
        place(placements[i % 4]);
        fixture_write("w.csv", workloads[i / 4 % 3]);
        fixture.options.network = i / 24 % 2 ? SERVE_NETWORK_FIFO : SERVE_NETWORK_FLOWS;
        fixture.options.collective = (enum collective_algorithm)(i / 48);
        fixture.files.overhead = i % 7 < 3 ? fixture_path("o.csv") : NULL;
        fixture.options.has_idle_resume = i % 5 < 2; /* devices that wake leave steps to events */
        assert_fidelities_agree();
        wakes += fixture.result.wake_count;
    }
    assert_true(wakes > 100);
}

static void a_link_that_stays_down_blocks_the_stage_and_is_named(void **state)
{
    (void)state;
    fixture_cluster(DEVICES, LAN);
    place(arena_printf(fixture.arena, "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,\n",
                       equal_rows("0", 0, LAYERS - 1, "ab")));
    fixture_write("w.csv", W "0,0,chat,4,3\n5,0,chat,4,2\n");
    fixture_write("events.csv", "time_s,target,event,value\n0.003,lan/b,down,\n");
    fixture.files.events = fixture_path("events.csv");
    assert_false(fixture_run());
    assert_int_equal(fixture.err.kind, ERR_SYSTEM);
    assert_non_null(strstr(fixture.err.text, "blocked: 2 requests in the system and 0 still to "
                                             "come, but no event is left; first requests: "));
    assert_non_null(
        strstr(fixture.err.text, "0 (step 0, stage 0, its devices talk over link lan/"));
    assert_non_null(strstr(fixture.err.text, "5 (step 0, stage 0, behind request 0)"));
    /* It works again: all goes on. */
    fixture_write("events.csv", "time_s,target,event,value\n0.003,lan/b,down,\n0.5,lan/b,up,\n");
    fixture_must_run();
    assert_true(fixture.result.requests[0].first_token_ps > 500 * MS);
}

/* Activations of four tokens of prompt, or of the last token behind six others. */
static int64_t work_bytes(int32_t device)
{
    const struct plan *plan = fixture.scenario.input.plan;
    const struct model_step prefill = { 4, 1, 4 }, last = { 1, 1, 7 };

    return larger(plan_stage_work_bytes(plan, plan->stages[0], device, &prefill),
                  plan_stage_work_bytes(plan, plan->stages[0], device, &last));
}

static void weights_and_caches_lie_where_the_parts_do(void **state)
{
    const struct model *model;
    int64_t layer, a, b;

    (void)state;
    fixture_cluster(DEVICES, NULL);
    place("chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-4,attn,0-2/4\n"
          "chat,0,0,b,wide,0-4,attn,3/4\nchat,0,0,b,wide,0-4,proj,\nchat,0,0,a,wide,0-4,ffn,\n"
          "chat,0,0,b,wide,,lm_head,\n");
    fixture_write("w.csv", W "0,0,chat,4,3\n");
    fixture_must_run();
    model = fixture.scenario.input.plan->services[0].model;
    layer = model_block_weight_bytes(model, BLOCK_ATTN);
    a = model_block_weight_bytes(model, BLOCK_EMBED) +
        LAYERS * (layer / 4 * 3 + model_block_weight_bytes(model, BLOCK_FFN_UP) +
                  model_block_weight_bytes(model, BLOCK_FFN_DOWN) +
                  model_block_weight_bytes(model, BLOCK_CONN));
    b = LAYERS * (layer / 4 + model_block_weight_bytes(model, BLOCK_PROJ)) +
        model_block_weight_bytes(model, BLOCK_LM_HEAD);
    assert_int_equal(a + b, model_weight_bytes(model));
    a += 7 * LAYERS * 3 * 2 * HEAD_DIM * 4;
    b += 7 * LAYERS * 1 * 2 * HEAD_DIM * 4;
    assert_int_equal(fixture.result.devices[0].peak_bytes, a + work_bytes(0));
    assert_int_equal(fixture.result.devices[1].peak_bytes, b + work_bytes(1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sliced_test(stages_of_several_devices_make_a_pipeline),
        sliced_test(first_devices_code_what_crosses_the_border_in_fewer_bits),
        sliced_test(others_use_a_device_while_it_waits),
        sliced_test(rows_of_stages_and_messages_are_those_of_each_device),
        sliced_test(a_link_that_stays_down_blocks_the_stage_and_is_named),
        sliced_test(passes_in_closed_form_equal_those_of_events),
        sliced_test(weights_and_caches_lie_where_the_parts_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
