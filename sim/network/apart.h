/* apart.h - which routes meet no others, so that their messages wait for each other alone. */
#ifndef ORRERY_SIM_NETWORK_APART_H
#define ORRERY_SIM_NETWORK_APART_H

#include <stdbool.h>

struct arena;
struct topology;

/* By route of a topology with the ports into receivers: whether it is one link (and its port into
 * the receiver) that nobody else uses, as fast as the route, at a rate that never changes, and its
 * sender pays for no other. are_empty, by route: its messages will have no bytes, and then use no
 * link unless their sender pays; empty routes do not meet each other. */
bool *apart_find(struct arena *arena, const struct topology *topology, const bool *are_empty);

#endif
