/* counters_fake.c - counters that do what a script says, so that every failure can be tested.
 *
 * FILE is a CSV: counter,add,start,stop,value. add is 0 (it fits), -1 (no room at once) or any
 * other negative code (never there); start and stop are codes of the whole set, the most negative
 * of the opened counters wins; an empty value leaves the sentinel untouched. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "profiler/counters/counters.h"

enum { COL_COUNTER, COL_ADD, COL_START, COL_STOP, COL_VALUE, COL_COUNT };

#define CODE_NO_ROOM (-1)

struct script_line {
    bool is_there, was_opened;
    int32_t add, start, stop;
    int64_t value; /* COUNTERS_SENTINEL: not touched */
};

struct script {
    struct arena *arena;
    struct script_line lines[COST_COUNTER_COUNT];
    unsigned opened;
};

/* A counter without room is alone in its pass: it fits when nothing else does. */
static unsigned fake_open(struct counters *counters, unsigned wanted)
{
    struct script *script = counters->state;

    script->opened = 0;
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (wanted >> c & 1u && script->lines[c].is_there && script->lines[c].add == 0)
            script->opened |= 1u << c;
    for (int c = 0; c < COST_COUNTER_COUNT && !script->opened; c++)
        if (wanted >> c & 1u && script->lines[c].add == CODE_NO_ROOM)
            script->opened = 1u << c;
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        script->lines[c].was_opened = script->lines[c].was_opened || script->opened >> c & 1u;
    return script->opened;
}

static int fake_start(struct counters *counters)
{
    const struct script *script = counters->state;
    int code = 0;

    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (script->opened >> c & 1u && script->lines[c].start < code)
            code = script->lines[c].start;
    return code;
}

static int fake_stop(struct counters *counters, int64_t values[COST_COUNTER_COUNT])
{
    const struct script *script = counters->state;
    int code = 0;

    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        if (!(script->opened >> c & 1u))
            continue;
        if (script->lines[c].value != COUNTERS_SENTINEL)
            values[c] = script->lines[c].value;
        if (script->lines[c].stop < code)
            code = script->lines[c].stop;
    }
    return code;
}

static void fake_close(struct counters *counters)
{
    ((struct script *)counters->state)->opened = 0;
}

static const char *fake_reason(struct counters *counters, enum cost_counter counter)
{
    const struct script *script = counters->state;
    const struct script_line *line = &script->lines[counter];

    if (!line->is_there)
        return "fake:not_in_script";
    if (line->add < 0 && line->add != CODE_NO_ROOM)
        return arena_printf(script->arena, "fake:%d:add", line->add);
    return NULL;
}

static const char *fake_describe(struct counters *counters)
{
    (void)counters;
    return "a script, not this machine";
}

static const char *fake_event(struct counters *counters, enum cost_counter counter)
{
    const struct script *script = counters->state;

    return script->lines[counter].was_opened ? "scripted" : NULL;
}

static bool read_script(struct csv *csv, struct script *script, struct err *err)
{
    while (csv_next(csv, err)) {
        struct script_line line = { .is_there = true, .value = COUNTERS_SENTINEL };
        int counter;

        if (!csv_choice(csv, COL_COUNTER, cost_counter_names, COST_COUNTER_COUNT, &counter, err) ||
            !csv_int32(csv, COL_ADD, -1000, 0, &line.add, err) ||
            !csv_int32(csv, COL_START, -1000, 0, &line.start, err) ||
            !csv_int32(csv, COL_STOP, -1000, 0, &line.stop, err))
            return false;
        if (csv_has(csv, COL_VALUE) && !csv_int(csv, COL_VALUE, 0, INT64_MAX, &line.value, err))
            return false;
        if (script->lines[counter].is_there)
            return csv_bad(csv, COL_COUNTER, err, "this counter has a line already");
        script->lines[counter] = line;
    }
    return err->kind == ERR_NONE;
}

struct counters *counters_create_fake(struct arena *arena, const char *path, struct err *err)
{
    static const struct csv_column columns[COL_COUNT] = {
        [COL_COUNTER] = { "counter", true }, [COL_ADD] = { "add", true },
        [COL_START] = { "start", true },     [COL_STOP] = { "stop", true },
        [COL_VALUE] = { "value", true },
    };
    struct counters *counters = arena_alloc(arena, sizeof(*counters));
    struct script *script = arena_alloc(arena, sizeof(*script));
    struct csv *csv = csv_open(arena, path, "counters", columns, COL_COUNT, err);
    bool is_read = csv && read_script(csv, script, err);

    csv_close(csv);
    if (!is_read)
        return NULL;
    script->arena = arena;
    *counters = (struct counters){ "fake",     script,      fake_open,     fake_start, fake_stop,
                                   fake_close, fake_reason, fake_describe, fake_event };
    return counters;
}
