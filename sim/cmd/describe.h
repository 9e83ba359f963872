/* describe.h - prints what a workload looks like, for `generate --describe` and `workload`. */
#ifndef ORRERY_SIM_CMD_DESCRIBE_H
#define ORRERY_SIM_CMD_DESCRIBE_H

#include <stdbool.h>

struct arena;
struct out;
struct workload;

/* Text in the characters of the user's locale, or one JSON object. */
void describe_print(struct arena *arena, const struct workload *workload, bool is_json,
                    struct out *out);

#endif
