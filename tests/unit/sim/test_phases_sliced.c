/* test_phases_sliced.c - prompts and decoding apart, on stages of one and of several devices: which
 * heads of a cache go where, by a count of every head of every layer; and random placements through
 * every way of serving them. */
#include "tests/unit/sim/sliced_model.h"

#include "lib/base/rng.h"
#include "sim/llm/llm.h"

#define PHASED "service,replica,stage,device,model,layers,block,parts,phase\n"
#define DEVICES 3
#define HEAD_BYTES INT64_C(64) /* of a KV head of a token in a layer: key and value, 8 f32 each */

/* ---- who holds which head, beside the placement ---- */

struct held { /* device of each KV head of each layer, in either phase */
    int at[2][LAYERS][KV_HEADS];
};

static const char *rows_of(struct rng *rng, const char *text, int stage, int layer,
                           const char *block, int parts, const char *phase, int first, int *at)
{
    int from = 0;

    while (from < parts) {
        int to = from + 1 + (int)rng_below(rng, (uint64_t)(parts - from));
        int device = from == 0 ? first : (int)rng_below(rng, DEVICES);

        for (int k = from; k < to && at; k++)
            at[k] = device;
        text = arena_printf(fixture.arena, "%sc,0,%d,%c,wide,%d,%s,%d-%d/%d,%s\n", text, stage,
                            'a' + device, layer, block, from, to - 1, parts, phase);
        from = to;
    }
    return text;
}

/* Stages that begin with any layer, whose blocks are whole or cut as the stage is. */
static const char *chain_of(struct rng *rng, const char *text, const char *phase,
                            int at[LAYERS][KV_HEADS])
{
    int stage = 0, first = (int)rng_below(rng, DEVICES);
    bool is_cut = rng_below(rng, 2) == 0;

    text = arena_printf(fixture.arena, "%sc,0,0,%c,wide,,embed,,%s\n", text, 'a' + first, phase);
    for (int layer = 0; layer < LAYERS; layer++) {
        if (layer > 0 && rng_below(rng, 3) == 0) {
            stage++;
            first = (int)rng_below(rng, DEVICES);
            is_cut = rng_below(rng, 2) == 0;
        }
        if (is_cut) {
            text = rows_of(rng, text, stage, layer, "attn", KV_HEADS, phase, first, at[layer]);
            text = rows_of(rng, text, stage, layer, "proj", KV_HEADS, phase, first, NULL);
        } else {
            for (int k = 0; k < KV_HEADS; k++)
                at[layer][k] = first;
            text = arena_printf(fixture.arena,
                                "%sc,0,%d,%c,wide,%d,attn,,%s\nc,0,%d,%c,wide,%d,proj,,%s\n", text,
                                stage, 'a' + first, layer, phase, stage, 'a' + first, layer, phase);
        }
        text = arena_printf(fixture.arena, "%sc,0,%d,%c,wide,%d,ffn,,%s\n", text, stage,
                            'a' + first, layer, phase);
    }
    return arena_printf(fixture.arena, "%sc,0,%d,%c,wide,,lm_head,,%s\n", text, stage, 'a' + first,
                        phase);
}

static void place(struct rng *rng, struct held *held)
{
    const char *text = chain_of(rng, PHASED, "prefill", held->at[0]);

    fixture_write("p.csv", chain_of(rng, text, "decode", held->at[1]));
}

/* Of a token, from one device to another. */
static int64_t heads_between(const struct held *held, int from, int to)
{
    int64_t heads = 0;

    for (int layer = 0; layer < LAYERS; layer++)
        for (int k = 0; k < KV_HEADS; k++)
            heads += held->at[0][layer][k] == from && held->at[1][layer][k] == to;
    return heads;
}

static const char *workload_of(struct rng *rng, int count, int most_outputs)
{
    const char *text = W;
    int64_t at_us = 0;

    for (int i = 0; i < count; i++) {
        int prompt = 1 << rng_below(rng, 3),
            output = 1 + (int)rng_below(rng, (uint64_t)most_outputs);

        at_us += (int64_t)rng_below(rng, 6000);
        text = arena_printf(fixture.arena, "%s%d,0.%06lld,c,%d,%d\n", text, i, (long long)at_us,
                            prompt, output);
    }
    return text;
}

static void link_boards(void)
{
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                                    "lan,switch,*,8e8,0.0001\n");
}

/* ---- what moves ---- */

static void every_head_goes_from_who_computed_it_to_who_reads_it(void **state)
{
    struct rng rng = rng_stream(13, RNG_TEST, 1);

    (void)state;
    link_boards();
    fixture_write("w.csv", W "0,0,c,4,2\n");
    for (int round = 0; round < 60; round++) {
        const struct plan_replica *replica;
        struct held held = { 0 };
        int64_t moved[DEVICES][DEVICES] = { { 0 } }, all_bytes = 0;

        place(&rng, &held);
        fixture_must_run();
        replica = &fixture.scenario.input.plan->replicas[0];
        for (int m = 0; m < replica->move_count; m++)
            moved[replica->moves[m].from][replica->moves[m].to] +=
                replica->moves[m].bytes_per_token;
        for (int from = 0; from < DEVICES; from++)
            for (int to = 0; to < DEVICES; to++) {
                int64_t heads = from == to ? 0 : heads_between(&held, from, to);

                assert_int_equal(moved[from][to], heads * HEAD_BYTES);
                all_bytes += 4 * heads * HEAD_BYTES;
            }
        assert_int_equal(fixture.result.kv_moves.bytes, all_bytes);
    }
}

/* What a device holds at most, with one request of p tokens and q more: of the prompt what leaves
 * it, and all tokens of what it reads. */
static void a_device_holds_what_leaves_it_and_what_it_reads(void **state)
{
    struct rng rng = rng_stream(14, RNG_TEST, 1);

    (void)state;
    link_boards();
    fixture_write("w.csv", W "0,0,c,4,3\n");
    for (int round = 0; round < 40; round++) {
        struct held held = { 0 };

        place(&rng, &held);
        fixture_must_run();
        for (int device = 0; device < DEVICES; device++) {
            int64_t heads = 0;

            for (int other = 0; other < DEVICES; other++) {
                heads += other == device ? 0 : 4 * heads_between(&held, device, other);
                heads += 7 * heads_between(&held, other, device);
            }
            assert_int_equal(fixture.result.devices[device].kv_peak_bytes, heads * HEAD_BYTES);
        }
    }
}

/* ---- every way of serving ---- */

static void choose_a_way(struct rng *rng)
{
    static const char *const events[] = {
        "time_s,target,event,value\n",
        "time_s,target,event,value\n0.004,b,down,\n0.01,b,up,\n0.012,a,speed_ratio,0.5\n",
        "time_s,target,event,value\n0.003,c,down,\n0.0035,c,up,\n0.02,a,down,\n0.021,a,up,\n",
    };
    uint64_t way = rng_below(rng, 3);

    fixture_write("events.csv", events[rng_below(rng, 3)]);
    fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
    if (way == 1)
        fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    if (way == 2) {
        fixture.options.batch =
            (struct batch_options){ .kind = BATCH_CONTINUOUS, .max_seqs = 2, .token_budget = 4 };
        fixture.options.kv =
            (struct serve_kv){ .block_tokens = 2, .block_count = 6, .has_chunks = true };
    }
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    fixture.options.has_overlap = rng_below(rng, 2) == 1;
    fixture.options.network = (enum serve_network)rng_below(rng, SERVE_NETWORK_COUNT);
}

/* Blocks, bytes, tokens, times: what every run checks about itself; and the ways with and without a
 * fast path agree where nothing fails and messages have ports. */
static void books_are_kept_in_every_way(void **state)
{
    struct rng rng = rng_stream(15, RNG_TEST, 1);
    int failed = 0;

    (void)state;
    link_boards();
    fixture.files.events = fixture_path("events.csv");
    for (int round = 0; round < 120; round++) {
        struct held held = { 0 };

        place(&rng, &held);
        fixture_write("w.csv", workload_of(&rng, 8, 4));
        choose_a_way(&rng);
        fixture_must_run();
        for (int i = 0; i < 8; i++)
            failed += fixture.result.requests[i].status == TRACE_FAILED;
    }
    assert_in_range(failed, 20, 700);
}

/* What becomes of the requests where no observer of spans asks for every step. */
static const char *unwatched_requests(enum serve_fast fast_path)
{
    struct serve_observer observer;

    fixture.options.fast_path = fast_path;
    if (!fixture_load())
        fail_msg("%s", fixture.err.text);
    fixture.meter = metrics_begin(fixture.arena, fixture.scenario.input.plan, &fixture.metrics);
    observer = metrics_observer(fixture.meter);
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                   &fixture.result, &fixture.err))
        fail_msg("%s", fixture.err.text);
    return fixture_requests();
}

static void shorter_ways_give_the_same(void **state)
{
    struct rng rng = rng_stream(16, RNG_TEST, 1);

    (void)state;
    link_boards();
    for (int round = 0; round < 40; round++) {
        const char *requests;
        struct held held = { 0 };

        place(&rng, &held);
        fixture_write("w.csv", workload_of(&rng, 8, 4));
        choose_a_way(&rng);
        fixture.options.network = SERVE_NETWORK_FIFO;
        fixture.options.has_overlap = false;
        requests = unwatched_requests(SERVE_FAST_ON);
        assert_string_equal(unwatched_requests(SERVE_FAST_OFF), requests);
    }
}

/* While a cache is on a link slower than a step is, a batch of the decoder may not be computed as
 * if nothing came: what has arrived joins the next one. */
static void a_cache_on_its_way_disturbs_the_closed_form(void **state)
{
    struct rng rng = rng_stream(17, RNG_TEST, 1);

    (void)state;
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                                    "lan,switch,*,4e6,0.0001\n");
    fixture_write("overhead.csv", "where,dist,mean_s\nsubmit,constant,0.0001\n"
                                  "dispatch,constant,0.0003\nworker,constant,0.0002\n");
    fixture.files.overhead = fixture_path("overhead.csv");
    fixture.options.network = SERVE_NETWORK_FIFO;
    for (int round = 0; round < 200; round++) {
        const char *requests;
        struct held held = { 0 };

        place(&rng, &held);
        fixture_write("w.csv", workload_of(&rng, 20, 16));
        fixture.options.batch =
            (struct batch_options){ .kind = BATCH_CONTINUOUS, .max_seqs = 2, .token_budget = 4 };
        fixture.options.kv = (struct serve_kv){ .block_tokens = 2,
                                                .block_count = 10 + (int)rng_below(&rng, 12),
                                                .has_chunks = true };
        requests = unwatched_requests(SERVE_FAST_ON);
        assert_string_equal(unwatched_requests(SERVE_FAST_OFF), requests);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wide_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_head_goes_from_who_computed_it_to_who_reads_it),
        TEST(a_device_holds_what_leaves_it_and_what_it_reads),
        TEST(books_are_kept_in_every_way),
        TEST(shorter_ways_give_the_same),
        TEST(a_cache_on_its_way_disturbs_the_closed_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
