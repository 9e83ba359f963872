/* sessions.h - conversations of several turns: each prompt holds all that was said before. */
#ifndef ORRERY_SIM_GENERATE_SESSIONS_H
#define ORRERY_SIM_GENERATE_SESSIONS_H

struct arena;
struct err;
struct generate_options;
struct workload;

/* Conversations begin by the process of the options; the turns of each follow its first one in the
 * file, and wait for one another. */
struct workload *sessions_open(struct arena *arena, const struct generate_options *options,
                               struct err *err);
/* Each client holds one conversation after the other; turns of clients alternate in the file. */
struct workload *sessions_closed(struct arena *arena, const struct generate_options *options,
                                 struct err *err);

#endif
