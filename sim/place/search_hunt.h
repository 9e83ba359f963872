/* search_hunt.h - the state of one search of the planner `orrery`, for it and what tells of it. */
#ifndef ORRERY_SIM_PLACE_SEARCH_HUNT_H
#define ORRERY_SIM_PLACE_SEARCH_HUNT_H

#include "sim/place/search.h"

#define HUNT_ELITE 12

struct entry { /* a candidate that was simulated */
    struct search_plan plan;
    struct judge_verdict verdict;
    uint64_t hash;
    const char *from; /* the planner that it was begun with */
};

struct given { /* what another planner has answered */
    const char *name;
    struct placement_row *rows;
    int row_count;
    struct problem_stage *stages; /* NULL: rows alone */
    int32_t stage_count;
    int64_t switch_cost_ps;
    struct judge_verdict verdict;
};

struct hunt {
    struct search search;
    struct arena *arena;
    enum place_objective objective;
    struct judge *judge, *quick; /* by the rules asked for; as fast as it goes */
    struct given *given;
    int given_count, start_count;
    struct entry elite[HUNT_ELITE]; /* the best first */
    int elite_count;
    uint64_t *seen; /* hashes; 0 = free */
    size_t seen_room, seen_count;
    int64_t simulation_count, limit; /* of its own candidates */
    int64_t judged_count;            /* with the starts and what is judged once more */
    int64_t last_gain, told_gain;    /* since when it is patient; of a move */
    int64_t cut_count, bound_ps;
    const char *bound_what;
    struct {
        int64_t count;
        double gain;
    } moves[SEARCH_MOVE_COUNT];
    const char *why; /* of another planner that found nothing, or nothing that may be answered */
};

struct best {
    const struct entry *entry; /* one of these */
    const struct given *given;
    struct judge_verdict verdict;
};

/* More is better: good requests a second, or requests a second of one after the other. */
double hunt_worth(const struct hunt *hunt, const struct judge_verdict *verdict);

/* search_tell.c: what the answer was found by, as its lines, and the bound. */
void hunt_tell(struct hunt *hunt, const struct best *best, struct place_answer *answer);

/* search_clock.c: the time is over; it is, and there is an answer already. */
bool hunt_is_late(const struct hunt *hunt);
bool hunt_is_enough(const struct hunt *hunt);
/* The judge gives up what it simulates as soon as that is so; returns what stopped it before. */
struct judge_stop hunt_mind_clock(struct hunt *hunt, struct judge *judge);

#endif
