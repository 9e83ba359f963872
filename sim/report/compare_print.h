/* compare_print.h - "predicted X, measured Y, error Z", for people and for programs. */
#ifndef ORRERY_SIM_REPORT_COMPARE_PRINT_H
#define ORRERY_SIM_REPORT_COMPARE_PRINT_H

struct arena;
struct compare;
struct compare_stages;
struct compare_usage;
struct out;

struct compare_report {
    const struct compare *requests;
    const struct compare_stages *stages;     /* NULL, and usage too: not compared */
    const struct compare_stages *all_stages; /* with the excluded requests; NULL: there are none */
    const struct compare_usage *usage;
};

/* Tables of at most 80 columns. */
void compare_text(const struct compare_report *report, struct out *out);
/* One object; what does not exist is null. */
void compare_json(struct arena *arena, const struct compare_report *report, struct out *out);

#endif
