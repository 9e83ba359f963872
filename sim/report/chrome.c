/* chrome.c - Chrome trace events by hand: 10 times the speed of a JSON tree, at flat memory. */
#include "sim/report/chrome.h"

#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include <stdbool.h>
#include <string.h>

#define TICK_PS (UNITS_PS_PER_US / 64)

struct chrome {
    struct out *out;
    int64_t origin_ps;
    bool has_events;
    int process;
    int lane_count;
    int64_t lane_ends[CHROME_LANES]; /* ticks; the last slice of each lane */
    int64_t left_out;
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

static int64_t tick_of(const struct chrome *chrome, int64_t time_ps)
{
    return (time_ps - chrome->origin_ps) / TICK_PS;
}

static void event_begin(struct chrome *chrome, const char *type, int track)
{
    struct out *out = chrome->out;

    out_text(out, chrome->has_events ? ",\n{\"ph\":\"" : "\n{\"ph\":\"");
    chrome->has_events = true;
    out_text(out, type);
    out_text(out, "\",\"pid\":");
    out_int(out, chrome->process);
    out_text(out, ",\"tid\":");
    out_int(out, track);
}

/* Ticks as microseconds: exact, as 1/64 has six decimals. */
static void put_us(struct out *out, const char *key, int64_t ticks)
{
    int64_t fraction = ticks % 64 * TICK_PS;
    char digits[7];

    out_text(out, key);
    out_int(out, ticks / 64);
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

static void put_text(struct out *out, const char *key, const char *text)
{
    out_text(out, key);
    out_text(out, text);
}

void chrome_process(struct chrome *chrome, const char *name)
{
    chrome->process++;
    chrome->lane_count = 0;
    event_begin(chrome, "M", 0);
    put_text(chrome->out, ",\"name\":\"process_name\",\"args\":{\"name\":\"", name);
    out_text(chrome->out, "\"}}");
    event_begin(chrome, "M", 0);
    put_count(chrome->out,
              ",\"name\":\"process_sort_index\",\"args\":{\"sort_index\":", chrome->process);
    out_text(chrome->out, "}}");
}

static void track_name(struct chrome *chrome, int track, const char *kind)
{
    event_begin(chrome, "M", track);
    put_count(chrome->out, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":", track);
    out_text(chrome->out, "}}");
    event_begin(chrome, "M", track);
    put_text(chrome->out, ",\"name\":\"thread_name\",\"args\":{\"name\":\"", kind);
    out_char(chrome->out, ' ');
}

void chrome_track(struct chrome *chrome, int track, const char *kind, const char *name)
{
    track_name(chrome, track, kind);
    put_text(chrome->out, name, "\"}}");
}

/* Up to the open name, which is to be short: most slices are narrow. */
static void slice_begin(struct chrome *chrome, int track, const char *category, int64_t start,
                        int64_t finish)
{
    struct out *out = chrome->out;

    event_begin(chrome, "X", track);
    put_text(out, ",\"cat\":\"", category);
    put_us(out, "\",\"ts\":", start);
    put_us(out, ",\"dur\":", finish - start);
    out_text(out, ",\"name\":\"");
}

static void step_begin(struct chrome *chrome, const struct chrome_slice *slice,
                       const char *category)
{
    slice_begin(chrome, slice->track, category, tick_of(chrome, slice->start_ps),
                tick_of(chrome, slice->finish_ps));
    put_count(chrome->out, "r", slice->request_id);
}

/* Closes the name; leaves args open. */
static void step_args(struct chrome *chrome, const struct chrome_slice *slice)
{
    put_count(chrome->out, "\",\"args\":{\"request\":", slice->request_id);
    put_text(chrome->out, ",\"service\":\"", slice->service);
    out_char(chrome->out, '"');
    if (slice->stage >= 0)
        put_count(chrome->out, ",\"stage\":", slice->stage);
    if (slice->step >= 0)
        put_count(chrome->out, ",\"step\":", slice->step);
}

void chrome_compute(struct chrome *chrome, const struct chrome_slice *slice)
{
    struct out *out = chrome->out;
    const char *phase = slice->phase == OP_ANY ? "compute" : op_phase_name(slice->phase);

    step_begin(chrome, slice, phase);
    if (slice->phase == OP_DECODE && slice->step >= 0)
        put_count(out, " d", slice->step);
    else if (slice->phase != OP_ANY)
        put_text(out, " ", phase);
    else if (slice->stage >= 0)
        put_count(out, " s", slice->stage);
    step_args(chrome, slice);
    out_text(out, slice->is_lost ? ",\"lost\":true}}" : "}}");
}

void chrome_switch(struct chrome *chrome, int track, int64_t start_ps, int64_t finish_ps)
{
    slice_begin(chrome, track, "switch", tick_of(chrome, start_ps), tick_of(chrome, finish_ps));
    out_text(chrome->out, "switch\",\"args\":{}}");
}

void chrome_message(struct chrome *chrome, const struct chrome_slice *slice, int64_t bytes)
{
    step_begin(chrome, slice, "message");
    put_count(chrome->out, " step ", slice->step);
    step_args(chrome, slice);
    put_count(chrome->out, ",\"bytes\":", bytes);
    out_text(chrome->out, "}}");
}

void chrome_named(struct chrome *chrome, int track, const char *category, const char *name,
                  int64_t start_ps, int64_t finish_ps, int64_t bytes)
{
    slice_begin(chrome, track, category, tick_of(chrome, start_ps), tick_of(chrome, finish_ps));
    out_text(chrome->out, name);
    if (bytes >= 0)
        put_count(chrome->out, "\",\"args\":{\"bytes\":", bytes);
    out_text(chrome->out, bytes >= 0 ? "}}" : "\"}");
}

/* Of the lanes that are free at start, the one used last: in order of ends that takes the fewest
 * lanes. -1 when there is none. */
static int lane_take(struct chrome *chrome, int64_t start, int64_t end)
{
    int best = -1;

    for (int i = 0; i < chrome->lane_count; i++)
        if (chrome->lane_ends[i] <= start &&
            (best < 0 || chrome->lane_ends[i] > chrome->lane_ends[best]))
            best = i;
    if (best < 0) {
        if (chrome->lane_count == CHROME_LANES)
            return -1;
        best = chrome->lane_count++;
        track_name(chrome, CHROME_FIRST_LANE + best, "requests");
        put_count(chrome->out, "", best + 1);
        out_text(chrome->out, "\"}}");
    }
    chrome->lane_ends[best] = end;
    return best;
}

int64_t chrome_request_end_ps(const struct chrome_request *request)
{
    int64_t end_ps = request->arrival_ps;

    if (request->first_token_ps > end_ps)
        end_ps = request->first_token_ps;
    return request->finish_ps > end_ps ? request->finish_ps : end_ps;
}

void chrome_request(struct chrome *chrome, const struct chrome_request *request)
{
    struct out *out = chrome->out;
    int64_t start = tick_of(chrome, request->arrival_ps);
    int64_t end = tick_of(chrome, chrome_request_end_ps(request));
    int lane = lane_take(chrome, start, end);

    if (lane < 0) {
        chrome->left_out++;
        return;
    }
    slice_begin(chrome, CHROME_FIRST_LANE + lane, "request", start, end);
    put_count(out, "r", request->request_id);
    put_text(out, " ", request->service);
    put_count(out, "\",\"args\":{\"request\":", request->request_id);
    put_text(out, ",\"service\":\"", request->service);
    put_text(out, "\",\"status\":\"", request->status);
    out_text(out, "\"}}");
    if (request->first_token_ps < request->arrival_ps)
        return;
    slice_begin(chrome, CHROME_FIRST_LANE + lane, "request", start,
                tick_of(chrome, request->first_token_ps));
    put_count(out, "to first token\",\"args\":{\"request\":", request->request_id);
    out_text(out, "}}");
}

void chrome_end(struct chrome *chrome)
{
    put_count(chrome->out, "\n],\"otherData\":{\"requests_left_out\":", chrome->left_out);
    out_text(chrome->out, "}}\n");
}
