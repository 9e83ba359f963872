/* phases.h - where the time of a step goes, for rules that know phases: --rules kafetzis. */
#ifndef ORRERY_SIM_REPORT_PHASES_H
#define ORRERY_SIM_REPORT_PHASES_H

struct json_writer;
struct out;

struct phases_row {
    const char *service, *phase;
    double mean_s;      /* of a step, over all steps of the service */
    double share_ratio; /* of the time of its steps */
};

struct phases { /* rows by service, in order of the phases */
    int count;
    struct phases_row *rows;
};

void phases_text(const struct phases *phases, struct out *out);
/* The member "phases" of the report. */
void phases_json(const struct phases *phases, struct json_writer *json);

#endif
