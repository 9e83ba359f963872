/* fit.h - whether a placement fits into the memory of its devices, how far that reaches, and where
 * the bytes go: for people and for programs. */
#ifndef ORRERY_SIM_REPORT_FIT_H
#define ORRERY_SIM_REPORT_FIT_H

#include "lib/policy/footprint.h"

struct arena;
struct inputs;
struct out;

#define FIT_NOT_ASKED (-1) /* nothing here grows along this axis */

struct fit_reach {  /* how far one axis may go */
    int64_t most;   /* 0: not even 1; FIT_NOT_ASKED */
    int64_t limit;  /* that of the model, or of what can be asked */
    int32_t device; /* which limits it; -1: none, most is the limit */
};

struct fit_device { /* of the cluster */
    struct footprint_device now;
    struct fit_reach context, sequences; /* by this device alone */
};

struct fit_service {
    struct fit_reach context, sequences; /* the other services as they are */
};

struct fit {
    const struct footprint *footprint;
    const struct footprint_load *loads; /* by service of the plan */
    const struct model *alone; /* the whole model, a replica on each device; NULL: a placement */
    const struct inputs *inputs;
    struct fit_device *devices;
    struct fit_service *services;        /* by service of the plan */
    struct fit_reach context, sequences; /* of all services at once */
    bool fits;
    /* alone: */
    int fewest;            /* devices whose memory adds up to weights and KV; 0: all are too few */
    int64_t whole_bytes;   /* weights and KV */
    int64_t missing_bytes; /* of what all devices have together */
    int warning_count;
    const char **warnings;
};

/* footprint, loads, alone and inputs are given; fills the rest. */
void fit_fill(struct arena *arena, struct fit *fit);
void fit_text(const struct fit *fit, struct out *out);
void fit_json(struct arena *arena, const struct fit *fit, struct out *out);

#endif
