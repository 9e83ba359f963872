/* clients.h - the clients of a closed loop: each has streams of its own. */
#ifndef ORRERY_SIM_GENERATE_CLIENTS_H
#define ORRERY_SIM_GENERATE_CLIENTS_H

#include "sim/generate/lengths.h"
#include <stdint.h>

struct arena;
struct choice;
struct generate_options;
struct workload_builder;

struct client {
    struct lengths lengths;
    struct rng think, choice;
    int64_t sessions; /* begun so far */
};

struct clients {
    int64_t count;
    struct client *list;
    const struct choice *services;
};

/* As many as the options say, but no more than have something to do (`most`); named c0, c1, ... in
 * the builder. */
struct clients *clients_begin(struct arena *arena, const struct generate_options *options,
                              int64_t most, struct workload_builder *builder);
/* The service that a client calls, by the shares. */
int32_t clients_choose(const struct clients *clients, struct client *client);

#endif
