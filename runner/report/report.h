/* report.h - what a run leaves: requests.csv, stages.csv, transfers.csv and the summary. */
#ifndef ORRERY_RUNNER_REPORT_H
#define ORRERY_RUNNER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct fleet;
struct out;
struct plan;
struct serve_exchange;
struct serve_record;
struct serve_run;
struct workload;

#define REPORT_PARTIAL ".partial" /* behind the name of a table: partial.h */

struct report_input {
    const struct plan *plan;
    const struct workload *workload;
    const int32_t *service_of;
    const struct fleet *fleet;
    const struct serve_run *run;
    const char *const *meta; /* NULL-ended list of "key", "value", ... */
    uint64_t seed;
};

void report_requests(const struct report_input *input, struct out *out);
void report_stages(const struct report_input *input, struct out *out);
void report_transfers(const struct report_input *input, struct out *out);

/* One row each; a record's is left out when it has not computed, a transfer's when it goes nowhere.
 */
void report_request(const struct report_input *input, size_t index, bool has_epoch,
                    struct out *out);
void report_stage(const struct report_input *input, const struct serve_record *record,
                  struct out *out);
void report_input_transfer(const struct report_input *input, const struct serve_record *record,
                           struct out *out);
void report_exchange_transfer(const struct report_input *input,
                              const struct serve_exchange *exchange, struct out *out);
void report_result_transfer(const struct report_input *input, const struct serve_record *result,
                            struct out *out);

/* One table for people, or one JSON object. */
void report_summary(struct arena *arena, const struct report_input *input, bool is_json,
                    struct out *out);

#endif
