/* problem.h - what a planner is asked: one service, the devices of a cluster, and what each part
 * of the service costs where.
 *
 * A service is a chain of units: of a model its embedding, each of its layers and its LM head; of
 * an executable its profiled stages. What a unit costs is what a typical request needs of it: the
 * prefill of its prompt and all its decode steps, from the cost tables as the simulator prices
 * them; so sums over a lone request are the simulator's to the picosecond. What is sent is the same
 * for messages. Planners see devices of one kind as alike: same type, speed, threads and memory,
 * alone on its node, which is not the source's, and attached to the same media in the same way. */
#ifndef ORRERY_SIM_PLACE_PROBLEM_H
#define ORRERY_SIM_PLACE_PROBLEM_H

#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "sim/place/chain.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct err;
struct placement_row;
struct problem;

struct problem_input {
    const struct cluster *cluster;
    const struct cost_set *costs;
    const char *service;
    const struct model *model; /* NULL: an executable */
    const char *executable;
    /* A typical request of a model: tokens of its prompt, and that it makes (a decoder's; 1 of all
     * others). Sequences whose caches a device holds at once. */
    int32_t prompt_tokens, output_tokens, sequences;
};

/* A device that nothing can be placed on (no cost table of its type, no way to the others) is an
 * error that names it; so is a request longer than the model's context. */
struct problem *problem_create(struct arena *arena, const struct problem_input *input,
                               struct err *err);
const struct problem_input *problem_input(const struct problem *problem);
int32_t problem_unit_count(const struct problem *problem);
/* Devices of a kind in file order; kinds in order of their first device. */
int32_t problem_kind_count(const struct problem *problem);
int32_t problem_kind_of(const struct problem *problem, int32_t device);
const int32_t *problem_devices(const struct problem *problem, int32_t kind, int32_t *count);
/* Alike in all but that they may share a node, with each other or with others. */
bool problem_are_twins(const struct cluster *cluster, int32_t a, int32_t b);

/* Costs in ps. The two of messages: until the last byte is there, or how long the port is taken: of
 * several media on the way the longest of their ports. */
int64_t problem_units_ps(const struct problem *problem, int32_t device, int32_t first,
                         int32_t last);
struct problem_way {
    int64_t time_ps, occupy_ps;
};
/* From a device to another behind a unit; from the source to a device; and back. */
struct problem_way problem_border(const struct problem *problem, int32_t from, int32_t to,
                                  int32_t unit);
struct problem_way problem_entry(const struct problem *problem, int32_t device);
struct problem_way problem_exit(const struct problem *problem, int32_t device);

/* Of one layer's block (or of embed, lm_head) cut to so many units: groups of KV heads of attn,
 * heads of proj, columns of ffn_up and ffn_down, rows of lm_head; embed and conn are whole. A model
 * alone. false: the device's cost table has no rows of that size. */
bool problem_block_ps(const struct problem *problem, int32_t device, enum model_block block,
                      int32_t units, int64_t *time_ps);
/* One message between devices or NETWORK_SOURCE. */
struct problem_way problem_transfer(const struct problem *problem, int32_t from, int32_t to,
                                    int64_t bytes);
/* One of so many rows at the prefill, and one of one row at each decode step behind it. */
struct problem_way problem_message(const struct problem *problem, int32_t from, int32_t to,
                                   int32_t rows, int64_t row_bytes);

/* Links, as ports of the network with FIFO ports: one for all who send over a wifi, hub or bus. */
int32_t problem_link_count(const struct problem *problem);
const char *problem_link_name(const struct problem *problem, int32_t link);
/* Adds to taken_ps, by link, how long a request's messages from a device to another behind a unit
 * take each of them; from or to may be NETWORK_SOURCE, whose messages stand at either end. */
void problem_take_links(const struct problem *problem, int32_t from, int32_t to, int32_t unit,
                        int64_t *taken_ps);

/* Bytes that a device holds of units first to last: weights, caches, the largest activations, and
 * what is reserved. */
int64_t problem_bytes(const struct problem *problem, int32_t device, int32_t first, int32_t last);
/* They fit into its memory_bytes; always where none is stated. */
bool problem_has_room(const struct problem *problem, int32_t device, int32_t first, int32_t last);

/* Where requests come from: nothing that it computes has to leave the coordinator's computer. */
bool problem_is_at_source(const struct problem *problem, int32_t device);

/* The same bytes unit by unit: weights and caches, of which those of a device add up, and
 * activations, of which the largest counts; what a device with first and last unit has less. */
int64_t problem_held_bytes(const struct problem *problem, int32_t device, int32_t unit);
int64_t problem_work_bytes(const struct problem *problem, int32_t device, int32_t unit);
int64_t problem_tied_bytes(const struct problem *problem);

/* Bytes that all units need beyond what the memory of all devices leaves, when every byte of it
 * could be used; 0: memory might do, or some of it is not known. */
int64_t problem_missing_bytes(const struct problem *problem);
/* The same of several services of one cluster: weights and caches of all, the largest activations
 * of any, each on the devices that need least for it. */
int64_t problem_missing_of_all(const struct problem *const *problems, int32_t count);
/* Proven: no placement fits, not even one that cuts layers, whose activations are smaller. Of
 * executables nothing is: their siblings for several devices may hold less. */
bool problem_is_hopeless(const struct problem *const *problems, int32_t count);

/* The chain over the kinds, for chain_solve and chain_search, or over the devices in file order:
 * times of messages for the latency, how long they take their port for the period. In arena, with
 * the problem behind it. */
const struct chain *problem_chain(struct arena *arena, const struct problem *problem,
                                  enum chain_objective objective);
const struct chain *problem_device_chain(struct arena *arena, const struct problem *problem,
                                         enum chain_objective objective);
/* Over the devices of a list, in its order, which must outlive the chain. */
const struct chain *problem_list_chain(struct arena *arena, const struct problem *problem,
                                       enum chain_objective objective, const int32_t *devices,
                                       int32_t count);

struct problem_stage {
    int32_t device, first, last; /* units */
};

/* What is predicted of a placement without simulation. */
struct problem_score {
    int64_t latency_ps; /* of a lone request */
    int64_t period_ps;  /* of requests that follow each other without a gap: the longest that one
                           device or link is taken by a request */
    int32_t link;       /* that limits the period; -1: a device does */
    int32_t limit;      /* the stage that limits it, or the only one that sends over the link;
                           stage_count: the source; -1: several do */
    int64_t room_bytes; /* least of memory_bytes less what is held; INT64_MAX: none is stated */
    int32_t room_device;
};
/* Several stages may stand on one device: they share its memory, and their work adds up. */
struct problem_score problem_score(const struct problem *problem,
                                   const struct problem_stage *stages, int32_t count);

/* Bytes that a device holds of them: weights and caches of all its stages, the largest activations,
 * and what is reserved. */
int64_t problem_stages_bytes(const struct problem *problem, const struct problem_stage *stages,
                             int32_t count, int32_t device);

/* The stages as one replica's rows of placement.csv, in arena. */
struct placement_row *problem_rows(struct arena *arena, const struct problem *problem,
                                   const struct problem_stage *stages, int32_t count,
                                   int *row_count);

struct problem_shard {
    const int32_t *devices;
    int32_t device_count;
    int32_t first, last; /* units */
};
/* A model's attention, projection and FFN divide into so many parts; of an executable: 1. */
bool problem_can_shard(const struct problem *problem, int32_t parts);
/* The same of stages on several devices each: all of them compute a part of each block, or of an
 * executable all of it together. */
struct placement_row *problem_shard_rows(struct arena *arena, const struct problem *problem,
                                         const struct problem_shard *shards, int32_t count,
                                         int *row_count);

#endif
