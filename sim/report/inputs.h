/* inputs.h - which files a run read: name as typed, size and 64-bit hash, for the report. */
#ifndef ORRERY_SIM_REPORT_INPUTS_H
#define ORRERY_SIM_REPORT_INPUTS_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cost_set;
struct err;
struct json_writer;
struct out;

struct inputs_file {
    const char *role, *path;
    bool has_hash; /* false: stdin or a pipe, which cannot be read twice */
    int64_t size_bytes;
    uint64_t hash; /* FNV-1a of the content */
};

struct inputs {
    struct arena *arena;
    int count, capacity;
    struct inputs_file *files;
};

/* Adds one file. */
bool inputs_add(struct inputs *inputs, const char *role, const char *path, struct err *err);
/* Adds those files of a folder that exist, of a NULL-ended list of names. */
bool inputs_add_folder(struct inputs *inputs, const char *role, const char *folder,
                       const char *const *names, struct err *err);
/* Add those files that exist of a cluster's folder, and of the folders of cost tables. */
bool inputs_add_cluster(struct inputs *inputs, const char *folder, struct err *err);
bool inputs_add_costs(struct inputs *inputs, const struct cost_set *costs, struct err *err);
/* Writing to the path would replace none of the files; else an error. */
bool inputs_spare(const struct inputs *inputs, const char *path, struct err *err);
void inputs_text(const struct inputs *inputs, struct out *out);
void inputs_json(const struct inputs *inputs, struct json_writer *json);

#endif
