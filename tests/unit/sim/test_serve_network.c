/* test_serve_network.c - pipelines over every kind of network, under both of its models: what
 * messages take, who waits or shares, links that fail and change, and what the observers see. */
#include "tests/unit/sim/fixture.h"

#define STAGES "executable,stage,latency_s,output_bytes\n"
#define PLACED "service,replica,stage,device,executable\n"
#define DEVICES "device,type\n"
#define LINKS "medium,kind,node,bits_per_s,latency_s,per_message_s,mesh_columns,ports,setup_s\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define US UNITS_PS_PER_US

/* A pipeline of two stages of 10 ms, on a and b, with 1000 bytes between them: 1 ms on a link of
 * 8 Mbit/s. */
static void pipeline(enum network_model model, const char *links, const char *requests)
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
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++)
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            pipeline((enum network_model)model, ways[i].links, REQUESTS "0,0,s\n");
            assert_finish_us(0, 20000 + ways[i].hop_us);
            assert_int_equal(link_named(ways[i].link)->bytes, 1000);
            assert_non_null(strstr(fixture_transfers(), ways[i].transfer));
        }
}

/* ---- what fails and changes ---- */

static void an_outage_delays_what_is_on_the_link_by_its_length(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++)
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            const char *medium = ways[i].link;

            medium = arena_strndup(fixture.arena, medium, strcspn(medium, "/"));
            events(arena_printf(fixture.arena, "0.0125,%s,down,\n0.1125,%s,up,\n", medium, medium));
            if (strcmp(medium, "two") != 0 && strcmp(medium, "light") != 0)
                events(arena_printf(fixture.arena, "0.0103,%s,down,\n0.1103,%s,up,\n", medium,
                                    medium));
            if (strcmp(medium, "light") == 0)
                events("0.0155,light,down,\n0.1155,light,up,\n");
            pipeline((enum network_model)model, ways[i].links, REQUESTS "0,0,s\n1,0.2,s\n");
            assert_finish_us(0, 20000 + ways[i].hop_us + 100000);
            assert_finish_us(1, 220000 + ways[i].hop_us - (strcmp(medium, "light") == 0) * 5000);
        }
}

static void a_rate_that_changes_counts_for_what_is_under_way(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++) {
        events("0.0105,lan/b,bits_per_s,8e5\n"); /* half of it is left; behind it the latency */
        pipeline((enum network_model)model,
                 LINKS "lan,switch,a,8e6,0,,,,\nlan,switch,b,8e6,0,,,,\n", REQUESTS "0,0,s\n");
        assert_finish_us(0, 10000 + 500 + 5000 + 10000);
    }
}

static void devices_and_links_may_fail_in_one_run(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++) {
        events("0.0105,lan,down,\n0.0106,d,down,\n0.0205,lan,up,\n0.0206,b,down,\n0.05,b,up,\n");
        pipeline((enum network_model)model,
                 LINKS "lan,switch,a,8e6,0,,,,\nlan,switch,b,8e6,0,,,,\n",
                 REQUESTS "0,0,s\n1,0.045,s\n");
        assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
        assert_int_equal(fixture.result.requests[1].status, TRACE_FAILED); /* b is down */
        events("0.0105,lan,down,\n0.0205,lan,up,\n0.045,b,down,\n0.0451,b,up,\n");
        pipeline((enum network_model)model,
                 LINKS "lan,switch,a,8e6,0,,,,\nlan,switch,b,8e6,0,,,,\n",
                 REQUESTS "0,0,s\n1,0.046,s\n");
        assert_finish_us(0, 31000);
        assert_finish_us(1, 67000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pipeline_runs_over_every_kind_of_network),
        TEST(an_outage_delays_what_is_on_the_link_by_its_length),
        TEST(a_rate_that_changes_counts_for_what_is_under_way),
        TEST(devices_and_links_may_fail_in_one_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
