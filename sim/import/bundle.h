/* bundle.h - what importers of profiles share: tables in folders below -o, and the model that was
 * profiled. */
#ifndef ORRERY_SIM_IMPORT_BUNDLE_H
#define ORRERY_SIM_IMPORT_BUNDLE_H

#include "lib/format/model.h"
#include "sim/import/import.h"

/* "--weight-bits" and its like: 8, 16 or 32. */
int32_t bundle_bits(struct argp_state *state, const char *option, const char *text);
/* An error when -o is stdout: several tables go into a folder. */
bool bundle_check_output(const struct import_job *job, struct err *err);
/* Opens a table in a sub-folder of -o ("" = in -o itself), which is made. */
struct out *bundle_open(struct import_job *job, const char *folder, const char *name,
                        struct err *err);
/* Fit for a name in a table: up to 200 bytes, without blanks and control characters, no "*", and
 * nothing that makes a line a remark. */
bool bundle_is_name(const char *text);
/* And for a folder of costs, too. */
bool bundle_is_type(const char *text);
/* "NVIDIA GeForce RTX 4090" as the name of a folder: nvidia-geforce-rtx-4090; "gpu" for nothing. */
const char *bundle_type(struct arena *arena, const char *device);
/* A model with other bits of weights and of its cache (0: 32 beside weights of 32 bits, else 16),
 * and a name that tells them. A config.json is called `model`. */
const struct model *bundle_model(struct arena *arena, const struct model *found,
                                 int32_t weight_bits, int32_t kv_bits);
/* models.csv in -o. */
bool bundle_write_model(struct import_job *job, const struct model *model, struct err *err);

#endif
