/* lengths.h - how long requests are: tokens and items, each from a stream of its own. */
#ifndef ORRERY_SIM_GENERATE_LENGTHS_H
#define ORRERY_SIM_GENERATE_LENGTHS_H

#include "lib/base/rng.h"
#include <stdbool.h>

struct err;
struct generate_options;
struct workload_request;

struct lengths { /* of one service, client or session */
    struct rng prompt, output, items;
};

/* Whether --prompt, --output and --items go together and fit into a request. */
bool lengths_check(const struct generate_options *options, struct err *err);
struct lengths lengths_begin(uint64_t seed, uint64_t entity);
/* Fills what the options have a distribution for, and leaves the rest. */
void lengths_draw(struct lengths *lengths, const struct generate_options *options,
                  struct workload_request *request);

#endif
