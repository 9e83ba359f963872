/* circuit.c - ports, wavelengths, and the order of those who wait for them. */
#include "sim/network/circuit.h"

#include "lib/base/arena.h"
#include "lib/base/ring.h"
#include "lib/format/cluster.h"
#include "sim/network/network.h"
#include "sim/network/topology.h"
#include <assert.h>
#include <stddef.h>

enum circuit_state { CIRCUIT_DOWN, CIRCUIT_RISING, CIRCUIT_UP };

struct circuit {
    enum circuit_state state;
    bool is_queued;
    int32_t wavelength; /* while rising or up */
    int32_t users;
    int64_t idle_since; /* number of the release that left it idle */
    struct ring waiting;
};

struct circuits {
    struct arena *arena;
    const struct topology *topology;
    circuit_setup_fn *on_setup;
    void *arg;
    struct circuit *circuits;
    int32_t *used_ports; /* by port of the topology */
    int32_t *users; /* of fibre f and wavelength w at f x wavelengths + w: circuit, -1 = none */
    int32_t wavelengths;                 /* room for each fibre */
    struct ring queue;                   /* circuits that messages wait for, in order of asking */
    int32_t *port_claims, *fibre_claims; /* how many of the queue need them */
    int64_t release_count;
    struct network_circuits count;
};

struct circuits *circuits_create(struct arena *arena, const struct topology *topology,
                                 circuit_setup_fn *on_setup, void *arg)
{
    struct circuits *circuits;
    size_t user_count;

    if (topology->circuit_count == 0)
        return NULL;
    circuits = arena_alloc(arena, sizeof(*circuits));
    circuits->arena = arena;
    circuits->topology = topology;
    circuits->on_setup = on_setup;
    circuits->arg = arg;
    circuits->wavelengths = topology->circuit_count; /* more could never be used */
    circuits->circuits =
        arena_array(arena, (size_t)topology->circuit_count, sizeof(*circuits->circuits));
    circuits->used_ports =
        arena_array(arena, (size_t)topology->port_count, sizeof(*circuits->used_ports));
    circuits->port_claims =
        arena_array(arena, (size_t)topology->port_count, sizeof(*circuits->port_claims));
    circuits->fibre_claims =
        arena_array(arena, (size_t)topology->fibre_count, sizeof(*circuits->fibre_claims));
    user_count = (size_t)topology->fibre_count * (size_t)circuits->wavelengths;
    circuits->users = arena_array(arena, user_count, sizeof(*circuits->users));
    for (size_t i = 0; i < user_count; i++)
        circuits->users[i] = -1;
    return circuits;
}

static const struct cluster_medium *medium_of(const struct circuits *circuits, int32_t index)
{
    const struct topology *topology = circuits->topology;

    return &topology->cluster->media[topology->circuits[index].medium];
}

static bool is_idle(const struct circuits *circuits, int32_t index)
{
    const struct circuit *circuit = &circuits->circuits[index];

    return circuit->state == CIRCUIT_UP && circuit->users == 0;
}

static int32_t *port_count(const struct circuits *circuits, int32_t index, int end)
{
    return &circuits->used_ports[circuits->topology->circuits[index].ports[end]];
}

/* Who holds a wavelength on a fibre of the circuit's way. */
static int32_t *user_of(const struct circuits *circuits, int32_t index, int32_t hop,
                        int32_t wavelength)
{
    int32_t fibre = circuits->topology->hops[circuits->topology->circuits[index].first_hop + hop];

    return &circuits->users[fibre * circuits->wavelengths + wavelength];
}

/* ---- taking and giving back ---- */

static void hold(struct circuits *circuits, int32_t index, bool is_held)
{
    struct circuit *circuit = &circuits->circuits[index];

    for (int end = 0; end < 2; end++)
        *port_count(circuits, index, end) += is_held ? 1 : -1;
    for (int32_t hop = 0; hop < circuits->topology->circuits[index].hop_count; hop++)
        *user_of(circuits, index, hop, circuit->wavelength) = is_held ? index : -1;
}

static void evict(struct circuits *circuits, int32_t index)
{
    assert(is_idle(circuits, index));
    hold(circuits, index, false);
    circuits->circuits[index].state = CIRCUIT_DOWN;
    circuits->count.evictions++;
}

/* The circuit that has been idle longest of those with a port of this one's node; -1 = none. */
static int32_t idle_at(const struct circuits *circuits, int32_t index, int end)
{
    const struct topology_circuit *all = circuits->topology->circuits, *wanted = &all[index];
    int32_t oldest = -1;

    for (int32_t i = 0; i < circuits->topology->circuit_count; i++)
        if (is_idle(circuits, i) &&
            (all[i].ports[0] == wanted->ports[end] || all[i].ports[1] == wanted->ports[end]) &&
            (oldest < 0 ||
             circuits->circuits[i].idle_since < circuits->circuits[oldest].idle_since))
            oldest = i;
    return oldest;
}

static bool port_is_free(const struct circuits *circuits, int32_t index, int end)
{
    int32_t ports = medium_of(circuits, index)->ports;

    return ports == 0 || *port_count(circuits, index, end) < ports;
}

/* The first wavelength that no circuit on the way has, else the first that only idle ones have;
 * -1 = none. */
static int32_t wavelength_find(const struct circuits *circuits, int32_t index)
{
    int32_t limit = medium_of(circuits, index)->wavelengths, second = -1;
    int32_t hop_count = circuits->topology->circuits[index].hop_count;

    if (limit == 0 || limit > circuits->wavelengths)
        limit = circuits->wavelengths;
    for (int32_t w = 0; w < limit; w++) {
        bool is_free = true, is_idle_only = true;

        for (int32_t hop = 0; hop < hop_count; hop++) {
            int32_t user = *user_of(circuits, index, hop, w);

            is_free = is_free && user < 0;
            is_idle_only = is_idle_only && (user < 0 || is_idle(circuits, user));
        }
        if (is_free)
            return w;
        if (is_idle_only && second < 0)
            second = w;
    }
    return second;
}

/* Sets the circuit up if all that it needs is free, or held by idle ones alone. */
static bool set_up(struct circuits *circuits, int32_t index)
{
    struct circuit *circuit = &circuits->circuits[index];
    int32_t wavelength = wavelength_find(circuits, index);

    if (wavelength < 0)
        return false;
    for (int end = 0; end < 2; end++)
        if (!port_is_free(circuits, index, end) && idle_at(circuits, index, end) < 0)
            return false;
    for (int32_t hop = 0; hop < circuits->topology->circuits[index].hop_count; hop++) {
        int32_t user = *user_of(circuits, index, hop, wavelength);

        if (user >= 0)
            evict(circuits, user);
    }
    for (int end = 0; end < 2; end++)
        if (!port_is_free(circuits, index, end))
            evict(circuits, idle_at(circuits, index, end));
    circuit->wavelength = wavelength;
    hold(circuits, index, true);
    circuit->state = CIRCUIT_RISING;
    circuits->count.setups++;
    circuits->on_setup(circuits->arg, index, medium_of(circuits, index)->setup_ps);
    return true;
}

/* ---- the queue ---- */

/* What is scarce of all that the circuit needs is claimed, or no longer. */
static void claim(struct circuits *circuits, int32_t index, int change)
{
    const struct topology *topology = circuits->topology;
    const struct topology_circuit *circuit = &topology->circuits[index];
    const struct cluster_medium *medium = medium_of(circuits, index);

    for (int end = 0; end < 2 && medium->ports > 0; end++)
        circuits->port_claims[circuit->ports[end]] += change;
    for (int32_t hop = 0; hop < circuit->hop_count && medium->wavelengths > 0; hop++)
        circuits->fibre_claims[topology->hops[circuit->first_hop + hop]] += change;
}

/* Whether somebody claims what the circuit needs. */
static bool is_claimed(const struct circuits *circuits, int32_t index)
{
    const struct topology *topology = circuits->topology;
    const struct topology_circuit *circuit = &topology->circuits[index];
    int32_t claims =
        circuits->port_claims[circuit->ports[0]] + circuits->port_claims[circuit->ports[1]];

    for (int32_t hop = 0; hop < circuit->hop_count; hop++)
        claims += circuits->fibre_claims[topology->hops[circuit->first_hop + hop]];
    return claims > 0;
}

static void queue_join(struct circuits *circuits, int32_t index)
{
    circuits->circuits[index].is_queued = true;
    claim(circuits, index, 1);
    ring_push(&circuits->queue, circuits->arena, index);
}

/* One that is up already, and let others go first, goes on. */
static bool go_on(struct circuits *circuits, int32_t index)
{
    struct circuit *circuit = &circuits->circuits[index];

    if (circuit->state != CIRCUIT_UP)
        return set_up(circuits, index);
    circuit->state = CIRCUIT_RISING;
    circuits->on_setup(circuits->arg, index, 0);
    return true;
}

/* Once round the queue, the oldest first; what one that must wait on needs is not for those behind
 * it. */
static void queue_serve(struct circuits *circuits)
{
    uint32_t count = circuits->queue.count;

    for (uint32_t i = 0; i < count; i++) { /* claims are of those that have been looked at alone */
        int32_t next = ring_take(&circuits->queue);

        claim(circuits, next, -1);
        ring_push(&circuits->queue, circuits->arena, next);
    }
    for (uint32_t i = 0; i < count; i++) {
        int32_t next = ring_take(&circuits->queue);

        if (!is_claimed(circuits, next) && go_on(circuits, next))
            circuits->circuits[next].is_queued = false;
        else
            queue_join(circuits, next);
    }
}

/* ---- messages ---- */

bool circuit_acquire(struct circuits *circuits, int32_t index, int32_t message)
{
    struct circuit *circuit = &circuits->circuits[index];
    bool is_first = !circuit->is_queued && !is_claimed(circuits, index);

    if (circuit->state == CIRCUIT_UP && is_first) {
        circuit->users++;
        return true;
    }
    circuits->count.waits++;
    ring_push(&circuit->waiting, circuits->arena, message);
    if (circuit->state == CIRCUIT_RISING || circuit->is_queued)
        return false;
    if (!is_first || !set_up(circuits, index))
        queue_join(circuits, index);
    return false;
}

void circuit_up(struct circuits *circuits, int32_t index)
{
    assert(circuits->circuits[index].state == CIRCUIT_RISING);
    circuits->circuits[index].state = CIRCUIT_UP;
}

int32_t circuit_waiting(struct circuits *circuits, int32_t index)
{
    struct circuit *circuit = &circuits->circuits[index];

    if (circuit->waiting.count == 0)
        return -1;
    circuit->users++;
    return ring_take(&circuit->waiting);
}

void circuit_release(struct circuits *circuits, int32_t index)
{
    struct circuit *circuit = &circuits->circuits[index];

    assert(circuit->state != CIRCUIT_DOWN && circuit->users > 0);
    if (--circuit->users > 0)
        return;
    circuit->idle_since = circuits->release_count++;
    queue_serve(circuits);
}

struct network_circuits circuits_count(const struct circuits *circuits)
{
    return circuits->count;
}
