/* chrome.h - streaming writer of Chrome trace JSON, for Perfetto (https://ui.perfetto.dev), for
 * Chromium's DevTools > Performance > Load profile, and for speedscope.
 *
 * Events go out as they come: memory stays flat. Instants are cut to 1/64 us, which both six
 * decimals and a double hold exactly: slices that abut still do so in a viewer. Texts given here
 * are escaped by chrome_quote beforehand, so that the hot path copies them. */
#ifndef ORRERY_SIM_REPORT_CHROME_H
#define ORRERY_SIM_REPORT_CHROME_H

#include "lib/base/op.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct chrome;
struct out;

/* As a JSON string without its quotes; invalid bytes never occur in what CSV readers accept. */
const char *chrome_quote(struct arena *arena, const char *text);

/* origin_ps is subtracted from every instant: real traces may begin before 0. */
struct chrome *chrome_begin(struct arena *arena, struct out *out, int64_t origin_ps);
/* A process is a group of tracks: all that follows, up to the next one, belongs to it. */
void chrome_process(struct chrome *chrome, const char *name);
/* Names a track "kind name"; both are quoted. */
void chrome_track(struct chrome *chrome, int track, const char *kind, const char *name);

/* Tracks of a process: lanes of requests, which name themselves, then devices, then links. Track 0
 * means something else to Perfetto. */
#define CHROME_FIRST_LANE 1
#define CHROME_LANES 64
#define CHROME_FIRST_DEVICE (CHROME_FIRST_LANE + CHROME_LANES)

struct chrome_slice {
    int track;
    const char *service; /* quoted */
    int64_t request_id;
    int32_t stage, step; /* -1 = not known */
    enum op_phase phase; /* OP_ANY: not said */
    int64_t start_ps, finish_ps;
    bool is_lost; /* a step that never ended */
};
/* A step of a request on a device. */
void chrome_compute(struct chrome *chrome, const struct chrome_slice *slice);
/* An epoch that brings a device its slices. */
void chrome_switch(struct chrome *chrome, int track, int64_t start_ps, int64_t finish_ps);
/* A message on a link; bytes are shown. */
void chrome_message(struct chrome *chrome, const struct chrome_slice *slice, int64_t bytes);

/* Any slice: category and name are quoted; bytes -1 = none. */
void chrome_named(struct chrome *chrome, int track, const char *category, const char *name,
                  int64_t start_ps, int64_t finish_ps, int64_t bytes);

struct chrome_request {
    const char *service; /* quoted */
    const char *status;  /* plain */
    int64_t request_id;
    int64_t arrival_ps, first_token_ps, finish_ps; /* but for arrival, INT64_MIN = never came */
};
/* Where the slice of a request ends: at the last of what came. */
int64_t chrome_request_end_ps(const struct chrome_request *request);
/* A whole request, on a lane that is free from its arrival on. Lanes are fewest when requests come
 * in order of chrome_request_end_ps; one that finds all lanes taken is left out and counted. */
void chrome_request(struct chrome *chrome, const struct chrome_request *request);
/* Closes the document. */
void chrome_end(struct chrome *chrome);

#endif
