/* chrome.c - Chrome trace events by hand: 10 times the speed of a JSON tree, at flat memory. */
#include "sim/report/chrome.h"

#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include <stdbool.h>
#include <string.h>

struct chrome {
    struct out *out;
    int64_t origin_ps;
    bool has_events;
};

const char *chrome_quote(struct arena *arena, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    char *quoted = arena_alloc(arena, 6 * strlen(text) + 1);
    size_t used = 0;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            quoted[used++] = '\\';
            quoted[used++] = *text;
        } else if (c < 0x20) {
            memcpy(quoted + used, "\\u00", 4);
            quoted[used + 4] = hex[c >> 4];
            quoted[used + 5] = hex[c & 15];
            used += 6;
        } else {
            quoted[used++] = *text;
        }
    }
    quoted[used] = '\0';
    return quoted;
}

struct chrome *chrome_begin(struct arena *arena, struct out *out, int64_t origin_ps)
{
    struct chrome *chrome = arena_alloc(arena, sizeof(*chrome));

    chrome->out = out;
    chrome->origin_ps = origin_ps;
    out_text(out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    return chrome;
}

static void event_begin(struct chrome *chrome, const char *phase, int process, int track)
{
    struct out *out = chrome->out;

    out_text(out, chrome->has_events ? ",\n{\"ph\":\"" : "\n{\"ph\":\"");
    chrome->has_events = true;
    out_text(out, phase);
    out_text(out, "\",\"pid\":");
    out_int(out, process);
    out_text(out, ",\"tid\":");
    out_int(out, track);
}

/* Picoseconds as microseconds with six decimals; a duration or an instant at or after the origin.
 */
static void put_us(struct out *out, const char *key, int64_t time_ps)
{
    int64_t fraction = time_ps % UNITS_PS_PER_US;
    char digits[7];

    out_text(out, key);
    out_int(out, time_ps / UNITS_PS_PER_US);
    if (fraction == 0)
        return;
    for (int i = 5; i >= 0; i--) {
        digits[i] = (char)('0' + fraction % 10);
        fraction /= 10;
    }
    digits[6] = '\0';
    out_char(out, '.');
    out_text(out, digits);
}

static void put_count(struct out *out, const char *key, int64_t value)
{
    out_text(out, key);
    out_int(out, value);
}

void chrome_process(struct chrome *chrome, int process, const char *name)
{
    event_begin(chrome, "M", process, 0);
    out_text(chrome->out, ",\"name\":\"process_name\",\"args\":{\"name\":\"");
    out_text(chrome->out, name);
    out_text(chrome->out, "\"}}");
    event_begin(chrome, "M", process, 0);
    put_count(chrome->out, ",\"name\":\"process_sort_index\",\"args\":{\"sort_index\":", process);
    out_text(chrome->out, "}}");
}

void chrome_track(struct chrome *chrome, int process, int track, const char *name)
{
    event_begin(chrome, "M", process, track);
    out_text(chrome->out, ",\"name\":\"thread_name\",\"args\":{\"name\":\"");
    out_text(chrome->out, name);
    out_text(chrome->out, "\"}}");
    event_begin(chrome, "M", process, track);
    put_count(chrome->out, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":", track);
    out_text(chrome->out, "}}");
}

/* What compute and message slices share, up to the open args object. */
static void slice_begin(struct chrome *chrome, const struct chrome_slice *slice)
{
    struct out *out = chrome->out;

    event_begin(chrome, "X", slice->process, slice->track);
    out_text(out, ",\"cat\":\"");
    out_text(out, slice->service);
    put_us(out, "\",\"ts\":", slice->start_ps - chrome->origin_ps);
    put_us(out, ",\"dur\":", slice->finish_ps - slice->start_ps);
    put_count(out, ",\"name\":\"r", slice->request_id);
}

static void slice_args(struct chrome *chrome, const struct chrome_slice *slice)
{
    put_count(chrome->out, "\",\"args\":{\"request\":", slice->request_id);
    if (slice->stage >= 0)
        put_count(chrome->out, ",\"stage\":", slice->stage);
    if (slice->step >= 0)
        put_count(chrome->out, ",\"step\":", slice->step);
}

void chrome_compute(struct chrome *chrome, const struct chrome_slice *slice)
{
    struct out *out = chrome->out;

    slice_begin(chrome, slice);
    if (slice->phase != OP_ANY) {
        out_char(out, ' ');
        out_text(out, op_phase_name(slice->phase));
    }
    if (slice->phase == OP_DECODE && slice->step >= 0)
        put_count(out, " ", slice->step);
    else if (slice->phase == OP_ANY && slice->stage >= 0)
        put_count(out, " stage ", slice->stage);
    slice_args(chrome, slice);
    out_text(out, "}}");
}

void chrome_message(struct chrome *chrome, const struct chrome_slice *slice, int64_t bytes)
{
    slice_begin(chrome, slice);
    slice_args(chrome, slice);
    put_count(chrome->out, ",\"bytes\":", bytes);
    out_text(chrome->out, "}}");
}

/* Asynchronous events of one process and id form one slice. */
static void async_event(struct chrome *chrome, const struct chrome_slice *slice, const char *phase,
                        const char *name, int64_t time_ps)
{
    struct out *out = chrome->out;

    event_begin(chrome, phase, slice->process, slice->track);
    put_count(out, ",\"cat\":\"request\",\"id2\":{\"local\":\"", slice->request_id);
    out_text(out, "\"},\"name\":\"");
    out_text(out, name);
    put_us(out, "\",\"ts\":", time_ps - chrome->origin_ps);
}

void chrome_request(struct chrome *chrome, const struct chrome_slice *slice, int64_t first_token_ps,
                    const char *status)
{
    struct out *out = chrome->out;

    async_event(chrome, slice, "b", slice->service, slice->start_ps);
    put_count(out, ",\"args\":{\"request\":", slice->request_id);
    out_text(out, ",\"status\":\"");
    out_text(out, status);
    out_text(out, "\"}}");
    if (first_token_ps != INT64_MIN) {
        async_event(chrome, slice, "n", "first token", first_token_ps);
        out_char(out, '}');
    }
    async_event(chrome, slice, "e", slice->service, slice->finish_ps);
    out_char(out, '}');
}

void chrome_end(struct chrome *chrome)
{
    out_text(chrome->out, "\n]}\n");
}
