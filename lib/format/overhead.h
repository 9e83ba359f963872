/* overhead.h - times that a request waits for software, and no device is busy for: reader, writer
 * and draws.
 *
 * Format: traces/README.md. `submit` lies before dispatch, `dispatch` between dispatch and stage 0,
 * `worker` before each stage, `response` behind the last. `step` is none of these: the work of an
 * engine between the kernels of a step, which a device is busy for. A draw depends on the seed and
 * on what it is for, never on what was drawn before: the order of events, and overheads that come
 * or go, shift no other draw. */
#ifndef ORRERY_FORMAT_OVERHEAD_H
#define ORRERY_FORMAT_OVERHEAD_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

enum overhead_where {
    OVERHEAD_SUBMIT,
    OVERHEAD_DISPATCH,
    OVERHEAD_WORKER,
    OVERHEAD_RESPONSE,
    OVERHEAD_STEP, /* constant */
    OVERHEAD_WHERE_COUNT
};
enum overhead_dist {
    OVERHEAD_CONSTANT,
    OVERHEAD_EXP,
    OVERHEAD_NORMAL,
    OVERHEAD_LOGNORMAL,
    OVERHEAD_DIST_COUNT
};

struct overhead {
    bool is_given; /* false: no row, and all draws are 0 */
    enum overhead_dist dist;
    int64_t mean_ps, sd_ps;       /* sd 0 unless normal or lognormal */
    int64_t per_sequence_ps;      /* of steps alone: see overhead_step_ps */
    double scale_per_stage_ratio; /* see overhead_stage_ps */
};
struct overheads {
    struct overhead at[OVERHEAD_WHERE_COUNT];
};

/* "-" = stdin. False with the place when a `where` is there twice, or a row asks for what its
 * distribution does not have. */
bool overhead_load(struct arena *arena, const char *path, struct overheads *overheads,
                   struct err *err);
struct overheads overhead_none(void);
/* Those of AlpaServe's fast simulator: every response 0.011 s, every stage 0.9 % longer for each
 * stage of its replica. */
struct overheads overhead_alpaserve(void);

/* The overhead at `where` of one request, in ps, rounded as it is drawn; 0 to UNITS_MAX_PS. stage
 * tells the stages of a worker apart (else 0; a decoder's iterations may be counted in as well). A
 * normal draw counts without its sign, as in AlpaServe. */
int64_t overhead_draw(const struct overhead *overhead, uint64_t seed, enum overhead_where where,
                      uint64_t request, uint64_t stage);
/* What a step of so many sequences takes longer on each device of its stage; saturates at
 * UNITS_MAX_PS. overheads NULL: nothing. */
int64_t overhead_step_ps(const struct overheads *overheads, int64_t sequences);
/* What a stage takes in a replica that is placed in stage_count stages, however many profiled ones
 * they hold: latency_ps x (1 + stage_count x the sum of scale_per_stage_ratio), rounded; saturates
 * at UNITS_MAX_PS. AlpaServe's penalty of pipelines: it is part of the stage, which its devices are
 * busy for. */
int64_t overhead_stage_ps(const struct overheads *overheads, int64_t latency_ps, int stage_count);

#endif
