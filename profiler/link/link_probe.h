/* link_probe.h - the two ends of a link measurement, over the very sockets that carry steps. */
#ifndef ORRERY_PROFILER_LINK_PROBE_H
#define ORRERY_PROFILER_LINK_PROBE_H

#include "profiler/link/link_fit.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct keys;

#define LINK_SIZES 9
#define LINK_BURSTS 4

struct link_measured {
    int point_count; /* 3 or more sizes: those that the link carries in good time */
    struct link_point points[LINK_SIZES];
    struct link_burst bursts[LINK_BURSTS];
    int64_t mtu_bytes; /* of this side's interface, 0 = not known */
};

/* Told the address once the peer listens. */
typedef void link_listening_fn(void *arg, const char *address);

/* Answers one prober, then returns. keys: as of channel_hub_create, on both sides. */
bool link_peer(struct arena *arena, const char *listen, const struct keys *keys,
               link_listening_fn *on_listening, void *arg, struct err *err);
/* Measures the way to the peer at `address`. Both ends sleep for pause_ns before each exchange: how
 * long a sleeper takes to wake depends on how long it has slept. */
bool link_probe(struct arena *arena, const char *address, const struct keys *keys, int64_t pause_ns,
                struct link_measured *measured, struct err *err);

#endif
