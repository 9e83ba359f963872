/* presence.h - for how long somebody was there: the time in which a count was above 0. */
#ifndef ORRERY_SIM_ENGINE_PRESENCE_H
#define ORRERY_SIM_ENGINE_PRESENCE_H

#include <stdint.h>

struct presence { /* begins with all 0 */
    int64_t count;
    int64_t since_ps;  /* while count is above 0: since when */
    int64_t active_ps; /* up to the last time that count became 0 */
};

static inline void presence_enter(struct presence *presence, int64_t now_ps)
{
    if (presence->count++ == 0)
        presence->since_ps = now_ps;
}

static inline void presence_leave(struct presence *presence, int64_t now_ps)
{
    if (--presence->count == 0)
        presence->active_ps += now_ps - presence->since_ps;
}

/* The same in closed form, of intervals in order of their begins, from_ps <= to_ps; since_ps is
 * then the end of the latest. */
static inline void presence_span(struct presence *presence, int64_t from_ps, int64_t to_ps)
{
    int64_t new_ps = presence->since_ps > from_ps ? presence->since_ps : from_ps;

    presence->active_ps += to_ps > new_ps ? to_ps - new_ps : 0;
    presence->since_ps = to_ps > presence->since_ps ? to_ps : presence->since_ps;
}

#endif
