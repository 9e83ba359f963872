/* messages.h - a network between all nodes of a made-up cluster, messages over it, and when each of
 * them arrived. One network at a time. */
#ifndef ORRERY_TESTS_MESSAGES_H
#define ORRERY_TESTS_MESSAGES_H

#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/format/events.h"
#include "sim/engine/engine.h"
#include "sim/network/network.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sim/linked.h"

#define US UNITS_PS_PER_US
#define NODES 9
#define ROOM 4096

static struct arena *arena;
static struct err err;
static struct cluster *cluster;
static struct network *network;
static struct engine *engine;
static int64_t arrival_ps[ROOM]; /* by message; -1 = not yet */
static int32_t arrived[ROOM], arrived_count;

static inline int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    err = (struct err)ERR_INIT;
    cluster = linked_create(arena, NODES);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static inline void build_pairs(const struct network_options *options,
                               const struct network_pair *pairs, int count)
{
    cluster_index(arena, cluster);
    network = network_open(arena, cluster, options, pairs, count, &err);
    assert_non_null(network);
    engine = engine_create(arena, 5 + network_slot_count(network));
    network_attach(network, engine, 5);
    memset(arrival_ps, 0xff, sizeof arrival_ps);
    arrived_count = 0;
}

/* Routes between all nodes, and the source when there is one. */
static inline void build(enum network_model model, const struct events *events)
{
    const struct network_options options = { .model = model, .events = events };
    struct network_pair pairs[(NODES + 1) * (NODES + 1)];
    int count = 0, first = cluster->has_source ? NETWORK_SOURCE : 0;

    for (int from = first; from < cluster->device_count; from++)
        for (int to = first; to < cluster->device_count; to++)
            pairs[count++] = (struct network_pair){ from, to };
    build_pairs(&options, pairs, count);
}

static inline struct network_sent send(int from, int to, int64_t bytes, int32_t message)
{
    return network_send(network, network_route(network, from, to), bytes, message);
}

/* Up to and with an instant; ENGINE_NEVER = until nothing is left to happen. */
static inline void run_until(int64_t time_ps)
{
    while (engine_peek_ps(engine) <= time_ps && engine_peek_ps(engine) != ENGINE_NEVER) {
        int32_t message = network_receive(network, engine_next(engine));

        if (message == NETWORK_NOTHING)
            continue;
        assert_int_equal(arrival_ps[message], -1);
        arrival_ps[message] = engine_now_ps(engine);
        arrived[arrived_count++] = message;
    }
    if (time_ps != ENGINE_NEVER)
        engine_advance(engine, time_ps);
}

static inline void run(void)
{
    run_until(ENGINE_NEVER);
    assert_int_equal(network_in_flight(network), 0);
    assert_true(network_is_balanced(network));
}

static inline int link_named(const char *name)
{
    for (int i = 0; i < network_link_count(network); i++)
        if (strcmp(network_link_name(network, i), name) == 0)
            return i;
    fail_msg("no link '%s'", name);
    return -1;
}

static inline void assert_near(int64_t ps, int64_t expected_ps, int64_t tolerance_ps)
{
    if (ps < expected_ps - tolerance_ps || ps > expected_ps + tolerance_ps)
        fail_msg("%lld ps, not %lld ps", (long long)ps, (long long)expected_ps);
}

static inline void draw_medium(struct rng *rng, enum cluster_kind kind)
{
    static const double rates[] = { 1e9, 1e8, 5.4e7, 9.41e8 };
    struct cluster_medium *medium =
        linked_medium(arena, cluster, "m", kind, "n0 n1 n2 n3 n4 n5 n6 n7 n8 source");

    for (int i = 0; i < medium->attachment_count; i++) {
        struct cluster_attachment *row = &medium->attachments[i];

        row->bits_per_s = rates[rng_below(rng, 4)];
        row->latency_ps = (int64_t)rng_below(rng, 3) * 123456789;
        row->per_message_ps = (int64_t)rng_below(rng, 3) * 30000001;
        row->efficiency_ratio = rng_below(rng, 2) ? 1 : 0.943;
    }
    medium->mesh_columns = kind == CLUSTER_MESH || rng_below(rng, 2) ? 4 : 0;
}

#endif
