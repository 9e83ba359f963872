/* split.h - which services are called, and which share of the load each has. */
#ifndef ORRERY_SIM_GENERATE_SPLIT_H
#define ORRERY_SIM_GENERATE_SPLIT_H

#include <stdbool.h>

struct arena;
struct err;
struct generate_options;
struct generate_service;

/* Room for one more service, of share 1 and without a name; the caller counts it. */
struct generate_service *split_add(struct arena *arena, struct generate_options *options);
/* A number above 0 and at most 1e9. */
bool split_parse_share(const char *text, double *share);
/* "N" or "N:PREFIX": services PREFIX0 to PREFIX(N-1), "s" when no prefix is given; options have
 * none yet. */
bool split_services(struct arena *arena, const char *text, struct generate_options *options,
                    struct err *err);
/* Shares of the services that options have: "uniform", "power-law[:ALPHA]" (i^-ALPHA, 0.5),
 * "triangle" (N, N-1, ... 1), "list" (as given with each) or "list:A,B,...". has_shares: some
 * service was given with a share of its own. */
bool split_shares(struct arena *arena, const char *text, bool has_shares,
                  struct generate_options *options, struct err *err);

#endif
