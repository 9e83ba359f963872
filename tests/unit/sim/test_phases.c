/* test_phases.c - prompts on other stages than what is decoded behind them, and the KV caches that
 * go from the ones to the others. Instants are counted by hand (tiny_model.h): a model takes 25 ms
 * a step, a token has 64 bytes of cache in each of its two layers. */
#include "tests/unit/sim/tiny_model.h"

#include "lib/base/rng.h"
#include "sim/llm/llm.h"

#define P "service,replica,stage,device,model,layers,block,phase\n"
#define NS UNITS_PS_PER_NS

static void link_boards(const char *devices)
{
    fixture_cluster(devices, "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,8e9,0.001\n");
}

static void expect_ns(size_t index, int64_t start_ns, int64_t first_ns, int64_t finish_ns)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_OK);
    assert_int_equal(request->start_ps, start_ns * NS);
    assert_int_equal(request->first_token_ps, first_ns * NS);
    assert_int_equal(request->finish_ps, finish_ns * NS);
}

static void apart(void)
{
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\nc,0,0,b,tiny,,,decode\n");
    link_boards("device,type,memory_bytes\na,t,1000000\nb,t,1000000\n");
}

/* ---- one after the other ---- */

static void a_cache_goes_to_where_it_is_decoded(void **state)
{
    (void)state;
    apart();
    fixture_write("w.csv", W "0,0,c,4,3\n1,0.2,c,4,1\n");
    fixture_must_run();
    expect_ns(0, 1000016, 27000020, 81000548); /* token and cache share the way into b: 516 bytes */
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixture_must_run();
    expect_ns(0, 1000016, 27000020, 81000544);
    assert_string_equal(fixture_transfers(),
                        "# orrery: transfers 1\n"
                        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,"
                        "receive_s\n"
                        "0,0,,source,a,lan,16,0,0.001000016\n"
                        "0,0,,a,source,lan,4,0.026000016,0.02700002\n"
                        "0,1,,source,b,lan,4,0.02700002,0.028000024\n"
                        "0,1,,a,b,lan,512,0.02700002,0.028000532\n"
                        "0,1,,b,source,lan,4,0.053000532,0.054000536\n"
                        "0,2,,source,b,lan,4,0.054000536,0.05500054\n"
                        "0,2,,b,source,lan,4,0.08000054,0.081000544\n"
                        "1,0,,source,a,lan,16,0.2,0.201000016\n"
                        "1,0,,a,source,lan,4,0.226000016,0.22700002\n");
    assert_int_equal(fixture.result.kv_moves.requests, 1);
    assert_int_equal(fixture.result.kv_moves.messages, 1);
    assert_int_equal(fixture.result.kv_moves.bytes, 512);
    /* a has the prompt until it is sent, of the second request all; b all tokens of the first. */
    assert_int_equal(fixture.result.devices[0].kv_peak_bytes, 5 * 128);
    assert_int_equal(fixture.result.devices[1].kv_peak_bytes, 7 * 128);
}

/* While the first is decoded, the second's prompt is computed. */
static void prompts_do_not_wait_for_what_is_decoded(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\nc,0,0,b,tiny,,,decode\n");
    fixture_cluster("device,type\na,t\nb,t\n", NULL);
    fixture_write("w.csv", W "0,0,c,4,3\n1,0,c,4,2\n");
    fixture_must_run();
    expect_ns(0, 0, 25000000, 100000000);
    expect_ns(1, 25000000, 50000000, 75000000);
    assert_int_equal(fixture.result.kv_moves.messages,
                     0); /* nothing is sent where links are free */
}

/* Layer 0 is computed on a, layer 1 on b; decoded are both on b, layer 0 in its first stage: what b
 * has computed stays. The step goes through stage 0 when layer 0 is there. */
static void what_a_device_reads_itself_stays(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,embed,prefill\nc,0,0,a,tiny,0,,prefill\n"
                             "c,0,1,b,tiny,1,,prefill\nc,0,1,b,tiny,,lm_head,prefill\n"
                             "c,0,0,b,tiny,,embed,decode\nc,0,0,b,tiny,0,,decode\n"
                             "c,0,1,b,tiny,1,,decode\nc,0,1,b,tiny,,lm_head,decode\n");
    link_boards("device,type\na,t\nb,t\n");
    fixture_write("w.csv", W "0,0,c,4,2\n");
    fixture_must_run();
    assert_int_equal(fixture.result.kv_moves.bytes, 4 * 64);
    assert_non_null(strstr(fixture_transfers(), "0,1,,a,b,lan,256,"));
    /* prefill 12 + 13 ms, 16 + 128 + 4 bytes over three hops; decode 25 ms, 256 + 4 bytes, 4. */
    expect_ns(0, 1000016, 28000148, 28000148 + 27000264);
}

/* Half of the heads of an eight-headed decoder are not at hand: a row for both phases holds once.
 */
static void rows_of_both_phases_hold_once(void **state)
{
    const struct plan *plan;
    const struct model *model;

    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,embed,both\nc,0,0,a,tiny,0,,both\n"
                             "c,0,1,b,tiny,1,,prefill\nc,0,1,b,tiny,,lm_head,both\n"
                             "c,0,1,a,tiny,1,,decode\n");
    link_boards("device,type\na,t\nb,t\n");
    fixture_write("w.csv", W "0,0,c,4,2\n");
    fixture_must_run();
    plan = fixture.scenario.input.plan;
    model = plan->services[0].model;
    assert_int_equal(plan->replicas[0].stage_count, 2);
    assert_int_equal(plan->replicas[0].decode_count, 2);
    assert_int_equal(plan->stage_count, 4);
    assert_int_equal(plan->replicas[0].move_count, 1); /* layer 1, from b to a */
    assert_int_equal(fixture.result.kv_moves.bytes, 4 * 64);
    assert_int_equal(plan_stage_weight_bytes(plan, plan->stages[0], 0) +
                         plan_stage_weight_bytes(plan, plan->stages[1], 1) +
                         plan_stage_weight_bytes(plan, plan->stages[2], 0) +
                         plan_stage_weight_bytes(plan, plan->stages[3], 0) +
                         plan_stage_weight_bytes(plan, plan->stages[3], 1),
                     model_weight_bytes(model) + model_weight_bytes(model) / 2 -
                         (model_block_weight_bytes(model, BLOCK_EMBED) +
                          model_block_weight_bytes(model, BLOCK_LM_HEAD)) /
                             2);
}

/* ---- the same devices ---- */

static const char *random_workload(struct rng *rng, int count)
{
    const char *text = W;
    int64_t at_us = 0;

    for (int i = 0; i < count; i++) {
        int prompt = 1 + (int)rng_below(rng, 16), output = 1 + (int)rng_below(rng, 4);

        at_us += (int64_t)rng_below(rng, 60000);
        text = arena_printf(fixture.arena, "%s%d,%lld.%06lld,c,%d,%d\n", text, i,
                            (long long)(at_us / 1000000), (long long)(at_us % 1000000), prompt,
                            output);
    }
    return text;
}

/* Stages that are named for each phase, on the devices that would have both: nothing moves, and
 * requests end when they do without phases. */
static void phases_on_the_same_devices_are_none(void **state)
{
    struct rng rng = rng_stream(5, RNG_TEST, 1);

    (void)state;
    link_boards("device,type\na,t\nb,t\n");
    for (int round = 0; round < 20; round++) {
        const char *first = rng_below(&rng, 2) ? "b" : "a", *requests;
        const char *workload = random_workload(&rng, 12);

        fixture_write("w.csv", workload);
        fixture_write("p.csv", arena_printf(fixture.arena,
                                            P "c,0,0,%s,tiny,,embed,\nc,0,0,%s,tiny,0,,\n"
                                              "c,0,1,b,tiny,1,,\nc,0,1,b,tiny,,lm_head,\n",
                                            first, first));
        fixture_must_run();
        requests = fixture_requests();
        fixture_write("p.csv",
                      arena_printf(fixture.arena,
                                   P "c,0,0,%s,tiny,,embed,prefill\nc,0,0,%s,tiny,0,,prefill\n"
                                     "c,0,1,b,tiny,1,,prefill\nc,0,1,b,tiny,,lm_head,prefill\n"
                                     "c,0,0,%s,tiny,,embed,decode\nc,0,0,%s,tiny,0,,decode\n"
                                     "c,0,1,b,tiny,1,,decode\nc,0,1,b,tiny,,lm_head,decode\n",
                                   first, first, first, first));
        fixture_must_run();
        assert_string_equal(fixture_requests(), requests);
        assert_int_equal(fixture.result.kv_moves.messages, 0);
    }
}

/* ---- batches, memory, failures ---- */

/* Both prompts are computed together, padded; their caches go in one message, each as long as it
 * is.
 */
static void the_caches_of_a_batch_go_together(void **state)
{
    (void)state;
    apart();
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    fixture_write("w.csv", W "0,0,c,4,2\n1,0,c,2,2\n");
    fixture.options.batch.wait_ps = 5 * MS;
    fixture_must_run();
    assert_int_equal(fixture.result.kv_moves.messages, 1);
    assert_int_equal(fixture.result.kv_moves.bytes, 6 * 128);
    assert_int_equal(fixture.result.requests[0].finish_ps, fixture.result.requests[1].finish_ps);
    assert_int_equal(fixture.result.devices[0].kv_peak_bytes, 6 * 128);
    assert_int_equal(fixture.result.devices[1].kv_peak_bytes, 10 * 128);
}

/* Room for one request's caches where they are decoded: the second is refused on arrival. */
static void room_is_looked_for_on_both_sides(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\nc,0,0,b,tiny,,,decode\n");
    link_boards("device,type,memory_bytes\na,t,1000000\nb,t,12000\n");
    fixture.options.memory = SERVE_MEMORY_REFUSE;
    fixture_write("w.csv", W "0,0,c,4,3\n1,0.001,c,16,10\n2,0.002,c,4,1\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.requests[2].status, TRACE_OK); /* it leaves no cache on b */
}

/* The cache arrives at a device that is down. */
static void a_cache_that_comes_to_a_dead_device_is_lost(void **state)
{
    (void)state;
    apart();
    fixture_write("w.csv", W "0,0,c,4,3\n1,0.0295,c,4,2\n");
    fixture_write("events.csv", "time_s,target,event,value\n0.028,b,down,\n0.029,b,up,\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_int_equal(fixture.result.requests[1].status, TRACE_OK);
}

/* ---- any placement ---- */

/* Both chains cut anywhere, each block's stage on any of three devices; random requests, links,
 * batches, memory modes and failures: what every run checks about itself holds (caches, bytes,
 * times), and every token of a cache is moved once or not at all. */
static const char *random_chain(struct rng *rng, const char *phase, const char *text)
{
    static const char *const blocks[] = { "attn", "proj", "ffn_up", "ffn_down" };
    int stage = 0, device = (int)rng_below(rng, 3);

    text = arena_printf(fixture.arena, "%sc,0,0,%c,tiny,,embed,%s\n", text, 'a' + device, phase);
    for (int at = 0; at < 8; at++) {
        if (rng_below(rng, 4) == 0) {
            stage++;
            device = (int)rng_below(rng, 3);
        }
        text = arena_printf(fixture.arena, "%sc,0,%d,%c,tiny,%d,%s,%s\n", text, stage, 'a' + device,
                            at / 4, blocks[at % 4], phase);
    }
    return arena_printf(fixture.arena, "%sc,0,%d,%c,tiny,,lm_head,%s\n", text, stage, 'a' + device,
                        phase);
}

static void any_pair_of_chains_keeps_its_books(void **state)
{
    struct rng rng = rng_stream(6, RNG_TEST, 1);

    (void)state;
    link_boards("device,type,memory_bytes\na,t,20000\nb,t,20000\nc,t,20000\n");
    fixture.files.events = fixture_path("events.csv");
    for (int round = 0; round < 150; round++) {
        const char *text = random_chain(&rng, "prefill", P);
        int64_t all_bytes = 0;

        fixture_write("p.csv", random_chain(&rng, "decode", text));
        fixture_write("w.csv", random_workload(&rng, 10));
        fixture_write("events.csv", rng_below(&rng, 2)
                                        ? "time_s,target,event,value\n0.1,b,down,\n0.2,b,up,\n"
                                        : "time_s,target,event,value\n");
        fixture.options.memory = (enum serve_memory)(1 + rng_below(&rng, 2));
        fixture.options.network = (enum serve_network)rng_below(&rng, SERVE_NETWORK_COUNT);
        fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
        if (rng_below(&rng, 2))
            fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 3 };
        fixture_must_run();
        for (size_t i = 0; i < fixture.scenario.input.workload->count; i++)
            all_bytes += 128 * fixture.scenario.input.workload->prompt_tokens[i];
        assert_in_range(fixture.result.kv_moves.bytes, 0, all_bytes);
    }
}

/* ---- continuous batches ---- */

static void use_continuous(int32_t max_seqs, int32_t budget, int32_t blocks)
{
    fixture.options.batch = (struct batch_options){ .kind = BATCH_CONTINUOUS,
                                                    .max_seqs = max_seqs,
                                                    .token_budget = budget };
    fixture.options.kv =
        (struct serve_kv){ .block_tokens = 4, .block_count = blocks, .has_chunks = true };
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
}

/* Each instance has an iteration at a time. Prompts of 4 and 2 tokens come together: one step of
 * both on a, 27 ms since attention is two calls a layer, 1.000024 to 28.000024; first tokens
 * at 29.000032. b has two blocks, one of them for the prompt of 4 and its first token (5 tokens:
 * two blocks), so the other waits until the first has ended. */
static void a_cache_is_pulled_when_there_are_blocks_for_it(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\nc,0,0,b,tiny,,,decode\n");
    link_boards("device,type\na,t\nb,t\n");
    use_continuous(4, 16, 2);
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixture_write("w.csv", W "0,0,c,4,2\n1,0,c,2,2\n");
    fixture_must_run();
    /* 512 bytes from 29.000032 to 30.000544; 4 bytes to 31.000548, 25 ms, 4 bytes back. */
    expect_ns(0, 1000024, 29000032, 57000552);
    /* 256 bytes to 58.000808, 4 to 59.000812, 25 ms, 4 back. */
    expect_ns(1, 1000024, 29000032, 85000816);
    assert_int_equal(fixture.result.kv_moves.requests, 2);
    assert_int_equal(fixture.result.kv_moves.bytes, 6 * 128);
    assert_int_equal(fixture.result.continuous->instance_count, 2);
    assert_int_equal(fixture.result.continuous->instances[0].counts.blocks_peak, 2);
    assert_int_equal(fixture.result.continuous->instances[1].counts.blocks_peak, 2);
}

/* With blocks for both, the second decodes with the first as soon as its cache is there. */
static void what_has_come_decodes_together(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\nc,0,0,b,tiny,,,decode\n");
    fixture_cluster("device,type\na,t\nb,t\n", NULL);
    use_continuous(4, 16, 8);
    fixture_write("w.csv", W "0,0,c,4,4\n1,0,c,2,4\n2,0.03,c,1,2\n");
    fixture_must_run();
    expect_ns(0, 0, 27000000, 110000000);
    expect_ns(1, 0, 27000000, 110000000);
    /* Its prompt is computed on a from 30 to 55; b plans its third step at 81, of three, since a
     * step takes 23 ms + 2 for each that it decodes. */
    expect_ns(2, 30000000, 55000000, 110000000);
}

/* The blocks of b run short: who came last is computed anew, on b, from its prompt on. */
static void who_is_preempted_is_computed_anew_where_it_is_decoded(void **state)
{
    const struct llm_result *done;

    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\nc,0,0,b,tiny,,,decode\n");
    fixture_cluster("device,type\na,t\nb,t\n", NULL);
    use_continuous(4, 16, 4);
    fixture_write("w.csv", W "0,0,c,3,8\n1,0,c,3,8\n");
    fixture_must_run();
    done = fixture.result.continuous;
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[1].status, TRACE_OK);
    assert_int_equal(done->instances[0].counts.preemptions, 0);
    assert_int_equal(done->instances[1].counts.preemptions, 1);
    assert_true(done->instances[1].counts.recomputed_tokens >= 8);
    assert_int_equal(fixture.result.kv_moves.requests, 2); /* it is not sent again */
}

static void a_dead_device_takes_the_caches_of_both_sides(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\nc,0,0,b,tiny,,,decode\n");
    link_boards("device,type\na,t\nb,t\n");
    use_continuous(4, 16, 8);
    fixture_write("w.csv", W "0,0,c,4,4\n1,0.02,c,4,1\n2,0.05,c,4,2\n");
    fixture_write("events.csv", "time_s,target,event,value\n0.0275,a,down,\n0.04,a,up,\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED); /* on its way to b */
    assert_int_equal(fixture.result.requests[1].status, TRACE_FAILED);
    assert_int_equal(fixture.result.requests[2].status, TRACE_OK);
}

/* The only request is lost while its cache is on a link: the run goes on until that is there. */
static void the_cache_of_the_last_request_may_come_for_nobody(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,,prefill\n"
                             "c,0,0,b,tiny,,embed,decode\nc,0,0,b,tiny,0,,decode\n"
                             "c,0,1,d,tiny,1,,decode\nc,0,1,d,tiny,,lm_head,decode\n");
    link_boards("device,type\na,t\nb,t\nd,t\n");
    fixture_write("w.csv", W "0,0,c,4,3\n");
    fixture_write("events.csv", "time_s,target,event\n0.0275,b,down\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run(); /* the cache leaves at 27.00002 ms and takes one */
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_int_equal(fixture.result.kv_moves.requests, 1);
    use_continuous(4, 16, 4);
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_int_equal(fixture.result.kv_moves.requests, 1);
}

/* Any chains, links, limits and failures: the books of every run are balanced (blocks, bytes,
 * tokens), and every request ends; without failures all end well, with their tokens. */
static void any_pair_of_instances_keeps_its_books(void **state)
{
    struct rng rng = rng_stream(8, RNG_TEST, 1);

    (void)state;
    fixture.files.events = fixture_path("events.csv");
    for (int round = 0; round < 200; round++) {
        const char *text = random_chain(&rng, "prefill", P);
        bool has_events = rng_below(&rng, 3) == 0, has_links = rng_below(&rng, 3) > 0;

        fixture_write("p.csv", random_chain(&rng, "decode", text));
        fixture_cluster("device,type\na,t\nb,t\nc,t\n",
                        has_links
                            ? "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,8e6,0.001\n"
                            : "medium,kind,node,bits_per_s,latency_s\n"
                              "lan,switch,*,8e12,0\n");
        fixture_write("w.csv", random_workload(&rng, 14));
        fixture_write("events.csv", has_events
                                        ? "time_s,target,event,value\n0.1,b,down,\n0.2,b,up,\n"
                                          "0.3,a,down,\n0.31,a,up,\n"
                                        : "time_s,target,event,value\n");
        use_continuous(1 + (int32_t)rng_below(&rng, 4), 0, 0);
        fixture.options.batch.token_budget =
            fixture.options.batch.max_seqs + (int32_t)rng_below(&rng, 8);
        fixture.options.kv.block_count = 5 + (int32_t)rng_below(&rng, 6);
        fixture.options.kv.max_in_flight = (int32_t)rng_below(&rng, 3);
        fixture.options.network = (enum serve_network)rng_below(&rng, SERVE_NETWORK_COUNT);
        fixture_must_run();
        for (int i = 0; i < 14; i++)
            assert_true(fixture.result.requests[i].status == TRACE_OK ||
                        (has_events && fixture.result.requests[i].status == TRACE_FAILED));
        assert_true(fixture.result.kv_moves.requests <= 14);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cache_goes_to_where_it_is_decoded),
        TEST(prompts_do_not_wait_for_what_is_decoded),
        TEST(what_a_device_reads_itself_stays),
        TEST(rows_of_both_phases_hold_once),
        TEST(phases_on_the_same_devices_are_none),
        TEST(the_caches_of_a_batch_go_together),
        TEST(room_is_looked_for_on_both_sides),
        TEST(a_cache_that_comes_to_a_dead_device_is_lost),
        TEST(any_pair_of_chains_keeps_its_books),
        TEST(a_cache_is_pulled_when_there_are_blocks_for_it),
        TEST(what_has_come_decodes_together),
        TEST(who_is_preempted_is_computed_anew_where_it_is_decoded),
        TEST(a_dead_device_takes_the_caches_of_both_sides),
        TEST(the_cache_of_the_last_request_may_come_for_nobody),
        TEST(any_pair_of_instances_keeps_its_books),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
