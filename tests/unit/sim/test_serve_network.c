/* test_serve_network.c - pipelines over every kind of network, under both of its models: what
 * messages take, who waits or shares, links that fail and change, and what the observers see. */
#include "tests/unit/sim/fixture.h"

#include "sim/report/utilisation.h"

#define STAGES "executable,stage,latency_s,output_bytes\n"
#define PLACED "service,replica,stage,device,executable\n"
#define DEVICES "device,type\n"
#define LINKS "medium,kind,node,bits_per_s,latency_s,per_message_s,mesh_columns,ports,setup_s\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define US UNITS_PS_PER_US

/* A pipeline of two stages of 10 ms, on a and b, with 1000 bytes between them: 1 ms on a link of
 * 8 Mbit/s. */
static void pipeline(enum serve_network model, const char *links, const char *requests)
{
    fixture.options.network = model;
    fixture_stages(STAGES "x,0,0.010,1000\nx,1,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_cluster(DEVICES "a,t\nb,t\nc,t\nd,t\n", links);
    fixture_write("w.csv", requests);
    fixture_must_run();
}

static void assert_finish_us(size_t index, int64_t finish_us)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_OK);
    assert_in_range(request->finish_ps, finish_us * US - 2, finish_us * US + 2);
}

static const struct serve_link *link_named(const char *name)
{
    for (int i = 0; i < fixture.result.link_count; i++)
        if (strcmp(fixture.result.links[i].name, name) == 0)
            return &fixture.result.links[i];
    fail_msg("no link '%s'", name);
    return NULL;
}

static void events(const char *rows)
{
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv", arena_printf(fixture.arena, "time_s,target,event,value\n%s", rows));
}

/* ---- ways ---- */

struct way {
    const char *links;
    int64_t hop_us; /* of a message from a to b */
    const char *link, *transfer;
};

static const struct way ways[] = {
    { LINKS "lan,switch,a,8e6,0.0001,,,,\nlan,switch,b,8e6,0.0001,,,,\n", 1100, "lan/a",
      "0,0,,a,b,lan,1000,0.01," },
    { LINKS "air,wifi,a,8e6,0.0001,,,,\nair,wifi,b,4e6,0.0003,,,,\n", 2300, "air",
      "0,0,,a,b,air,1000,0.01," },
    { LINKS "loop,ring,a,8e6,0.0001,,,,\nloop,ring,c,8e6,0.0001,,,,\nloop,ring,b,8e6,0.0001,,,,\n"
            "loop,ring,d,8e6,0.0001,,,,\n",
      1200, "loop/c>b", "0,0,,a,b,loop,1000,0.01," },
    { LINKS "grid,mesh,a,8e6,0.0001,,2,,\ngrid,mesh,c,8e6,0.0001,,2,,\n"
            "grid,mesh,d,8e6,0.0001,,2,,\ngrid,mesh,b,8e6,0.0001,,2,,\n",
      1200, "grid/c>b", "0,0,,a,b,grid,1000,0.01," },
    { LINKS "light,optical,a,8e6,0.0001,,,2,0.005\nlight,optical,b,8e6,0.0001,,,2,0.005\n", 6100,
      "light/a>b", "0,0,,a,b,light,1000,0.01," },
    { LINKS "one,switch,a,8e6,0.0001,0.00005,,,\none,switch,c,8e6,0.0001,,,,\n"
            "two,switch,c,4e6,0.0002,0.00007,,,\ntwo,switch,b,4e6,0.0002,,,,\n",
      50 + 1000 + 100 + 70 + 2000 + 200, "two/c", "0,0,,a,b,one,1000,0.01," },
};

static void a_pipeline_runs_over_every_kind_of_network(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++)
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            pipeline((enum serve_network)model, ways[i].links, REQUESTS "0,0,s\n");
            assert_finish_us(0, 20000 + ways[i].hop_us);
            assert_int_equal(link_named(ways[i].link)->bytes, 1000);
            assert_non_null(strstr(fixture_transfers(), ways[i].transfer));
        }
}

/* ---- who shares with whom ---- */

/* Two pipelines, a to b and c to d, with d on b's computer: their messages meet at its port. */
static void two_pipelines(enum serve_network model, const char *links)
{
    fixture.options.network = model;
    fixture_stages(STAGES "x,0,0.010,1000\nx,1,0.010,0\ny,0,0.010,3000\ny,1,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,c,y\nr,0,1,d,y\n");
    fixture_cluster("device,type,node\na,t,\nb,t,box\nc,t,\nd,t,box\n", links);
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,r\n");
    fixture_must_run();
}

static void what_meets_at_a_receiver_shares_its_port(void **state)
{
    static const char links[] = LINKS "lan,switch,a,8e6,0.0001,,,,\nlan,switch,box,8e6,0.0001,,,,\n"
                                      "lan,switch,c,8e6,0.0001,,,,\n";

    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++) {
        bool is_fifo = model == SERVE_NETWORK_FIFO;

        two_pipelines((enum serve_network)model, links);
        assert_finish_us(0, 20100 + (is_fifo ? 1000 : 2000)); /* at half the rate */
        assert_finish_us(1, 20100 + (is_fifo ? 3000 : 4000)); /* 1000, then 2000 at the whole */
        assert_int_equal(fixture.result.moved_bytes, 4000);
        if (!is_fifo)
            assert_in_range(link_named("lan/box/in")->busy_ps, 4000 * US - 2, 4000 * US + 2);
        assert_in_range(link_named("lan/a")->busy_ps, 1000 * US - 2, 1000 * US + 2);
        assert_string_equal(fixture_transfers(),
                            arena_printf(fixture.arena,
                                         "# orrery: transfers 1\nrequest_id,step,batch_id,"
                                         "from_device,to_device,medium,bytes,send_s,receive_s\n"
                                         "0,0,,a,b,lan,1000,0.01,0.01%d\n"
                                         "1,0,,c,d,lan,3000,0.01,0.01%d\n",
                                         is_fifo ? 11 : 21, is_fifo ? 31 : 41));
    }
}

static void what_meets_on_the_air_shares_it(void **state)
{
    static const char links[] = LINKS "air,wifi,a,8e6,0.0001,,,,\nair,wifi,box,8e6,0.0001,,,,\n"
                                      "air,wifi,c,4e6,0.0001,,,,\n";

    (void)state;
    two_pipelines(SERVE_NETWORK_AUTO, links); /* a byte of c's takes 2 us, of a's 1 us: 1/3 each */
    assert_finish_us(0, 20100 + 3000);
    assert_finish_us(1, 20100 + 3000 + 4000); /* then 2000 bytes at the whole of it */
    assert_in_range(link_named("air")->busy_ps, 7000 * US - 2, 7000 * US + 2);
    two_pipelines(SERVE_NETWORK_FIFO, links); /* in the order of devices */
    assert_finish_us(0, 20100 + 1000);
    assert_finish_us(1, 20100 + 1000 + 6000);
}

static void messages_of_one_pipeline_keep_their_order_and_their_rate(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++)
        for (int shared = 0; shared < 2; shared++) {
            fixture.options.network = (enum serve_network)model;
            fixture_stages(STAGES "x,0,0.0001,1000\nx,1,0.0001,0\n");
            fixture_write("p.csv", shared ? PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,a,x\nr,0,1,c,x\n"
                                          : PLACED "s,0,0,a,x\ns,0,1,b,x\n");
            fixture_cluster(DEVICES "a,t\nb,t\nc,t\n",
                            LINKS "lan,switch,a,8e6,0.0001,,,,\nlan,switch,b,8e6,0.0001,,,,\n"
                                  "lan,switch,c,8e6,0.0001,,,,\n");
            fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,s\n");
            fixture_must_run();
            for (size_t i = 0; i < 3; i++)
                assert_finish_us(i, 100 + 1000 * ((int64_t)i + 1) + 100 + 100);
        }
}

/* ---- what observers see ---- */

static const char *read_after(int model, const char *requests, int64_t window_ps)
{
    struct out *chrome = out_open_memory(fixture.arena), *out = out_open_memory(fixture.arena);
    struct serve_observer observers[2], observer;
    struct utilisation *utilisation;

    fixture.options.network = (enum serve_network)model;
    fixture_write("w.csv", requests);
    assert_true(fixture_load());
    fixture.record = record_create(fixture.arena, &fixture.scenario.input, true, true, chrome);
    utilisation = utilisation_begin(fixture.arena, fixture.scenario.input.plan->cluster, window_ps);
    observers[0] = record_observer(fixture.record);
    observers[1] = utilisation_observer(utilisation);
    observer = watch_join(fixture.arena, observers, 2);
    assert_true(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                          &fixture.result, &fixture.err));
    assert_true(utilisation_end(utilisation, &fixture.result, &fixture.err));
    record_finish(fixture.record);
    utilisation_write(utilisation, out, NULL);
    return arena_printf(fixture.arena, "%s%s", out_memory(out, NULL), out_memory(chrome, NULL));
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no '%s' in\n%s", part, text);
}

static void observers_see_the_share_of_a_link_and_who_is_on_it(void **state)
{
    const char *seen;

    (void)state;
    two_pipelines(SERVE_NETWORK_AUTO,
                  LINKS "lan,switch,a,8e6,0.0001,,,,\nlan,switch,box,8e6,0.0001,,,,\n"
                        "lan,switch,c,16e6,0.0001,,,,\n");
    seen = read_after(SERVE_NETWORK_AUTO, REQUESTS "0,0,s\n1,0,r\n", 12 * MS);
    assert_has(seen, "0,0.012,link,lan/a,0.083333,,0,\n"); /* half a port for 2 ms */
    assert_has(seen, "0,0.012,link,lan/box/in,0.166667,,0,\n");
    assert_has(seen, "0,0.012,link,lan/c,0.041667,,0,\n"); /* a quarter, for it is faster */
    assert_has(seen, "0.012,0.024,link,lan/a,0,,0,\n");
    assert_has(seen, "0.012,0.024,link,lan/box/in,0.166667,,0,\n");
    assert_has(seen, "0.012,0.024,link,lan/c,0.083333,,0,\n");
    assert_has(seen, "\"link lan/box/in\"");
    assert_has(seen, "\"link lan/box/in (2)\"");
    assert_has(seen, "\"ts\":10000,\"dur\":2000,\"name\":\"r0 step 0\"");
    assert_has(seen, "\"ts\":10000,\"dur\":4000,\"name\":\"r1 step 0\"");
}

static void a_port_in_place_of_a_flow_shows_both_its_ends(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++) {
        const char *seen;

        pipeline((enum serve_network)model,
                 LINKS "lan,switch,a,8e6,0.0001,0.0005,,,\nlan,switch,b,8e6,0.0001,,,,\n",
                 REQUESTS "0,0,s\n");
        assert_finish_us(0, 21600);
        seen = read_after(model, REQUESTS "0,0,s\n", 11 * MS);
        assert_has(seen, "0,0.011,link,lan/a,0.090909,,0,\n");
        assert_has(seen, "0.011,0.0216,link,lan/a,0.04717,,0,\n");
        if (model == SERVE_NETWORK_FIFO)
            continue;
        assert_has(seen, "0,0.011,link,lan/b/in,0.045455,,0,\n");
        assert_has(seen, "0.011,0.0216,link,lan/b/in,0.04717,,0,\n");
        assert_has(seen, "\"link lan/b/in\"");
        assert_int_equal(link_named("lan/b/in")->busy_ps, 1000 * US);
        assert_int_equal(link_named("lan/a")->busy_ps, 1500 * US);
    }
}

/* ---- what fails and changes ---- */

static void an_outage_delays_what_is_on_the_link_by_its_length(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++)
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            const char *medium = ways[i].link;

            medium = arena_strndup(fixture.arena, medium, strcspn(medium, "/"));
            events(arena_printf(fixture.arena, "0.0125,%s,down,\n0.1125,%s,up,\n", medium, medium));
            if (strcmp(medium, "two") != 0 && strcmp(medium, "light") != 0)
                events(arena_printf(fixture.arena, "0.0103,%s,down,\n0.1103,%s,up,\n", medium,
                                    medium));
            if (strcmp(medium, "light") == 0)
                events("0.0155,light,down,\n0.1155,light,up,\n");
            pipeline((enum serve_network)model, ways[i].links, REQUESTS "0,0,s\n1,0.2,s\n");
            assert_finish_us(0, 20000 + ways[i].hop_us + 100000);
            assert_finish_us(1, 220000 + ways[i].hop_us - (strcmp(medium, "light") == 0) * 5000);
        }
}

static void a_rate_that_changes_counts_for_what_is_under_way(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++) {
        events("0.0105,lan/b,bits_per_s,8e5\n"); /* half of it is left; behind it the latency */
        pipeline((enum serve_network)model,
                 LINKS "lan,switch,a,8e6,0,,,,\nlan,switch,b,8e6,0,,,,\n", REQUESTS "0,0,s\n");
        assert_finish_us(0, 10000 + 500 + 5000 + 10000);
    }
}

static void what_is_slow_is_not_blocked(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++) {
        fixture.options.network = (enum serve_network)model;
        fixture_stages(STAGES "x,0,0.010,9000000\nx,1,0.010,0\n");
        fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,c,x\nr,0,1,b,x\n");
        fixture_cluster(DEVICES "a,t\nb,t\nc,t\n", LINKS "lan,switch,*,1,0,,,,\n");
        fixture_write("w.csv", REQUESTS "0,0,s\n1,0,r\n");
        assert_false(fixture_run());
        assert_has(fixture.err.text, "simulated time passes 9000000 s");
    }
}

static void devices_and_links_may_fail_in_one_run(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++) {
        events("0.0105,lan,down,\n0.0106,d,down,\n0.0205,lan,up,\n0.0206,b,down,\n0.05,b,up,\n");
        pipeline((enum serve_network)model,
                 LINKS "lan,switch,a,8e6,0,,,,\nlan,switch,b,8e6,0,,,,\n",
                 REQUESTS "0,0,s\n1,0.045,s\n");
        assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
        assert_int_equal(fixture.result.requests[1].status, TRACE_FAILED); /* b is down */
        events("0.0105,lan,down,\n0.0205,lan,up,\n0.045,b,down,\n0.0451,b,up,\n");
        pipeline((enum serve_network)model,
                 LINKS "lan,switch,a,8e6,0,,,,\nlan,switch,b,8e6,0,,,,\n",
                 REQUESTS "0,0,s\n1,0.046,s\n");
        assert_finish_us(0, 31000);
        assert_finish_us(1, 67000);
    }
}

static void what_waits_for_a_link_for_ever_is_named(void **state)
{
    (void)state;
    for (int model = 0; model < SERVE_NETWORK_COUNT; model++)
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            const char *link = ways[i].link;
            char waits[80];

            fixture.options.network = (enum serve_network)model;
            fixture_stages(STAGES "x,0,0.010,1000\nx,1,0.010,0\n");
            fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
            fixture_cluster(DEVICES "a,t\nb,t\nc,t\nd,t\n", ways[i].links);
            fixture_write("w.csv", REQUESTS "7,0,s\n8,0.005,s\n");
            events(arena_printf(fixture.arena, "0.0101,%s,down,\n0.2,c,down,\n",
                                arena_strndup(fixture.arena, link, strcspn(link, "/"))));
            assert_false(fixture_run());
            (void)snprintf(waits, sizeof waits, "7 (step 0, stage 1, over link %s",
                           arena_strndup(fixture.arena, link, strcspn(link, "/")));
            assert_non_null(strstr(fixture.err.text, "blocked: 2 requests in the system"));
            assert_non_null(strstr(fixture.err.text, waits));
            assert_non_null(strstr(fixture.err.text, "8 (step 0, stage 1, over link "));
            assert_int_equal(fixture.err.kind, ERR_SYSTEM);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pipeline_runs_over_every_kind_of_network),
        TEST(what_meets_at_a_receiver_shares_its_port),
        TEST(what_meets_on_the_air_shares_it),
        TEST(messages_of_one_pipeline_keep_their_order_and_their_rate),
        TEST(observers_see_the_share_of_a_link_and_who_is_on_it),
        TEST(a_port_in_place_of_a_flow_shows_both_its_ends),
        TEST(an_outage_delays_what_is_on_the_link_by_its_length),
        TEST(a_rate_that_changes_counts_for_what_is_under_way),
        TEST(what_waits_for_a_link_for_ever_is_named),
        TEST(what_is_slow_is_not_blocked),
        TEST(devices_and_links_may_fail_in_one_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
