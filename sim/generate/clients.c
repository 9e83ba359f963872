/* clients.c - streams of clients, and whom they call. */
#include "sim/generate/clients.h"

#include "lib/base/arena.h"
#include "lib/format/workload.h"
#include "sim/generate/choice.h"
#include "sim/generate/generate.h"
#include <stdio.h>

struct clients *clients_begin(struct arena *arena, const struct generate_options *options,
                              int64_t most, struct workload_builder *builder)
{
    struct clients *clients = arena_alloc(arena, sizeof(*clients));
    double *shares = arena_array(arena, (size_t)options->service_count, sizeof(*shares));

    for (int i = 0; i < options->service_count; i++)
        shares[i] = options->services[i].share;
    clients->services = choice_create(arena, shares, options->service_count);
    clients->count = options->clients < most ? options->clients : most;
    clients->list = arena_array(arena, (size_t)clients->count, sizeof(*clients->list));
    for (int64_t c = 0; c < clients->count; c++) {
        struct client *client = &clients->list[c];
        char name[32];

        (void)snprintf(name, sizeof(name), "c%lld", (long long)c);
        workload_builder_client(builder, name);
        client->lengths = lengths_begin(options->seed, (uint64_t)c);
        client->think = rng_stream(options->seed, RNG_THINK, (uint64_t)c);
        client->choice = rng_stream(options->seed, RNG_SERVICE_CHOICE, (uint64_t)c);
    }
    return clients;
}

int32_t clients_choose(const struct clients *clients, struct client *client)
{
    return choice_draw(clients->services, &client->choice);
}
