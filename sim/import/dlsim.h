/* dlsim.h - inside the importer of DLSIM's files (AlpaServe's predecessor: alpa-projects/mms).
 *
 * dlsim.c has the options and puts the three inputs together; dlsim_placement.c, dlsim_workload.c
 * and dlsim_trace.c read one each; dlsim_ids.c gives requests of a trace the ids of the workload's
 * rows; dlsim_stalls.c finds what no simulator can know. Times are seconds in DLSIM's files and
 * doubles that Python wrote: the shortest decimal of the double is what is converted. */
#ifndef ORRERY_SIM_IMPORT_DLSIM_H
#define ORRERY_SIM_IMPORT_DLSIM_H

#include "sim/import/import.h"

struct json;
struct names;

#define DLSIM_MAX_MODELS 256

struct dlsim_settings {
    const char *placement, *workload, *trace; /* paths, NULL = not given */
    const char *model;                        /* services are MODEL_0, MODEL_1, ... */
    int service_count;
    const char *services[DLSIM_MAX_MODELS]; /* of model 0, 1, ... */
    double stall_ratio;
};

void dlsim_defaults(struct dlsim_settings *settings);
/* settings is a struct dlsim_settings. */
bool dlsim_import(struct import_job *job, const void *settings, struct err *err);

/* ---- placement ---- */

/* The devices of one stage, as "node:device"; each set of devices exists once a file. */
struct dlsim_mesh {
    int count;
    const char **devices;
};
struct dlsim_meshes { /* of one run of the importer */
    int count, capacity;
    const struct dlsim_mesh **list;
};

struct dlsim_entry { /* a replica */
    const char *service, *executable;
    int32_t replica;
    int stage_count;
    const struct dlsim_mesh **stages;
};
struct dlsim_placement {
    int count;
    struct dlsim_entry *entries; /* in order of the file */
};

/* node_ids and devices of a mesh, or of a record of a trace: a list of devices a node. With one
 * node also a plain list of devices, or a number; a list around either is passed over. where names
 * it in errors. */
const struct dlsim_mesh *dlsim_mesh(struct arena *arena, struct dlsim_meshes *meshes,
                                    const struct json *node_ids, const struct json *devices,
                                    const char *path, const char *where, struct err *err);
bool dlsim_placement_load(struct arena *arena, const char *path, struct dlsim_meshes *meshes,
                          struct dlsim_placement *placement, struct err *err);
void dlsim_placement_put(struct arena *arena, const struct dlsim_placement *placement,
                         struct out *out);

/* ---- workload ---- */

struct dlsim_row {
    int64_t arrival_ps;
    int32_t model;
    long line;
};
struct dlsim_workload {
    const char *path, *name; /* name as in row 1 */
    int model_count;
    const char *rate, *shares, *duration; /* as in row 1: nominal, never relied on */
    const int64_t *slos_ps;               /* of each model, 0 = none */
    size_t count;
    struct dlsim_row *rows;      /* in order of arrival */
    const char *const *services; /* of each model; set by dlsim.c */
};
bool dlsim_workload_load(struct arena *arena, const char *path, struct dlsim_workload *workload,
                         struct err *err);
/* A list as Python writes it, "[0.8, 0.2]": the text of each item. False when it is none. */
bool dlsim_list(struct arena *arena, const char *text, const char ***items, int *count);

/* ---- trace ---- */

struct dlsim_record {
    int64_t start_ps, finish_ps;
    const struct dlsim_mesh *mesh;
};
struct dlsim_request {
    int64_t rq_id, id; /* in the file; in our tables */
    int64_t arrival_ps, e2e_ps;
    int32_t model; /* of the trace */
    int32_t replica;
    int position; /* in the lists of the model */
    const struct dlsim_record *stages;
};
struct dlsim_model { /* a key of the trace */
    const char *key, *service;
    int stage_count;
};
struct dlsim_trace {
    const char *path;
    int model_count;
    struct dlsim_model *models;
    size_t count;
    struct dlsim_request *requests; /* by model and position, until dlsim_ids sorts them by id */
};
/* services, when not NULL, are all that are known; a key that is none of them must end in the
 * number of a model, "0" or "..._0", and then stands for the service that ends in it. */
bool dlsim_trace_load(struct arena *arena, const char *path, struct dlsim_meshes *meshes,
                      const struct names *services, struct dlsim_trace *trace, struct err *err);
/* "trace.json: Bert_0.arrive[3] is 'x': expected ...". Returns false. */
bool dlsim_bad(const char *path, const char *where, const struct json *json, const char *expected,
               struct err *err);
/* Not empty, and without the control characters that a JSON text may hold and no table can. */
bool dlsim_is_name(const char *text);
/* A number as seconds, exactly. */
bool dlsim_seconds(const struct json *json, int64_t *time_ps);
/* The service of model m among the names: the only one that ends in "_m". NULL when there is none,
 * or several. */
const char *dlsim_service(const struct names *services, int64_t model);

/* Sets replica: by the devices of the placement, or by order of appearance without one. Devices
 * other than those of a service's only replica are noted; among several it is an error. */
bool dlsim_replicas(struct import_job *job, const struct dlsim_placement *placement,
                    struct dlsim_trace *trace, struct err *err);
/* Sets id, and sorts by it: the row of the workload with this service and arrival; without a
 * workload the rq_id, unless two models share one: then numbers in order of arrival. Notes what it
 * did. */
bool dlsim_ids(struct import_job *job, const struct dlsim_workload *workload,
               struct dlsim_trace *trace, struct err *err);
void dlsim_requests_put(const struct dlsim_trace *trace, const char *const *meta, struct out *out);
void dlsim_stages_put(const struct dlsim_trace *trace, const char *const *meta, struct out *out);

/* ---- stalls ---- */

/* Writes the requests that a stall of the host hit, for `check --exclude`, and returns how many:
 * those with a stage of more than ratio times the median of its service, replica and stage, and
 * those that waited for such a stage to end. */
int64_t dlsim_stalls_put(struct arena *arena, const struct dlsim_trace *trace, double ratio,
                         struct out *out);

#endif
