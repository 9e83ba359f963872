/* overhead.c - the overhead table, and draws from it. */
#include "lib/format/overhead.h"

#include "lib/base/csv.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include <assert.h>

enum { WHERE, DIST, MEAN_S, SD_S, SCALE, PER_SEQUENCE_S, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = {
    [WHERE] = { "where", true },
    [DIST] = { "dist", true },
    [MEAN_S] = { "mean_s", true },
    [SD_S] = { "sd_s", false },
    [SCALE] = { "scale_per_stage_ratio", false },
    [PER_SEQUENCE_S] = { "per_sequence_s", false },
};

static const char *const where_names[OVERHEAD_WHERE_COUNT] = {
    [OVERHEAD_SUBMIT] = "submit", [OVERHEAD_DISPATCH] = "dispatch",
    [OVERHEAD_WORKER] = "worker", [OVERHEAD_RESPONSE] = "response",
    [OVERHEAD_STEP] = "step",
};
static const char *const dist_names[OVERHEAD_DIST_COUNT] = {
    [OVERHEAD_CONSTANT] = "constant",
    [OVERHEAD_EXP] = "exp",
    [OVERHEAD_NORMAL] = "normal",
    [OVERHEAD_LOGNORMAL] = "lognormal",
};

/* As for a DIST: a larger coefficient of variation is a mistake. */
#define CV_MAX 1000.0
#define SCALE_MAX 1000.0

static bool has_sd(enum overhead_dist dist)
{
    return dist == OVERHEAD_NORMAL || dist == OVERHEAD_LOGNORMAL;
}

static bool read_sd(const struct csv *csv, struct overhead *overhead, struct err *err)
{
    if (!csv_has(csv, SD_S))
        return true;
    if (!csv_seconds(csv, SD_S, 0, &overhead->sd_ps, err))
        return false;
    if (!has_sd(overhead->dist) && overhead->sd_ps > 0)
        return csv_bad(csv, SD_S, err, "'%s' has none of its own: expected an empty field",
                       dist_names[overhead->dist]);
    if (overhead->dist == OVERHEAD_LOGNORMAL &&
        (double)overhead->sd_ps > CV_MAX * (double)overhead->mean_ps)
        return csv_bad(csv, SD_S, err, "expected at most %g times mean_s", CV_MAX);
    return true;
}

/* A step always costs the same: many of them are added up at once. */
static bool read_step(const struct csv *csv, bool is_step, struct overhead *overhead,
                      struct err *err)
{
    if (is_step && overhead->dist != OVERHEAD_CONSTANT)
        return csv_bad(csv, DIST, err, "what a step costs is 'constant'");
    if (!csv_has(csv, PER_SEQUENCE_S))
        return true;
    if (!is_step)
        return csv_bad(csv, PER_SEQUENCE_S, err, "only 'step' has one: expected an empty field");
    return csv_seconds(csv, PER_SEQUENCE_S, 0, &overhead->per_sequence_ps, err);
}

static bool read_row(const struct csv *csv, struct overheads *overheads,
                     long lines[OVERHEAD_WHERE_COUNT], struct err *err)
{
    struct overhead *overhead;
    int where, dist;

    if (!csv_choice(csv, WHERE, where_names, OVERHEAD_WHERE_COUNT, &where, err))
        return false;
    overhead = &overheads->at[where];
    if (overhead->is_given)
        return csv_bad(csv, WHERE, err, "line %ld has it already", lines[where]);
    lines[where] = csv_line(csv);
    overhead->is_given = true;
    if (!csv_choice(csv, DIST, dist_names, OVERHEAD_DIST_COUNT, &dist, err))
        return false;
    overhead->dist = (enum overhead_dist)dist;
    return read_step(csv, where == OVERHEAD_STEP, overhead, err) &&
           csv_seconds(csv, MEAN_S, 0, &overhead->mean_ps, err) && read_sd(csv, overhead, err) &&
           (!csv_has(csv, SCALE) ||
            csv_double(csv, SCALE, 0, SCALE_MAX, &overhead->scale_per_stage_ratio, err));
}

bool overhead_load(struct arena *arena, const char *path, struct overheads *overheads,
                   struct err *err)
{
    struct csv *csv = csv_open(arena, path, "overheads", columns, COLUMN_COUNT, err);
    long lines[OVERHEAD_WHERE_COUNT] = { 0 };

    *overheads = overhead_none();
    while (csv && csv_next(csv, err) && read_row(csv, overheads, lines, err))
        continue;
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- what is built in ---- */

struct overheads overhead_none(void)
{
    return (struct overheads){ 0 };
}

struct overheads overhead_alpaserve(void)
{
    return (struct overheads){
        .at[OVERHEAD_RESPONSE] = { .is_given = true,
                                   .dist = OVERHEAD_CONSTANT,
                                   .mean_ps = 11 * UNITS_PS_PER_MS,
                                   .scale_per_stage_ratio = 0.009 },
    };
}

/* ---- draws ---- */

#define DRAWN_PLACES 4 /* those of single requests; part of the hash */

/* Murmur3's finalizer: every bit of x moves every bit of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    x = (x ^ (x >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 33);
}

int64_t overhead_draw(const struct overhead *overhead, uint64_t seed, enum overhead_where where,
                      uint64_t request, uint64_t stage)
{
    double mean = (double)overhead->mean_ps, sd = (double)overhead->sd_ps, drawn = 0;
    struct rng rng;
    int64_t time_ps;

    if (!overhead->is_given)
        return 0;
    if (overhead->dist == OVERHEAD_CONSTANT || (has_sd(overhead->dist) && overhead->sd_ps == 0))
        return overhead->mean_ps;
    /* One stream a draw; what the hash is made of is part of every seed's meaning. */
    rng =
        rng_stream(seed, RNG_OVERHEAD, mix(mix(stage * DRAWN_PLACES + (uint64_t)where) + request));
    switch (overhead->dist) {
    case OVERHEAD_EXP:
        drawn = rng_exponential(&rng, mean);
        break;
    case OVERHEAD_NORMAL:
        drawn = rng_normal(&rng, mean, sd);
        break;
    case OVERHEAD_LOGNORMAL:
        drawn = rng_lognormal(&rng, mean, sd / mean);
        break;
    case OVERHEAD_CONSTANT:
    case OVERHEAD_DIST_COUNT:
        break;
    }
    time_ps = dmath_round(drawn < 0 ? -drawn : drawn);
    return time_ps < UNITS_MAX_PS ? time_ps : UNITS_MAX_PS;
}

int64_t overhead_step_ps(const struct overheads *overheads, int64_t sequences)
{
    const struct overhead *step = overheads ? &overheads->at[OVERHEAD_STEP] : NULL;
    int64_t time_ps;

    if (!step || !step->is_given)
        return 0;
    if (__builtin_mul_overflow(step->per_sequence_ps, sequences, &time_ps) ||
        __builtin_add_overflow(step->mean_ps, time_ps, &time_ps) || time_ps > UNITS_MAX_PS)
        return UNITS_MAX_PS;
    return time_ps;
}

int64_t overhead_stage_ps(const struct overheads *overheads, int64_t latency_ps, int stage_count)
{
    double scale = 0;
    int64_t scaled_ps;

    assert(latency_ps >= 0 && stage_count >= 1);
    for (int i = 0; i < OVERHEAD_WHERE_COUNT; i++)
        scale += overheads->at[i].scale_per_stage_ratio;
    if (!(scale > 0))
        return latency_ps;
    scaled_ps = dmath_round((double)latency_ps * (1 + scale * stage_count));
    return scaled_ps < UNITS_MAX_PS ? scaled_ps : UNITS_MAX_PS;
}
