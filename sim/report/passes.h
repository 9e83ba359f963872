/* passes.h - what the steps of stages on several devices took their time for, in figures and words.
 */
#ifndef ORRERY_SIM_REPORT_PASSES_H
#define ORRERY_SIM_REPORT_PASSES_H

#include <stdint.h>

struct arena;
struct json_writer;
struct out;
struct plan;
struct serve_input;
struct sliced_stage;
struct sliced_sums;
struct serve_result;

/* One sentence: what such steps take their time for most, by how much of it, and what comes next,
 * which is never more. What limits the run: bottleneck.h. */
const char *passes_sentence(struct arena *arena, const struct sliced_sums *pass);
/* "chat/0/1", or "chat/0/1 of decode": of the stage with that id in the plan. */
const char *passes_stage_name(struct arena *arena, const struct plan *plan, int32_t id);
/* Of all steps of a stage together: how long, and how long they would be if messages were free. */
int64_t passes_time_ps(const struct sliced_stage *stage);
int64_t passes_silent_ps(const struct sliced_stage *stage);
/* What that time is made of: "45 % of it computing and 55 % messages between its devices (896
 * a step), above all ...". */
const char *passes_made_of(struct arena *arena, const struct sliced_stage *stage);
/* A table; nothing where no stage is sliced. */
void passes_text(struct arena *arena, const struct serve_input *input,
                 const struct serve_result *result, struct out *out);
/* The member "sliced_stages" of the report. */
void passes_json(struct arena *arena, const struct serve_input *input,
                 const struct serve_result *result, struct json_writer *json);

#endif
