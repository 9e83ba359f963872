/* process.c - Poisson, gamma, MMPP and Pareto gaps, each rounded to picoseconds at once; constant
 * arrivals, where the whole way from 0 is rounded, since rounded gaps would drift.
 *
 * Squared coefficient of variation c2 of the gaps: gamma 1/shape; Pareto 1/(a (a - 2)), so a =
 * 1 + sqrt(1 + 1/c2). Where the rate varies, gaps of mean 1 pass through varying.h. */
#include "sim/generate/process.h"

#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/mmpp.h"
#include "lib/format/profile.h"
#include "sim/generate/later.h"
#include "sim/generate/modulation.h"

#define MAX_CV 100.0
#define MAX_SHAPE 1000.0
#define DEFAULT_DWELL_PS (10 * UNITS_PS_PER_S)

static const char *name_of(const struct generate_options *options)
{
    return generate_process_names[options->process];
}

static bool check_cv(const struct generate_options *options, struct err *err)
{
    bool is_pareto = options->process == GENERATE_PARETO;
    bool is_mmpp = options->process == GENERATE_MMPP;

    if (options->process != GENERATE_GAMMA && !is_mmpp && !is_pareto) {
        if (options->cv > 0)
            return err_set(err, ERR_USAGE, "--cv has no meaning for --process %s",
                           name_of(options));
        return true;
    }
    if (is_pareto && options->shape > 0) {
        if (options->cv > 0)
            return err_set(err, ERR_USAGE, "give either --cv or --shape");
        return (options->shape > 1 && options->shape <= MAX_SHAPE) ||
               err_set(err, ERR_USAGE,
                       "--shape is '%g': expected a number above 1 (else the mean is infinite), "
                       "to %g",
                       options->shape, MAX_SHAPE);
    }
    if (is_mmpp && options->mmpp) {
        return !(options->cv > 0 || options->dwell_ps > 0) ||
               err_set(err, ERR_USAGE,
                       "--cv and --dwell have no meaning where the states of the mmpp are given");
    }
    if (!(options->cv > 0 && options->cv <= MAX_CV))
        return err_set(err, ERR_USAGE, "--process %s needs --cv X, above 0 and at most %g%s",
                       name_of(options), MAX_CV,
                       is_pareto ? ", or --shape A"
                       : is_mmpp ? ", or --states or --mmpp"
                                 : "");
    if (is_mmpp && options->cv < 1)
        return err_set(err, ERR_USAGE,
                       "--cv is '%g': an mmpp is at least as irregular as a Poisson process, so "
                       "expected 1 or more",
                       options->cv);
    return true;
}

/* Options of one process that are given with another. */
static bool check_use(const struct generate_options *options, struct err *err)
{
    const struct {
        bool is_given, has_meaning;
        const char *name;
    } uses[] = {
        { options->shape > 0, options->process == GENERATE_PARETO, "--shape" },
        { options->dwell_ps > 0, options->process == GENERATE_MMPP, "--dwell" },
        { options->mmpp, options->process == GENERATE_MMPP, "--states or --mmpp" },
        { options->replay, options->process == GENERATE_REPLAY, "--replay" },
        { options->time_scale > 0, options->process == GENERATE_REPLAY, "--time-scale" },
        { options->profile,
          options->process != GENERATE_MMPP && options->process != GENERATE_REPLAY, "--profile" },
    };

    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        if (uses[i].is_given && !uses[i].has_meaning)
            return err_set(err, ERR_USAGE, "%s has no meaning for --process %s", uses[i].name,
                           name_of(options));
    if (options->period_ps > 0 && !options->profile)
        return err_set(err, ERR_USAGE, "--period is that of a --profile, which is missing");
    return true;
}

bool process_check(const struct generate_options *options, struct err *err)
{
    return check_use(options, err) && check_cv(options, err);
}

bool process_load_begin(struct arena *arena, struct process_load *load,
                        const struct generate_options *options, struct err *err)
{
    struct varying *varying = NULL;

    *load = (struct process_load){ .options = options, .rate_per_s = options->rate_per_s };
    if (options->profile) {
        varying = varying_create(arena, options->profile, options->period_ps, options->duration_ps,
                                 options->rate_per_s, err);
        if (!varying)
            return false;
        load->varying = varying;
        load->rate_per_s = varying_rate_per_s(varying);
    } else if (options->mmpp && options->rate_per_s <= 0) {
        load->rate_per_s = options->mmpp->rate_per_s;
    } else if (options->rate_per_s <= 0) {
        return err_set(err, ERR_USAGE, "--rate is missing: for example 20/s");
    }
    return true;
}

/* A gap of mean 1 where the rate varies. */
static double unit_gap(struct process *process)
{
    struct rng *rng = &process->rng;

    switch (process->kind) {
    case GENERATE_GAMMA:
        return rng_gamma(rng, process->shape, process->scale_ps);
    case GENERATE_PARETO:
        return rng_pareto(rng, process->shape, process->scale_ps);
    case GENERATE_POISSON:
    case GENERATE_CONSTANT:
    case GENERATE_MMPP:
    case GENERATE_REPLAY:
    case GENERATE_PROCESS_COUNT:
        break;
    }
    return rng_exponential(rng, 1);
}

static int64_t varying_next_ps(struct process *process, int64_t at_ps)
{
    if (process->kind == GENERATE_CONSTANT)
        return varying_at_ps(process->varying, &process->place,
                             (double)process->arrivals++ / process->fraction);
    return varying_after_ps(process->varying, &process->place, at_ps,
                            unit_gap(process) / process->fraction);
}

static int64_t after_ps(struct process *process, int64_t at_ps)
{
    struct rng *rng = &process->rng;

    if (process->varying)
        return varying_next_ps(process, at_ps);
    switch (process->kind) {
    case GENERATE_GAMMA:
        return later_ps(at_ps, rng_gamma(rng, process->shape, process->scale_ps));
    case GENERATE_CONSTANT:
        return dmath_round((double)process->arrivals++ * (double)UNITS_PS_PER_S /
                           process->rate_per_s);
    case GENERATE_MMPP:
        return modulation_after_ps(process->modulation, at_ps, rng);
    case GENERATE_PARETO:
        return later_ps(at_ps, rng_pareto(rng, process->shape, process->scale_ps));
    case GENERATE_POISSON:
        return later_ps(at_ps, rng_exponential(rng, process->mean_gap_ps));
    case GENERATE_REPLAY:
    case GENERATE_PROCESS_COUNT:
        break;
    }
    return INT64_MAX;
}

void process_draw(struct process *process)
{
    int64_t at_ps = process->last_ps;

    for (int i = 0; i < PROCESS_AHEAD; i++) {
        if (at_ps != INT64_MAX)
            at_ps = after_ps(process, at_ps);
        process->ahead_ps[i] = at_ps;
    }
    process->last_ps = process->ahead_ps[PROCESS_AHEAD - 1];
    process->at = 0;
}

static bool begin_kind(struct arena *arena, struct process *process,
                       const struct generate_options *options, struct err *err)
{
    double c2 = options->cv * options->cv, mean = process->varying ? 1 : process->mean_gap_ps;

    switch (options->process) {
    case GENERATE_GAMMA:
        process->shape = 1 / c2;
        process->scale_ps = mean * c2;
        return true;
    case GENERATE_PARETO:
        process->shape = options->shape > 0 ? options->shape : 1 + dmath_sqrt(1 + 1 / c2);
        process->scale_ps = mean * (process->shape - 1) / process->shape;
        return true;
    case GENERATE_MMPP:
        if (options->mmpp)
            process->modulation = modulation_create(arena, options->mmpp,
                                                    process->rate_per_s / options->mmpp->rate_per_s,
                                                    &process->rng, err);
        else
            process->modulation = modulation_create_pair(
                arena, process->mean_gap_ps,
                (double)(options->dwell_ps > 0 ? options->dwell_ps : DEFAULT_DWELL_PS), options->cv,
                &process->rng, err);
        return process->modulation != NULL;
    case GENERATE_CONSTANT:
    case GENERATE_POISSON:
    case GENERATE_REPLAY:
    case GENERATE_PROCESS_COUNT:
        break;
    }
    return true;
}

bool process_begin(struct arena *arena, struct process *process, const struct process_load *load,
                   double fraction, uint64_t entity, struct err *err)
{
    const struct generate_options *options = load->options;

    *process = (struct process){ .kind = options->process, .varying = load->varying };
    process->rng = rng_stream(options->seed, RNG_ARRIVALS, entity);
    process->fraction = fraction;
    process->rate_per_s = load->rate_per_s * fraction;
    process->mean_gap_ps = (double)UNITS_PS_PER_S / process->rate_per_s;
    if (!(process->mean_gap_ps >= 1 && process->mean_gap_ps <= (double)UNITS_MAX_PS))
        return err_set(err, ERR_USAGE,
                       "--rate: a service gets %g/s: expected a mean gap of 1 ps to %lld s",
                       process->rate_per_s, (long long)(UNITS_MAX_PS / UNITS_PS_PER_S));
    if (!begin_kind(arena, process, options, err))
        return false;
    process_draw(process);
    return true;
}
