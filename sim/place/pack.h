/* pack.h - deployments of given sizes on equal nodes: the packing of InfScale's templates.
 *
 * A deployment of s devices takes s div g whole nodes of g devices, and of one more node the s mod
 * g that are left over, which it may share. Packed is what is worth the most together. Two
 * deployments share nodes only where their rests do, so that as many are disjoint as there are
 * deployments without a rest and nodes with rests.
 *
 * The dynamic program is InfScale's (Cisco, 2025), over (nodes closed, devices taken of the open
 * one, disjoint deployments), with two differences. A size that nothing can be deployed on is no
 * deployment: InfScale counts it as one that is worth nothing, as that many disjoint ones, and as
 * filling. And a node may be closed before it is full, so that deployments which could share it
 * need not. It is exact. Integers alone. */
#ifndef ORRERY_SIM_PLACE_PACK_H
#define ORRERY_SIM_PLACE_PACK_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct pack;

#define PACK_NONE INT64_C(-1)

struct pack_input {
    int32_t node_count, node_devices; /* >= 1 */
    int32_t size_count;
    const int64_t
        *values;       /* of a deployment on 1 to size_count devices, >= 0; PACK_NONE: no such */
    int32_t set_count; /* disjoint deployments that are counted; more are as good as these */
};

struct pack_deployment {
    int32_t size;
    int32_t first_node; /* of the whole ones, which follow each other */
    int32_t rest_node;  /* -1: none */
    int32_t rest_first; /* of its devices, size mod node_devices of them */
};

/* In arena. */
const struct pack *pack_create(struct arena *arena, const struct pack_input *input);
/* The most that deployments are worth of which `sets` are disjoint (set_count: at least so many),
 * beside a dispatcher, which takes a device. PACK_NONE: they do not fit. */
int64_t pack_value(const struct pack *pack, int32_t sets, bool has_dispatcher);
/* Those deployments, of a value that is not PACK_NONE. In arena. */
const struct pack_deployment *pack_deployments(struct arena *arena, const struct pack *pack,
                                               int32_t sets, bool has_dispatcher, int32_t *count);

#endif
