/* rate_search.h - the highest rate at which a load still meets what it has to, by bisection.
 *
 * Bisection is right where whoever meets it at a rate meets it at all lower ones. Proven: requests
 * of one pass (executables, encoders) through pipelines of FIFO queues and links, with one replica
 * or round-robin. There request i ends at the largest, over earlier requests j and all ways from j
 * to i, of a_j + what lies on the way; so it takes max(a_j - a_i + what lies on the way), and a
 * lower rate, which stretches all gaps between the same requests by one factor, makes no a_j - a_i
 * larger. Not proven: steps of decoders, which interleave; batches; replicas chosen by load;
 * devices that wake up; requests that are dropped or refused. So rates on both sides of what was
 * found are tried as well, and is_monotone says whether they agreed. */
#ifndef ORRERY_SIM_JUDGE_RATE_SEARCH_H
#define ORRERY_SIM_JUDGE_RATE_SEARCH_H

#include "sim/judge/judge.h"
#include <stdbool.h>

struct arena;
struct err;

struct rate_probe {
    double rate_per_s;
    bool is_met;
    double served_per_s; /* what came out a second; 0: not known */
    struct judge_verdict verdict;
};

struct rate_ask {
    /* Fills all but rate_per_s of a probe at its rate; false: it could not be tried at all. */
    bool (*probe)(void *arg, struct rate_probe *probe, struct err *err);
    void *arg;
    double resolution_ratio; /* > 0: ends when the next rate that misses is no further above */
    double floor_per_s;      /* not tried below */
    double flood_per_s;      /* so high that all come at once */
};

enum rate_outcome {
    RATE_FOUND,
    RATE_NEVER,    /* not even at the floor */
    RATE_UNLIMITED /* even when all come at once */
};

struct rate_answer {
    enum rate_outcome outcome;
    double rate_per_s; /* RATE_FOUND: the highest that was met, */
    double next_per_s; /* and the lowest above it that was not */
    bool is_monotone;  /* rates to both sides agreed */
    int probe_count;
    struct rate_probe *probes; /* by rate, rising */
};

/* In arena. Rates are powers of two and halves between them: the same on every machine. */
bool rate_search(struct arena *arena, const struct rate_ask *ask, struct rate_answer *answer,
                 struct err *err);

#endif
