/* record.h - what happened in a run, kept for the CSV traces and streamed into a Chrome trace.
 *
 * stages.csv and transfers.csv are ordered by request, so their rows are held until the end; the
 * Chrome trace and requests.csv need no such memory. */
#ifndef ORRERY_SIM_REPORT_RECORD_H
#define ORRERY_SIM_REPORT_RECORD_H

#include <stdbool.h>

struct arena;
struct out;
struct record;
struct serve_input;
struct serve_observer;
struct serve_result;

/* chrome: where a Chrome trace is to go, or NULL. */
struct record *record_create(struct arena *arena, const struct serve_input *input, bool keeps_spans,
                             bool keeps_transfers, struct out *chrome);
struct serve_observer record_observer(struct record *record);
/* Closes the Chrome trace, if there is one. */
void record_finish(struct record *record);

/* meta: a NULL-ended list of "key", "value", ... */
void record_write_requests(const struct serve_input *input, const struct serve_result *result,
                           struct out *out, const char *const *meta);
void record_write_stages(struct record *record, struct out *out, const char *const *meta);
void record_write_transfers(struct record *record, struct out *out, const char *const *meta);

#endif
