/* test_queueing_closed.c - closed networks by exact mean value analysis (Reiser and Lavenberg
 * 1980).
 */
#include "tests/unit/sim/oracle.h"

/* The mean time from arrival to end with `clients` in the loop, a mean think time, and `servers`
 * queues with exponential service that each get the same share. One client after the other is
 * added: whoever arrives meets what one client less leaves there on average. */
static double mva_latency(int clients, double think, int servers, double service)
{
    double queue = 0, latency = 0; /* mean number at one of the servers */

    for (int n = 1; n <= clients; n++) {
        latency = service * (1 + queue);
        queue = n / (think + latency) * latency / servers;
    }
    return latency;
}

/* M/M/1//N, the machine repairman: any distribution of think times gives the same. */
static void machine_repairman(void **state)
{
    static const char *const thinks[] = { "exp:4ms", "constant:4ms", "lognormal:4ms:2" };

    (void)state;
    encoder_costs();
    encoders(1);
    for (int clients = 2; clients <= 8; clients += 3)
        for (size_t i = 0; i < 3; i++) {
            closed_load(clients, thinks[i], 20000);
            fixture.files.load.texts[LOAD_PROMPT] = "exp:1000";
            assert_latency(thinks[i], mva_latency(clients, 0.004, 1, 0.001), 0.05);
        }
}

static void nobody_else_is_there_for_one_client(void **state)
{
    (void)state;
    encoder_costs();
    encoders(1);
    closed_load(1, "exp:1ms", 20000);
    fixture.files.load.texts[LOAD_PROMPT] = "exp:1000";
    assert_latency("one client", 0.001, 0.05);
    for (int i = 0; i < RUNS; i++)
        assert_true(oracle.figures[2][i] >= 1);
}

/* Servers that are chosen at random are the stations of a central-server model. */
static void servers_chosen_at_random(void **state)
{
    (void)state;
    encoder_costs();
    encoders(3);
    fixture.options.dispatch = DISPATCH_RANDOM;
    for (int clients = 3; clients <= 9; clients += 6) {
        closed_load(clients, "exp:2ms", 20000);
        fixture.files.load.texts[LOAD_PROMPT] = "exp:1000";
        assert_latency("random servers", mva_latency(clients, 0.002, 3, 0.001), 0.05);
    }
}

static void without_thinking_the_slowest_stage_is_always_busy(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.003\nx,1,0.010\nx,2,0.004\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\ns,0,2,c,x\n");
    for (int clients = 1; clients <= 6; clients++) {
        double cycle = clients * 0.010 > 0.017 ? clients * 0.010 : 0.017;

        closed_load(clients, "constant:0s", 6000);
        oracle_run(1);
        assert_true(fabs(oracle.latency_s / (double)oracle.ok - cycle) < 1e-3 * cycle);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(machine_repairman),
        TEST(nobody_else_is_there_for_one_client),
        TEST(servers_chosen_at_random),
        TEST(without_thinking_the_slowest_stage_is_always_busy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
