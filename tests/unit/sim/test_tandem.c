/* test_tandem.c - models in closed form give what events give, to the byte: random pipelines,
 * links, replicas, closed loops and memory; and which runs have to take events. */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "sim/report/report.h"

#define ROUNDS 600
#define REQUESTS 40

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

/* ---- one run ---- */

static const char *report_of(struct meter *meter)
{
    struct report report = { .options = fixture.metrics, .inputs = &fixture.scenario.inputs };
    struct out *out = out_open_memory(fixture.arena);

    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, meter);
    report_json(fixture.arena, &report, out);
    return out_memory(out, NULL);
}

/* All that a run tells without spans, or its error. */
static const char *outcome(enum serve_fast fast_path)
{
    const char *text;
    int device_count;

    fixture.options.fast_path = fast_path;
    if (!llm_run_files())
        return fixture.err.text;
    text = arena_printf(fixture.arena, "%s%s%lld events\n", fixture_requests(),
                        report_of(fixture.meter), (long long)fixture.result.event_count);
    device_count = fixture.scenario.input.plan->cluster->device_count;
    for (int i = 0; i < device_count; i++) {
        const struct serve_device *device = &fixture.result.devices[i];

        text = arena_printf(fixture.arena, "%s%lld %lld %lld %lld %lld\n", text,
                            (long long)device->busy_ps, (long long)device->offered_ps,
                            (long long)device->wait_peak_ps, (long long)device->peak_bytes,
                            (long long)device->kv_peak_bytes);
    }
    for (int i = 0; i < fixture.result.link_count; i++)
        text = arena_printf(fixture.arena, "%s%s %lld %lld %lld\n", text,
                            fixture.result.links[i].name, (long long)fixture.result.links[i].bytes,
                            (long long)fixture.result.links[i].busy_ps,
                            (long long)fixture.result.links[i].share.message_count);
    return text;
}

/* True when the closed form took part. */
static bool is_same(void)
{
    const char *events = outcome(SERVE_FAST_OFF);

    assert_string_equal(outcome(SERVE_FAST_ON), events);
    return fixture.result.fast_path == SERVE_FAST_ON;
}

/* ---- random cases ---- */

static void draw_requests(struct rng *rng, bool has_clients)
{
    const char *text =
        "request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s,slo_s\n";
    int at_ms = 0;

    for (int i = 0; i < REQUESTS; i++) {
        int prompt = draw(rng, 1, 12), output = draw(rng, 1, 20), client = draw(rng, 0, 3);

        at_ms += draw(rng, 0, 1) * draw(rng, 0, 90);
        text = has_clients ? arena_printf(fixture.arena, "%s%d,,s,%d,%d,%d,0.0%d,\n", text, i,
                                          prompt, output, client, client)
                           : arena_printf(fixture.arena, "%s%d,%d.%03d,s,%d,%d,,,0.2\n", text, i,
                                          at_ms / 1000, at_ms % 1000, prompt, output);
    }
    fixture_write("w.csv", text);
}

/* Replicas on devices of their own, or on any. */
static void draw_placement(struct rng *rng, int replicas, bool is_apart)
{
    const char *text = P;
    int device = 0;

    for (int r = 0; r < replicas; r++) {
        int layer = 0, stage = 0;

        while (layer < 4) {
            int end = draw(rng, layer, 3);

            device = is_apart ? device + 1 : draw(rng, 0, 11);
            if (layer == 0)
                text = arena_printf(fixture.arena, "%ss,%d,0,d%d,quad,,embed\n", text, r, device);
            text = arena_printf(fixture.arena, "%ss,%d,%d,d%d,quad,%d-%d,layer\n", text, r, stage,
                                device, layer, end);
            if (end == 3)
                text = arena_printf(fixture.arena, "%ss,%d,%d,d%d,quad,,lm_head\n", text, r, stage,
                                    device);
            layer = end + 1;
            stage++;
        }
    }
    fixture_write("p.csv", text);
}

static void draw_cluster(struct rng *rng)
{
    static const char *const links[] = {
        NULL,
        "lan,switch,*,8000,0,0.001\n", /* a byte a millisecond: messages wait */
        "lan,switch,*,1e6,0.003,0\n",  /* long ways */
        "air,wifi,*,1e6,0.001,0\n",    /* one medium for all: events */
        "a,switch,d1,8e6,0,0\na,switch,d2,8e6,0,0\nb,switch,*,1e5,0.001,0.0001\n",
    };
    int kind = draw(rng, 0, (int)(sizeof links / sizeof links[0]) - 1);
    bool has_memory = draw(rng, 0, 3) == 0;
    const char *devices = "device,type,speed_ratio,memory_bytes\n";

    for (int d = 0; d < 13; d++) {
        int tenths = draw(rng, 0, 2) > 0 ? 10 : draw(rng, 3, 30);

        devices = arena_printf(fixture.arena, "%sd%d,t,%d.%d,%s\n", devices, d, tenths / 10,
                               tenths % 10, has_memory ? "40000" : "");
    }
    fixture_cluster(devices, arena_printf(fixture.arena,
                                          "medium,kind,node,bits_per_s,latency_s,per_message_s\n%s",
                                          links[kind] ? links[kind]
                                                      : "lan,switch,d0,1e6,0,0\n"
                                                        "lan,switch,d1,1e6,0,0\n"));
    if (!links[kind]) /* no links: nothing costs anything */
        assert_int_equal(remove(fixture_path("cluster/links.csv")), 0);
}

static void closed_form_and_events_give_the_same(void **state)
{
    static const enum dispatch_kind kinds[] = { DISPATCH_LEAST_IDLE, DISPATCH_ROUND_ROBIN,
                                                DISPATCH_LEAST_OUTSTANDING, DISPATCH_RANDOM,
                                                DISPATCH_LEAST_LAST_STAGE };
    struct rng rng = rng_stream(5, RNG_TEST, 0);
    int closed = 0, waited = 0, refused = 0, replicated = 0, woken = 0, idle = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        int replicas = draw(&rng, 1, 3);
        bool has_clients = draw(&rng, 0, 3) == 0, is_apart = draw(&rng, 0, 3) > 0, is_closed;

        if (round > 0) {
            fixture_tear_down(NULL);
            fixture_set_up(NULL);
        }
        llm_setup_files(1, 1, 0);
        fixture.options.kv = (struct serve_kv){ 0 };
        fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
        fixture.options.memory = SERVE_MEMORY_REFUSE;
        fixture.options.has_idle_resume = draw(&rng, 0, 1) > 0;
        fixture_write("costs/t/roofline.csv",
                      "threads,metric,ws_bytes,value,unit\n1,idle_resume_ns,,700000,ns\n");
        fixture.options.dispatch = kinds[draw(&rng, 0, 4)];
        fixture.options.network = draw(&rng, 0, 1) ? SERVE_NETWORK_FIFO : SERVE_NETWORK_AUTO;
        draw_requests(&rng, has_clients);
        draw_placement(&rng, replicas, is_apart);
        draw_cluster(&rng);
        is_closed = is_same();
        closed += is_closed;
        if (!is_closed || fixture.err.kind != ERR_NONE)
            continue;
        replicated += replicas > 1;
        idle += replicas > 1 && fixture.options.dispatch == DISPATCH_LEAST_IDLE &&
                fixture.result.link_count > 0;
        for (int i = 0; i < fixture.scenario.input.plan->cluster->device_count; i++)
            waited += fixture.result.devices[i].wait_peak_ps > 0;
        woken += fixture.result.wake_count > 1;
        refused += fixture.result.refused[SERVE_REFUSAL_MEMORY].count > 0;
    }
    assert_in_range(closed, ROUNDS / 4, ROUNDS - ROUNDS / 8); /* neither never nor always */
    assert_in_range(waited, ROUNDS / 4, INT32_MAX);
    assert_in_range(replicated, ROUNDS / 20, INT32_MAX);
    assert_in_range(refused, 1, ROUNDS);
    assert_in_range(idle, ROUNDS / 100, ROUNDS); /* what is on its way counts for dispatch */
    assert_in_range(woken, ROUNDS / 20, ROUNDS);
}

/* ---- by hand ---- */

static void plain(void)
{
    llm_setup_files(1, 1, 0);
    fixture.options.kv = (struct serve_kv){ 0 };
    fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
    fixture_write("p.csv", P "s,0,0,a,duo,,embed\ns,0,0,a,duo,0,layer\n"
                             "s,0,1,b,duo,1,layer\ns,0,1,b,duo,,lm_head\n");
    fixture_write("w.csv", W "0,0,s,4,3\n1,0.001,s,2,2\n");
}

static void tokens_follow_each_other_through_a_pipeline(void **state)
{
    int64_t rest_ps;

    (void)state;
    plain();
    assert_true(is_same());
    /* a: 4 ms and 2 ms of prompts; b: the same; then tokens of 1 ms each, in order of return:
     * request 0 from 8 ms, request 1 from 10 ms, request 0 again from 10 ms and some. */
    rest_ps = fixture.result.requests[0].first_token_ps - 8 * MS;
    assert_in_range(rest_ps, 1, 100);
    assert_int_equal(fixture.result.requests[1].start_ps / MS, 4);
    assert_int_equal(fixture.result.requests[1].first_token_ps / MS, 10);
    assert_int_equal(fixture.result.requests[1].finish_ps / MS, 12);
    assert_int_equal(fixture.result.requests[0].finish_ps / MS, 13);
    assert_int_equal(fixture.result.event_count, 2 + 2 * (3 + 2));
}

static void what_changes_meanwhile_needs_events(void **state)
{
    (void)state;
    plain();
    assert_true(is_same());
    fixture_write("events.csv", "time_s,target,event,value\n0.002,a,speed_ratio,2\n");
    fixture.files.events = fixture_path("events.csv");
    assert_false(is_same());
    fixture.files.events = NULL;
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    assert_false(is_same());
    plain();
    fixture_write("p.csv", P "s,0,0,a,duo,,embed\ns,0,0,a,duo,0,layer\n" /* one device, twice */
                             "s,0,1,a,duo,1,layer\ns,0,1,a,duo,,lm_head\n");
    assert_false(is_same());
    plain();
    fixture_write("p.csv", P "s,0,0,a,duo,,all\nr,0,0,a,duo,,all\n"); /* two services, one device */
    fixture_write("w.csv", W "0,0,s,4,3\n1,0.001,r,2,2\n");
    assert_false(is_same()); /* who is first at one instant is for events to say */
    fixture_cluster("device,type\na,t\n",
                    "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e6,0.001\n");
    assert_true(is_same()); /* messages take their time, and leave in the order of results */
}

static void time_has_an_end(void **state)
{
    (void)state;
    plain();
    fixture_write("w.csv", W "0,8999999.999,s,4,3\n");
    assert_false(llm_run_files());
    (void)is_same();
    assert_non_null(strstr(fixture.err.text, "simulated time passes"));
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(closed_form_and_events_give_the_same),
        RULE(tokens_follow_each_other_through_a_pipeline),
        RULE(what_changes_meanwhile_needs_events),
        RULE(time_has_an_end),
    };

    return cmocka_run_group_tests_name("tandem", tests, NULL, NULL);
}
