/* pipeedge.h - inside the importer of PipeEdge's scheduler files (USC ISI, BSD 3-clause).
 *
 * pipeedge.c has the options and writes; pipeedge_yaml.c reads models.yml, device_types.yml,
 * devices.yml and a schedule. */
#ifndef ORRERY_SIM_IMPORT_PIPEEDGE_H
#define ORRERY_SIM_IMPORT_PIPEEDGE_H

#include "sim/import/import.h"

struct pipeedge_settings {
    const char *model, *dtype; /* NULL: the only one */
    int32_t batch;             /* items of a microbatch; 0: the only one */
    int32_t buffers_in, buffers_out;
};
void pipeedge_defaults(struct pipeedge_settings *settings);
/* settings is a struct pipeedge_settings. */
bool pipeedge_import(struct import_job *job, const void *settings, struct err *err);

/* ---- what was read ---- */

struct pipeedge_model {
    const char *name;
    int32_t layers;
    const double *mem_mb;     /* MiB, as the scheduler takes them */
    double values_in;         /* of an item, into the first layer */
    const double *values_out; /* behind each layer */
};

struct pipeedge_type { /* that has hosts */
    const char *name;
    double bw_mbps, mem_mb; /* 2^20 bits a second; MiB */
    int32_t host_count;
    const char **hosts;
    const int64_t **times_ps; /* [model][layer], of the batch and dtype */
};

struct pipeedge_stage { /* layers 1 to n, as the scheduler prints them */
    int32_t type, host;
    int32_t first, last;
};

struct pipeedge_files {
    int32_t batch;
    int32_t model_count, type_count; /* types in byte order of their names, as the scheduler */
    struct pipeedge_model *models;
    struct pipeedge_type *types;
    int32_t stage_count; /* 0: no schedule was given */
    struct pipeedge_stage *stages;
};

/* From the job's files, in any order, or the folder that has them. */
bool pipeedge_read(struct import_job *job, const struct pipeedge_settings *settings,
                   struct pipeedge_files *files, struct err *err);

#endif
