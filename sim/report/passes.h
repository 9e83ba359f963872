/* passes.h - what the steps of stages on several devices took their time for, in figures and words.
 */
#ifndef ORRERY_SIM_REPORT_PASSES_H
#define ORRERY_SIM_REPORT_PASSES_H

struct arena;
struct json_writer;
struct out;
struct serve_input;
struct sliced_sums;
struct serve_result;

/* One sentence: what such steps take their time for most, by how much of it, and what comes next,
 * which is never more. What limits the run: bottleneck.h. */
const char *passes_sentence(struct arena *arena, const struct sliced_sums *pass);
/* A table; nothing where no stage is sliced. */
void passes_text(struct arena *arena, const struct serve_input *input,
                 const struct serve_result *result, struct out *out);
/* The member "sliced_stages" of the report. */
void passes_json(struct arena *arena, const struct serve_input *input,
                 const struct serve_result *result, struct json_writer *json);

#endif
