/* records.h - what workers have told of steps and messages, until the tables are written. */
#ifndef ORRERY_RUNNER_RECORDS_H
#define ORRERY_RUNNER_RECORDS_H

struct arena;
struct serve_exchange;
struct serve_record;
struct serve_run;

void records_keep(struct arena *arena, struct serve_run *run, const struct serve_record *record);
void records_keep_result(struct arena *arena, struct serve_run *run,
                         const struct serve_record *result);
void records_keep_exchange(struct arena *arena, struct serve_run *run,
                           const struct serve_exchange *exchange);
/* By request, step, stage, and what comes first there. */
void records_sort(struct serve_run *run);

#endif
