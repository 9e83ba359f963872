/* vidur.h - the importer of Vidur's compute profiles, for the table and the tests. */
#ifndef ORRERY_SIM_IMPORT_VIDUR_H
#define ORRERY_SIM_IMPORT_VIDUR_H

#include "sim/import/import.h"

struct vidur_settings {
    const char *model, *type, *backend; /* NULL = not given */
    int32_t weight_bits, kv_bits;       /* 0 = not given */
    int32_t tensor_parallel;            /* 0 = 1 */
    int32_t block_size;                 /* 0 = not given */
};

/* settings is a struct vidur_settings. */
bool vidur_import(struct import_job *job, const void *settings, struct err *err);

#endif
