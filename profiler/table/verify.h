/* verify.h - measures a few rows of a table again, by the same protocol, and compares.
 *
 * A row is outside when its change is more than 3 % and both half widths. One outside may be
 * chance: of a hundred true 95 % intervals five miss, and some products are 25 % apart from process
 * to process. More than a tenth of the rows is not; and an anchor, which is a sum of hundreds of
 * operators, moves by more than 3 % only when the machine does. */
#ifndef ORRERY_PROFILER_VERIFY_H
#define ORRERY_PROFILER_VERIFY_H

#include "lib/format/cost.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct interrupt;
struct model;
struct saved;

#define VERIFY_SLACK_RATIO 0.03
#define VERIFY_UNCLEAR_RATIO 0.10 /* an interval of now beyond this tells nothing */
#define VERIFY_OUTSIDE_PERCENT 10 /* of the rows: more is no chance */

enum verify_verdict { VERIFY_HOLDS, VERIFY_OUTSIDE, VERIFY_UNCLEAR };

struct verify_line { /* a row or an anchor of the table, and now */
    const char *what;
    bool is_anchor;
    int64_t table_ps, table_half_ps, now_ps, now_half_ps;
    double change_ratio, allowed_ratio;
    enum verify_verdict verdict;
};

struct verify { /* in */
    const struct saved *saved;
    const struct model *model;
    int row_count; /* to draw */
    uint64_t seed;
    int64_t budget_ns;
    const char *sysroot;
    struct interrupt *interrupt;
    /* out: anchors first */
    struct verify_line *lines;
    int line_count;
    int rows, rows_outside, anchors, anchors_outside, unclear;
    int processes;
};

/* False when the table has no rows of the model, the machine cannot do it, or a signal came. */
bool verify_run(struct arena *arena, struct verify *verify, struct err *err);

/* The rule above. */
enum verify_verdict verify_conclude(const struct verify *verify);

/* Change, allowance and verdict from the four times; slack: beside the half widths. */
void verify_judge(struct verify_line *line, double slack_ratio);

#endif
