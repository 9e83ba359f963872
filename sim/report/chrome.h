/* chrome.h - streaming writer of Chrome trace JSON, for Perfetto and chrome://tracing.
 *
 * Events go out as they come: memory stays flat. Timestamps are microseconds, printed as fixed
 * point from integer picoseconds. Texts given here are escaped by chrome_quote beforehand, so that
 * the hot path copies them. */
#ifndef ORRERY_SIM_REPORT_CHROME_H
#define ORRERY_SIM_REPORT_CHROME_H

#include "lib/base/op.h"
#include <stdint.h>

struct arena;
struct chrome;
struct out;

/* As a JSON string without its quotes; invalid bytes never occur in what CSV readers accept. */
const char *chrome_quote(struct arena *arena, const char *text);

/* origin_ps is subtracted from every instant: real traces may begin before 0. */
struct chrome *chrome_begin(struct arena *arena, struct out *out, int64_t origin_ps);
/* Tracks; name is quoted. A process is a group of tracks. */
void chrome_process(struct chrome *chrome, int process, const char *name);
void chrome_track(struct chrome *chrome, int process, int track, const char *name);

/* Tracks of a process: requests, then devices, then links. Track 0 means something else to
 * Perfetto. */
#define CHROME_REQUESTS 1
#define CHROME_FIRST_DEVICE 2

struct chrome_slice {
    int process, track;
    const char *service; /* quoted; the category */
    int64_t request_id;
    int32_t stage, step; /* -1 = not known */
    enum op_phase phase; /* OP_ANY: not said */
    int64_t start_ps, finish_ps;
};
/* A step of a request on a device. */
void chrome_compute(struct chrome *chrome, const struct chrome_slice *slice);
/* A message on a link; bytes are shown. */
void chrome_message(struct chrome *chrome, const struct chrome_slice *slice, int64_t bytes);
/* A whole request, as an asynchronous slice named after its service; first_token_ps may be
 * INT64_MIN for none. status is plain text. */
void chrome_request(struct chrome *chrome, const struct chrome_slice *slice, int64_t first_token_ps,
                    const char *status);
/* Closes the document. */
void chrome_end(struct chrome *chrome);

#endif
