/* place.c - the table of planners. */
#include "sim/place/place.h"

#include "lib/base/arena.h"
#include <string.h>

const char *const place_objective_names[PLACE_OBJECTIVE_COUNT] = {
    [PLACE_LATENCY] = "latency", [PLACE_PERIOD] = "period", [PLACE_GOODPUT] = "goodput"
};

const struct place_algorithm place_algorithms[] = {
    { .name = "single",
      .summary = "all of it on the one device that is best by the objective",
      .plan = place_single },
    { .name = "even",
      .summary = "the same number of units on every device, in file order",
      .plan = place_even },
    { .name = "greedy",
      .summary = "each device in file order takes what its memory holds",
      .plan = place_greedy },
    { .name = "round-robin",
      .summary = "unit after unit to the next device that has room",
      .plan = place_round_robin },
    { .name = "random",
      .summary = "random cuts on devices in random order (--seed)",
      .plan = place_random },
    { .name = "pipeedge",
      .summary = "the shortest period over kinds of devices (PipeEdge, mended)",
      .plan = place_pipeedge },
    { .name = "auction",
      .summary = "the best with stages in file order of the devices (PipeEdge's reverse auction)",
      .plan = place_auction },
    { .name = "edgeshard",
      .summary = "layers in order, the first at the source (EdgeShard, mended)",
      .plan = place_edgeshard },
    { .name = "galaxy",
      .summary = "one stage on several devices, heads and columns by capacity (Galaxy, mended)",
      .needs_model = true,
      .plan = place_galaxy },
    { .name = "exact",
      .summary = "the best contiguous pipeline by the objective",
      .plan = place_exact },
    { .name = "resource-aware",
      .summary = "heads with their caches, projection, FFN where the step ends first (Kafetzis, "
                 "mended)",
      .needs_model = true,
      .is_slow = true,
      .plan = place_resource_aware },
    { .name = "exact-heads",
      .summary = "the same by branch and bound, with a bound; layer by layer if memory is short",
      .needs_model = true,
      .is_slow = true,
      .plan = place_exact_heads },
    { .name = "static",
      .summary = "placed once: the best of resource-aware, one device and pipelines",
      .needs_model = true,
      .is_slow = true,
      .plan = place_static },
    { .name = "dynamic",
      .summary = "the same placed anew where what changes is worth a migration (epochs)",
      .needs_model = true,
      .needs_workload = true,
      .is_slow = true,
      .plan = place_dynamic },
    { .name = "infscale",
      .summary = "replicas packed on nodes for the most throughput (InfScale, mended)",
      .takes_faults = true,
      .plan = place_infscale },
    { .name = "alpaserve",
      .summary = "services share groups of devices, chosen by simulation (AlpaServe)",
      .takes_services = true,
      .needs_workload = true,
      .is_slow = true,
      .plan = place_alpaserve },
    { .name = "orrery",
      .summary = "the best of all others, changed and simulated until nothing is gained",
      .takes_services = true,
      .takes_faults = true,
      .plan = place_orrery },
};
const int place_algorithm_count = (int)(sizeof place_algorithms / sizeof place_algorithms[0]);

const struct place_algorithm *place_find(const char *name)
{
    for (int i = 0; i < place_algorithm_count; i++)
        if (strcmp(place_algorithms[i].name, name) == 0)
            return &place_algorithms[i];
    return NULL;
}

struct placement_row *place_rows(struct arena *arena, const struct place_ask *ask,
                                 const struct place_answer *answer, int *count)
{
    if (answer->rows) {
        *count = answer->row_count;
        return answer->rows;
    }
    return problem_rows(arena, ask->problems[0], answer->stages, answer->stage_count, count);
}

const char *place_why_not(struct arena *arena, const struct problem *const *problems, int32_t count,
                          const char *otherwise)
{
    int64_t missing_bytes = problem_missing_of_all(problems, count);

    if (missing_bytes == 0)
        return otherwise;
    return arena_printf(arena, "all devices together lack %lld bytes", (long long)missing_bytes);
}
