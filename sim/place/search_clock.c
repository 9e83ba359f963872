/* search_clock.c - when a search has had its time. */
#include "sim/judge/judge.h"
#include "sim/place/place.h"
#include "sim/place/search_hunt.h"

bool hunt_is_late(const struct hunt *hunt)
{
    const struct place_ask *ask = hunt->search.ask;

    return ask->is_over && ask->is_over(ask->is_over_arg);
}

bool hunt_is_enough(const struct hunt *hunt)
{
    bool is_any = hunt->elite_count > 0;

    for (int g = 0; g < hunt->given_count && !is_any; g++)
        is_any = hunt->given[g].verdict.is_feasible;
    return is_any && hunt_is_late(hunt);
}

static bool is_enough(void *arg)
{
    return hunt_is_enough(arg);
}

struct judge_stop hunt_mind_clock(struct hunt *hunt, struct judge *judge)
{
    return judge_set_stop(judge, (struct judge_stop){ is_enough, hunt });
}
