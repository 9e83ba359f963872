/* refused.h - how many requests were refused, or failed, and why. */
#ifndef ORRERY_SIM_REPORT_REFUSED_H
#define ORRERY_SIM_REPORT_REFUSED_H

#include "sim/serve/serve.h"

struct json_writer;

/* What a report says of one reason; NULL when nobody was refused for it. */
const char *refused_text(struct arena *arena, const struct serve_result *result,
                         enum serve_refusal why);
const char *failed_text(struct arena *arena, const struct serve_result *result,
                        enum serve_failure why);
/* "refused_for" and "failed_for": how many for each reason. */
void refused_json(const struct serve_result *result, struct json_writer *json);

#endif
