/* chrome.c - Chrome trace events by hand: 10 times the speed of a JSON tree, at flat memory. */
#include "sim/report/chrome.h"

#include "lib/base/arena.h"
#include "lib/base/digits.h"
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

/* Room for one event beside the texts in it that others chose. */
#define EVENT_BYTES 512

/* Everything below puts an event where it goes, piece by piece (lib/base/digits.h). */
static char *event_begin(struct chrome *chrome, const char *type, int track, size_t text_bytes)
{
    char *at = out_room(chrome->out, EVENT_BYTES + text_bytes);

    if (chrome->has_events)
        *at++ = ',';
    chrome->has_events = true;
    at = digits_text(digits_text(at, "\n{\"ph\":\""), type);
    at = digits_put_int(digits_text(at, "\",\"pid\":"), chrome->process);
    return digits_put_int(digits_text(at, ",\"tid\":"), track);
}

static void event_end(struct chrome *chrome, char *at)
{
    out_took(chrome->out, at);
}

static inline char *put_count(char *at, const char *key, int64_t value)
{
    return digits_put_int(digits_text(at, key), value);
}

static inline char *put_text(char *at, const char *key, const char *text)
{
    return digits_text(digits_text(at, key), text);
}

/* Ticks as microseconds: exact, as 1/64 has six decimals. */
static inline char *put_us(char *at, const char *key, int64_t ticks)
{
    int64_t whole = ticks / 64, rest = ticks % 64;

    at = put_count(at, key, whole);
    if (rest == 0)
        return at;
    *at++ = '.';
    return digits_put_fixed(at, (uint64_t)(rest * TICK_PS), 6);
}

void chrome_process(struct chrome *chrome, const char *name)
{
    char *at;

    chrome->process++;
    chrome->lane_count = 0;
    at = event_begin(chrome, "M", 0, strlen(name));
    at = put_text(at, ",\"name\":\"process_name\",\"args\":{\"name\":\"", name);
    event_end(chrome, digits_text(at, "\"}}"));
    at = event_begin(chrome, "M", 0, 0);
    at = put_count(at,
                   ",\"name\":\"process_sort_index\",\"args\":{\"sort_index\":", chrome->process);
    event_end(chrome, digits_text(at, "}}"));
}

void chrome_track(struct chrome *chrome, int track, const char *kind, const char *name)
{
    char *at = event_begin(chrome, "M", track, 0);

    at = put_count(at, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":", track);
    event_end(chrome, digits_text(at, "}}"));
    at = event_begin(chrome, "M", track, strlen(kind) + strlen(name));
    at = put_text(at, ",\"name\":\"thread_name\",\"args\":{\"name\":\"", kind);
    at = put_text(at, " ", name);
    event_end(chrome, digits_text(at, "\"}}"));
}

/* Up to the open name, which is to be short: most slices are narrow. */
static char *slice_begin(struct chrome *chrome, int track, const char *category, int64_t start,
                         int64_t finish, size_t text_bytes)
{
    char *at = event_begin(chrome, "X", track, strlen(category) + text_bytes);

    at = put_text(at, ",\"cat\":\"", category);
    at = put_us(at, "\",\"ts\":", start);
    at = put_us(at, ",\"dur\":", finish - start);
    return digits_text(at, ",\"name\":\"");
}

static char *step_begin(struct chrome *chrome, const struct chrome_slice *slice,
                        const char *category)
{
    char *at = slice_begin(chrome, slice->track, category, tick_of(chrome, slice->start_ps),
                           tick_of(chrome, slice->finish_ps), strlen(slice->service));

    return put_count(at, "r", slice->request_id);
}

/* Closes the name; leaves args open. */
static char *step_args(char *at, const struct chrome_slice *slice)
{
    at = put_count(at, "\",\"args\":{\"request\":", slice->request_id);
    at = put_text(at, ",\"service\":\"", slice->service);
    *at++ = '"';
    if (slice->stage >= 0)
        at = put_count(at, ",\"stage\":", slice->stage);
    if (slice->step >= 0)
        at = put_count(at, ",\"step\":", slice->step);
    return at;
}

void chrome_compute(struct chrome *chrome, const struct chrome_slice *slice)
{
    const char *phase = slice->phase == OP_ANY ? "compute" : op_phase_name(slice->phase);
    char *at = step_begin(chrome, slice, phase);

    if (slice->phase == OP_DECODE && slice->step >= 0)
        at = put_count(at, " d", slice->step);
    else if (slice->phase != OP_ANY)
        at = put_text(at, " ", phase);
    else if (slice->stage >= 0)
        at = put_count(at, " s", slice->stage);
    at = step_args(at, slice);
    event_end(chrome, digits_text(at, slice->is_lost ? ",\"lost\":true}}" : "}}"));
}

void chrome_switch(struct chrome *chrome, int track, int64_t start_ps, int64_t finish_ps)
{
    char *at = slice_begin(chrome, track, "switch", tick_of(chrome, start_ps),
                           tick_of(chrome, finish_ps), 0);

    event_end(chrome, digits_text(at, "switch\",\"args\":{}}"));
}

void chrome_message(struct chrome *chrome, const struct chrome_slice *slice, int64_t bytes)
{
    char *at = step_begin(chrome, slice, "message");

    at = step_args(put_count(at, " step ", slice->step), slice);
    at = put_count(at, ",\"bytes\":", bytes);
    event_end(chrome, digits_text(at, "}}"));
}

void chrome_named(struct chrome *chrome, int track, const char *category, const char *name,
                  int64_t start_ps, int64_t finish_ps, int64_t bytes)
{
    char *at = slice_begin(chrome, track, category, tick_of(chrome, start_ps),
                           tick_of(chrome, finish_ps), strlen(name));

    at = digits_text(at, name);
    if (bytes >= 0)
        at = put_count(at, "\",\"args\":{\"bytes\":", bytes);
    event_end(chrome, digits_text(at, bytes >= 0 ? "}}" : "\"}"));
}

/* Of the lanes that are free at start, the one used last: in order of ends that takes the fewest
 * lanes. -1 when there is none. */
static int lane_take(struct chrome *chrome, int64_t start, int64_t end)
{
    char number[DIGITS_MAX_BYTES + 1];
    int best = -1;

    for (int i = 0; i < chrome->lane_count; i++)
        if (chrome->lane_ends[i] <= start &&
            (best < 0 || chrome->lane_ends[i] > chrome->lane_ends[best]))
            best = i;
    if (best < 0) {
        if (chrome->lane_count == CHROME_LANES)
            return -1;
        best = chrome->lane_count++;
        *digits_put_int(number, best + 1) = '\0';
        chrome_track(chrome, CHROME_FIRST_LANE + best, "requests", number);
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
    int64_t start = tick_of(chrome, request->arrival_ps);
    int64_t end = tick_of(chrome, chrome_request_end_ps(request));
    int lane = lane_take(chrome, start, end);
    char *at;

    if (lane < 0) {
        chrome->left_out++;
        return;
    }
    at = slice_begin(chrome, CHROME_FIRST_LANE + lane, "request", start, end,
                     2 * strlen(request->service) + strlen(request->status));
    at = put_count(at, "r", request->request_id);
    at = put_text(at, " ", request->service);
    at = put_count(at, "\",\"args\":{\"request\":", request->request_id);
    at = put_text(at, ",\"service\":\"", request->service);
    at = put_text(at, "\",\"status\":\"", request->status);
    event_end(chrome, digits_text(at, "\"}}"));
    if (request->first_token_ps < request->arrival_ps)
        return;
    at = slice_begin(chrome, CHROME_FIRST_LANE + lane, "request", start,
                     tick_of(chrome, request->first_token_ps), 0);
    at = put_count(at, "to first token\",\"args\":{\"request\":", request->request_id);
    event_end(chrome, digits_text(at, "}}"));
}

void chrome_end(struct chrome *chrome)
{
    out_text(chrome->out, "\n],\"otherData\":{\"requests_left_out\":");
    out_int(chrome->out, chrome->left_out);
    out_text(chrome->out, "}}\n");
}
