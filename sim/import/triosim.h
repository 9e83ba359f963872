/* triosim.h - inside the importer of TrioSim's operator traces.
 *
 * triosim.c tells the files apart and writes OPS.csv; triosim_csv.c reads trace.csv and tensor.csv,
 * which TrioSim reads itself; triosim_profile.c and triosim_graph.c read what its tracer makes them
 * from: the JSON of PyTorch's profiler, and that of its execution trace (execution graph). */
#ifndef ORRERY_SIM_IMPORT_TRIOSIM_H
#define ORRERY_SIM_IMPORT_TRIOSIM_H

#include "sim/import/import.h"

struct json;
struct ops_builder;

struct triosim_settings {
    int64_t batch; /* for the line '# batch:'; 0 = none */
    int64_t step;  /* of the profile; -1 = the last */
};

/* settings is a struct triosim_settings. */
bool triosim_import(struct import_job *job, const void *settings, struct err *err);

/* Both fill the builder with rows whose tensors have bytes; the totals of rows are left open. */
bool triosim_read_tables(struct import_job *job, const char *trace, const char *tensors,
                         struct ops_builder *builder, struct err *err);
bool triosim_read_json(struct import_job *job, const char *profile, const char *graph, int64_t step,
                       struct ops_builder *builder, struct err *err);

/* ---- the profile ---- */

/* An operator that no other encloses on its thread. */
struct triosim_op {
    const char *name;
    int64_t external_id, function_id; /* 0 = none */
    int64_t thread;                   /* pid and tid, in order of first appearance */
    double start_us, end_us;
    bool has_kernels, is_optimizer; /* within an annotation "Optimizer..." */
    int64_t busy_ps;                /* of its kernels */
    double first_us, last_us;       /* first start and last end of them */
};
struct triosim_profile {
    const char *path;
    int32_t count;
    struct triosim_op *ops; /* in order of launch */
};
bool triosim_load_profile(struct arena *arena, const char *path, const struct json *json,
                          int64_t step, struct triosim_profile *profile, struct err *err);

/* ---- the graph ---- */

struct triosim_tensor {
    int64_t id, bytes;
    const char *shape;
    bool is_weight;
};
struct triosim_node {
    const char *name;
    int64_t id, parent, function_id; /* 0 = none */
    int32_t in_count, out_count;
    const struct triosim_tensor *ins, *outs;
    int32_t child_count;
    int32_t *children; /* nodes by number, in order of the file */
};
struct triosim_graph {
    const char *path;
    int32_t count;
    struct triosim_node *nodes;
    const int32_t *by_id, *by_function; /* numbers of nodes, sorted */
};
bool triosim_load_graph(struct arena *arena, const char *path, const struct json *json,
                        struct triosim_graph *graph, struct err *err);
/* The node of an operator, by its ids and its name; NULL = none. */
const struct triosim_node *triosim_find_node(const struct triosim_graph *graph,
                                             const struct triosim_op *op);

/* "path: where is 'x': expected". Returns false. */
bool triosim_bad(struct arena *arena, const char *path, const char *where, const struct json *json,
                 const char *expected, struct err *err);

#endif
