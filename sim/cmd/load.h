/* load.h - the options that describe requests, shared by the commands that make them as two argp
 * children: load_argp for what any load has, load_open_argp for open arrivals. */
#ifndef ORRERY_SIM_CMD_LOAD_H
#define ORRERY_SIM_CMD_LOAD_H

#include "lib/base/cli.h"
#include "sim/generate/generate.h"

/* Options whose text is needed after parsing: to read what they name, and for metadata, which has
 * them in this order. */
enum load_text {
    LOAD_CLIENTS,
    LOAD_PROCESS,
    LOAD_RATE,
    LOAD_DURATION,
    LOAD_CV,
    LOAD_SHAPE,
    LOAD_DWELL,
    LOAD_STATES,
    LOAD_MMPP,
    LOAD_PROFILE,
    LOAD_PERIOD,
    LOAD_REPLAY,
    LOAD_TIME_SCALE,
    LOAD_THINK,
    LOAD_TURNS,
    LOAD_SESSIONS,
    LOAD_MAX_CONTEXT,
    LOAD_REQUESTS,
    LOAD_SERVICE,
    LOAD_SERVICES,
    LOAD_SPLIT,
    LOAD_MERGED,
    LOAD_PROMPT,
    LOAD_OUTPUT,
    LOAD_ITEMS,
    LOAD_TEXT_COUNT
};

#define LOAD_MAX_OFS 64

struct inputs;

struct load {
    struct arena *arena; /* set by the caller before parsing */
    struct generate_options options;
    const char *texts[LOAD_TEXT_COUNT]; /* as typed, NULL = not given */
    bool has_shares;                    /* a --service came with a share */
    /* Set by the caller: --service may be NAME=OF[:SHARE], and ofs has the OF of each service as
     * they were given, NULL = none. */
    bool takes_ofs;
    const char *ofs[LOAD_MAX_OFS];
};

/* Their parsers' input is a struct load. load_argp has the group of options 2, "Requests:"; a
 * command that takes both gives load_open_argp its place: { &load_open_argp, 0, "", 3 }. */
extern const struct argp load_argp;
extern const struct argp load_open_argp;
/* Any of their options but --seed was given. */
bool load_is_given(const struct load *load);
/* The first option of load_open_argp that was given, NULL = none: "rate". */
const char *load_open_option(const struct load *load);
/* --process was given, or what stands in its place: --states, --mmpp, --replay. */
bool load_has_process(const struct load *load);
/* After parsing: reads what the options name, and checks that they go together. */
bool load_finish(struct load *load, struct err *err);
/* Names the files that load_finish read. */
bool load_inputs(const struct load *load, struct inputs *inputs, struct err *err);
/* Appends "key", "value" of every option that was given, but for the seed, to meta[*count]. */
#define LOAD_META_COUNT (2 * LOAD_TEXT_COUNT)
void load_meta(const struct load *load, const char **meta, int *count);

/* A time scale such as 0.25: above 0, at most 10^6, in units of 1 / GENERATE_SCALE_UNIT. */
#define LOAD_SCALE_EXPECTED "expected a number of at most nine decimals, above 0 and up to 10^6"
bool load_parse_scale(const char *text, int64_t *scale);

#endif
