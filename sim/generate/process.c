/* process.c - Poisson, gamma, MMPP and Pareto gaps, each rounded to picoseconds at once; constant
 * arrivals, where the whole way from 0 is rounded, since rounded gaps would drift.
 *
 * Squared coefficient of variation c2 of the gaps: gamma 1/shape; Pareto 1/(a (a - 2)), so a =
 * 1 + sqrt(1 + 1/c2); an MMPP of two states of equal mean length 1/q and rates r (1 +- b):
 * c2 = 1 + 2 b2 / (1 - b2 + 2 q/r) (Heffes and Lucantoni 1986), solved for b2 below. */
#include "sim/generate/process.h"

#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"

#define MAX_CV 100.0
#define DEFAULT_DWELL_PS (10 * UNITS_PS_PER_S)

static bool mmpp_begin(struct process *process, const struct generate_options *options,
                       struct err *err)
{
    double c2 = options->cv * options->cv, switches, b2, b;

    if (options->cv < 1)
        return err_set(err, ERR_USAGE,
                       "--cv is '%g': an mmpp is at least as irregular as a Poisson process, so "
                       "expected 1 or more",
                       options->cv);
    process->dwell_ps = (double)(options->dwell_ps > 0 ? options->dwell_ps : DEFAULT_DWELL_PS);
    switches = process->mean_gap_ps / process->dwell_ps;
    b2 = (c2 - 1) * (1 + 2 * switches) / (c2 + 1);
    if (b2 >= 1)
        return err_set(err, ERR_USAGE,
                       "--cv is '%g': states of %g s last too short for it at this rate; raise "
                       "--dwell above %g s",
                       options->cv, process->dwell_ps / (double)UNITS_PS_PER_S,
                       (c2 - 1) * process->mean_gap_ps / (double)UNITS_PS_PER_S);
    b = dmath_sqrt(b2);
    process->state_gap_ps[0] = process->mean_gap_ps / (1 + b);
    process->state_gap_ps[1] = process->mean_gap_ps / (1 - b);
    process->state = rng_uniform(&process->rng) < 0.5 ? 0 : 1;
    process->state_end_ps = dmath_round(rng_exponential(&process->rng, process->dwell_ps));
    return true;
}

static bool cv_check(const struct generate_options *options, struct err *err)
{
    switch (options->process) {
    case GENERATE_GAMMA:
    case GENERATE_MMPP:
    case GENERATE_PARETO:
        if (!(options->cv > 0 && options->cv <= MAX_CV))
            return err_set(err, ERR_USAGE, "--process %s needs --cv X, above 0 and at most %g",
                           generate_process_names[options->process], MAX_CV);
        return true;
    case GENERATE_POISSON:
    case GENERATE_CONSTANT:
    case GENERATE_PROCESS_COUNT:
        break;
    }
    if (options->cv > 0)
        return err_set(err, ERR_USAGE, "--cv has no meaning for --process %s",
                       generate_process_names[options->process]);
    return true;
}

static int64_t later_ps(int64_t at_ps, double gap_ps)
{
    int64_t gap = dmath_round(gap_ps);

    return gap > INT64_MAX - at_ps ? INT64_MAX : at_ps + gap;
}

/* A gap that crosses the end of a state is dropped and drawn anew: exponentials have no memory. */
static int64_t mmpp_after_ps(struct process *process, int64_t at_ps)
{
    for (;;) {
        int64_t next_ps =
            later_ps(at_ps, rng_exponential(&process->rng, process->state_gap_ps[process->state]));

        if (next_ps <= process->state_end_ps || process->state_end_ps == INT64_MAX)
            return next_ps;
        at_ps = process->state_end_ps;
        process->state = 1 - process->state;
        process->state_end_ps = later_ps(at_ps, rng_exponential(&process->rng, process->dwell_ps));
    }
}

static int64_t after_ps(struct process *process, int64_t at_ps)
{
    struct rng *rng = &process->rng;

    switch (process->kind) {
    case GENERATE_POISSON:
        return later_ps(at_ps, rng_exponential(rng, process->mean_gap_ps));
    case GENERATE_GAMMA:
        return later_ps(at_ps, rng_gamma(rng, process->shape, process->scale_ps));
    case GENERATE_CONSTANT:
        process->arrivals++;
        return dmath_round((double)process->arrivals * (double)UNITS_PS_PER_S /
                           process->rate_per_s);
    case GENERATE_MMPP:
        return mmpp_after_ps(process, at_ps);
    case GENERATE_PARETO:
        return later_ps(at_ps, rng_pareto(rng, process->shape, process->scale_ps));
    case GENERATE_PROCESS_COUNT:
        break;
    }
    return INT64_MAX;
}

bool process_begin(struct process *process, const struct generate_options *options,
                   double rate_per_s, uint64_t entity, struct err *err)
{
    double c2 = options->cv * options->cv;

    if (!cv_check(options, err))
        return false;
    *process = (struct process){ .kind = options->process };
    process->rng = rng_stream(options->seed, RNG_ARRIVALS, entity);
    process->rate_per_s = rate_per_s;
    process->mean_gap_ps = (double)UNITS_PS_PER_S / rate_per_s;
    if (process->mean_gap_ps < 1 || process->mean_gap_ps > (double)UNITS_MAX_PS)
        return err_set(err, ERR_USAGE,
                       "--rate: a service gets %g/s: expected a mean gap of 1 ps to %lld s",
                       rate_per_s, (long long)(UNITS_MAX_PS / UNITS_PS_PER_S));
    switch (options->process) {
    case GENERATE_GAMMA:
        process->shape = 1 / c2;
        process->scale_ps = process->mean_gap_ps * c2;
        break;
    case GENERATE_PARETO:
        process->shape = 1 + dmath_sqrt(1 + 1 / c2);
        process->scale_ps = process->mean_gap_ps * (process->shape - 1) / process->shape;
        break;
    case GENERATE_MMPP:
        if (!mmpp_begin(process, options, err))
            return false;
        break;
    case GENERATE_CONSTANT:
        return true; /* the first arrival is at 0 */
    case GENERATE_POISSON:
    case GENERATE_PROCESS_COUNT:
        break;
    }
    process->next_ps = after_ps(process, 0);
    return true;
}

void process_next(struct process *process)
{
    process->next_ps =
        process->next_ps == INT64_MAX ? INT64_MAX : after_ps(process, process->next_ps);
}
