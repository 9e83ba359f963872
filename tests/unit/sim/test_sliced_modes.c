/* test_sliced_modes.c - sliced stages in fixed batches, with devices that fail or change, epochs
 * and bounded queues. */
#include "tests/unit/sim/sliced_rules.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "sim/report/bottleneck.h"
#include "sim/report/passes.h"

#define EVENTS "time_s,target,event,value\n"
#define SPEEDS "device,type,speed_ratio\na,t,1\nb,t,0.7\nc,t,1.3\nd,t,0.9\n"
#define AIR "medium,kind,node,bits_per_s,latency_s,per_message_s\nair,wifi,*,3e8,0.0003,0.00004\n"
#define P_ALL "service,replica,stage,device,model,layers,block,parts,queue_depth,epoch,from_s\n"

static void fixed(int32_t most, int64_t wait_ps)
{
    fixture.options.batch =
        (struct batch_options){ .kind = BATCH_FIXED, .max_size = most, .wait_ps = wait_ps };
}

static void continuous(int32_t max_seqs, int32_t budget)
{
    fixture.options.batch = (struct batch_options){ .kind = BATCH_CONTINUOUS,
                                                    .max_seqs = max_seqs,
                                                    .token_budget = budget };
    fixture.options.kv = (struct serve_kv){ .block_tokens = 4, .has_chunks = true };
}

static const char *requests_of(enum serve_fast fast_path, struct serve_result *result)
{
    fixture.options.fast_path = fast_path;
    assert_true(fixture_load());
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, NULL, &fixture.result,
                   &fixture.err))
        fail_msg("%s", fixture.err.text);
    *result = fixture.result;
    return fixture_requests();
}

static const char *two_stages(void)
{
    return arena_printf(fixture.arena,
                        "chat,0,0,a,wide,,embed,\n%s%schat,0,1,c,wide,,lm_head,0/2\n"
                        "chat,0,1,d,wide,,lm_head,1/2\n",
                        equal_rows("0", 0, 2, "ab"), equal_rows("1", 3, 4, "cd"));
}

static const char *one_stage(void)
{
    return arena_printf(fixture.arena,
                        "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,0/2\n"
                        "chat,0,0,b,wide,,lm_head,1/2\n",
                        equal_rows("0", 0, LAYERS - 1, "ab"));
}

/* ---- batches ---- */

static void a_batch_of_one_takes_what_a_request_does(void **state)
{
    const char *alone;

    (void)state;
    fixture_cluster(SPEEDS, NO_SOURCE);
    place(two_stages());
    fixture_write("w.csv", W "0,0,chat,4,6\n1,1,chat,2,3\n");
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixture_must_run();
    alone = fixture_requests();
    fixed(4, 0);
    fixture_must_run();
    assert_string_equal(alone, fixture_requests());
}

/* Prompts of one length that come together: nothing is padded and nobody joins later, so that a
 * fixed batch does what a continuous one does. */
static void alike_requests_are_alike_in_fixed_and_continuous_batches(void **state)
{
    const char *requests;

    (void)state;
    for (int way = 0; way < 6; way++) {
        fixture_cluster(SPEEDS, way % 2 ? NO_SOURCE : NULL);
        place(way % 3 == 0 ? one_stage() : two_stages());
        fixture_write("w.csv",
                      W "0,0,chat,2,5\n1,0,chat,2,5\n2,9,chat,1,4\n3,9,chat,1,4\n4,9,chat,1,4\n");
        fixture.options.network = SERVE_NETWORK_FIFO;
        fixed(way < 3 ? 2 : 3, UNITS_PS_PER_S / 2);
        if (way < 3) /* the fifth would be late, alone */
            fixture_write("w.csv", W "0,0,chat,2,5\n1,0,chat,2,5\n2,9,chat,1,4\n3,9,chat,1,4\n");
        else
            fixture_write("w.csv", W "2,9,chat,1,4\n3,9,chat,1,4\n4,9,chat,1,4\n");
        fixture_must_run();
        requests = fixture_requests();
        continuous(3, 8);
        fixture_must_run();
        assert_string_equal(requests, fixture_requests());
    }
}

/* Prompts are padded to the longest; what is left of a batch counts as the longest that is left. */
static void all_in_a_batch_count_as_the_longest(void **state)
{
    int64_t padded_ps, second_ps;

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place(one_stage());
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixed(2, UNITS_PS_PER_S);
    fixture_write("w.csv", W "0,0,chat,2,1\n1,0,chat,2,3\n");
    fixture_must_run();
    padded_ps = time_ps(0);
    second_ps = time_ps(1);
    fixture_write("w.csv", W "0,0,chat,1,1\n1,0,chat,2,3\n");
    fixture_must_run();
    assert_int_equal(time_ps(0), padded_ps);
    assert_int_equal(time_ps(1), second_ps);
    assert_int_equal(fixture.result.passes->prefill.count, 1);
    assert_int_equal(fixture.result.passes->decode.count, 2);
    assert_sums(&fixture.result.passes->prefill);
}

/* A stage on one device, with its blocks in one part each, is one that is not cut, in every mode.
 */
static void a_stage_in_one_part_is_a_plain_one(void **state)
{
    static const char *const texts[] = {
        "chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-2,layer,\nchat,0,1,b,wide,3-4,layer,\n"
        "chat,0,1,b,wide,,lm_head,\n",
        "chat,0,0,a,wide,,embed,0/1\nchat,0,0,a,wide,0-2,attn,0-3/4\nchat,0,0,a,wide,0-2,proj,0/1\n"
        "chat,0,0,a,wide,0-2,ffn,0-1/2\nchat,0,1,b,wide,3-4,layer,0/1\n"
        "chat,0,1,b,wide,,lm_head,0-1/2\n",
    };

    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        const char *requests[2];

        for (int cut = 0; cut < 2; cut++) {
            fixture_cluster(SPEEDS, LAN);
            place(texts[cut]);
            fixture_write("w.csv", W "0,0,chat,4,6\n1,0.001,chat,2,3\n2,0.002,chat,1,4\n");
            fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
            if (mode == 1)
                fixed(2, UNITS_PS_PER_MS);
            if (mode == 2)
                continuous(2, 4);
            fixture_must_run();
            requests[cut] = fixture_requests();
        }
        assert_string_equal(requests[0], requests[1]);
    }
}

/* ---- devices that fail and change ---- */

/* What is in a stage of the device, or comes to it, has failed; the rest goes on. */
static void what_a_lost_device_works_on_has_failed(void **state)
{
    (void)state;
    for (int way = 0; way < 24; way++) {
        fixture_cluster(DEVICES, way % 2 ? LAN : NO_SOURCE);
        place(arena_printf(fixture.arena,
                           "chat,0,0,a,wide,,embed,\n%schat,0,0,b,wide,,lm_head,\n"
                           "chat,1,0,c,wide,,embed,\nchat,1,0,c,wide,0-4,layer,0/2\n"
                           "chat,1,0,d,wide,0-4,layer,1/2\nchat,1,0,d,wide,,lm_head,\n",
                           equal_rows("0", 0, LAYERS - 1, "ab")));
        fixture_write("w.csv", W "0,0,chat,4,9\n1,0,chat,4,9\n2,0.0001,chat,4,9\n3,0.5,chat,4,2\n"
                                 "4,0.5,chat,4,2\n");
        fixture_write("events.csv",
                      arena_printf(fixture.arena, EVENTS "0.00%d%d,b,down,\n0.4,b,up,\n",
                                   1 + way % 8, (way * 7) % 10));
        fixture.files.events = fixture_path("events.csv");
        fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
        fixture.options.network = (enum serve_network)(way / 2 % 3);
        fixture.options.has_overlap = way / 4 % 2 > 0;
        fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
        if (way >= 12)
            fixed(2, UNITS_PS_PER_MS / 4);
        fixture_must_run();
        assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
        assert_int_equal(fixture.result.requests[1].status, TRACE_OK);
        assert_int_equal(fixture.result.requests[2].status, TRACE_FAILED);
        assert_int_equal(fixture.result.requests[3].status, TRACE_OK);
        assert_int_equal(fixture.result.requests[4].status, TRACE_OK);
        /* Nothing of the lost ones is left in memory. */
        assert_true(fixture.result.devices[0].peak_bytes > 0);
    }
}

/* The other device has begun its piece: it ends, and counts as busy. */
static void a_piece_on_another_device_goes_on_to_its_end(void **state)
{
    const struct part half = { HEADS / 2, KV_HEADS / 2, FFN / 2 };
    int64_t first_ps = attn_ps(&half, 4) + proj_ps(&half, 4);

    (void)state;
    fixture_cluster("device,type\na,t\nb,t\n", NULL);
    place(one_stage());
    fixture_write("w.csv", W "0,0,chat,4,9\n");
    /* within the first piece of both, behind embedding and norm */
    fixture_write("events.csv", EVENTS "0.0001,b,down,\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_true(embed_ps(4) + norm_ps(4) < 100 * US &&
                embed_ps(4) + norm_ps(4) + first_ps > 100 * US);
    assert_int_equal(fixture.result.devices[0].busy_ps, embed_ps(4) + norm_ps(4) + first_ps);
    assert_int_equal(fixture.result.devices[1].busy_ps, 100 * US - embed_ps(4));
}

/* The speed of the instant at which a piece begins holds for it. */
static void speeds_count_for_pieces_that_begin_afterwards(void **state)
{
    int64_t before_ps;

    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        fixture_cluster("device,type\na,t\nb,t\n", NULL);
        place(one_stage());
        fixture_write("w.csv", W "0,1,chat,4,3\n");
        fixture.files.events = NULL;
        fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
        if (mode == 1)
            fixed(2, 0);
        if (mode == 2)
            continuous(2, 4);
        fixture_must_run();
        before_ps = fixture.result.devices[1].busy_ps;
        fixture_write("events.csv", EVENTS "0.5,b,speed_ratio,0.5\n");
        fixture.files.events = fixture_path("events.csv");
        fixture_must_run();
        assert_int_equal(fixture.result.devices[1].busy_ps, 2 * before_ps);
    }
}

static void a_slower_link_slows_exchanges_under_way(void **state)
{
    int64_t before_ps;

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place(one_stage());
    fixture_write("w.csv", W "0,0,chat,4,9\n");
    fixed(2, 0);
    fixture_must_run();
    before_ps = time_ps(0);
    fixture_write("events.csv", EVENTS "0.001,lan/b,bits_per_s,8e8\n");
    fixture.files.events = fixture_path("events.csv");
    fixture_must_run();
    assert_true(time_ps(0) > before_ps);
}

/* ---- epochs and bounded queues ---- */

static void a_new_part_takes_its_device_for_the_switch_cost(void **state)
{
    int64_t free_ps;

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    fixture_write("p.csv",
                  P_ALL "chat,0,0,a,wide,,embed,,,0,\nchat,0,0,a,wide,0-4,layer,0/2,,0,\n"
                        "chat,0,0,b,wide,0-4,layer,1/2,,0,\nchat,0,0,a,wide,,lm_head,,,0,\n"
                        "chat,0,0,a,wide,,embed,,,1,1\nchat,0,0,a,wide,0-4,layer,0/2,,1,1\n"
                        "chat,0,0,c,wide,0-4,layer,1/2,,1,1\nchat,0,0,a,wide,,lm_head,,,1,1\n");
    fixture_write("w.csv", W "0,0,chat,4,3\n1,1,chat,4,3\n");
    for (int mode = 0; mode < 3; mode++) {
        fixture.options.switch_cost_ps = 0;
        if (mode == 1)
            fixed(2, 0);
        if (mode == 2)
            continuous(2, 4);
        fixture_must_run();
        free_ps = time_ps(1);
        fixture.options.switch_cost_ps = 20 * UNITS_PS_PER_MS;
        fixture_must_run();
        assert_int_equal(fixture.result.migrations, 1);
        assert_int_equal(fixture.result.devices[2].gap_ps, 20 * UNITS_PS_PER_MS);
        assert_int_equal(fixture.result.devices[0].gap_ps, 0);
        /* c is free again long after a has embedded the prompt and sent its half of the rows. */
        assert_int_equal(time_ps(1),
                         free_ps + 20 * UNITS_PS_PER_MS - embed_ps(4) - message_ps(4 * HIDDEN * 2));
    }
}

/* The fast first stage has no room for more than one in front of the slow second one: it begins no
 * other pass, and the source waits. */
static void a_full_queue_keeps_the_stage_before_it(void **state)
{
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        int64_t last_ps = 0;

        fixture_cluster("device,type,speed_ratio\na,t,4\nb,t,4\nc,t,0.5\nd,t,0.5\n", NULL);
        fixture_write("p.csv",
                      P_ALL "chat,0,0,a,wide,,embed,,1,0,\nchat,0,0,a,wide,0-1,layer,0/2,1,0,\n"
                            "chat,0,0,b,wide,0-1,layer,1/2,1,0,\n"
                            "chat,0,1,c,wide,2-4,layer,0/2,1,0,\n"
                            "chat,0,1,d,wide,2-4,layer,1/2,1,0,\nchat,0,1,d,wide,,lm_head,,1,0,\n");
        fixture_write("w.csv", W "0,0,chat,4,1\n1,0,chat,4,1\n2,0,chat,4,1\n3,0,chat,4,1\n");
        fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
        if (mode == 1)
            continuous(1, 4);
        fixture_must_run();
        for (int i = 0; i < 4; i++) { /* the second stage is never without work */
            int64_t took_ps = fixture.result.requests[i].finish_ps - last_ps;

            assert_int_equal(fixture.result.requests[i].status, TRACE_OK);
            if (i > 1 && mode == 0)
                assert_int_equal(took_ps, fixture.result.passes[1].prefill.time_ps / 4);
            last_ps = fixture.result.requests[i].finish_ps;
        }
        if (mode == 0) /* the last begins when the second has left the second stage's queue */
            assert_true(fixture.result.requests[3].start_ps >=
                        fixture.result.requests[0].finish_ps);
    }
}

/* ---- what the time of requests is made of ---- */

static double known_ps(const struct serve_result *result)
{
    double sum_ps = result->parts.compute_ps + result->parts.delay_ps;

    for (int i = 0; i < fixture.scenario.input.plan->cluster->medium_count; i++)
        sum_ps += result->parts.media[i].per_message_ps + result->parts.media[i].latency_ps +
                  result->parts.media[i].bytes_ps;
    return sum_ps;
}

/* Neither the time in which steps run in a stage, nor what comes next to what limits. */
static void assert_next_is_no_more(const struct serve_result *result)
{
    const struct plan *plan = fixture.scenario.input.plan;
    struct bottleneck found = bottleneck_find(fixture.arena, plan, plan->cluster, result, 24, 24);

    assert_true(found.next_busy_ratio <= found.busy_ratio && found.busy_ratio <= 1);
    assert_true(!strstr(found.name, "stage ") || found.rise_ratio >= 1);
    for (int i = 0; i < result->passes_count; i++)
        assert_true(passes_time_ps(&result->passes[i]) <= result->end_ps &&
                    passes_silent_ps(&result->passes[i]) <= passes_time_ps(&result->passes[i]));
}

static void assert_same_parts(const struct serve_result *a, const struct serve_result *b)
{
    assert_true(a->parts.is_known && b->parts.is_known && a->has_shares && b->has_shares);
    assert_memory_equal(&a->parts.compute_ps, &b->parts.compute_ps, sizeof(double));
    assert_memory_equal(&a->parts.all_ps, &b->parts.all_ps, sizeof(double));
    for (int i = 0; i < fixture.scenario.input.plan->cluster->medium_count; i++)
        assert_memory_equal(&a->parts.media[i], &b->parts.media[i], sizeof a->parts.media[i]);
    for (int i = 0; i < 4; i++)
        assert_memory_equal(&a->devices[i].sent_ps, &b->devices[i].sent_ps, sizeof(double));
    for (int i = 0; i < a->link_count; i++)
        assert_memory_equal(&a->links[i].share, &b->links[i].share, sizeof a->links[i].share);
}

/* A request alone waits for nothing but what it computes and sends; a batch of two for each. */
static void a_request_alone_never_waits(void **state)
{
    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        double all_ps;

        fixture_cluster(SPEEDS, NO_SOURCE);
        place(two_stages());
        fixture_write("w.csv", mode ? W "0,0,chat,2,4\n1,0,chat,2,4\n" : W "0,0,chat,4,6\n");
        fixture.options.network = SERVE_NETWORK_FIFO;
        fixture.options.has_parts = true;
        fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
        if (mode == 1)
            fixed(2, UNITS_PS_PER_S);
        if (mode == 2)
            continuous(2, 4);
        fixture_must_run();
        assert_true(fixture.result.parts.is_known);
        all_ps = fixture.result.parts.all_ps;
        assert_true(known_ps(&fixture.result) > all_ps * (1 - 1e-9) &&
                    known_ps(&fixture.result) < all_ps * (1 + 1e-9));
        assert_true(fixture.result.parts.compute_ps > 0.3 * all_ps &&
                    fixture.result.parts.media[0].latency_ps > 0.1 * all_ps);
    }
}

/* ---- any of it together ---- */

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static void draw_case(struct rng *rng)
{
    const char *w = W, *p = P_ALL, *depth = draw(rng, 0, 1) ? "" : "2";
    int epochs = draw(rng, 1, 2), mode, most, wait_ms;
    int64_t at_ps = 0;

    fixture_cluster(SPEEDS, draw(rng, 0, 1) ? LAN : AIR);
    for (int epoch = 0; epoch < epochs; epoch++) {
        const char *from = epoch > 0 ? "0.02" : "";
        static const char *const starts[] = {
            "chat,0,0,a,wide,,embed,",       "chat,0,0,a,wide,0-2,layer,0/2",
            "chat,0,0,b,wide,0-2,layer,1/2", "chat,0,1,c,wide,3-4,layer,0/2",
            "chat,0,1,b,wide,3-4,layer,1/2", "chat,0,1,c,wide,,lm_head,",
            "chat,1,0,d,wide,,embed,",       "chat,1,0,d,wide,0-4,layer,0/2",
            "chat,1,0,a,wide,0-4,layer,1/2", "chat,1,0,a,wide,,lm_head,",
        };

        for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
            p = arena_printf(fixture.arena, "%s%s,%s,%d,%s\n", p, starts[i], depth, epoch, from);
    }
    fixture_write("p.csv", p);
    for (int i = 0; i < 24; i++) {
        int gap_us = draw(rng, 0, 2) * 1500, more_ns = draw(rng, 1, 999), prompt, output;

        at_ps += gap_us * US + more_ns * NS;
        prompt = draw(rng, 1, 4);
        output = draw(rng, 1, 5);
        w = arena_printf(fixture.arena, "%s%d,0.%09lld,chat,%d,%d\n", w, i, (long long)(at_ps / NS),
                         prompt, output);
    }
    fixture_write("w.csv", w);
    fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
    mode = draw(rng, 0, 2);
    most = draw(rng, 1, 3);
    wait_ms = draw(rng, 0, 2);
    if (mode == 1 && *depth == '\0') /* both at once may come to a standstill */
        fixed(most, wait_ms * UNITS_PS_PER_MS);
    if (mode == 2)
        continuous(most, 4);
    fixture.options.switch_cost_ps = draw(rng, 0, 1) * 3 * UNITS_PS_PER_MS;
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixture.options.has_overlap = false;
    fixture.options.has_parts = true;
    fixture.options.dispatch = draw(rng, 0, 1) ? DISPATCH_LEAST_IDLE : DISPATCH_ROUND_ROBIN;
    fixture.files.events = NULL;
}

/* Every run checks itself; what is fast is what is slow; and with failures everyone has an end. */
static void all_of_it_goes_together(void **state)
{
    struct rng rng = rng_stream(21, RNG_TEST, 0);
    int64_t closed = 0, failed = 0;

    (void)state;
    for (int round = 0; round < 120; round++) {
        struct serve_result fast, slow;
        const char *requests, *e = EVENTS;
        int64_t at_us = 0;

        draw_case(&rng);
        requests = requests_of(SERVE_FAST_ON, &fast);
        assert_string_equal(requests, requests_of(SERVE_FAST_OFF, &slow));
        assert_int_equal(fast.event_count, slow.event_count);
        assert_int_equal(fast.moved_bytes, slow.moved_bytes);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(fast.devices[i].busy_ps, slow.devices[i].busy_ps);
            assert_int_equal(fast.devices[i].gap_ps, slow.devices[i].gap_ps);
            assert_int_equal(fast.devices[i].offered_ps, slow.devices[i].offered_ps);
        }
        assert_same_parts(&fast, &slow);
        assert_true(known_ps(&slow) < slow.parts.all_ps * (1 + 1e-9));
        assert_next_is_no_more(&slow);
        closed += fast.closed_count;
        for (int i = 0; i < 4; i++) {
            int device = draw(&rng, 0, 3), other = draw(&rng, 0, 3), speed = draw(&rng, 2, 9);

            at_us += draw(&rng, 100, 20000);
            e = arena_printf(fixture.arena, "%s0.%06lld,%c,down,\n", e, (long long)at_us,
                             'a' + device);
            at_us += draw(&rng, 100, 9000);
            e = arena_printf(fixture.arena, "%s0.%06lld,%c,up,\n0.%06lld,%c,speed_ratio,0.%d\n", e,
                             (long long)at_us, 'a' + device, (long long)at_us + 1, 'a' + other,
                             speed);
        }
        fixture_write("events.csv", e);
        fixture.files.events = fixture_path("events.csv");
        fixture.options.network = (enum serve_network)draw(&rng, 0, 2);
        fixture.options.has_overlap = draw(&rng, 0, 1) > 0;
        fixture_must_run();
        assert_true(known_ps(&fixture.result) < fixture.result.parts.all_ps * (1 + 1e-9));
        assert_true(fixture.result.parts.compute_ps >= 0);
        for (int i = 0; i < 24; i++) {
            assert_true(fixture.result.requests[i].status == TRACE_OK ||
                        fixture.result.requests[i].status == TRACE_FAILED);
            failed += fixture.result.requests[i].status == TRACE_FAILED;
        }
    }
    assert_true(closed > 0);
    assert_true(failed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sliced_test(a_batch_of_one_takes_what_a_request_does),
        sliced_test(alike_requests_are_alike_in_fixed_and_continuous_batches),
        sliced_test(all_in_a_batch_count_as_the_longest),
        sliced_test(a_stage_in_one_part_is_a_plain_one),
        sliced_test(what_a_lost_device_works_on_has_failed),
        sliced_test(a_piece_on_another_device_goes_on_to_its_end),
        sliced_test(speeds_count_for_pieces_that_begin_afterwards),
        sliced_test(a_slower_link_slows_exchanges_under_way),
        sliced_test(a_new_part_takes_its_device_for_the_switch_cost),
        sliced_test(a_full_queue_keeps_the_stage_before_it),
        sliced_test(a_request_alone_never_waits),
        sliced_test(all_of_it_goes_together),
    };

    return cmocka_run_group_tests_name("sliced_modes", tests, NULL, NULL);
}
