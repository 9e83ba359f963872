/* update.h - another placement for a run that goes on: the next epoch of its plan. */
#ifndef ORRERY_RUNNER_LOAD_UPDATE_H
#define ORRERY_RUNNER_LOAD_UPDATE_H

struct serve;

/* Takes up what has been asked for, and goes on with what is under way. */
void update_look(struct serve *serve);
/* The load is over: whoever waits for an update is told that it is not taken. */
void update_end(struct serve *serve);

#endif
