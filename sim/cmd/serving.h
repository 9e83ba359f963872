/* serving.h - the options that say how requests are served and which of them are good, shared by
 * the commands that simulate as an argp child: dispatch, batches, caches, links, objectives. */
#ifndef ORRERY_SIM_CMD_SERVING_H
#define ORRERY_SIM_CMD_SERVING_H

#include "lib/base/cli.h"
#include "sim/report/metrics.h"
#include "sim/serve/serve.h"
#include <stdbool.h>

struct err;
struct model;

struct serving {
    struct serve_options *serve; /* what they fill: the caller's */
    struct metrics_options *metrics;
    const char *kv_option;            /* one that is of continuous batches alone; NULL: none */
    const char *dispatch, *admission; /* as typed, NULL = not given */
};

/* Its parser's input is a struct serving. Options are of the group 3, "Rules:" of `run`; a command
 * gives it a place of its own by { &serving_argp, 0, "Title:", N }. */
extern const struct argp serving_argp;
/* The defaults of all of serve_options. */
struct serve_options serving_defaults(void);
/* At the end of the command line: options that do not go together. */
void serving_check_end(const struct argp_state *state, const struct serving *serving);
/* After loading: what was asked for and could change nothing is a mistake of who asked.
 * has_objective: requests may have a slo_s of their own. Models: NULL is an executable. */
bool serving_check(const struct serving *serving, const struct model *const *models, int count,
                   bool has_objective, struct err *err);

#endif
