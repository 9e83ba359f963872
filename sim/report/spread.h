/* spread.h - what `orrery-sim ops` says: text, JSON, Chrome trace. */
#ifndef ORRERY_SIM_REPORT_SPREAD_H
#define ORRERY_SIM_REPORT_SPREAD_H

struct arena;
struct inputs;
struct out;
struct spread_result;

/* At most 80 columns. */
void spread_text(const struct spread_result *result, const struct inputs *inputs, struct out *out);
/* One object; keys: sim/README.md. */
void spread_json(struct arena *arena, const struct spread_result *result,
                 const struct inputs *inputs, struct out *out);
/* A track a device and a link. Needs result->graph. */
void spread_chrome(struct arena *arena, const struct spread_result *result, struct out *out);

#endif
