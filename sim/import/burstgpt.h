/* burstgpt.h - the importer of BurstGPT, for the table and the tests. */
#ifndef ORRERY_SIM_IMPORT_BURSTGPT_H
#define ORRERY_SIM_IMPORT_BURSTGPT_H

#include "sim/import/replay.h"

struct burstgpt_settings {
    struct replay_options replay;
    const char *log_type, *model; /* NULL = all */
    bool keeps_failed;
};

/* settings is a struct burstgpt_settings. */
bool burstgpt_import(struct import_job *job, const void *settings, struct err *err);

#endif
