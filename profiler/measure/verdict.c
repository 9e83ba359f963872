/* verdict.c - rules of verdict.h. */
#include "profiler/measure/verdict.h"
#include "lib/base/stats.h"

#define THROTTLE_NOW INT64_C(0xf)        /* under-voltage, capped, throttled, soft limit */
#define THROTTLE_STICKY INT64_C(0xf0000) /* the same, since boot */
#define FREQ_FALL_LIMIT 0.98
#define SHARE_LIMIT 0.05
#define TICKS_LIMIT_NS 30e6
#define LEARN_ROUNDS 8
#define COMPUTE_TOLERANCE_MIN 0.02
#define COMPUTE_TOLERANCE_MAX 0.10
#define COMPUTE_OVER_BEST 1.15
#define MEMORY_SPREADS 3.4
#define MEMORY_TOLERANCE_MIN 0.12
#define MEMORY_TOLERANCE_MAX 0.20

const char *round_verdict_name(enum round_verdict verdict)
{
    switch (verdict) {
    case ROUND_OK:
        return "ok";
    case ROUND_THROTTLED:
        return "throttled";
    case ROUND_STOLEN:
        return "stolen";
    case ROUND_BUSY:
        return "busy";
    case ROUND_SLOW:
        return "slow";
    case ROUND_MEMORY:
        return "memory";
    case ROUND_VERDICT_COUNT:
        break;
    }
    return "?";
}

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* Sorts and returns the number of positive values, which come last. */
static size_t sort_known(int64_t **values, size_t count)
{
    size_t unknown = 0;

    stats_sort(*values, count);
    while (unknown < count && (*values)[unknown] <= 0)
        unknown++;
    *values += unknown;
    return count - unknown;
}

static void learn_compute(struct verdict_reference *reference, int64_t *values, size_t count)
{
    double tolerance = COMPUTE_TOLERANCE_MAX;
    double best, median, limit;

    count = count > 0 ? sort_known(&values, count) : 0;
    if (count == 0)
        return;
    best = (double)stats_quantile(values, count, 1, 10);
    median = (double)stats_quantile(values, count, 1, 2);
    if (count >= LEARN_ROUNDS) { /* between 16 and 84 % lie two sigma; two levels count as spread */
        double sigma = (double)(stats_quantile(values, count, 84, 100) -
                                stats_quantile(values, count, 16, 100)) /
                       2;

        tolerance = clamp(3 * sigma / median, COMPUTE_TOLERANCE_MIN, COMPUTE_TOLERANCE_MAX);
    }
    if (median > COMPUTE_OVER_BEST * best) /* most of the run was slow: its best is the measure */
        median = best;
    limit = median * (1 + tolerance);
    if (limit > COMPUTE_OVER_BEST * best)
        limit = COMPUTE_OVER_BEST * best;
    reference->compute_ns = (int64_t)median;
    reference->compute_limit_ns = (int64_t)limit;
    reference->compute_release_ns = (int64_t)(median + (limit - median) / 2);
    reference->rounds = (int)count;
}

static void learn_memory(struct verdict_reference *reference, int64_t *values, size_t count)
{
    double tolerance = MEMORY_TOLERANCE_MAX;

    count = count > 0 ? sort_known(&values, count) : 0;
    if (count == 0)
        return;
    double best = (double)stats_quantile(values, count, 1, 10);
    double median = (double)stats_quantile(values, count, 1, 2);
    if (count >= LEARN_ROUNDS)
        tolerance =
            clamp(MEMORY_SPREADS * (median / best - 1), MEMORY_TOLERANCE_MIN, MEMORY_TOLERANCE_MAX);
    reference->memory_ns = (int64_t)best;
    reference->memory_limit_ns = (int64_t)(best * (1 + tolerance));
}

struct verdict_reference verdict_learn(int64_t *compute_ns, int64_t *memory_ns, size_t count)
{
    struct verdict_reference reference = { 0 };

    learn_compute(&reference, compute_ns, count);
    learn_memory(&reference, memory_ns, count);
    return reference;
}

static bool is_throttled(const struct machine_state *before, const struct machine_state *after)
{
    int64_t bits = after->throttle_bits;

    if (bits >= 0 && (bits & THROTTLE_NOW))
        return true;
    if (before->throttle_bits >= 0 && (before->throttle_bits & THROTTLE_NOW))
        return true;
    if (bits >= 0 && before->throttle_bits >= 0 &&
        (bits & ~before->throttle_bits & THROTTLE_STICKY))
        return true;
    return before->freq_khz > 0 && after->freq_khz > 0 &&
           (double)after->freq_khz < FREQ_FALL_LIMIT * (double)before->freq_khz;
}

static bool is_share(double ratio, const struct round_readings *round)
{
    return ratio > SHARE_LIMIT &&
           ratio * (double)(round->after.t_ns - round->before.t_ns) > TICKS_LIMIT_NS;
}

enum round_verdict verdict_evidence(const struct round_readings *round)
{
    const struct machine_state *before = &round->before, *after = &round->after;

    if (is_throttled(before, after))
        return ROUND_THROTTLED;
    if (is_share(machine_steal_ratio(before, after), round))
        return ROUND_STOLEN;
    if (is_share(machine_others_busy_ratio(before, after, round->own_cpu_ns), round))
        return ROUND_BUSY;
    return ROUND_OK;
}

enum round_verdict verdict_round(const struct round_readings *round,
                                 const struct verdict_reference *reference,
                                 enum round_verdict previous)
{
    enum round_verdict evidence = verdict_evidence(round);
    int64_t limit = previous == ROUND_SLOW || previous == ROUND_THROTTLED
                        ? reference->compute_release_ns
                        : reference->compute_limit_ns;

    if (evidence != ROUND_OK)
        return evidence;
    if (limit > 0 && round->compute_ns > limit)
        return ROUND_SLOW;
    if (reference->memory_limit_ns > 0 && round->memory_ns > reference->memory_limit_ns)
        return ROUND_MEMORY;
    return ROUND_OK;
}

void cooling_begin(struct cooling *cooling, int64_t start_temp_mc, bool is_sustained)
{
    *cooling = (struct cooling){ .start_temp_mc = start_temp_mc, .is_sustained = is_sustained };
}

enum cooling_action cooling_round(struct cooling *cooling, enum round_verdict verdict,
                                  int64_t now_ns)
{
    if (cooling->is_sustained || (verdict != ROUND_THROTTLED && verdict != ROUND_SLOW))
        return COOLING_KEEP;
    if (cooling->retries == COOLING_MAX_RETRIES) {
        cooling->is_sustained = true;
        return COOLING_KEEP;
    }
    cooling->retries++;
    cooling->is_waiting = true;
    cooling->good_canaries = 0;
    cooling->wait_began_ns = now_ns;
    return COOLING_WAIT;
}

enum cooling_action cooling_wait(struct cooling *cooling, int64_t temp_mc, bool is_canary_good,
                                 int64_t now_ns)
{
    bool is_cool = cooling->start_temp_mc == MACHINE_UNKNOWN || temp_mc == MACHINE_UNKNOWN ||
                   temp_mc <= cooling->start_temp_mc + COOLING_MARGIN_MC;

    if (!cooling->is_waiting)
        return COOLING_RETRY;
    cooling->good_canaries = is_canary_good ? cooling->good_canaries + 1 : 0;
    if ((is_cool && cooling->good_canaries >= COOLING_GOOD_CANARIES) ||
        now_ns - cooling->wait_began_ns >= COOLING_MAX_WAIT_NS) {
        cooling->is_waiting = false;
        return COOLING_RETRY;
    }
    return COOLING_WAIT;
}
