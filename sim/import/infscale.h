/* infscale.h - inside the importer of InfScale's pipeline plans and job files (Cisco, Apache 2.0).
 *
 * infscale.c has the options and writes; infscale_plan.c reads a plan, infscale_job.c the YAML of a
 * job. */
#ifndef ORRERY_SIM_IMPORT_INFSCALE_H
#define ORRERY_SIM_IMPORT_INFSCALE_H

#include "sim/import/import.h"

struct infscale_settings {
    const char *model; /* NULL: as the files say */
    const char *type;  /* of the devices */
    int32_t gpus;      /* of the plan, of a table that has several; 0: the only one */
    bool has_links;    /* transfers are left to links, else they are in the stages' times */
};
void infscale_defaults(struct infscale_settings *settings);
/* settings is a struct infscale_settings. */
bool infscale_import(struct import_job *job, const void *settings, struct err *err);

struct infscale_stage {
    int32_t layer_first, layer_last, replicas;
    int64_t forward_ps, stage_ps; /* of a batch; stage_ps: with the transfer of its input */
    int64_t static_bytes, dynamic_bytes, output_bytes;
};

struct infscale_plan { /* a template: a pipeline whose stages may have replicas */
    const char *model; /* NULL: the plan does not say */
    int32_t batch, stage_count;
    struct infscale_stage *stages;
};

struct infscale_worker {
    const char *id, *device, *node;
    bool is_server;
    int32_t layer_first, layer_last;
    int32_t replica, stage, copy; /* by the flow graph; of no matter for the server */
};

struct infscale_job {
    const char *model; /* NULL: the job does not say */
    int32_t batch;     /* 0: it does not say */
    int32_t worker_count, stage_count;
    struct infscale_worker *workers;
};

/* By its suffix: .json, as the program has it, or .csv, a row a stage. */
bool infscale_read_plan(struct import_job *job, const struct infscale_settings *settings,
                        const char *path, struct infscale_plan *plan, struct err *err);
bool infscale_read_job(struct import_job *job, const char *path, struct infscale_job *to,
                       struct err *err);

#endif
