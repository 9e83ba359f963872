/* test_llm.c - continuous batches under simulated time, by hand: who takes part in which iteration,
 * ties, preemption, several replicas, shared devices, what is refused. */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/format/cluster.h"
#include "sim/report/report.h"

#define PS(ms, steps) ((ms)*MS + (steps)*EACH_PS)

static void assert_request(size_t index, int64_t start_ps, int64_t first_ps, int64_t finish_ps)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_OK);
    assert_int_equal(request->start_ps, start_ps);
    assert_int_equal(request->first_token_ps, first_ps);
    assert_int_equal(request->finish_ps, finish_ps);
}

static struct continuous_counts counts(void)
{
    return llm_counts(fixture.result.continuous);
}

/* ---- iterations ---- */

static void a_request_takes_its_prompt_and_a_step_a_token(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("w.csv", W "0,0.5,s,4,3\n1,1,s,7,1\n");
    llm_must_run();
    assert_request(0, 500 * MS, PS(504, 1), PS(506, 3));
    assert_request(1, 1000 * MS, PS(1007, 1), PS(1007, 1));
    assert_int_equal(counts().steps, 4);
    assert_int_equal(counts().tokens, 4 + 2 + 7);
    assert_int_equal(fixture.result.end_ps, PS(1007, 1));
    assert_int_equal(fixture.result.event_count, 2 + 4);
    assert_int_equal(fixture.result.devices[0].busy_ps, PS(13, 4));
    assert_int_equal(fixture.result.extrapolated_costs, 0);
}

static void who_arrives_during_an_iteration_takes_part_in_the_next(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    /* 0 computes until 10 ms, then alone a token until 11 ms; 1 comes meanwhile */
    fixture_write("w.csv", W "0,0,s,10,4\n1,0.0105,s,5,2\n");
    llm_must_run();
    assert_request(0, 0, PS(10, 1), PS(11 + 6 + 2, 4));
    assert_request(1, PS(11, 2), PS(17, 3), PS(19, 4));
}

static void who_arrives_when_an_iteration_ends_takes_part_at_once(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("w.csv", W "0,0,s,10,4\n1,0.01000000001,s,5,2\n2,0.010000000011,s,5,1\n");
    llm_must_run();
    assert_request(0, 0, PS(10, 1), PS(16 + 7 + 1, 4));
    assert_request(1, PS(10, 1), PS(16, 2), PS(23, 3));
    assert_request(2, PS(16, 2), PS(23, 3), PS(23, 3));
}

static void a_prompt_is_cut_where_the_budget_ends(void **state)
{
    (void)state;
    llm_setup_files(4, 8, 100);
    fixture_write("w.csv", W "0,0,s,20,2\n");
    llm_must_run();
    assert_request(0, 0, PS(20, 3), PS(21, 4));
    assert_int_equal(counts().steps, 4);
    llm_setup_files(4, 8, 100);
    fixture.options.kv.has_chunks = false; /* 21 tokens would have to be one step */
    llm_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_REFUSED);
    fixture.options.batch.token_budget = 21;
    llm_must_run();
    assert_request(0, 0, PS(20, 1), PS(21, 2));
}

static void many_iterations_at_once_end_where_an_arrival_could_join(void **state)
{
    (void)state;
    llm_setup_files(2, 64, 100);
    fixture_write("w.csv", W "0,0,s,2,90\n1,0.0305,s,3,2\n2,0.0306,s,3,2\n3,0.0307,s,3,1\n");
    llm_must_run();
    /* 0: 2 ms, then tokens until 31 ms; 1 joins, 2 waits for a place */
    assert_request(1, PS(31, 30), PS(35, 31), PS(37, 32));
    assert_request(2, PS(37, 32), PS(41, 33), PS(43, 34));
    assert_request(3, PS(43, 34), PS(47, 35), PS(47, 35));
    assert_int_equal(counts().running_peak, 2);
}

static void where_blocks_run_out_the_last_admitted_starts_anew(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 3); /* 12 tokens */
    fixture_write("w.csv", W "0,0,s,4,6\n1,0,s,3,6\n");
    llm_must_run();
    assert_int_equal(counts().preemptions, 1);
    assert_int_equal(counts().recomputed_tokens, 5);
    assert_int_equal(counts().blocks_peak, 3);
    /* 7 tokens at once, then 2 and 1 a step; 1 is out of blocks at its fifth token */
    assert_request(0, 0, PS(7, 1), PS(7 + 2 + 4, 6));
    assert_request(1, 0, PS(7, 1), PS(13 + 5 + 3, 10));
}

static struct stats_summary gaps(int service)
{
    struct metrics *services;

    (void)metrics_end(fixture.meter, fixture.result.end_ps, &services);
    return services[service].itl;
}

/* The same run. Gaps of 0: a step of 2 ms, 4 of 1 ms. Of 1: 2 ms, then 4 ms of waiting and 5 ms for
 * what it lost, then 3 of 1 ms. */
static void a_gap_between_tokens_has_what_kept_the_request_waiting(void **state)
{
    double token_ms = 7 * 7 + 9 * 2 + (6 + 7 + 8 + 9) + 5 * 5 + (6 + 7 + 8);
    double token_each = 7 + 9 + (6 + 7 + 8 + 9) + 5 + (6 + 7 + 8), mean_bytes;

    (void)state;
    llm_setup_files(4, 64, 3);
    fixture_write("w.csv", W "0,0,s,4,6\n1,0,s,3,6\n");
    for (int fast = 0; fast < 2; fast++) {
        fixture.options.fast_path = fast ? SERVE_FAST_ON : SERVE_FAST_OFF;
        llm_must_run();
        assert_int_equal(gaps(0).count, 10);
        assert_int_equal(gaps(0).min, PS(1, 1));
        assert_int_equal(gaps(0).max, PS(9, 5));
        assert_int_equal(gaps(0).mean, 2 * MS + 14);
        assert_int_equal(gaps(0).p50, PS(1, 1));
        /* 64 bytes a token, while it is computed on */
        mean_bytes = 64 * (token_ms * (double)MS + token_each * EACH_PS) / (double)PS(21, 10);
        assert_true(fixture.result.devices[0].kv_mean_bytes / mean_bytes - 1 < 1e-12 &&
                    mean_bytes / fixture.result.devices[0].kv_mean_bytes - 1 < 1e-12);
        assert_int_equal(fixture.result.devices[0].kv_peak_bytes, 3 * 4 * 64);
    }
}

static void a_session_finds_what_its_last_turn_left(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens,output_tokens,session,"
                           "prefix_tokens,think_s\n"
                           "0,0,s,9,4,x,0,0\n1,,s,20,1,x,13,1\n2,0.5,s,20,1,y,0,0\n");
    llm_must_run();
    /* of 13 tokens 12 were computed: three blocks */
    assert_int_equal(counts().hit_tokens, 12);
    assert_request(0, 0, PS(9, 1), PS(12, 4));
    assert_request(1, PS(1012, 4), PS(1012 + 8, 5), PS(1012 + 8, 5));
    assert_request(2, 500 * MS, PS(520, 1), PS(520, 1));
    fixture.options.kv.has_prefix_cache = false;
    llm_must_run();
    assert_int_equal(counts().hit_tokens, 0);
    assert_request(1, PS(1012, 4), PS(1012 + 20, 5), PS(1012 + 20, 5));
}

static void prefix_blocks_say_what_is_shared(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("w.csv", W "0,0,s,10,1\n1,1,s,10,1\n");
    fixture_write("b.csv", "request_id,block_index,chain_id\n0,0,5\n0,1,6\n1,0,5\n1,1,9\n");
    fixture.files.prefix_blocks = fixture_path("b.csv");
    llm_must_run();
    assert_int_equal(counts().hit_tokens, 4);
    assert_request(1, 1000 * MS, PS(1006, 1), PS(1006, 1));
    fixture_write("b.csv", "# block_tokens: 8\nrequest_id,block_index,chain_id\n0,0,5\n");
    assert_false(llm_run_files());
    assert_non_null(strstr(fixture.err.text, "b.csv: its blocks are of 8 tokens: expected 4"));
}

/* ---- spans ---- */

static void every_iteration_of_a_request_is_a_step(void **state)
{
    (void)state;
    llm_setup_files(4, 8, 100);
    fixture_write("w.csv", W "0,0,s,10,2\n1,0.001,s,2,2\n");
    fixture_must_run();
    assert_string_equal(
        fixture_stages_text(),
        "# orrery: stages 1\n"
        "request_id,service,replica,stage,device,start_s,finish_s,step,batch_id,phase\n"
        "0,s,0,0,a,0,0.00800000001,0,0,prefill\n"
        "0,s,0,0,a,0.00800000001,0.01200000002,1,1,prefill\n"
        "0,s,0,0,a,0.01200000002,0.01400000003,2,2,decode\n"
        "1,s,0,0,a,0.00800000001,0.01200000002,0,1,prefill\n"
        "1,s,0,0,a,0.01200000002,0.01400000003,1,2,decode\n");
}

/* ---- replicas ---- */

static void two_replicas_share_the_requests(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\ns,1,0,b,tiny,,all\n");
    fixture_write("w.csv", W "0,0,s,10,1\n1,0,s,4,4\n2,0.004,s,2,1\n3,0.0045,s,2,1\n");
    /* 0 owes a 10 tokens, 1 owes b 7; at 4 ms b still owes 7, as its step is not done; then 9 */
    llm_must_run();
    assert_int_equal(fixture.result.requests[0].replica, 0);
    assert_int_equal(fixture.result.requests[1].replica, 1);
    assert_int_equal(fixture.result.requests[2].replica, 1);
    assert_int_equal(fixture.result.requests[3].replica, 1);
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    llm_must_run();
    for (int i = 0; i < 4; i++)
        assert_int_equal(fixture.result.requests[i].replica, i % 2);
}

static void services_on_one_device_take_turns(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\nr,0,0,a,tiny,,all\n");
    fixture_write("w.csv", W "0,0,s,4,3\n1,0.001,r,5,2\n2,0.002,r,3,1\n");
    llm_must_run();
    /* s: 4 ms; r: 8 ms with both of its requests; s: 1; r: 1; s: 1 */
    assert_request(0, 0, PS(4, 1), PS(4 + 8 + 1 + 1 + 1, 5));
    assert_request(1, PS(4, 1), PS(12, 2), PS(14, 4));
    assert_request(2, PS(4, 1), PS(12, 2), PS(12, 2));
    assert_int_equal(fixture.result.devices[0].busy_ps, PS(15, 5));
    /* s waits for r between two of its tokens */
    assert_int_equal(gaps(0).count, 2);
    assert_int_equal(gaps(0).max, PS(9, 2));
    assert_int_equal(gaps(0).min, PS(2, 2));
    assert_int_equal(gaps(1).count, 1);
    assert_int_equal(gaps(1).max, PS(2, 2));
}

static void a_later_epoch_brings_another_replica(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block,epoch,from_s\n"
                           "s,0,0,a,tiny,,all,0,\ns,0,0,b,tiny,,all,1,1\n");
    fixture_write("w.csv", W "0,0.999,s,4,3\n1,1,s,4,1\n");
    llm_must_run();
    assert_int_equal(fixture.result.devices[0].busy_ps, PS(6, 3));
    assert_int_equal(fixture.result.devices[1].busy_ps, PS(4, 1));
}

/* ---- encoders ---- */

/* One pass each, unpadded; beside decoders on the device. */
static void encoders_make_one_pass(void **state)
{
    int64_t each_ps;

    (void)state;
    llm_setup_files(4, 64, 8);
    fixture.options.batch.kind = BATCH_NONE;
    fixture_write("p.csv", P "s,0,0,a,reader,,all\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n0,0,s,4\n");
    fixture_must_run();
    each_ps = fixture.result.requests[0].finish_ps - 4 * MS;
    fixture.options.batch.kind = BATCH_CONTINUOUS;
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n"
                           "0,0,s,4\n1,0.001,s,2\n2,0.002,s,50\n3,0.002,s,13\n4,0.002,s,65\n");
    llm_must_run();
    /* alone; 2 and 50, since 13 more are above 64; none of 65 */
    assert_request(0, 0, 4 * MS + each_ps, 4 * MS + each_ps);
    assert_request(1, 4 * MS + each_ps, 56 * MS + 2 * each_ps, 56 * MS + 2 * each_ps);
    assert_request(2, 4 * MS + each_ps, 56 * MS + 2 * each_ps, 56 * MS + 2 * each_ps);
    assert_request(3, 56 * MS + 2 * each_ps, 69 * MS + 3 * each_ps, 69 * MS + 3 * each_ps);
    assert_int_equal(fixture.result.requests[4].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.continuous->instances[0].block_count, 0);
    fixture_write("p.csv", P "s,0,0,a,reader,,all\nr,0,0,a,tiny,,all\n");
    fixture_write("w.csv", W "0,0,s,4,\n1,0.001,r,3,2\n2,0.002,s,1,\n");
    llm_must_run();
    assert_request(0, 0, 4 * MS + each_ps, 4 * MS + each_ps);
    assert_request(1, 4 * MS + each_ps, PS(7, 1) + each_ps, PS(9, 2) + 2 * each_ps);
    assert_request(2, PS(7, 1) + each_ps, PS(8, 1) + 2 * each_ps, PS(8, 1) + 2 * each_ps);
}

/* ---- memory ---- */

static void blocks_are_what_memory_leaves_beside_weights(void **state)
{
    const struct llm_result *done;

    (void)state;
    llm_setup_files(4, 64, 0);
    fixture_write("w.csv", W "0,0,s,4,3\n");
    llm_must_run(); /* memory is not stated: room for four of the only request */
    done = fixture.result.continuous;
    assert_false(done->is_memory_known);
    assert_int_equal(done->instances[0].block_count, 4 * 2);
    /* a token has 2 x 8 values of 32 bits */
    assert_int_equal(done->instances[0].block_bytes, 4 * 64);
    fixture_cluster("device,type,memory_bytes\na,t,100000\n", NULL);
    llm_must_run();
    done = fixture.result.continuous;
    assert_true(done->is_memory_known);
    assert_int_equal(done->instances[0].block_count,
                     (100000 - (fixture.result.devices[0].peak_bytes - 2 * 256)) / 256);
    fixture.options.kv.block_count = 1000;
    assert_false(llm_run_files());
    assert_non_null(strstr(fixture.err.text, "cluster/devices.csv:2: device 'a' has"));
    assert_non_null(strstr(fixture.err.text, "weights, reserved and KV blocks take"));
}

struct heard { /* of KV caches */
    int64_t most_bytes, last_bytes, last_ps;
    int count;
};

static void hear_cache(void *arg, int32_t device, int64_t now_ps, int64_t kv_bytes)
{
    struct heard *heard = arg;

    assert_true(device == 0 && now_ps >= heard->last_ps && kv_bytes >= 0);
    heard->most_bytes = kv_bytes > heard->most_bytes ? kv_bytes : heard->most_bytes;
    heard->last_bytes = kv_bytes;
    heard->last_ps = now_ps;
    heard->count++;
}

static void hear_nothing(void *arg, const struct serve_span *span)
{
    (void)arg;
    (void)span;
}

static void caches_are_told_of_over_time(void **state)
{
    struct heard heard = { 0 };
    struct serve_observer observer = { .arg = &heard,
                                       .on_span = hear_nothing,
                                       .on_cache = hear_cache };

    (void)state;
    llm_setup_files(4, 64, 12);
    fixture_write("w.csv", W "0,0,s,20,9\n1,0,s,11,14\n2,0.001,s,3,5\n3,5,s,8,2\n");
    if (!fixture_load() || !serve_run(fixture.arena, &fixture.scenario.input, &fixture.options,
                                      &observer, &fixture.result, &fixture.err))
        fail_msg("%s", fixture.err.text);
    assert_true(heard.count > 10);
    assert_int_equal(heard.most_bytes, fixture.result.continuous->kv_bytes[0]);
    assert_int_equal(heard.last_bytes, 0);
    assert_int_equal(heard.last_ps, fixture.result.end_ps);
}

/* The LM head of four sequences, the FFN of 64 tokens: whatever is wider takes blocks away. */
static void activations_of_a_step_leave_less_for_blocks(void **state)
{
    const struct model *model;
    int64_t weight_bytes;

    (void)state;
    llm_setup_files(4, 64, 0);
    fixture_write("w.csv", W "0,0,s,100,3\n");
    fixture_cluster("device,type,memory_bytes\na,t,200000\n", NULL);
    llm_must_run();
    model = fixture.scenario.input.plan->services[0].model;
    weight_bytes = model_weight_bytes(model);
    /* attention: 64 rows of stream, norm, q, k, v and context, and 64 x 103 scores */
    assert_int_equal(fixture.result.continuous->instances[0].block_count,
                     (200000 - weight_bytes - 4 * (64 * (8 + 8 + 24 + 8) + 64 * 103)) / 256);
}

/* 64 blocks are enough for all of them; a step of 32 tokens is not for the second, if it may not be
 * cut, nor for what it would have to compute anew after a preemption. */
static void prompts_that_are_not_cut_have_a_budget(void **state)
{
    (void)state;
    llm_setup_files(4, 32, 64);
    fixture.options.kv.has_chunks = false;
    fixture_write("w.csv", W "0,0,s,30,3\n1,0,s,31,3\n2,0,s,300,3\n");
    llm_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_BUDGET].count, 1);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_BUDGET].first_id, 1);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_MEMORY].count, 1);
    fixture.options.kv.has_chunks = true;
    llm_must_run();
    assert_int_equal(fixture.result.requests[1].status, TRACE_OK);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_BUDGET].count, 0);
}

static void what_can_never_be_computed_is_refused(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 8); /* 32 tokens */
    fixture_write("w.csv", W "0,0,s,30,3\n1,0,s,30,4\n2,0,s,500,20\n");
    llm_must_run();
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_MEMORY].count, 1);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_MEMORY].first_tokens, 34);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_BUDGET].count, 0);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_CONTEXT].count, 1);
    assert_int_equal(fixture.result.refused[SERVE_REFUSAL_CONTEXT].first_id, 2);
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.requests[2].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.requests[1].replica, -1);
}

/* ---- closed loops, objectives, reports ---- */

static void a_closed_loop_waits_for_ends(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("w.csv",
                  "request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s\n"
                  "0,,s,4,3,x,0\n1,,s,4,1,x,0\n2,,s,4,2,y,0.001\n3,,s,6,1,x,0.5\n");
    llm_must_run();
    /* 2 joins at 4 ms; 0 ends at 11 ms, and 1 comes at that instant */
    assert_request(0, 0, PS(4, 1), PS(11, 3));
    assert_request(2, PS(4, 1), PS(9, 2), PS(11, 3));
    assert_request(1, PS(11, 3), PS(15, 4), PS(15, 4));
    assert_request(3, PS(515, 4), PS(521, 5), PS(521, 5));
}

static void the_report_tells_of_the_batches(void **state)
{
    struct report report = { .inputs = &fixture.scenario.inputs };
    struct out *out = out_open_memory(fixture.arena);
    const char *text;

    (void)state;
    llm_setup_files(4, 64, 8);
    fixture.options.kv.must_share = true;
    fixture_write("w.csv", W "0,0,s,10,3\n1,0,s,10,3\n");
    fixture_must_run();
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
    report_text(&report, out);
    text = out_memory(out, NULL);
    assert_non_null(strstr(text, "iterations 3 of 2 requests in the mean, 2 at most; 2 waited"));
    assert_non_null(strstr(text, "KV blocks  8 given, 6 used at most"));
    assert_non_null(strstr(text, "preempted  0 times, 0 tokens computed anew"));
    assert_non_null(strstr(text, "warning: --prefix-cache on: neither --prefix-blocks nor"));
    out = out_open_memory(fixture.arena);
    report_json(fixture.arena, &report, out);
    text = out_memory(out, NULL);
    assert_non_null(strstr(text, "\"iterations\": 3,"));
    assert_non_null(strstr(text, "\"kv_blocks_from\": \"given\","));
}

static void what_this_version_cannot_do_is_refused(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 8);
    fixture_write("w.csv", W "0,0,s,4,3\n");
    fixture_stages("executable,stage,latency_s,gap_s\nx,0,0.010,0\n");
    fixture_write("p.csv", "service,replica,stage,device,executable\ns,0,0,a,x\n");
    assert_false(llm_run_files());
    assert_non_null(strstr(fixture.err.text, "for models; service 's' runs an executable"));
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\n");
    fixture.options.admission = ADMIT_SLO;
    assert_false(llm_run_files());
    assert_non_null(strstr(fixture.err.text, "--admission: "));
    fixture.options.admission = ADMIT_NONE;
    fixture.options.rules = SERVE_DLSIM;
    assert_false(llm_run_files());
    assert_non_null(strstr(fixture.err.text, "not with --rules dlsim"));
    fixture.options.rules = SERVE_DEFAULT;
    fixture.options.batch.token_budget = 3;
    assert_false(llm_run_files());
    assert_non_null(strstr(fixture.err.text, "TOKEN_BUDGET is 3: expected at least MAX_SEQS, 4"));
}

/* Steps with a part of a prompt take the kappa of a prefill, decodes alone that of a decode. */
static void kappa_multiplies_steps_by_what_they_are(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("costs/t/anchors.csv",
                  "model,phase,s,kv_len,batch,threads,dtype,forward_mean_ns,sum_chain_ns,kappa\n"
                  "tiny,prefill,4,4,1,1,f32,200,100,2\ntiny,prefill,40,40,1,1,f32,300,100,3\n"
                  "tiny,decode,1,8,1,1,f32,150,100,1.5\n");
    fixture_write("w.csv", W "0,0,s,4,3\n1,1,s,30,2\n2,2,s,4,2\n3,2.008,s,2,1\n");
    fixture.options.has_kappa = true;
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        const struct serve_request *requests;

        fixture.options.fast_path = (enum serve_fast)fast;
        llm_must_run();
        requests = fixture.result.requests;
        assert_int_equal(requests[0].first_token_ps, 2 * (4 * MS + EACH_PS));
        assert_int_equal(requests[0].finish_ps - requests[0].first_token_ps,
                         2 * (MS + EACH_PS) * 3 / 2);
        assert_int_equal(requests[1].first_token_ps - 1000 * MS, 3 * (30 * MS + EACH_PS));
        /* the third makes its last token in the step that computes the prompt of the fourth */
        assert_int_equal(requests[2].finish_ps - requests[2].first_token_ps,
                         2 * (3 * MS + EACH_PS));
        assert_false(fixture.result.lacks_kappa);
    }
    fixture_write("costs/t/anchors.csv",
                  "model,phase,s,kv_len,batch,threads,dtype,forward_mean_ns,sum_chain_ns,kappa\n"
                  "tiny,prefill,4,4,1,1,f32,200,100,2\n");
    llm_must_run();
    assert_true(fixture.result.lacks_kappa);
}

/* Gaps between tokens are those of the requests that --trim leaves, whatever way a run takes. */
static void gaps_of_trimmed_requests_do_not_count(void **state)
{
    const char *text = W;

    (void)state;
    llm_setup_files(4, 16, 100);
    for (int i = 0; i < 40; i++)
        text = arena_printf(fixture.arena, "%s%d,0.%03d,s,%d,%d\n", text, i, 7 * i, 1 + i % 5,
                            1 + i * i % 23);
    fixture_write("w.csv", text);
    fixture.metrics.trim_ps = 50 * MS;
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        static struct stats_summary first;
        struct metrics *each, all;
        int64_t expected = 0;

        fixture.options.fast_path = (enum serve_fast)fast;
        llm_must_run();
        all = metrics_end(fixture.meter, fixture.result.end_ps, &each);
        for (int i = 0; i < 40; i++)
            if (7 * i >= 50 && 7 * i <= 7 * 39 - 50)
                expected += i * i % 23;
        assert_int_equal(all.itl.count, expected);
        if (fast > 0)
            assert_memory_equal(&all.itl, &first, sizeof first);
        first = all.itl;
    }
}

#define llm_test(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        llm_test(a_request_takes_its_prompt_and_a_step_a_token),
        llm_test(who_arrives_during_an_iteration_takes_part_in_the_next),
        llm_test(who_arrives_when_an_iteration_ends_takes_part_at_once),
        llm_test(kappa_multiplies_steps_by_what_they_are),
        llm_test(gaps_of_trimmed_requests_do_not_count),
        llm_test(a_prompt_is_cut_where_the_budget_ends),
        llm_test(many_iterations_at_once_end_where_an_arrival_could_join),
        llm_test(where_blocks_run_out_the_last_admitted_starts_anew),
        llm_test(a_gap_between_tokens_has_what_kept_the_request_waiting),
        llm_test(a_session_finds_what_its_last_turn_left),
        llm_test(prefix_blocks_say_what_is_shared),
        llm_test(every_iteration_of_a_request_is_a_step),
        llm_test(two_replicas_share_the_requests),
        llm_test(services_on_one_device_take_turns),
        llm_test(a_later_epoch_brings_another_replica),
        llm_test(blocks_are_what_memory_leaves_beside_weights),
        llm_test(prompts_that_are_not_cut_have_a_budget),
        llm_test(prompts_that_are_not_cut_have_a_budget),
        llm_test(what_can_never_be_computed_is_refused),
        llm_test(caches_are_told_of_over_time),
        llm_test(activations_of_a_step_leave_less_for_blocks),
        llm_test(a_closed_loop_waits_for_ends),
        llm_test(the_report_tells_of_the_batches),
        llm_test(encoders_make_one_pass),
        llm_test(what_this_version_cannot_do_is_refused),
    };

    return cmocka_run_group_tests_name("llm", tests, NULL, NULL);
}
