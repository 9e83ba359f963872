/* source.h - the stream of arrivals: open, closed-loop and session requests, without a clock.
 *
 * The simulator asks under simulated time and the runner under real time; which request arrives
 * when is decided here alone. Columns: workloads/README.md. The rules:
 * - A row with an arrival arrives then. Exception: a later turn of a session arrives at the later
 *   of its arrival and the end of the turn before it (the session's previous row) plus its think.
 * - A row without an arrival arrives when its client's previous row (with an arrival or not) and
 *   its session's previous row, whichever exist, have both ended, plus its think once. If neither
 *   exists it arrives at its think.
 * - A row with an arrival does not wait for its client, only for its session.
 * Ties: rows with an arrival that waited for nobody first, then the others; each in file order. */
#ifndef ORRERY_POLICY_SOURCE_H
#define ORRERY_POLICY_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct source;
struct workload;

#define SOURCE_NEVER INT64_MAX

/* workload must outlive the source. */
struct source *source_create(struct arena *arena, const struct workload *workload);
/* Instant of the next arrival that is already known, or SOURCE_NEVER. */
int64_t source_peek_ps(const struct source *source);
/* Takes it: index of the request in the workload; *arrival_ps is its intended arrival. Must not be
 * called when source_peek_ps is SOURCE_NEVER. */
size_t source_take(struct source *source, int64_t *arrival_ps);
/* A taken request has ended (finished, dropped, refused or failed) at now_ps: may make the next
 * request of its client or session known. */
void source_ended(struct source *source, size_t request, int64_t now_ps);
/* Requests not yet taken. */
size_t source_left(const struct source *source);

#endif
