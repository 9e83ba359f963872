/* plan.h - a placement of heads, projections and FFNs, for --rules kafetzis.
 *
 * Built from placement rows (placements/README.md): `attn` in parts i/n of the heads, `proj` and
 * `ffn` whole; `layer` and `all` stand for these three. embed, lm_head and conn cost nothing here
 * and may be left out. A planner may fill the structs itself, without rows. */
#ifndef ORRERY_SIM_KAFETZIS_PLAN_H
#define ORRERY_SIM_KAFETZIS_PLAN_H

#include "sim/kafetzis/formula.h"
#include <stdint.h>

struct arena;
struct cluster;
struct err;
struct model;
struct model_catalogue;
struct placement;
struct placement_row;

struct kafetzis_share { /* all heads of a layer that stand on one device */
    int32_t device;     /* of the cluster */
    int32_t heads;
};

struct kafetzis_layer {
    int32_t share_count; /* devices in order of their first row */
    const struct kafetzis_share *shares;
    int32_t projection, ffn; /* devices */
};

struct kafetzis_service {
    const char *name;
    const struct model *model;
    struct kafetzis_shape shape;
};

struct kafetzis_replica {
    int32_t service;
    int32_t number; /* as in the file */
    int32_t layer_count;
    const struct kafetzis_layer *layers;
    int32_t device_count; /* that hold anything of it, in order of the cluster */
    const int32_t *devices;
    /* by device of the cluster: the first row there, for errors; NULL = not from a file */
    const struct placement_row *const *rows;
};

struct kafetzis_plan {
    const struct cluster *cluster;
    const struct placement *placement; /* NULL = not from a file */
    int32_t service_count, replica_count;
    const struct kafetzis_service *services; /* in order of first appearance, as are replicas */
    const struct kafetzis_replica *replicas;
};

/* Errors name the row: heads that do not divide, slices that overlap or leave a hole (layer, block
 * and parts), a device without flop_per_s, what these rules do not know (executables, slices of
 * proj and ffn, phases, epochs, copies, wire_bits, queue_depth). */
const struct kafetzis_plan *kafetzis_plan_build(struct arena *arena,
                                                const struct placement *placement,
                                                const struct cluster *cluster,
                                                struct model_catalogue *catalogue, struct err *err);

#endif
