/* test_llm_sliced.c - continuous batches in stages on several devices. */
#include "tests/unit/sim/sliced_rules.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "lib/policy/continuous.h"
#include "lib/policy/pass.h"
#include "lib/policy/step_price.h"
#include "sim/llm/llm.h"

static void batch_on(int32_t max_seqs, int32_t budget)
{
    fixture.options.batch = (struct batch_options){ .kind = BATCH_CONTINUOUS,
                                                    .max_seqs = max_seqs,
                                                    .token_budget = budget };
    fixture.options.kv = (struct serve_kv){ .block_tokens = 4, .has_chunks = true };
}

static void a_request_alone_takes_what_it_takes_without_batches(void **state)
{
    const char *alone;

    (void)state;
    for (int i = 0; i < 3 * COLLECTIVE_ALGORITHM_COUNT; i++) {
        fixture_cluster(DEVICES, i % 3 == 0 ? NULL : i % 3 == 1 ? LAN : NO_SOURCE);
        fixture.options.collective = (enum collective_algorithm)(i / 3);
        place(arena_printf(fixture.arena,
                           "chat,0,0,a,wide,,embed,\n%s%schat,0,1,c,wide,,lm_head,0/2\n"
                           "chat,0,1,d,wide,,lm_head,1/2\n",
                           equal_rows("0", 0, 2, "ab"), equal_rows("1", 3, 4, "cd")));
        fixture_write("w.csv", W "0,0,chat,4,6\n");
        fixture.options.network = SERVE_NETWORK_FIFO;
        fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
        fixture_must_run();
        alone = fixture_requests();
        batch_on(4, 16);
        fixture_must_run();
        assert_string_equal(alone, fixture_requests());
    }
}

/* Two prompts of two tokens in one step, then two decodes: all but attention is computed once for
 * both, and messages carry the rows of both. */
static void rows_of_all_requests_go_through_a_pass_together(void **state)
{
    const struct part half = { HEADS / 2, KV_HEADS / 2, FFN / 2 };
    static const int32_t tokens[] = { 4, 2 };
    int64_t expected_ps = 0;

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place(arena_printf(fixture.arena,
                       "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,0/2\n"
                       "chat,0,0,b,wide,,lm_head,1/2\n",
                       equal_rows("0", 0, LAYERS - 1, "ab")));
    fixture_write("w.csv", W "0,0,chat,2,2\n1,0,chat,2,2\n");
    fixture.options.network = SERVE_NETWORK_FIFO;
    batch_on(2, 4);
    fixture_must_run();
    for (int step = 0; step < 2; step++) {
        int32_t m = tokens[step];
        /* attention of two requests, each for itself */
        int64_t twice_ps = 2 * call_ps(OP_ATTN, m / 2, half.heads, half.kv_heads) -
                           call_ps(OP_ATTN, m, half.heads, half.kv_heads);
        int64_t times[2];

        times[0] = times[1] = embed_ps(m) + message_ps(4 * HIDDEN * m);
        compute(times, 2, norm_ps(m) + LAYERS * twice_ps, even);
        ring_layers(times, LAYERS, 2, m, even);
        /* the head was measured for one row: of two it takes twice that */
        expected_ps += times[0] + 2 * head_ps(VOCAB / 2) + message_ps(2 * 8);
        if (step == 0)
            assert_int_equal(fixture.result.requests[1].first_token_ps, expected_ps);
    }
    assert_int_equal(fixture.result.requests[0].finish_ps, expected_ps);
    assert_int_equal(fixture.result.requests[1].finish_ps, expected_ps);
    assert_int_equal(fixture.result.passes_count, 1);
    assert_int_equal(fixture.result.passes->prefill.count, 1);
    assert_int_equal(fixture.result.passes->decode.count, 1);
    assert_sums(&fixture.result.passes->prefill);
    assert_sums(&fixture.result.passes->decode);
    assert_int_equal(fixture.result.passes->prefill.time_ps + fixture.result.passes->decode.time_ps,
                     expected_ps);
}

/* ---- against a naive walk ---- */

#define ROUNDS 60
#define REQUESTS 24
#define MOST 3 /* devices of the stage */

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

/* Rows that cut a block into n parts at random places. */
static const char *cut_rows(struct rng *rng, const char *layers, const char *block, int parts,
                            const char *devices, int n)
{
    const char *text = "";
    int first = 0;

    for (int i = 0; i < n; i++) {
        int end = i + 1 == n ? parts : first + draw(rng, 1, parts - first - (n - i - 1));

        text = arena_printf(fixture.arena, "%schat,0,0,%c,wide,%s,%s,%d-%d/%d\n", text, devices[i],
                            layers, block, first, end - 1, parts);
        first = end;
    }
    return text;
}

static const char *draw_rows(struct rng *rng)
{
    static const char *const orders[] = { "ab", "ba", "abc", "cab" };
    const char *devices = orders[draw(rng, 0, 3)];
    int n = (int)strlen(devices);
    const char *attn = cut_rows(rng, "0-4", "attn", KV_HEADS, devices, n);
    const char *proj = cut_rows(rng, "0-4", "proj", HEADS, devices, n);
    const char *ffn = cut_rows(rng, "0-4", "ffn", 6, devices, n);
    int embed = draw(rng, 0, n - 1), head = draw(rng, 0, n - 1);

    return arena_printf(fixture.arena,
                        "chat,0,0,%c,wide,,embed,\n%s%s%schat,0,0,%c,wide,,lm_head,\n",
                        devices[embed], attn, proj, ffn, devices[head]);
}

struct walk { /* one stage, free links: devices meet where they would talk */
    const struct pass *pass;
    int count;
    struct step_price **prices;
};

static struct walk walk_make(const struct plan *plan)
{
    const struct plan_stage *stage = plan->stages[0];
    const struct model *model = plan->services[0].model;
    struct pass_options options = { true, true, plan->stage_count };
    struct walk walk = { .pass = pass_compile(fixture.arena, stage, model, &options),
                         .count = stage->device_count };

    walk.prices =
        arena_array(fixture.arena, (size_t)walk.pass->piece_count, sizeof(struct step_price *));
    for (int32_t i = 0; i < walk.pass->piece_count; i++) {
        const struct pass_piece *piece = &walk.pass->pieces[i];
        const struct cluster_device *device =
            &plan->cluster->devices[stage->devices[piece->position]];

        walk.prices[i] = step_price_create(
            fixture.arena,
            &(struct step_price_of){ .stage = stage,
                                     .piece = piece,
                                     .model = model,
                                     .table = cost_set_find(fixture.scenario.input.costs, "t"),
                                     .threads = device->threads,
                                     .speed_ratio = device->speed_ratio,
                                     .max_seqs = fixture.options.batch.max_seqs,
                                     .token_budget = fixture.options.batch.token_budget });
    }
    return walk;
}

static int64_t walk_ps(const struct walk *walk, const struct continuous_batch *batch)
{
    int64_t clocks[MOST] = { 0 }, latest = 0;

    for (int32_t s = 0; s < walk->pass->segment_count; s++) {
        const struct pass_segment *segment = &walk->pass->segments[s];

        for (int32_t k = 0; k < segment->repeats * segment->step_count; k++) {
            const struct pass_step *step =
                &walk->pass->steps[segment->first_step + k % segment->step_count];
            int64_t most = 0;

            for (int32_t i = step->first; i < step->first + step->count; i++) {
                int32_t extrapolated;
                int64_t cost_ps;

                if (step->kind != PASS_COMPUTE) {
                    most = larger(most, clocks[walk->pass->members[i].position]);
                    continue;
                }
                assert_true(step_price_batch(walk->prices[i], batch, &cost_ps, &extrapolated,
                                             &fixture.err));
                clocks[walk->pass->pieces[i].position] += cost_ps;
            }
            for (int32_t i = step->first;
                 step->kind != PASS_COMPUTE && i < step->first + step->count; i++)
                clocks[walk->pass->members[i].position] = most;
        }
    }
    for (int i = 0; i < walk->count; i++)
        latest = larger(latest, clocks[i]);
    return latest;
}

struct arrivals {
    int64_t at_ps[REQUESTS];
    int prompts[REQUESTS], outputs[REQUESTS];
};

static void draw_batches(struct rng *rng)
{
    int32_t most = draw(rng, 1, 4);

    batch_on(most, draw(rng, 4, 8));
}

static struct arrivals draw_arrivals(struct rng *rng)
{
    const char *text = W;
    struct arrivals drawn;
    int64_t at_ps = 0;

    for (int i = 0; i < REQUESTS; i++) {
        int often = draw(rng, 0, 2), gap_us = draw(rng, 0, 9000), more_ns = draw(rng, 1, 999);

        at_ps += often * gap_us * UNITS_PS_PER_US + more_ns * NS;
        drawn.at_ps[i] = at_ps;
        drawn.prompts[i] = draw(rng, 1, 20);
        drawn.outputs[i] = draw(rng, 1, 12);
        text = arena_printf(fixture.arena, "%s%d,0.%09lld,chat,%d,%d\n", text, i,
                            (long long)(at_ps / NS), drawn.prompts[i], drawn.outputs[i]);
    }
    fixture_write("w.csv", text);
    return drawn;
}

static void one_stage_does_what_a_naive_walk_does(void **state)
{
    struct rng rng = rng_stream(11, RNG_TEST, 0);

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t now_ps = 0, firsts_ps[REQUESTS], finishes_ps[REQUESTS];
        struct continuous *batcher;
        struct arrivals drawn;
        struct walk walk;
        int next = 0;

        fixture_cluster("device,type,speed_ratio\na,t,1\nb,t,0.7\nc,t,1.3\n", NULL);
        place(draw_rows(&rng));
        drawn = draw_arrivals(&rng);
        draw_batches(&rng);
        fixture.options.kv.block_count = draw(&rng, 10, 20);
        fixture.options.fast_path = round % 2 ? SERVE_FAST_OFF : SERVE_FAST_ON;
        fixture_must_run();
        walk = walk_make(fixture.scenario.input.plan);
        batcher = continuous_create(
            fixture.arena,
            &(struct continuous_options){ .max_seqs = fixture.options.batch.max_seqs,
                                          .token_budget = fixture.options.batch.token_budget,
                                          .block_tokens = 4,
                                          .block_count = fixture.options.kv.block_count,
                                          .max_in_flight = 1,
                                          .has_chunks = true });
        while (next < REQUESTS || !continuous_is_idle(batcher)) {
            const struct continuous_batch *batch;
            const struct continuous_ends *ends;

            if (continuous_is_idle(batcher) && drawn.at_ps[next] > now_ps)
                now_ps = drawn.at_ps[next];
            for (; next < REQUESTS && drawn.at_ps[next] <= now_ps; next++)
                continuous_arrive(batcher, drawn.prompts[next], drawn.outputs[next], next);
            batch = continuous_schedule(batcher);
            now_ps += walk_ps(&walk, batch);
            ends = continuous_step_done(batcher);
            for (int i = 0; i < ends->first_count; i++)
                firsts_ps[ends->firsts[i]] = now_ps;
            for (int i = 0; i < ends->finished_count; i++)
                finishes_ps[ends->finished[i]] = now_ps;
        }
        for (int i = 0; i < REQUESTS; i++) {
            assert_int_equal(fixture.result.requests[i].first_token_ps, firsts_ps[i]);
            assert_int_equal(fixture.result.requests[i].finish_ps, finishes_ps[i]);
        }
    }
}

/* ---- two fidelities, and what must always hold ---- */

static const char *run_of(enum serve_fast fast_path, struct serve_result *result)
{
    fixture.options.fast_path = fast_path;
    assert_true(fixture_load());
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, NULL, &fixture.result,
                   &fixture.err))
        fail_msg("%s", fixture.err.text);
    *result = fixture.result;
    return fixture_requests();
}

static const char *placement_of(struct rng *rng, int kind)
{
    switch (kind) {
    case 0: /* tensor parallel */
        return draw_rows(rng);
    case 1: /* in a pipeline, one stage whole, one queue short */
        return arena_printf(fixture.arena,
                            "chat,0,0,d,wide,,embed,\nchat,0,0,d,wide,0,layer,\n%s"
                            "%schat,0,2,c,wide,,lm_head,0/2\nchat,0,2,d,wide,,lm_head,1/2\n",
                            equal_rows("1", 1, 2, "ab"), equal_rows("2", 3, 4, "cd"));
    default: /* two replicas share a device */
        return arena_printf(fixture.arena,
                            "chat,0,0,a,wide,,embed,\n%schat,0,0,b,wide,,lm_head,\n"
                            "chat,1,0,b,wide,,embed,\nchat,1,0,b,wide,0-4,layer,0/2\n"
                            "chat,1,0,c,wide,0-4,layer,1/2\nchat,1,0,c,wide,,lm_head,\n",
                            equal_rows("0", 0, LAYERS - 1, "ab"));
    }
}

static void batches_in_closed_form_equal_those_of_events(void **state)
{
    struct rng rng = rng_stream(12, RNG_TEST, 0);
    int64_t closed = 0, wakes = 0;

    (void)state;
    fixture_write("o.csv", "where,dist,mean_s,per_sequence_s\nstep,constant,0.0001,0.00003\n");
    fixture_write("costs/t/roofline.csv",
                  "threads,metric,ws_bytes,value,unit\n1,idle_resume_ns,,40000,ns\n");
    for (int round = 0; round < ROUNDS; round++) {
        struct serve_result fast, slow;
        const char *requests;

        fixture_cluster("device,type,speed_ratio\na,t,1\nb,t,0.7\nc,t,1.3\nd,t,0.9\n",
                        round % 2 ? LAN
                                  : "medium,kind,node,bits_per_s,latency_s,per_message_s\n"
                                    "air,wifi,*,3e8,0.0003,0.00004\n");
        place(placement_of(&rng, round % 3));
        (void)draw_arrivals(&rng);
        draw_batches(&rng);
        fixture.options.kv.block_count = draw(&rng, 10, 20);
        fixture.options.network = SERVE_NETWORK_FIFO;
        fixture.options.collective = (enum collective_algorithm)(round / 3 % 3);
        fixture.options.has_idle_resume = round % 5 < 2;
        fixture.files.overhead = round % 7 < 3 ? fixture_path("o.csv") : NULL;
        requests = run_of(SERVE_FAST_ON, &fast);
        assert_string_equal(requests, run_of(SERVE_FAST_OFF, &slow));
        assert_int_equal(slow.closed_count, 0);
        closed += fast.closed_count;
        wakes += fast.wake_count;
        assert_int_equal(fast.wake_count, slow.wake_count);
        assert_int_equal(fast.wake_ps, slow.wake_ps);
        assert_int_equal(fast.end_ps, slow.end_ps);
        assert_int_equal(fast.event_count, slow.event_count);
        assert_int_equal(fast.moved_bytes, slow.moved_bytes);
        assert_int_equal(fast.extrapolated_costs, slow.extrapolated_costs);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(fast.devices[i].busy_ps, slow.devices[i].busy_ps);
            assert_int_equal(fast.devices[i].peak_bytes, slow.devices[i].peak_bytes);
        }
        for (int i = 0; i < slow.link_count; i++) {
            assert_int_equal(fast.links[i].bytes, slow.links[i].bytes);
            assert_int_equal(fast.links[i].busy_ps, slow.links[i].busy_ps);
        }
        for (int i = 0; i < slow.passes_count; i++) {
            assert_memory_equal(&fast.passes[i], &slow.passes[i], sizeof fast.passes[i]);
            assert_sums(&slow.passes[i].prefill);
            assert_sums(&slow.passes[i].decode);
        }
    }
    assert_true(closed > 0 && wakes > 20);
}

/* Under flows, with overlap, in the default network: everyone has an end, devices were busy for
 * what their rows say, and no faster network makes the whole slower than its computing alone. */
static void everyone_ends_whatever_the_network(void **state)
{
    struct rng rng = rng_stream(13, RNG_TEST, 0);

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t busy_ps[4] = { 0 };

        fixture_cluster("device,type,speed_ratio\na,t,1\nb,t,0.7\nc,t,1.3\nd,t,0.9\n",
                        round % 2 ? LAN : NO_SOURCE);
        place(placement_of(&rng, round % 3));
        (void)draw_arrivals(&rng);
        draw_batches(&rng);
        fixture.options.kv.block_count = draw(&rng, 10, 20);
        fixture.options.network = (enum serve_network)(round / 2 % 3);
        fixture.options.has_overlap = round / 6 % 2 > 0;
        fixture.options.fast_path = SERVE_FAST_OFF;
        fixture_must_run();
        for (int i = 0; i < REQUESTS; i++)
            assert_int_equal(fixture.result.requests[i].status, TRACE_OK);
        for (int i = 0; i < 4; i++)
            busy_ps[i] = fixture.result.devices[i].busy_ps;
        fixture.options.has_overlap = false;
        fixture_cluster("device,type,speed_ratio\na,t,1\nb,t,0.7\nc,t,1.3\nd,t,0.9\n", NULL);
        fixture_must_run();
        if (round % 3 == 0 && fixture.options.batch.max_seqs == 1)
            for (int i = 0; i < 4; i++) /* the same steps */
                assert_int_equal(busy_ps[i], fixture.result.devices[i].busy_ps);
    }
}

/* ---- memory, rows, failures ---- */

static void the_device_with_the_least_room_limits_the_cache(void **state)
{
    const struct plan *plan;
    const struct plan_stage *stage;
    int64_t a_bytes, b_bytes;

    (void)state;
    fixture_cluster(DEVICES, NULL);
    place("chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-4,attn,0-2/4\n"
          "chat,0,0,b,wide,0-4,attn,3/4\nchat,0,0,b,wide,0-4,proj,\nchat,0,0,a,wide,0-4,ffn,\n"
          "chat,0,0,b,wide,,lm_head,\n");
    fixture_write("w.csv", W "0,0,chat,4,3\n");
    batch_on(4, 8);
    fixture_must_run();
    plan = fixture.scenario.input.plan;
    stage = plan->stages[0];
    a_bytes = 4 * plan_device_kv_bytes_per_token(plan, stage, 0);
    b_bytes = 4 * plan_device_kv_bytes_per_token(plan, stage, 1);
    assert_int_equal(a_bytes, 3 * b_bytes);
    assert_int_equal(fixture.result.continuous->instances[0].block_bytes, a_bytes + b_bytes);
    assert_int_equal(fixture.result.devices[0].kv_peak_bytes, 2 * a_bytes); /* six tokens */
    assert_int_equal(fixture.result.devices[1].kv_peak_bytes, 2 * b_bytes);
    for (int lean = 0; lean < 2; lean++) { /* room for nine blocks, and for a part of one */
        int64_t base_bytes =
            fixture.result.devices[lean].peak_bytes - fixture.result.devices[lean].kv_peak_bytes;
        int64_t room_bytes = base_bytes + 10 * (lean ? b_bytes : a_bytes) - 1;

        fixture_cluster(
            lean ? arena_printf(fixture.arena, "device,type,memory_bytes\na,t,99999999\nb,t,%lld\n",
                                (long long)room_bytes)
                 : arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\nb,t,99999999\n",
                                (long long)room_bytes),
            NULL);
        fixture_must_run();
        assert_int_equal(fixture.result.continuous->instances[0].block_count, 9);
    }
}

static void rows_tell_of_each_device_and_each_request(void **state)
{
    const char *stages, *transfers;
    int rows_of_1 = 0;

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place("chat,0,0,a,wide,,embed,\nchat,0,0,b,wide,0-4,layer,\nchat,0,0,a,wide,,lm_head,\n");
    fixture_write("w.csv", W "0,0,chat,2,2\n1,0,chat,2,2\n");
    fixture.options.network = SERVE_NETWORK_FIFO;
    batch_on(2, 4);
    fixture_must_run();
    stages = fixture_stages_text();
    transfers = fixture_transfers();
    for (const char *at = stages; (at = strstr(at, "\n1,chat,0,0,")); at++)
        rows_of_1++;
    assert_int_equal(rows_of_1, 4); /* two steps on two devices */
    assert_non_null(strstr(stages, "\n1,chat,0,0,b,"));
    /* A message of a batch stands once, with its first request: there and back, twice. */
    assert_null(strstr(transfers, "\n1,"));
    assert_non_null(strstr(transfers, "\n0,0,0,a,b,lan,1024,"));
    assert_non_null(strstr(transfers, "\n0,1,1,a,b,lan,512,"));
    assert_non_null(strstr(transfers, "\n0,1,1,b,a,lan,512,"));
}

/* A device that goes down takes the caches of its replica with it: all its requests have failed,
 * the other replica goes on, and when the device is back new requests find it. */
static void a_device_that_fails_takes_its_replica_with_it(void **state)
{
    (void)state;
    for (int way = 0; way < 8; way++) { /* instants within computes and exchanges */
        fixture_cluster(DEVICES, way % 2 ? LAN : NO_SOURCE);
        place(arena_printf(fixture.arena,
                           "chat,0,0,a,wide,,embed,\n%schat,0,0,b,wide,,lm_head,\n"
                           "chat,1,0,c,wide,,embed,\nchat,1,0,c,wide,0-4,layer,0/2\n"
                           "chat,1,0,d,wide,0-4,layer,1/2\nchat,1,0,d,wide,,lm_head,\n",
                           equal_rows("0", 0, LAYERS - 1, "ab")));
        fixture_write("w.csv", W "0,0,chat,4,9\n1,0,chat,4,9\n2,0.0001,chat,4,9\n3,0.5,chat,4,2\n"
                                 "4,0.5,chat,4,2\n");
        fixture_write("events.csv",
                      arena_printf(fixture.arena,
                                   "time_s,target,event,value\n0.00%d%d,b,down,\n0.4,b,up,\n",
                                   1 + way, (way * 7) % 10));
        fixture.files.events = fixture_path("events.csv");
        fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
        fixture.options.network = (enum serve_network)(way / 2 % 3);
        fixture.options.has_overlap = way / 4 > 0;
        batch_on(2, 4);
        fixture_must_run();
        assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
        assert_int_equal(fixture.result.requests[1].status, TRACE_OK);
        assert_int_equal(fixture.result.requests[2].status, TRACE_FAILED);
        assert_int_equal(fixture.result.requests[3].status, TRACE_OK);
        assert_int_equal(fixture.result.requests[4].status, TRACE_OK);
    }
}

/* A device at half its speed computes its pieces in twice the time from then on. */
static void a_changed_speed_counts_for_pieces_that_begin(void **state)
{
    int64_t before_ps;

    (void)state;
    fixture_cluster("device,type\na,t\nb,t\n", NULL);
    place(arena_printf(fixture.arena, "chat,0,0,a,wide,,embed,\n%schat,0,0,b,wide,,lm_head,\n",
                       equal_rows("0", 0, LAYERS - 1, "ab")));
    fixture_write("w.csv", W "0,1,chat,4,3\n");
    batch_on(2, 4);
    fixture_must_run();
    before_ps = fixture.result.devices[1].busy_ps;
    fixture_write("events.csv", "time_s,target,event,value\n0.5,b,speed_ratio,0.5\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run();
    assert_int_equal(fixture.result.devices[1].busy_ps, 2 * before_ps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sliced_test(a_request_alone_takes_what_it_takes_without_batches),
        sliced_test(rows_of_all_requests_go_through_a_pass_together),
        sliced_test(one_stage_does_what_a_naive_walk_does),
        sliced_test(batches_in_closed_form_equal_those_of_events),
        sliced_test(everyone_ends_whatever_the_network),
        sliced_test(the_device_with_the_least_room_limits_the_cache),
        sliced_test(rows_tell_of_each_device_and_each_request),
        sliced_test(a_device_that_fails_takes_its_replica_with_it),
        sliced_test(a_changed_speed_counts_for_pieces_that_begin),
    };

    return cmocka_run_group_tests_name("llm_sliced", tests, NULL, NULL);
}
