/* phases.c - the table of phases, for people and for programs. */
#include "sim/report/phases.h"

#include "lib/base/dmath.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"

void phases_text(const struct phases *phases, struct out *out)
{
    out_printf(out, "\n%-24s%-24s%14s%14s\n", "service", "phase of a step", "mean", "share");
    for (int i = 0; i < phases->count; i++) {
        const struct phases_row *row = &phases->rows[i];
        char mean[UNITS_TEXT_BYTES];
        int64_t mean_ps = dmath_round(row->mean_s * (double)UNITS_PS_PER_S);

        out_column(out, row->service, 23);
        out_char(out, ' ');
        out_column(out, row->phase, 23);
        out_printf(out, " %14s%12.2f %%\n", units_format_human(mean_ps, mean),
                   100 * row->share_ratio);
    }
}

void phases_json(const struct phases *phases, struct json_writer *json)
{
    json_begin_array(json, "phases");
    for (int i = 0; i < phases->count; i++) {
        const struct phases_row *row = &phases->rows[i];

        json_begin_object(json, NULL);
        json_put_text(json, "service", row->service);
        json_put_text(json, "phase", row->phase);
        json_put_double(json, "mean_s", row->mean_s);
        json_put_double(json, "share_ratio", row->share_ratio);
        json_end_object(json);
    }
    json_end_array(json);
}
