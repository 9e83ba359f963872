/* test_reach.c - whom the source has a route to, against a network that is built of it. */
#include "sim/network/reach.h"

#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "sim/network/network.h"
#include "sim/network/topology.h"
#include "tests/unit/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define DEVICES 6
#define ROUNDS 300

static const char *const names[DEVICES] = { "a", "b", "c", "d", "e", "f" };

static void attach(struct cluster_medium *medium, const char *node)
{
    for (int i = 0; i < medium->attachment_count; i++)
        if (medium->attachments[i].node == node)
            return;
    medium->attachments[medium->attachment_count++] =
        (struct cluster_attachment){ .node = node, .bits_per_s = 1e9, .efficiency_ratio = 1 };
}

/* Up to 4 switches with up to 4 nodes each, one of which may be the source. */
static struct cluster *drawn(struct arena *arena, struct rng *rng)
{
    struct cluster *cluster = arena_alloc(arena, sizeof *cluster);

    *cluster = (struct cluster){ .path = "drawn",
                                 .device_count = DEVICES,
                                 .medium_count = 1 + (int)rng_below(rng, 4),
                                 .has_links = true };
    cluster->devices = arena_array(arena, DEVICES, sizeof *cluster->devices);
    for (int d = 0; d < DEVICES; d++)
        cluster->devices[d] = (struct cluster_device){
            .name = names[d], .type = "t", .node = names[d], .speed_ratio = 1, .address = ""
        };
    cluster->media = arena_array(arena, 4, sizeof *cluster->media);
    for (int m = 0; m < cluster->medium_count; m++) {
        struct cluster_medium *medium = &cluster->media[m];
        int count = 1 + (int)rng_below(rng, 4);

        *medium = (struct cluster_medium){ .name = arena_printf(arena, "m%d", m),
                                           .kind = CLUSTER_SWITCH,
                                           .attachments =
                                               arena_array(arena, 4, sizeof *medium->attachments) };
        for (int i = 0; i < count; i++) {
            uint64_t which = rng_below(rng, 40);
            const char *node = which == 0  ? "*"
                               : which < 8 ? CLUSTER_SOURCE
                                           : names[which % DEVICES];

            attach(medium, node);
            cluster->has_source = cluster->has_source || which < 8;
        }
    }
    cluster_index(arena, cluster);
    return cluster;
}

static bool has_route(struct arena *arena, const struct cluster *cluster, int32_t from, int32_t to)
{
    const struct network_pair pair = { from, to };
    struct err err = ERR_INIT;

    return topology_build(arena, cluster, NULL, false, &pair, 1, &err) != NULL;
}

static void devices_are_reached_as_routes_are_found(void **state)
{
    struct scratch *scratch = *state;
    struct rng rng = rng_stream(5, RNG_TEST, 0);
    int all = 0, some = 0, none = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct cluster *cluster = drawn(scratch->arena, &rng);
        bool is_reached[DEVICES];
        int32_t count = reach_from_source(scratch->arena, cluster, is_reached), seen = 0;

        for (int32_t d = 0; d < DEVICES; d++) {
            seen += is_reached[d];
            if (is_reached[d] != has_route(scratch->arena, cluster, NETWORK_SOURCE, d) ||
                is_reached[d] != has_route(scratch->arena, cluster, d, NETWORK_SOURCE))
                fail_msg("round %d: device %s is%s reached", round, names[d],
                         is_reached[d] ? "" : " not");
            for (int32_t to = 0; to < d && cluster->has_source; to++)
                assert_true(!is_reached[d] || !is_reached[to] ||
                            has_route(scratch->arena, cluster, d, to));
        }
        assert_int_equal(count, seen);
        all += count == DEVICES;
        none += count == 0;
        some += count > 0 && count < DEVICES;
    }
    assert_in_range(all, ROUNDS / 20, ROUNDS);
    assert_in_range(some, ROUNDS / 4, ROUNDS);
    assert_in_range(none, 1, ROUNDS);
}

static void without_links_all_are(void **state)
{
    struct scratch *scratch = *state;
    struct cluster *cluster = cluster_implied(scratch->arena, names, DEVICES, "t");
    bool is_reached[DEVICES];

    assert_int_equal(reach_from_source(scratch->arena, cluster, is_reached), DEVICES);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        WITH(devices_are_reached_as_routes_are_found),
        WITH(without_links_all_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
