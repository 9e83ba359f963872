/* report.h - the closing words of `run`: how good the table is, and what stood in the way. */
#ifndef ORRERY_PROFILER_REPORT_H
#define ORRERY_PROFILER_REPORT_H

#include <stdint.h>

struct arena;
struct facts;
struct out;
struct table;

struct report {
    const char *model, *cpu, *folder;
    const struct table *table;
    const struct facts *facts;
    const char *threads; /* "1,4" */
    int processes;
    int32_t period; /* of the tiles that the scout found */
    uint64_t seed;
    double elapsed_s, budget_s;
    const char *const *warnings;
    int warning_count;
};

void report_write_text(struct arena *arena, struct out *out, const struct report *report);
void report_write_json(struct arena *arena, struct out *out, const struct report *report);

#endif
