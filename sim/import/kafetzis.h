/* kafetzis.h - inside the importer of DistributedTransformerInferenceSimulator (D. Kafetzis, MIT).
 *
 * kafetzis.c has the options and writes; kafetzis_tables.c reads a folder of tables of its
 * environments and results, kafetzis_yaml.c one of its YAML configurations; kafetzis_draw.c draws
 * the devices and links that such a configuration stands for, as the program does. */
#ifndef ORRERY_SIM_IMPORT_KAFETZIS_H
#define ORRERY_SIM_IMPORT_KAFETZIS_H

#include "sim/import/import.h"

struct yaml_node;

struct kafetzis_settings {
    const char *config, *algorithm; /* of a folder; NULL = not given */
    int32_t steps;                  /* of a folder: generation steps of the request */
};

void kafetzis_defaults(struct kafetzis_settings *settings);
/* settings is a struct kafetzis_settings. */
bool kafetzis_import(struct import_job *job, const void *settings, struct err *err);

/* ---- what was read ---- */

struct kafetzis_device {
    const char *name;
    const char *tier; /* the type of the device */
    double memory_gib, flop_per_s;
};

struct kafetzis_link { /* in both directions, at this rate each */
    int32_t a, b;      /* devices */
    double gib_per_s;
};

struct kafetzis_model { /* one decoder layer */
    const char *name;   /* of the service; "kafetzis-" + name is the model's */
    int32_t heads, width, precision_bytes;
};

struct kafetzis_placement {
    const char *algorithm; /* NULL: there is none */
    const int32_t *heads;  /* by device, of the first model */
    int32_t projection, ffn;
    int64_t latency_ps;
};

struct kafetzis_environment {
    const char *path;
    int32_t device_count, link_count, model_count, length_count, step_count;
    int32_t source; /* device that requests come from */
    struct kafetzis_device *devices;
    struct kafetzis_link *links;
    struct kafetzis_model *models;
    int32_t *lengths; /* tokens of the sequence */
    int32_t *steps;   /* to generate */
    struct kafetzis_placement placement;
};

/* The size that the program knows by that name ("SMALL"), or by heads and width; NULL = none. */
struct kafetzis_size {
    const char *name, *service;
    int32_t heads, width;
};
#define KAFETZIS_SIZE_COUNT 4
extern const struct kafetzis_size kafetzis_sizes[KAFETZIS_SIZE_COUNT];
/* A model of that shape, named after its size, else "HEADSxWIDTH". */
struct kafetzis_model kafetzis_model_of(struct arena *arena, int32_t heads, int32_t width,
                                        int32_t precision_bytes);

/* configs.csv, devices.csv, links.csv and, where they are, results.csv and heads.csv. */
bool kafetzis_read_tables(struct import_job *job, const struct kafetzis_settings *settings,
                          const char *folder, struct kafetzis_environment *environment,
                          struct err *err);
bool kafetzis_read_yaml(struct import_job *job, const char *path,
                        struct kafetzis_environment *environment, struct err *err);

/* ---- drawing ---- */

enum kafetzis_topology {
    KAFETZIS_TOY, /* all pairs of devices */
    KAFETZIS_EDGE_CLUSTER,
    KAFETZIS_DISTRIBUTED_EDGE,
    KAFETZIS_HYBRID_CLOUD_EDGE,
    KAFETZIS_TOPOLOGY_COUNT
};
extern const char *const kafetzis_topology_names[KAFETZIS_TOPOLOGY_COUNT];

struct kafetzis_range { /* a log-normal, cut to the range */
    double mu, sigma, min, max;
};

struct kafetzis_recipe { /* what a configuration says of devices and links */
    enum kafetzis_topology topology;
    int32_t device_count;
    double min_gib_per_s, max_gib_per_s; /* of a toy */
    uint32_t link_seed, device_seed;
    struct kafetzis_range memory_gib, flop_per_s;
};

/* The number of devices of a topology; 0 = any from KAFETZIS_MIN_DEVICES on. */
int32_t kafetzis_topology_devices(enum kafetzis_topology topology);
#define KAFETZIS_MIN_DEVICES 2
#define KAFETZIS_MAX_DEVICES 1000
/* Fills devices, links and source. */
void kafetzis_draw(struct arena *arena, const struct kafetzis_recipe *recipe,
                   struct kafetzis_environment *environment);

#endif
