/* dispatch.c - the rules that choose a replica, each in a function of its own. */
#include "lib/policy/dispatch.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <assert.h>

const char *const dispatch_names[DISPATCH_COUNT] = {
    [DISPATCH_LEAST_IDLE] = "least-idle",
    [DISPATCH_ROUND_ROBIN] = "round-robin",
    [DISPATCH_LEAST_OUTSTANDING] = "least-outstanding",
    [DISPATCH_RANDOM] = "random",
    [DISPATCH_STICKY] = "sticky",
    [DISPATCH_LEAST_LAST_STAGE] = "least-last-stage",
};

struct dispatch {
    enum dispatch_kind kind;
    uint64_t seed;
    int service_count;
    int *next;           /* round-robin: where each service goes on */
    struct rng *streams; /* random: one a service, so that services do not disturb each other */
};

bool dispatch_is_static(enum dispatch_kind kind)
{
    switch (kind) {
    case DISPATCH_ROUND_ROBIN:
    case DISPATCH_RANDOM:
    case DISPATCH_STICKY:
        return true;
    case DISPATCH_LEAST_IDLE:
    case DISPATCH_LEAST_OUTSTANDING:
    case DISPATCH_LEAST_LAST_STAGE:
    case DISPATCH_COUNT:
        break;
    }
    return false;
}

void dispatch_extend(struct dispatch *dispatch, struct arena *arena, int service_count)
{
    size_t old = (size_t)dispatch->service_count, count = (size_t)service_count;

    assert(service_count >= dispatch->service_count);
    dispatch->next = arena_grow(arena, dispatch->next, old, count, sizeof *dispatch->next);
    dispatch->streams = arena_grow(arena, dispatch->streams, old, count, sizeof *dispatch->streams);
    for (size_t i = old; i < count; i++) {
        dispatch->next[i] = 0;
        dispatch->streams[i] = rng_stream(dispatch->seed, RNG_DISPATCH, (uint64_t)i);
    }
    dispatch->service_count = service_count;
}

struct dispatch *dispatch_create(struct arena *arena, enum dispatch_kind kind, int service_count,
                                 uint64_t seed)
{
    struct dispatch *dispatch = arena_alloc(arena, sizeof *dispatch);

    assert(kind < DISPATCH_COUNT && service_count >= 0);
    dispatch->kind = kind;
    dispatch->seed = seed;
    dispatch_extend(dispatch, arena, service_count);
    return dispatch;
}

static int choose_least_idle(const struct dispatch_replica *replicas, int count)
{
    int best = -1;

    for (int i = 0; i < count; i++)
        if (replicas[i].is_up && (best < 0 || replicas[i].backlog_ps < replicas[best].backlog_ps))
            best = i;
    return best;
}

static int choose_least_outstanding(const struct dispatch_replica *replicas, int count)
{
    int best = -1;

    for (int i = 0; i < count; i++)
        if (replicas[i].is_up && (best < 0 || replicas[i].outstanding < replicas[best].outstanding))
            best = i;
    return best;
}

static int choose_least_last_stage(const struct dispatch_replica *replicas, int count)
{
    int best = -1;

    for (int i = 0; i < count; i++)
        if (replicas[i].is_up &&
            (best < 0 || replicas[i].last_backlog_ps < replicas[best].last_backlog_ps))
            best = i;
    return best;
}

/* A replica that is down is passed over and does not hold up the turn of the next. Divisions are
 * left to the case that a service has fewer replicas than before. */
static int choose_round_robin(int *next, const struct dispatch_replica *replicas, int count)
{
    int i = count > 0 && *next >= count ? *next % count : *next;

    for (int step = 0; step < count; step++) {
        int chosen = i;

        i = i + 1 < count ? i + 1 : 0;
        if (!replicas[chosen].is_up)
            continue;
        *next = i;
        return chosen;
    }
    return -1;
}

static int choose_random(struct rng *stream, const struct dispatch_replica *replicas, int count)
{
    uint64_t up = 0, chosen;

    for (int i = 0; i < count; i++)
        up += replicas[i].is_up ? 1 : 0;
    if (up == 0)
        return -1;
    chosen = rng_below(stream, up);
    for (int i = 0;; i++)
        if (replicas[i].is_up && chosen-- == 0)
            return i;
}

/* Highest random weight (Thaler and Ravishankar 1998): when a replica goes down only its own
 * conversations move, and they come back when it does. */
static int choose_sticky(const struct dispatch_request *request,
                         const struct dispatch_replica *replicas, int count)
{
    uint64_t key = (uint64_t)request->request_id, kind = 0, best_weight = 0;
    int best = -1;

    if (count == 1) /* no weights to compare */
        return replicas[0].is_up ? 0 : -1;
    if (request->session >= 0) {
        key = (uint64_t)request->session;
        kind = 2;
    } else if (request->client >= 0) {
        key = (uint64_t)request->client;
        kind = 1;
    }
    for (int i = 0; i < count; i++) {
        struct rng mixed = rng_stream(key, RNG_DISPATCH, kind << 32 | (uint64_t)replicas[i].number);
        uint64_t weight = rng_next(&mixed);

        if (!replicas[i].is_up || (best >= 0 && weight <= best_weight))
            continue;
        best = i;
        best_weight = weight;
    }
    return best;
}

int dispatch_choose(struct dispatch *dispatch, int32_t service,
                    const struct dispatch_request *request, const struct dispatch_replica *replicas,
                    int count)
{
    assert(service >= 0 && service < dispatch->service_count);
    switch (dispatch->kind) {
    case DISPATCH_LEAST_IDLE:
        return choose_least_idle(replicas, count);
    case DISPATCH_ROUND_ROBIN:
        return choose_round_robin(&dispatch->next[service], replicas, count);
    case DISPATCH_LEAST_OUTSTANDING:
        return choose_least_outstanding(replicas, count);
    case DISPATCH_RANDOM:
        return choose_random(&dispatch->streams[service], replicas, count);
    case DISPATCH_STICKY:
        return choose_sticky(request, replicas, count);
    case DISPATCH_LEAST_LAST_STAGE:
        return choose_least_last_stage(replicas, count);
    case DISPATCH_COUNT:
        break;
    }
    return -1;
}
