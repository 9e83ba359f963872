/* leg.h - when the last byte of a message leaves the sender of a leg, at rates that change. */
#ifndef ORRERY_SIM_NETWORK_LEG_H
#define ORRERY_SIM_NETWORK_LEG_H

#include <stdint.h>

struct topology;
struct topology_leg;

/* Sends bytes from begin_ps on, at the leg's lowest rate; stands still while that is 0. Rounded to
 * the nearest picosecond, halves to even. ENGINE_NEVER when it stays 0, or for begin_ps
 * ENGINE_NEVER; at most ENGINE_LAST_PS. */
int64_t leg_end_ps(const struct topology *topology, const struct topology_leg *leg,
                   int64_t begin_ps, int64_t bytes);
/* The first instant from begin_ps on at which the leg works; ENGINE_NEVER when there is none. */
int64_t leg_up_ps(const struct topology *topology, const struct topology_leg *leg,
                  int64_t begin_ps);

#endif
