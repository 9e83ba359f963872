/* test_llm_pipeline.c - continuous batches that pass several stages and links: by hand, against one
 * device where both must be the same, and on random placements. */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "lib/format/trace.h"

#define ROUNDS 80
#define NS INT64_C(1000) /* ps */
/* Beside its tokens a layer takes 7 ps, the embedding 1, the LM head 2. */
#define TWO P "s,0,0,a,duo,,embed\ns,0,0,a,duo,0,layer\ns,0,1,b,duo,1,layer\ns,0,1,b,duo,,lm_head\n"
#define DEVICES "device,type,speed_ratio\n"
#define LINKS "medium,kind,node,bits_per_s,latency_s\n"

static void assert_times(int index, int64_t start_ps, int64_t first_ps, int64_t finish_ps)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_OK);
    assert_int_equal(request->start_ps, start_ps);
    assert_int_equal(request->first_token_ps, first_ps);
    assert_int_equal(request->finish_ps, finish_ps);
}

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static struct metrics metrics_of_all(void)
{
    struct metrics *services;

    return metrics_end(fixture.meter, fixture.result.end_ps, &services);
}

static void assert_near(double value, double expected)
{
    double off = value - expected;

    assert_true((off < 0 ? -off : off) <= 1e-9 * expected);
}

/* ---- by hand ---- */

static void two_batches_are_under_way_in_two_stages(void **state)
{
    double mean_bytes;

    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", TWO);
    fixture_write("w.csv", W "0,0,s,4,2\n1,0.001,s,3,2\n");
    llm_must_run();
    /* a: 0 to 4, then the other's prompt to 7; b: 4 to 8, to 11; then a token each */
    assert_times(0, 0, 8 * MS + 17, 12 * MS + 35);
    assert_times(1, 4 * MS + 8, 11 * MS + 26, 13 * MS + 44);
    assert_int_equal(fixture.result.devices[0].busy_ps, 9 * MS + 32);
    assert_int_equal(fixture.result.devices[1].busy_ps, 9 * MS + 36);
    assert_int_equal(metrics_of_all().itl.count, 2);
    assert_int_equal(metrics_of_all().itl.max, 4 * MS + 18);
    assert_int_equal(metrics_of_all().itl.min, 2 * MS + 18);
    /* 64 bytes a token, in both stages from when a batch leaves until it is back */
    mean_bytes = 64.0 * (90 * MS + 4 * 17 + 5 * 18 + 3 * 26 + 4 * 18) / (13 * MS + 44);
    for (int i = 0; i < 2; i++)
        assert_near(fixture.result.devices[i].kv_mean_bytes, mean_bytes);
    assert_near(fixture.result.parts.compute_ps, 18 * MS + 68);
    assert_int_equal(fixture.result.replicas[0].active_ps, 13 * MS + 44);
    fixture.options.kv.max_in_flight = 1;
    llm_must_run();
    /* 8 ms; both, 4 tokens, 8 ms; the last token of the second, 2 ms */
    assert_times(0, 0, 8 * MS + 17, 16 * MS + 34);
    assert_times(1, 8 * MS + 17, 16 * MS + 34, 18 * MS + 51);
}

static void messages_carry_tokens_activations_and_results(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", TWO);
    fixture_cluster(DEVICES "a,t,1\nb,t,1\n", LINKS "lan,switch,*,8e9,0\n"); /* 1 ns a byte */
    fixture_write("w.csv", W "0,0,s,4,2\n");
    fixture_must_run();
    /* 16 bytes in, 128 between the stages, 4 back; then 4, 32, 4 */
    assert_times(0, 16 * NS, 8 * MS + 17 + 148 * NS, 10 * MS + 34 + 188 * NS);
    assert_int_equal(fixture.result.moved_bytes, 188);
    /* in 8 bits: four values a word, and 8 bytes a message */
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block,wire_bits\n"
                           "s,0,0,a,duo,,embed,8\ns,0,0,a,duo,0,layer,8\n"
                           "s,0,1,b,duo,1,layer,\ns,0,1,b,duo,,lm_head,\n");
    fixture_cluster("device,type,encode_value_ns,decode_value_ns\na,t,1,\nb,t,,2\n",
                    LINKS "lan,switch,*,8e9,0\n");
    fixture_must_run();
    /* a value takes 1 ns of a and 2 of b: 32 values, then 8 */
    assert_times(0, 16 * NS, 8 * MS + 17 + (16 + 40 + 4 + 3 * 32) * NS,
                 10 * MS + 34 + (16 + 40 + 4 + 3 * 32 + 4 + 16 + 4 + 3 * 8) * NS);
    assert_int_equal(fixture.result.moved_bytes, 84);
    fixture_cluster(DEVICES "a,t,1\nb,t,1\n", LINKS "lan,switch,*,8e9,0\n");
    /* one device behind a link as well */
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\n");
    llm_must_run();
    assert_times(0, 16 * NS, 4 * MS + EACH_PS + 20 * NS, 5 * MS + 2 * EACH_PS + 28 * NS);
    assert_int_equal(fixture.result.moved_bytes, 28);
}

#define THREE(depth)                                                                               \
    "service,replica,stage,device,model,layers,block,queue_depth\n"                                \
    "s,0,0,a,quad,,embed,\ns,0,0,a,quad,0,layer,\ns,0,1,b,quad,1,layer," depth                     \
    "\ns,0,2,c,quad,2-3,layer,\ns,0,2,c,quad,,lm_head,\n"

static void a_full_queue_keeps_the_device_before_it(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture.options.kv.max_in_flight = 4;
    fixture_cluster(DEVICES "a,t,1\nb,t,0.1\nc,t,1\n", NULL);
    fixture_write("p.csv", THREE(""));
    fixture_write("w.csv", W "0,0,s,1,1\n1,0.0005,s,1,1\n2,0.0006,s,1,1\n3,0.0007,s,1,1\n");
    llm_must_run();
    assert_int_equal(fixture.result.requests[3].start_ps, 3 * MS + 24);
    assert_int_equal(fixture.result.requests[3].finish_ps, 43 * MS + 8 + 280 + 16);
    fixture_write("p.csv", THREE("1")); /* the third stays on a until the second is in b */
    llm_must_run();
    assert_int_equal(fixture.result.requests[2].start_ps, 2 * MS + 16);
    assert_int_equal(fixture.result.requests[3].start_ps, 11 * MS + 78);
    assert_int_equal(fixture.result.requests[3].finish_ps, 43 * MS + 8 + 280 + 16);
    assert_int_equal(fixture.result.devices[0].busy_ps, 4 * (MS + 8));
}

#define RING                                                                                       \
    "service,replica,stage,device,model,layers,block,queue_depth\n"                                \
    "s,0,0,a,quad,,embed,\ns,0,0,a,quad,0,layer,\ns,0,1,b,quad,1,layer,1\n"                        \
    "s,0,2,a,quad,2,layer,1\ns,0,3,b,quad,3,layer,1\ns,0,3,b,quad,,lm_head,1\n"

/* Batches for stage 1 hold a, batches for stage 2 hold b. */
static void a_placement_that_stands_still_says_who_waits_for_what(void **state)
{
    const char *text = W;

    (void)state;
    llm_setup_files(16, 64, 100);
    for (int i = 0; i < 6; i++)
        text = arena_printf(fixture.arena, "%s%d,0.000%d,s,10,5\n", text, i, i);
    fixture_write("w.csv", text);
    fixture_write("p.csv", RING);
    assert_false(llm_run_files());
    assert_int_equal(fixture.err.kind, ERR_SYSTEM);
    for (int i = 0; i < 2; i++) {
        static const char *const parts[] = {
            "keeps 'a' behind stage 0 until the queue of stage 1 on 'b' (queue_depth 1) has room",
            "keeps 'b' behind stage 1 until the queue of stage 2 on 'a' (queue_depth 1) has room"
        };

        if (!strstr(fixture.err.text, parts[i]))
            fail_msg("'%s' does not hold '%s'", fixture.err.text, parts[i]);
    }
}

/* ---- shared devices, memory ---- */

static void batches_of_two_services_share_the_queue_of_a_device(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", TWO "r,0,0,b,tiny,,all\n");
    fixture_write("w.csv", W "0,0,s,4,1\n1,0.003,r,5,1\n2,0.0035,r,1,1\n");
    llm_must_run();
    /* b: r's from 3 to 8, s's to 12, then r's next */
    assert_times(1, 3 * MS, 8 * MS + EACH_PS, 8 * MS + EACH_PS);
    assert_times(0, 0, 12 * MS + EACH_PS + 9, 12 * MS + EACH_PS + 9);
    assert_times(2, 12 * MS + EACH_PS + 9, 13 * MS + 2 * EACH_PS + 9, 13 * MS + 2 * EACH_PS + 9);
}

static void the_fullest_device_says_how_many_blocks_there_are(void **state)
{
    const struct llm_result *done;
    int64_t base_bytes;

    (void)state;
    llm_setup_files(4, 64, 0);
    fixture_write("p.csv", THREE(""));
    fixture_write("w.csv", W "0,0,s,4,2\n");
    fixture_cluster("device,type,memory_bytes\na,t,100000\nb,t,50000\nc,t,60000\n", NULL);
    llm_must_run();
    done = fixture.result.continuous;
    /* 64 bytes a token and layer, 4 tokens a block; c holds two layers */
    assert_int_equal(done->instances[0].block_bytes, 4 * 4 * 64);
    base_bytes = fixture.result.devices[2].peak_bytes - 2 * 2 * 256;
    assert_int_equal(done->instances[0].block_count, (60000 - base_bytes) / 512);
    assert_true(done->is_memory_known);
    assert_int_equal(done->kv_bytes[0], 2 * 256);
    assert_int_equal(done->kv_bytes[2], 2 * 512);
}

/* ---- failures ---- */

static void who_has_lost_a_device_has_failed(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", TWO "s,1,0,c,duo,,all\n");
    fixture_write("events.csv", "time_s,target,event,value\n"
                                "0.006,b,down,\n0.02,b,up,\n0.03,a,speed_ratio,0.5\n");
    fixture.files.events = fixture_path("events.csv");
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    fixture_cluster(DEVICES "a,t,1\nb,t,1\nc,t,1\n", NULL);
    fixture_write("w.csv", W "0,0,s,4,2\n1,0.001,s,30,1\n2,0.005,s,9,1\n3,0.01,s,1,1\n"
                             "4,0.02,s,1,1\n5,0.021,s,1,1\n6,0.03,s,1,1\n");
    llm_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED); /* in b */
    assert_int_equal(fixture.result.requests[1].replica, 1);
    assert_int_equal(fixture.result.requests[2].status,
                     TRACE_FAILED); /* in a, goes on for nothing */
    assert_int_equal(fixture.result.requests[3].replica, 1);
    assert_int_equal(fixture.result.requests[4].replica, 0);
    assert_times(4, 20 * MS, 22 * MS + 17, 22 * MS + 17);
    assert_int_equal(fixture.result.requests[6].replica, 0);
    assert_times(6, 30 * MS, 33 * MS + 25, 33 * MS + 25);
    /* a: 4, then 9 that are lost at its other end, 1, 2 at half speed */
    assert_int_equal(fixture.result.devices[0].busy_ps, 16 * MS + 3 * 8 + 16);
    assert_int_equal(fixture.result.devices[1].busy_ps, 2 * MS - 8 + 2 * (MS + 9));
    /* 0 to 6, 20 to 22, 30 to 33; c: always, from 1 on */
    assert_int_equal(fixture.result.replicas[0].active_ps, 11 * MS + 42);
    assert_int_equal(fixture.result.replicas[1].active_ps, 64 * MS + 34);
    /* up to 6 ms the 4 of the first in a, 1 of the third, 2 in b; then 2 and 3; in c the last two
     * are computed together */
    assert_near(fixture.result.parts.compute_ps,
                (double)(16 * MS + 59 + fixture.result.devices[2].busy_ps));
}

/* ---- overheads ---- */

static void overheads_hold_requests_before_and_behind_dispatch(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("o.csv", "where,dist,mean_s,sd_s,scale_per_stage_ratio\n"
                           "submit,constant,0.100,,\ndispatch,constant,0.010,,\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture.options.dispatch = DISPATCH_LEAST_OUTSTANDING;
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\ns,1,0,b,tiny,,all\n");
    fixture_write("w.csv", W "0,0,s,4,1\n1,0.001,s,3,1\n2,0.012,s,2,1\n3,0.02,s,500,100\n");
    llm_must_run();
    assert_times(0, 110 * MS, 114 * MS + EACH_PS, 114 * MS + EACH_PS);
    assert_times(1, 111 * MS, 114 * MS + EACH_PS, 114 * MS + EACH_PS);
    assert_int_equal(fixture.result.requests[1].replica, 1); /* the first is on its way to a */
    assert_times(2, 122 * MS, 124 * MS + EACH_PS, 124 * MS + EACH_PS);
    assert_int_equal(fixture.result.requests[3].status, TRACE_REFUSED);
    assert_near(fixture.result.parts.delay_ps, 3 * 110 * MS);
    assert_near(fixture.result.parts.all_ps, 3 * 110 * MS + 9 * MS + 3 * EACH_PS);
    /* a from 100 to 114 and from 112 on */
    assert_int_equal(fixture.result.replicas[0].active_ps, 24 * MS + EACH_PS);
    /* what is on its way to a device that is down fails when it comes */
    fixture_write("events.csv", "time_s,target,event,value\n0.105,a,down,\n0.12,a,up,\n");
    fixture.files.events = fixture_path("events.csv");
    llm_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_int_equal(fixture.result.requests[0].replica, 0);
    assert_int_equal(fixture.result.replicas[0].active_ps, 10 * MS);
    assert_int_equal(fixture.result.requests[1].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[2].status, TRACE_OK);
}

static void an_overhead_of_workers_holds_a_batch_before_each_stage(void **state)
{
    static const char *const rows = "s,0,0,a,quad,,embed\ns,0,0,a,quad,0,layer\n"
                                    "s,0,1,b,quad,1-3,layer\ns,0,1,b,quad,,lm_head\n";
    int64_t busy_ps[2], first_ps, finish_ps;

    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", arena_printf(fixture.arena, P "%s", rows));
    fixture_write("w.csv", W "0,0,s,2,3\n1,0,s,2,3\n");
    llm_must_run();
    busy_ps[0] = fixture.result.devices[0].busy_ps;
    busy_ps[1] = fixture.result.devices[1].busy_ps;
    first_ps = fixture.result.requests[1].first_token_ps;
    finish_ps = fixture.result.requests[1].finish_ps;
    fixture_write("o.csv", "where,dist,mean_s\nworker,constant,0.020\n");
    fixture.files.overhead = fixture_path("o.csv");
    llm_must_run(); /* three batches of both requests, before two stages each */
    assert_int_equal(fixture.result.requests[1].start_ps, 20 * MS);
    assert_int_equal(fixture.result.requests[1].first_token_ps - first_ps, 2 * 20 * MS);
    assert_int_equal(fixture.result.requests[1].finish_ps - finish_ps, 6 * 20 * MS);
    assert_int_equal(fixture.result.devices[0].busy_ps, busy_ps[0]);
    assert_int_equal(fixture.result.devices[1].busy_ps, busy_ps[1]);
    assert_near(fixture.result.parts.delay_ps, 2 * 6 * 20 * MS);
    /* a batch that is held for a device which fails is lost with its requests */
    fixture_write("events.csv", "time_s,target,event,value\n0.01,a,down,\n0.012,a,up,\n");
    fixture.files.events = fixture_path("events.csv");
    llm_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_int_equal(fixture.result.requests[1].status, TRACE_FAILED);
    assert_int_equal(fixture.result.devices[0].busy_ps, 0);
}

/* Every draw is of its batch and stage: nothing else moves when one stage is longer. */
static void draws_of_workers_differ(void **state)
{
    int64_t finish_ps[2];

    (void)state;
    llm_setup_files(1, 64, 100);
    fixture_write("o.csv", "where,dist,mean_s\nworker,exp,0.020\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture_write("w.csv", W "0,0,s,2,4\n1,10,s,2,4\n");
    for (int i = 0; i < 2; i++) {
        llm_must_run();
        finish_ps[i] = fixture.result.requests[1].finish_ps - 10000 * MS;
        assert_true(fixture.result.requests[0].finish_ps != finish_ps[i]);
    }
    assert_int_equal(finish_ps[0], finish_ps[1]);
}

/* ---- one stage, zero stages more ---- */

static void write_requests(struct rng *rng, int count, bool is_spread)
{
    const char *text = W;
    int64_t at_us = 0;

    for (int i = 0; i < count; i++) {
        at_us += is_spread ? draw(rng, 0, 2) * draw(rng, 0, 30000) : 0;
        text =
            arena_printf(fixture.arena, "%s%d,%d.%06d,s,%d,%d\n", text, i, (int)(at_us / 1000000),
                         (int)(at_us % 1000000), draw(rng, 1, 40), draw(rng, 1, 60));
    }
    fixture_write("w.csv", text);
}

static const char *outcome(void)
{
    struct continuous_counts sum;
    int64_t busy_ps = 0;
    struct metrics all;
    double mean_bytes = 0;

    llm_must_run();
    all = metrics_of_all();
    assert_int_equal(all.itl.count, all.output_tokens - all.status[TRACE_OK]);
    sum = llm_counts(fixture.result.continuous);
    for (int i = 0; i < fixture.scenario.input.plan->cluster->device_count; i++)
        busy_ps += fixture.result.devices[i].busy_ps;
    for (int i = 0; i < fixture.scenario.input.plan->cluster->device_count; i++)
        mean_bytes += fixture.result.devices[i].kv_mean_bytes;
    return arena_printf(
        fixture.arena, "%s%lld %lld %lld %lld %d %lld\n%.9g %lld %lld %lld %.17g %.17g %lld %lld\n",
        fixture_requests(), (long long)sum.steps, (long long)sum.tokens, (long long)sum.preemptions,
        (long long)sum.hit_tokens, sum.blocks_peak, (long long)busy_ps, mean_bytes,
        (long long)all.itl.mean, (long long)all.itl.min, (long long)all.itl.max,
        fixture.result.parts.compute_ps, fixture.result.parts.all_ps,
        (long long)fixture.result.parts.active_ps, (long long)fixture.result.replicas[0].active_ps);
}

static void start_anew(int round)
{
    if (round == 0)
        return;
    fixture_tear_down(NULL);
    fixture_set_up(NULL);
}

/* Tasks and instances are two ways to simulate the same. An event that changes nothing brings tasks
 * about; so do two stages on one device, one batch at a time. */
static void a_pipeline_of_one_stage_is_one_device(void **state)
{
    struct rng rng = rng_stream(2, RNG_TEST, 0);
    int64_t preemptions = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const char *one;

        start_anew(round);
        llm_setup_files(draw(&rng, 1, 6), draw(&rng, 6, 40), draw(&rng, 26, 60));
        fixture.options.kv.has_chunks = draw(&rng, 0, 3) > 0;
        write_requests(&rng, 60, true);
        fixture_cluster(DEVICES "a,t,1\n", NULL);
        fixture_write("p.csv", P "s,0,0,a,duo,,all\n");
        one = outcome();
        preemptions += llm_counts(fixture.result.continuous).preemptions;
        fixture.options.kv.max_in_flight = 1;
        fixture_write("p.csv", P "s,0,0,a,duo,,embed\ns,0,0,a,duo,0,layer\n"
                                 "s,0,1,a,duo,1,layer\ns,0,1,a,duo,,lm_head\n");
        assert_string_equal(one, outcome());
        fixture_write("p.csv", P "s,0,0,a,duo,,all\n");
        fixture_write("events.csv", "time_s,target,event,value\n5000000,a,speed_ratio,1\n");
        fixture.files.events = fixture_path("events.csv");
        assert_string_equal(one, outcome());
    }
    assert_in_range(preemptions, ROUNDS / 4, INT32_MAX);
}

/* Messages of its only replica meet no other: many steps are one event, and the same. */
static void a_device_behind_links_takes_many_steps_at_once(void **state)
{
    struct rng rng = rng_stream(4, RNG_TEST, 0);

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        bool is_radio = draw(&rng, 0, 1) > 0;
        const char *texts[2];
        int64_t moved_bytes = 0;

        start_anew(round);
        llm_setup_files(draw(&rng, 1, 6), draw(&rng, 6, 40), draw(&rng, 26, 60));
        write_requests(&rng, 60, true);
        fixture.options.network = is_radio ? SERVE_NETWORK_FIFO : SERVE_NETWORK_AUTO;
        fixture_cluster(DEVICES "a,t,0.7\n",
                        is_radio ? LINKS "air,wifi,*,1e6,0.001\n"
                                 : "medium,kind,node,bits_per_s,latency_s,per_message_s\n"
                                   "lan,switch,*,1e7,0.0001,0.00003\n");
        fixture_write("p.csv", P "s,0,0,a,duo,,all\n");
        for (int is_fast = 0; is_fast < 2; is_fast++) {
            fixture.options.fast_path = is_fast ? SERVE_FAST_ON : SERVE_FAST_OFF;
            texts[is_fast] = outcome();
            texts[is_fast] = arena_printf(fixture.arena, "%s%lld %lld %lld\n", texts[is_fast],
                                          (long long)fixture.result.event_count,
                                          (long long)fixture.result.moved_bytes,
                                          (long long)fixture.result.end_ps);
            for (int i = 0; i < fixture.result.link_count; i++)
                texts[is_fast] = arena_printf(
                    fixture.arena, "%s%s %lld %lld %lld %.17g\n", texts[is_fast],
                    fixture.result.links[i].name, (long long)fixture.result.links[i].bytes,
                    (long long)fixture.result.links[i].busy_ps,
                    (long long)fixture.result.links[i].share.message_count,
                    fixture.result.links[i].share.bytes_ps);
            texts[is_fast] = arena_printf(fixture.arena, "%s%.9g %.9g %.9g\n", texts[is_fast],
                                          fixture.result.parts.media[0].per_message_ps,
                                          fixture.result.parts.media[0].latency_ps,
                                          fixture.result.parts.media[0].bytes_ps);
            moved_bytes = fixture.result.moved_bytes;
        }
        assert_string_equal(texts[0], texts[1]);
        assert_in_range(moved_bytes, 1000, INT32_MAX);
    }
}

/* ---- random placements ---- */

static const char *draw_placement(struct rng *rng)
{
    const char *text = "service,replica,stage,device,model,layers,block,queue_depth\n";
    int replicas = draw(rng, 1, 3);

    for (int r = 0; r < replicas; r++) {
        int layer = 0, stage = 0;

        while (layer < 4) {
            int end = draw(rng, layer, 3), device = draw(rng, 0, 4);
            const char *depth =
                draw(rng, 0, 2) > 0 ? "" : arena_printf(fixture.arena, "%d", draw(rng, 1, 3));

            if (layer == 0)
                text = arena_printf(fixture.arena, "%ss,%d,0,d%d,quad,,embed,%s\n", text, r, device,
                                    depth);
            text = arena_printf(fixture.arena, "%ss,%d,%d,d%d,quad,%d-%d,layer,%s\n", text, r,
                                stage, device, layer, end, depth);
            if (end == 3)
                text = arena_printf(fixture.arena, "%ss,%d,%d,d%d,quad,,lm_head,%s\n", text, r,
                                    stage, device, depth);
            layer = end + 1;
            stage++;
        }
    }
    return text;
}

/* With links also of the channel: slower, then down for a while. */
static void draw_events(struct rng *rng, bool has_links)
{
    const char *text = "time_s,target,event,value\n";
    int at_ms = 0;
    bool is_down[5] = { false };

    for (int i = 0; i < 6; i++) {
        int device = draw(rng, 0, 4);

        at_ms += draw(rng, 0, 600);
        if (draw(rng, 0, 2) == 0) {
            text = arena_printf(fixture.arena, "%s%d.%03d,d%d,speed_ratio,0.%d\n", text,
                                at_ms / 1000, at_ms % 1000, device, draw(rng, 1, 9));
        } else {
            text = arena_printf(fixture.arena, "%s%d.%03d,d%d,%s,\n", text, at_ms / 1000,
                                at_ms % 1000, device, is_down[device] ? "up" : "down");
            is_down[device] = !is_down[device];
        }
        at_ms++;
    }
    if (has_links)
        text = arena_printf(fixture.arena, "%s4,air,bits_per_s,%d\n4.5,air,down,\n4.%d,air,up,\n",
                            text, draw(rng, 100000, 900000), draw(rng, 51, 99));
    fixture_write("events.csv", text);
    fixture.files.events = fixture_path("events.csv");
}

/* Where nobody has failed: no part of the time of requests is more than there is, and somebody is
 * there from arrivals to ends. */
static void check_parts(void)
{
    const struct serve_parts *parts = &fixture.result.parts;
    struct metrics all = metrics_of_all();
    double known_ps = parts->compute_ps;
    int64_t active_ps = 0, until_ps = 0;

    assert_int_equal(all.itl.count, all.output_tokens - all.status[TRACE_OK]);
    for (int i = 0; i < fixture.scenario.input.plan->cluster->medium_count; i++)
        known_ps +=
            parts->media[i].per_message_ps + parts->media[i].latency_ps + parts->media[i].bytes_ps;
    assert_true(known_ps <= parts->all_ps * (1 + 1e-9));
    for (size_t i = 0; i < 40; i++) {
        const struct serve_request *request = &fixture.result.requests[i];
        int64_t from_ps = fixture.scenario.input.workload->arrivals_ps[i];

        if (request->status != TRACE_OK || request->finish_ps <= until_ps)
            continue;
        active_ps += request->finish_ps - (from_ps > until_ps ? from_ps : until_ps);
        until_ps = request->finish_ps;
    }
    assert_int_equal(parts->active_ps, active_ps);
    if (fixture.result.replica_count == 1)
        assert_int_equal(fixture.result.replicas[0].active_ps, active_ps);
}

/* The run checks tokens, bytes, blocks and Little's law itself; here: everyone has an end, once,
 * and observers change nothing. */
static void everyone_has_an_end_whatever_the_placement(void **state)
{
    struct rng rng = rng_stream(3, RNG_TEST, 0);
    int counts[TRACE_STATUS_COUNT] = { 0 }, stuck = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        bool has_links = draw(&rng, 0, 1) > 0;
        const char *quiet;

        start_anew(round);
        llm_setup_files(draw(&rng, 1, 6), draw(&rng, 6, 40), draw(&rng, 26, 60));
        fixture.options.kv.has_chunks = draw(&rng, 0, 3) > 0;
        fixture.options.network = (enum serve_network)draw(&rng, 0, SERVE_NETWORK_COUNT - 1);
        fixture.options.dispatch = (enum dispatch_kind)draw(&rng, 0, DISPATCH_COUNT - 1);
        write_requests(&rng, 40, true);
        fixture_cluster(DEVICES "d0,t,1\nd1,t,0.5\nd2,t,1\nd3,t,2\nd4,t,1\n",
                        has_links ? LINKS "air,wifi,*,1e6,0.001\n" : NULL);
        fixture_write("p.csv", draw_placement(&rng));
        if (draw(&rng, 0, 1) > 0)
            draw_events(&rng, has_links);
        if (!llm_run_files()) {
            if (!strstr(fixture.err.text, "blocked: ") || !strstr(fixture.err.text, " keeps '"))
                fail_msg("%s", fixture.err.text);
            stuck++;
            continue;
        }
        for (size_t i = 0; i < 40; i++) {
            assert_true(fixture.result.requests[i].is_taken);
            counts[fixture.result.requests[i].status]++;
        }
        if (metrics_of_all().status[TRACE_FAILED] == 0)
            check_parts();
        quiet = fixture_requests();
        fixture_must_run();
        assert_string_equal(quiet, fixture_requests());
    }
    assert_in_range(counts[TRACE_OK], ROUNDS * 12, INT32_MAX);
    assert_in_range(counts[TRACE_FAILED], ROUNDS, INT32_MAX);
    assert_in_range(stuck, 0, ROUNDS / 4);
}

#define llm_test(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        llm_test(two_batches_are_under_way_in_two_stages),
        llm_test(messages_carry_tokens_activations_and_results),
        llm_test(a_full_queue_keeps_the_device_before_it),
        llm_test(a_placement_that_stands_still_says_who_waits_for_what),
        llm_test(batches_of_two_services_share_the_queue_of_a_device),
        llm_test(the_fullest_device_says_how_many_blocks_there_are),
        llm_test(who_has_lost_a_device_has_failed),
        llm_test(overheads_hold_requests_before_and_behind_dispatch),
        llm_test(an_overhead_of_workers_holds_a_batch_before_each_stage),
        llm_test(draws_of_workers_differ),
        llm_test(a_pipeline_of_one_stage_is_one_device),
        llm_test(a_device_behind_links_takes_many_steps_at_once),
        llm_test(everyone_has_an_end_whatever_the_placement),
    };

    return cmocka_run_group_tests_name("llm_pipeline", tests, NULL, NULL);
}
