/* run_kafetzis.h - orrery-sim run --rules kafetzis: sim/kafetzis' steps, one request at a time.
 *
 * Requests take all devices of their replica from start to finish, in order of arrival; of several
 * replicas the one that is free first, ties to the first in the file. Step 0 gives the first token,
 * each further step one more. */
#ifndef ORRERY_SIM_CMD_RUN_KAFETZIS_H
#define ORRERY_SIM_CMD_RUN_KAFETZIS_H

#include <stdbool.h>

struct arena;
struct err;
struct phases;
struct run_kafetzis;
struct run_settings;
struct scenario;
struct serve_observer;
struct serve_result;

/* Reads what scenario_load would and no costs, and fills scenario for the reports: its plan has
 * services, replicas and devices, but no slices. Options that these rules do not know are errors.
 * NULL on failure. */
struct run_kafetzis *run_kafetzis_load(struct arena *arena, const struct run_settings *settings,
                                       struct scenario *scenario, struct err *err);
/* In place of serve_run; observer hears of the ends of requests. */
bool run_kafetzis_serve(struct run_kafetzis *run, const struct serve_observer *observer,
                        struct serve_result *result, struct err *err);
/* Of the steps that were served. */
const struct phases *run_kafetzis_phases(const struct run_kafetzis *run);

#endif
