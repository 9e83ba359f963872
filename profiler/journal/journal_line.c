/* journal_line.c - the columns of a journal: which kind of message has which of them. */
#include "profiler/journal/journal_line.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "profiler/journal/identity.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    COL_KIND,
    COL_VARIANT,
    COL_PROC,
    COL_ROUND,
    COL_PHASE,
    COL_M_TOKENS,
    COL_KV_LEN,
    COL_BATCH,
    COL_OP,
    COL_COUNTER,
    COL_NS,
    COL_CPU_NS,
    COL_DIRTY,
    COL_TEXT,
    COL_COUNT
};
const struct csv_column journal_columns[] = {
    [COL_KIND] = { "kind", true },      [COL_VARIANT] = { "variant", true },
    [COL_PROC] = { "proc", true },      [COL_ROUND] = { "round", true },
    [COL_PHASE] = { "phase", true },    [COL_M_TOKENS] = { "m_tokens", true },
    [COL_KV_LEN] = { "kv_len", true },  [COL_BATCH] = { "batch", true },
    [COL_OP] = { "op", true },          [COL_COUNTER] = { "counter", true },
    [COL_NS] = { "ns", true },          [COL_CPU_NS] = { "cpu_ns", true },
    [COL_DIRTY] = { "is_dirty", true }, [COL_TEXT] = { "text", true },
};
const int journal_column_count = COL_COUNT;
const char *const journal_header = "kind,variant,proc,round,phase,m_tokens,kv_len,batch,op,counter,"
                                   "ns,cpu_ns,is_dirty,text\n";

/* ---- kinds ---- */

enum {                /* what a kind has beside variant and process */
       HAS_ROUND = 1, /* the number of the round */
       HAS_POINT = 2, /* phase, m_tokens, kv_len, batch */
       HAS_OP = 4,
       HAS_COUNTER = 8, /* in message.counter */
       HAS_INDEX = 16,  /* the counter, in message.index */
       HAS_NS = 32,
       HAS_CPU = 64, /* cpu_ns and is_dirty */
       HAS_TEXT = 128,
       HAS_STATE = 256, /* body.round, in the column text */
};
static const struct {
    const char *name; /* NULL: of the moment, not recorded */
    unsigned has;
} kinds[JOURNAL_KIND_COUNT] = {
    [MESSAGE_SAMPLE] = { "sample", HAS_ROUND | HAS_POINT | HAS_OP | HAS_NS | HAS_CPU },
    [MESSAGE_ANCHOR] = { "anchor", HAS_ROUND | HAS_POINT | HAS_OP | HAS_NS | HAS_CPU },
    [MESSAGE_ROUND] = { "round", HAS_ROUND | HAS_STATE },
    [MESSAGE_COUNT] = { "count", HAS_POINT | HAS_OP | HAS_COUNTER | HAS_NS },
    [MESSAGE_REASON] = { "reason", HAS_INDEX | HAS_TEXT },
    [MESSAGE_STATE] = { "state", HAS_TEXT },
    [MESSAGE_STAMP] = { "stamp", HAS_NS },
    [MESSAGE_SUSTAINED] = { "sustained", 0 },
    [MESSAGE_SCOUT] = { "scout", HAS_ROUND | HAS_NS },
    [MESSAGE_ENERGY] = { "energy", HAS_POINT | HAS_OP | HAS_NS | HAS_TEXT },
    [MESSAGE_SLOW] = { NULL, 0 },
    [MESSAGE_FAILED] = { NULL, 0 },
    [JOURNAL_END] = { "end", 0 },
    [JOURNAL_RESUME] = { "resume", 0 },
};

bool journal_is_kept(int kind)
{
    return kinds[kind].name;
}

bool journal_has_point(int kind)
{
    return kinds[kind].has & HAS_POINT;
}

/* The machine around a round, in the order of the column text. */
#define STATE(name, member)                                                                        \
    {                                                                                              \
        name, offsetof(struct store_round, member)                                                 \
    }
static const struct {
    const char *name;
    size_t offset;
} state_fields[] = {
    STATE("t_ns", readings.before.t_ns),
    STATE("freq_khz", readings.before.freq_khz),
    STATE("temp_mc", readings.before.temp_mc),
    STATE("throttle_bits", readings.before.throttle_bits),
    STATE("psi_us", readings.before.psi_us),
    STATE("busy_ns", readings.before.busy_ns),
    STATE("steal_ns", readings.before.steal_ns),
    STATE("switches", readings.before.switches),
    STATE("end_t_ns", readings.after.t_ns),
    STATE("end_freq_khz", readings.after.freq_khz),
    STATE("end_temp_mc", readings.after.temp_mc),
    STATE("end_throttle_bits", readings.after.throttle_bits),
    STATE("end_psi_us", readings.after.psi_us),
    STATE("end_busy_ns", readings.after.busy_ns),
    STATE("end_steal_ns", readings.after.steal_ns),
    STATE("end_switches", readings.after.switches),
    STATE("own_cpu_ns", readings.own_cpu_ns),
    STATE("canary_c_ns", readings.compute_ns),
    STATE("canary_m_ns", readings.memory_ns),
    STATE("nivcsw", nivcsw),
};
#define STATE_FIELDS (sizeof(state_fields) / sizeof(state_fields[0]))

static int64_t *state_at(struct store_round *round, size_t field)
{
    return (int64_t *)(void *)((char *)round + state_fields[field].offset);
}

/* ---- writing ---- */

struct put { /* a line on its way */
    char *text;
    size_t used;
};

static void put(struct put *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct put *to, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int length = vsnprintf(to->text + to->used, JOURNAL_LINE_BYTES - to->used, format, args);
    va_end(args);
    if (length > 0)
        to->used += (size_t)length;
    if (to->used > JOURNAL_LINE_BYTES - 1)
        to->used = JOURNAL_LINE_BYTES - 1;
}

/* One field whatever it holds, and readable. */
static void put_text(struct put *to, const char *text)
{
    for (const char *at = text; *at; at++) {
        char bytes[3];
        size_t count = identity_escape_byte(*at, at == text || !at[1], bytes);

        put(to, "%.*s", (int)count, bytes);
    }
}

static void put_state(struct put *to, const struct store_round *round)
{
    struct store_round copy = *round;

    for (size_t f = 0; f < STATE_FIELDS; f++)
        put(to, "%s%s=%lld", f > 0 ? " " : "", state_fields[f].name,
            (long long)*state_at(&copy, f));
}

size_t journal_line_write(const struct journal_line *line, char text[JOURNAL_LINE_BYTES])
{
    const struct message *message = &line->message;
    unsigned has = kinds[line->kind].has;
    struct put to = { text, 0 };

    put(&to, "%s,%d,%d,", kinds[line->kind].name, line->variant, line->proc);
    if (has & HAS_ROUND)
        put(&to, "%d", has & HAS_STATE ? message->body.round.round : message->round);
    if (has & HAS_POINT)
        put(&to, ",%s,%d,%d,%d,", op_phase_name(line->point.phase), line->point.m, line->point.kv,
            line->point.batch);
    else
        put(&to, ",,,,,");
    if (has & HAS_OP)
        put(&to, "%s", op_name((enum op)message->op));
    put(&to, ",");
    if (has & (HAS_COUNTER | HAS_INDEX))
        put(&to, "%s", cost_counter_names[has & HAS_INDEX ? message->index : message->counter]);
    put(&to, ",");
    if (has & HAS_NS)
        put(&to, "%lld", (long long)message->ns);
    if (has & HAS_CPU)
        put(&to, ",%lld,%d,", (long long)message->cpu_ns, message->is_dirty);
    else
        put(&to, ",,,");
    if (has & HAS_TEXT)
        put_text(&to, message->body.text);
    if (has & HAS_STATE)
        put_state(&to, &message->body.round);
    put(&to, "\n");
    return to.used;
}

/* ---- reading ---- */

static int hex(char c)
{
    const char *digits = "0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

static bool read_text(const struct csv *csv, char *to, size_t size, struct err *err)
{
    const char *at = csv_text(csv, COL_TEXT);
    size_t used = 0;

    for (; *at && used + 1 < size; used++) {
        if (*at != '%') {
            to[used] = *at++;
            continue;
        }
        int high = hex(at[1]), low = high >= 0 ? hex(at[2]) : -1;
        if (low < 0 || high + low == 0)
            return csv_bad(csv, COL_TEXT, err, "expected two hexadecimal digits after %%");
        to[used] = (char)(16 * high + low);
        at += 3;
    }
    to[used] = '\0';
    return !*at || csv_bad(csv, COL_TEXT, err, "longer than %zu bytes", size - 1);
}

static bool read_state(const struct csv *csv, struct store_round *round, struct err *err)
{
    const char *at = csv_text(csv, COL_TEXT);

    for (size_t f = 0; f < STATE_FIELDS; f++) {
        size_t name = strlen(state_fields[f].name), length;
        char number[24];

        if (strncmp(at, state_fields[f].name, name) != 0 || at[name] != '=')
            return csv_bad(csv, COL_TEXT, err, "expected %s=", state_fields[f].name);
        at += name + 1;
        length = strcspn(at, " ");
        if (length < sizeof(number)) {
            memcpy(number, at, length);
            number[length] = '\0';
        }
        if (length >= sizeof(number) || !units_parse_int(number, state_at(round, f)))
            return csv_bad(csv, COL_TEXT, err, "%s is not a whole number", state_fields[f].name);
        at += length + (at[length] == ' ');
    }
    return !*at ||
           csv_bad(csv, COL_TEXT, err, "something after %s", state_fields[STATE_FIELDS - 1].name);
}

static bool read_point(const struct csv *csv, struct point *point, struct err *err)
{
    int phase;

    if (!csv_choice(csv, COL_PHASE, op_phase_names, OP_PHASE_COUNT, &phase, err) ||
        !csv_int32(csv, COL_M_TOKENS, 1, INT32_MAX, &point->m, err) ||
        !csv_int32(csv, COL_KV_LEN, 1, INT32_MAX, &point->kv, err) ||
        !csv_int32(csv, COL_BATCH, 1, INT32_MAX, &point->batch, err))
        return false;
    point->phase = (enum op_phase)phase;
    return true;
}

static bool read_op(const struct csv *csv, int32_t *op, struct err *err)
{
    int index;

    if (!csv_choice(csv, COL_OP, op_names, OP_COUNT, &index, err))
        return false;
    *op = index;
    return true;
}

static bool read_counter(const struct csv *csv, int32_t *counter, struct err *err)
{
    int index;

    if (!csv_choice(csv, COL_COUNTER, cost_counter_names, COST_COUNTER_COUNT, &index, err))
        return false;
    *counter = index;
    return true;
}

static bool read_cpu(const struct csv *csv, struct message *message, struct err *err)
{
    int64_t is_dirty;

    if (!csv_int(csv, COL_CPU_NS, INT64_MIN, INT64_MAX, &message->cpu_ns, err) ||
        !csv_int(csv, COL_DIRTY, 0, 1, &is_dirty, err))
        return false;
    message->is_dirty = is_dirty;
    return true;
}

static bool read_kind(const struct csv *csv, int *kind, struct err *err)
{
    const char *names[JOURNAL_KIND_COUNT];
    int of[JOURNAL_KIND_COUNT], count = 0, index;

    for (int k = 0; k < JOURNAL_KIND_COUNT; k++)
        if (kinds[k].name) {
            of[count] = k;
            names[count++] = kinds[k].name;
        }
    if (!csv_choice(csv, COL_KIND, names, count, &index, err))
        return false;
    *kind = of[index];
    return true;
}

bool journal_line_read(const struct csv *csv, struct journal_line *line, struct err *err)
{
    struct message *message = &line->message;
    int32_t round = 0;

    memset(line, 0, sizeof(*line));
    if (!read_kind(csv, &line->kind, err) ||
        !csv_int32(csv, COL_VARIANT, 0, INT32_MAX, &line->variant, err) ||
        !csv_int32(csv, COL_PROC, 0, INT32_MAX, &line->proc, err))
        return false;
    unsigned has = kinds[line->kind].has;
    bool ok = (!(has & HAS_ROUND) || csv_int32(csv, COL_ROUND, 0, INT32_MAX, &round, err)) &&
              (!(has & HAS_POINT) || read_point(csv, &line->point, err)) &&
              (!(has & HAS_OP) || read_op(csv, &message->op, err)) &&
              (!(has & HAS_COUNTER) || read_counter(csv, &message->counter, err)) &&
              (!(has & HAS_INDEX) || read_counter(csv, &message->index, err)) &&
              (!(has & HAS_NS) ||
               csv_int(csv, COL_NS, has & HAS_CPU ? 0 : INT64_MIN, INT64_MAX, &message->ns, err)) &&
              (!(has & HAS_CPU) || read_cpu(csv, message, err)) &&
              (!(has & HAS_TEXT) ||
               read_text(csv, message->body.text, sizeof(message->body.text), err)) &&
              (!(has & HAS_STATE) || read_state(csv, &message->body.round, err));
    message->kind = line->kind <= MESSAGE_FAILED ? (enum message_kind)line->kind : MESSAGE_STATE;
    if (has & HAS_STATE) {
        message->body.round.proc = line->proc;
        message->body.round.round = round;
    } else {
        message->round = round;
    }
    return ok;
}
