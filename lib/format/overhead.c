/* overhead.c - the overhead table, and draws from it. */
#include "lib/format/overhead.h"

#include "lib/base/csv.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include <assert.h>

enum { WHERE, DIST, MEAN_S, SD_S, SCALE, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = {
    [WHERE] = { "where", true },
    [DIST] = { "dist", true },
    [MEAN_S] = { "mean_s", true },
    [SD_S] = { "sd_s", false },
    [SCALE] = { "scale_per_stage_ratio", false },
};

static const char *const where_names[OVERHEAD_WHERE_COUNT] = {
    [OVERHEAD_SUBMIT] = "submit",
    [OVERHEAD_DISPATCH] = "dispatch",
    [OVERHEAD_WORKER] = "worker",
    [OVERHEAD_RESPONSE] = "response",
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
    return csv_seconds(csv, MEAN_S, 0, &overhead->mean_ps, err) && read_sd(csv, overhead, err) &&
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
    rng = rng_stream(seed, RNG_OVERHEAD,
                     mix(mix(stage * OVERHEAD_WHERE_COUNT + (uint64_t)where) + request));
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
