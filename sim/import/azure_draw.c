/* azure_draw.c - arrivals by random processes that are fitted to an interval of a trace.
 *
 * Rules as in AlpaServe's replay of the Azure traces (Li et al., OSDI 2023): a renewal process an
 * interval, memory dropped at its end. */
#include "sim/import/azure.h"

#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RATE_RATIO 5.0 /* of a fit over what was seen */
#define MIN_SHAPE 1e-4     /* a cv of 100 */
#define MAX_SHAPE 1e8
#define NEWTON_STEPS 12

/* psi(x) and psi'(x) for x > 0: recurrence up to 10, then the asymptotic series (Abramowitz and
 * Stegun 6.3.18, 6.4.12), whose next term is below 10^-12 there. */
static double digamma(double x)
{
    double sum = 0, y;

    while (x < 10) {
        sum -= 1 / x;
        x += 1;
    }
    y = 1 / (x * x);
    return sum + dmath_log(x) - 0.5 / x -
           y * (1.0 / 12 - y * (1.0 / 120 - y * (1.0 / 252 - y * (1.0 / 240 - y / 132))));
}

static double trigamma(double x)
{
    double sum = 0, y;

    while (x < 10) {
        sum += 1 / (x * x);
        x += 1;
    }
    y = 1 / (x * x);
    return sum + 1 / x + y / 2 +
           y / x * (1.0 / 6 - y * (1.0 / 30 - y * (1.0 / 42 - y * (1.0 / 30 - y * 5 / 66))));
}

static double clamp_shape(double shape)
{
    return shape < MIN_SHAPE ? MIN_SHAPE : shape > MAX_SHAPE ? MAX_SHAPE : shape;
}

/* log k - psi(k) = log(mean) - mean(log) = s, by Newton from Minka's start (2002). */
static double gamma_shape(double s)
{
    double root = (3 - s) * (3 - s) + 24 * s, k;

    if (s < 1 / (2 * MAX_SHAPE)) /* all gaps alike: log k - psi(k) is near 1 / 2k */
        return MAX_SHAPE;
    k = clamp_shape((3 - s + dmath_sqrt(root)) / (12 * s));
    for (int i = 0; i < NEWTON_STEPS; i++) {
        double inverse = 1 / k + (dmath_log(k) - digamma(k) - s) / (k * k * (1 / k - trigamma(k)));

        k = clamp_shape(inverse > 0 ? 1 / inverse : MAX_SHAPE);
    }
    return k;
}

struct azure_gaps azure_fit(enum azure_process process, const double *gaps_s, size_t count,
                            size_t arrivals, double interval_s)
{
    struct azure_gaps gaps = { AZURE_EXPONENTIAL, (double)arrivals / interval_s, 1 };
    double seen_per_s = gaps.rate_per_s, sum = 0, log_sum = 0, least = 0, mean;

    if (count < 2)
        return gaps;
    for (size_t i = 0; i < count; i++) {
        sum += gaps_s[i];
        log_sum += dmath_log(gaps_s[i]);
        least = i == 0 || gaps_s[i] < least ? gaps_s[i] : least;
    }
    mean = sum / (double)count;
    gaps.process = process;
    gaps.rate_per_s = 1 / mean;
    if (process == AZURE_GAMMA) {
        gaps.shape = gamma_shape(dmath_log(mean) - log_sum / (double)count);
    } else if (process == AZURE_PARETO) {
        double excess = log_sum - (double)count * dmath_log(least);

        gaps.shape = excess > (double)count / MAX_SHAPE ? (double)count / excess : MAX_SHAPE;
        if (gaps.shape <= 1) /* no mean */
            return (struct azure_gaps){ AZURE_EXPONENTIAL, seen_per_s, 1 };
        gaps.rate_per_s = (gaps.shape - 1) / (gaps.shape * least);
    }
    if (gaps.rate_per_s > MAX_RATE_RATIO * seen_per_s)
        gaps.rate_per_s = seen_per_s;
    return gaps;
}

static double draw_gap_ps(const struct azure_gaps *gaps, struct rng *rng)
{
    double mean_ps = (double)UNITS_PS_PER_S / gaps->rate_per_s;

    switch (gaps->process) {
    case AZURE_GAMMA:
        return rng_gamma(rng, gaps->shape, mean_ps / gaps->shape);
    case AZURE_PARETO:
        return rng_pareto(rng, gaps->shape, mean_ps * (gaps->shape - 1) / gaps->shape);
    case AZURE_EXPONENTIAL:
    case AZURE_VANILLA:
    case AZURE_PROCESS_COUNT:
        break;
    }
    return rng_exponential(rng, mean_ps);
}

struct rng azure_stream(const struct azure_settings *settings, const char *service)
{
    return rng_stream(settings->seed, RNG_ARRIVALS,
                      hash_bytes(HASH_START, service, strlen(service)));
}

bool azure_draw(struct replay *replay, const struct azure_gaps *gaps, struct rng *rng,
                int32_t service, int64_t begin_ps, int64_t end_ps, struct err *err)
{
    struct replay_row row = { .service = service, .arrival_ps = begin_ps };

    if (gaps->rate_per_s <= 0)
        return true;
    for (;;) {
        int64_t gap_ps = dmath_round(draw_gap_ps(gaps, rng));

        if (gap_ps >= end_ps - row.arrival_ps)
            return true;
        row.arrival_ps += gap_ps;
        if ((int64_t)replay->count == IMPORT_MAX_REQUESTS)
            return err_at(err, replay->path, 0, 0,
                          "more than %" PRId64 " requests are drawn: lower --rate-scale, or cut "
                          "with --from and --until",
                          IMPORT_MAX_REQUESTS);
        replay_add(replay, &row);
    }
}

static int compare_drawn(const void *left, const void *right)
{
    const struct replay_row *a = left, *b = right;

    if (a->arrival_ps != b->arrival_ps)
        return a->arrival_ps < b->arrival_ps ? -1 : 1;
    return (a->service > b->service) - (a->service < b->service);
}

bool azure_merge(struct replay *replay, struct err *err)
{
    if (replay->count == 0)
        return err_at(err, replay->path, 0, 0,
                      "no request is drawn: raise --rate-scale, or take a longer slice");
    qsort(replay->rows, replay->count, sizeof *replay->rows, compare_drawn);
    import_note(replay->job, "%zu request%s drawn", replay->count, units_s((int64_t)replay->count));
    return true;
}

/* A stream a service, so that a service more shifts no draw of another. */
static bool draw_tokens(struct replay *replay, const struct azure_settings *settings,
                        struct err *err)
{
    struct arena *arena = replay->job->arena;
    const struct dist *prompt, *output = NULL;
    struct rng *prompt_rng, *output_rng;
    const char *const *services;
    int count;

    if (!settings->prompt)
        return true;
    prompt = dist_parse(arena, settings->prompt, DIST_TOKENS, "--prompt", err);
    if (settings->output)
        output = dist_parse(arena, settings->output, DIST_TOKENS, "--output", err);
    if (err->kind != ERR_NONE)
        return false;
    services = azure_services(settings, &count);
    prompt_rng = arena_array(arena, (size_t)count, sizeof *prompt_rng);
    output_rng = arena_array(arena, (size_t)count, sizeof *output_rng);
    for (int i = 0; i < count; i++) {
        uint64_t entity = hash_bytes(HASH_START, services[i], strlen(services[i]));

        prompt_rng[i] = rng_stream(settings->seed, RNG_PROMPT_TOKENS, entity);
        output_rng[i] = rng_stream(settings->seed, RNG_OUTPUT_TOKENS, entity);
    }
    for (size_t i = 0; i < replay->count; i++) {
        struct replay_row *row = &replay->rows[i];

        row->prompt_tokens = (int32_t)dist_draw(prompt, &prompt_rng[row->service]);
        if (output)
            row->output_tokens = (int32_t)dist_draw(output, &output_rng[row->service]);
    }
    return true;
}

bool azure_finish(struct replay *replay, const struct azure_settings *settings, struct err *err)
{
    struct import_job *job = replay->job;
    const struct workload *workload;
    int count;

    if (!draw_tokens(replay, settings, err))
        return false;
    if (settings->process != AZURE_VANILLA || settings->prompt) {
        const char *seed = arena_printf(job->arena, "%" PRIu64, settings->seed);

        import_note(job, "seed %s", seed);
        import_meta(job, "seed", seed);
    }
    workload = replay_workload(replay, azure_services(settings, &count), err);
    return workload && import_write_workload(job, job->output, workload, err);
}
