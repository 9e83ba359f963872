/* load.h - the options that describe requests, shared by generate and run as an argp child. */
#ifndef ORRERY_SIM_CMD_LOAD_H
#define ORRERY_SIM_CMD_LOAD_H

#include "lib/base/cli.h"
#include "sim/generate/generate.h"

struct load {
    struct arena *arena; /* set by the caller before parsing */
    struct generate_options options;
    const char *think, *prompt, *output; /* as typed, NULL = not given */
};

/* Its parser's input is a struct load. */
extern const struct argp load_argp;
/* After parsing: turns the DIST texts into distributions. */
bool load_finish(struct load *load, struct err *err);

#endif
