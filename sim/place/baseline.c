/* baseline.c - planners that anybody would try first. */
#include "sim/place/place.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "lib/format/cluster.h"

#define RANDOM_TRIES 1000

static const struct cluster *cluster_of(const struct problem *problem)
{
    return problem_input(problem)->cluster;
}

static struct place_answer begin(struct arena *arena, const struct problem *problem)
{
    return (struct place_answer){
        .stages =
            arena_array(arena, (size_t)problem_unit_count(problem), sizeof(struct problem_stage)),
        .why = "",
    };
}

static void add(struct place_answer *answer, int32_t device, int32_t first, int32_t last)
{
    answer->stages[answer->stage_count++] = (struct problem_stage){ device, first, last };
}

static struct place_answer infeasible(const char *why)
{
    return (struct place_answer){ .why = why };
}

/* Each stage fits into its device, which has no other. */
static bool fits(const struct problem *problem, const struct place_answer *answer)
{
    for (int32_t s = 0; s < answer->stage_count; s++)
        if (!problem_has_room(problem, answer->stages[s].device, answer->stages[s].first,
                              answer->stages[s].last))
            return false;
    return true;
}

static const char *what_does_not_fit(struct arena *arena, const struct problem *problem,
                                     const struct place_answer *answer)
{
    for (int32_t s = 0; s < answer->stage_count; s++) {
        const struct problem_stage *stage = &answer->stages[s];
        const struct cluster_device *device = &cluster_of(problem)->devices[stage->device];
        int64_t bytes = problem_bytes(problem, stage->device, stage->first, stage->last);

        if (device->memory_bytes > 0 && bytes > device->memory_bytes)
            return arena_printf(arena,
                                "device '%s' would hold %lld bytes of %lld: %lld are missing",
                                device->name, (long long)bytes, (long long)device->memory_bytes,
                                (long long)(bytes - device->memory_bytes));
    }
    return "";
}

struct place_answer place_single(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    struct place_answer answer = begin(arena, problem);
    int32_t end = problem_unit_count(problem) - 1, best = -1, least = 0;
    int64_t best_ps = INT64_MAX, missing = INT64_MAX;

    for (int32_t d = 0; d < cluster_of(problem)->device_count; d++) {
        const struct problem_stage stage = { d, 0, end };
        struct problem_score score = problem_score(problem, &stage, 1);
        int64_t ps = ask->objective == PLACE_LATENCY ? score.latency_ps : score.period_ps;

        if (score.room_bytes < 0 && -score.room_bytes < missing) {
            missing = -score.room_bytes;
            least = d;
        }
        if (score.room_bytes >= 0 && (best < 0 || ps < best_ps)) {
            best_ps = ps;
            best = d;
        }
    }
    if (best < 0)
        return infeasible(arena_printf(arena,
                                       "no device holds all of it: of device '%s', which is "
                                       "closest, %lld bytes are missing",
                                       cluster_of(problem)->devices[least].name,
                                       (long long)missing));
    add(&answer, best, 0, end);
    answer.is_feasible = true;
    return answer;
}

struct place_answer place_even(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    struct place_answer answer = begin(arena, problem);
    int32_t units = problem_unit_count(problem), first = 0;
    int32_t devices =
        cluster_of(problem)->device_count < units ? cluster_of(problem)->device_count : units;

    for (int32_t d = 0; d < devices; d++) { /* the first ones take what does not divide */
        int32_t count = units / devices + (d < units % devices);

        add(&answer, d, first, first + count - 1);
        first += count;
    }
    answer.is_feasible = fits(problem, &answer);
    answer.why = answer.is_feasible ? "" : what_does_not_fit(arena, problem, &answer);
    return answer;
}

struct place_answer place_greedy(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    struct place_answer answer = begin(arena, problem);
    int32_t units = problem_unit_count(problem), first = 0;

    for (int32_t d = 0; d < cluster_of(problem)->device_count && first < units; d++) {
        int32_t last = first;

        if (!problem_has_room(problem, d, first, first))
            continue;
        while (last + 1 < units && problem_has_room(problem, d, first, last + 1))
            last++;
        add(&answer, d, first, last);
        first = last + 1;
    }
    if (first < units)
        return infeasible(arena_printf(arena,
                                       "no device has room for unit %d of %d and what "
                                       "comes behind it",
                                       (int)first, (int)units));
    answer.is_feasible = true;
    return answer;
}

struct place_answer place_round_robin(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    const struct cluster *cluster = cluster_of(problem);
    struct place_answer answer = begin(arena, problem);
    int32_t next = 0;

    for (int32_t u = 0; u < problem_unit_count(problem); u++) {
        int32_t tried = 0;

        for (; tried < cluster->device_count; tried++) {
            int32_t device = (next + tried) % cluster->device_count;
            int64_t memory_bytes = cluster->devices[device].memory_bytes;

            add(&answer, device, u, u);
            if (memory_bytes == 0 ||
                problem_stages_bytes(problem, answer.stages, answer.stage_count, device) <=
                    memory_bytes) {
                next = device + 1;
                break;
            }
            answer.stage_count--;
        }
        if (tried == cluster->device_count)
            return infeasible(arena_printf(arena, "no device has room for unit %d", (int)u));
    }
    answer.is_feasible = true;
    return answer;
}

static void shuffle(struct rng *rng, int32_t *list, int32_t count)
{
    for (int32_t i = count - 1; i > 0; i--) {
        int32_t other = (int32_t)rng_below(rng, (uint64_t)i + 1), kept = list[i];

        list[i] = list[other];
        list[other] = kept;
    }
}

struct place_answer place_random(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    int32_t units = problem_unit_count(problem), devices = cluster_of(problem)->device_count;
    int32_t most = devices < units ? devices : units;
    int32_t *order = arena_array(arena, (size_t)devices, sizeof *order);
    struct place_answer answer = begin(arena, problem);
    struct rng rng = rng_stream(ask->seed, RNG_PLACEMENT, 0);

    for (int32_t d = 0; d < devices; d++)
        order[d] = d;
    for (int try = 0; try < RANDOM_TRIES; try++) {
        int32_t stages = 1 + (int32_t)rng_below(&rng, (uint64_t)most), first = 0;

        shuffle(&rng, order, devices);
        answer.stage_count = 0;
        for (int32_t s = 0; s < stages; s++) { /* each of the others gets one at least */
            int32_t spare = units - first - (stages - s - 1);
            int32_t count =
                s + 1 < stages ? 1 + (int32_t)rng_below(&rng, (uint64_t)spare) : units - first;

            add(&answer, order[s], first, first + count - 1);
            first += count;
        }
        answer.is_feasible = fits(problem, &answer);
        if (answer.is_feasible)
            return answer;
    }
    return infeasible(arena_printf(arena, "%d random placements, and none fits", RANDOM_TRIES));
}
