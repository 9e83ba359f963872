/* rounds.c - see rounds.h. */
#include "profiler/measure/rounds.h"
#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include "profiler/measure/store.h"
#include "profiler/table/table.h"

#define WINDOW_NS INT64_C(500000000)
#define NOTABLE_RATIO 0.25 /* of the rounds: more bad ones mark the table ... */
#define NOTABLE_ROUNDS 3   /* ... when there are so many, or nothing else */

/* What /proc/stat says in ticks of 10 ms tells little of a round of 30: its neighbours in the same
 * process are looked at with it, half a second in all. */
static struct round_readings around(const struct store *store, int index)
{
    const struct store_round *rounds = store->rounds;
    struct round_readings wide = rounds[index].readings;
    int first = index, last = index;
    bool is_wider = true;

    while (is_wider && wide.after.t_ns - wide.before.t_ns < WINDOW_NS) {
        bool has_before = first > 0 && rounds[first - 1].proc == rounds[index].proc;
        bool has_after =
            last + 1 < store->round_count && rounds[last + 1].proc == rounds[index].proc;

        is_wider = has_before || has_after;
        if (has_before) {
            wide.before = rounds[--first].readings.before;
            wide.own_cpu_ns += rounds[first].readings.own_cpu_ns;
        }
        if (has_after) {
            wide.after = rounds[++last].readings.after;
            wide.own_cpu_ns += rounds[last].readings.own_cpu_ns;
        }
    }
    /* heat is of the round alone */
    wide.before.throttle_bits = wide.after.throttle_bits = MACHINE_UNKNOWN;
    wide.before.freq_khz = wide.after.freq_khz = MACHINE_UNKNOWN;
    return wide;
}

static enum round_verdict evidence(const struct store *store, int index)
{
    enum round_verdict own = verdict_evidence(&store->rounds[index].readings);
    struct round_readings wide = around(store, index);

    return own != ROUND_OK ? own : verdict_evidence(&wide);
}

static enum round_verdict judge(const struct store *store, int index,
                                const struct verdict_reference *reference)
{
    const struct store_round *round = &store->rounds[index];
    bool has_previous = index > 0 && round[-1].proc == round->proc;
    enum round_verdict verdict = evidence(store, index);

    return verdict != ROUND_OK ? verdict
                               : verdict_round(&round->readings, reference,
                                               has_previous ? round[-1].verdict : ROUND_OK);
}

/* What is normal for the store: of the rounds that nothing hard speaks against. */
static struct verdict_reference learn(struct arena *arena, const struct store *store)
{
    int64_t *compute_ns = arena_array(arena, (size_t)store->round_count + 1, sizeof(*compute_ns));
    int64_t *memory_ns = arena_array(arena, (size_t)store->round_count + 1, sizeof(*memory_ns));
    size_t count = 0;

    for (int i = 0; i < store->round_count; i++) {
        const struct round_readings *readings = &store->rounds[i].readings;

        if (evidence(store, i) != ROUND_OK)
            continue;
        compute_ns[count] = readings->compute_ns;
        memory_ns[count++] = readings->memory_ns;
    }
    return verdict_learn(compute_ns, memory_ns, count);
}

/* A device that is too hot to wait for *is* that slow. */
static bool is_bad(const struct store *store, enum round_verdict verdict)
{
    if (store->is_sustained && (verdict == ROUND_THROTTLED || verdict == ROUND_SLOW))
        return false;
    return verdict != ROUND_OK;
}

static void disturb(struct store *store, const struct store_round *round)
{
    for (int r = 0; r < store->row_count; r++)
        samples_disturb(&store->rows[r].samples, round->proc, round->round);
    for (int a = 0; a < store->anchor_count; a++)
        samples_disturb(&store->anchors[a].samples, round->proc, round->round);
}

enum round_verdict rounds_judge_last(struct arena *scratch, struct store *store)
{
    struct store_round *last = &store->rounds[store->round_count - 1];
    const struct verdict_reference reference = learn(scratch, store);

    last->verdict = judge(store, store->round_count - 1, &reference);
    return last->verdict;
}

bool rounds_is_canary_good(struct arena *scratch, const struct store *store, int64_t compute_ns)
{
    const struct verdict_reference reference = learn(scratch, store);

    return reference.compute_release_ns <= 0 || compute_ns <= reference.compute_release_ns;
}

void rounds_judge(struct arena *arena, struct store *store, struct table *table)
{
    const struct verdict_reference reference = learn(arena, store);

    for (int i = 0; i < store->round_count; i++) {
        struct store_round *round = &store->rounds[i];

        round->verdict = judge(store, i, &reference);
        table->rounds++;
        if (!is_bad(store, round->verdict))
            continue;
        table->bad_rounds++;
        table->bad_by_verdict[round->verdict]++;
        disturb(store, round);
    }
}

const char *rounds_list(struct arena *arena, const struct table *table)
{
    const char *list = "";

    for (int v = 0; v < ROUND_VERDICT_COUNT; v++)
        if (v != ROUND_OK && table->bad_by_verdict[v] > 0)
            list =
                arena_printf(arena, "%s%s%d %s", list, list[0] ? ", " : "",
                             table->bad_by_verdict[v], round_verdict_name((enum round_verdict)v));
    return list;
}

const char *rounds_quality(struct arena *arena, const struct table *table)
{
    bool are_few = table->bad_rounds < NOTABLE_ROUNDS && table->bad_rounds < table->rounds;

    if (table->rounds == 0 || are_few || table->bad_rounds <= NOTABLE_RATIO * table->rounds)
        return "good";
    return arena_printf(arena, "disturbed: %d of %d rounds (%s)", table->bad_rounds, table->rounds,
                        rounds_list(arena, table));
}

static int64_t worse(int64_t a, int64_t b, bool is_lower_worse)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    return (a < b) == is_lower_worse ? a : b;
}

void rounds_describe(const struct store *store, struct cost_row *row)
{
    int64_t freq_khz = MACHINE_UNKNOWN, temp_mc = MACHINE_UNKNOWN;
    int64_t bits = MACHINE_UNKNOWN, best_ns = 0;
    double sum_ns = 0.0;
    int count = 0;

    for (int i = 0; i < store->round_count; i++) {
        const struct round_readings *at = &store->rounds[i].readings;

        if (is_bad(store, store->rounds[i].verdict))
            continue;
        freq_khz = worse(worse(freq_khz, at->before.freq_khz, true), at->after.freq_khz, true);
        temp_mc = worse(worse(temp_mc, at->before.temp_mc, false), at->after.temp_mc, false);
        if (at->after.throttle_bits >= 0)
            bits = (bits < 0 ? 0 : bits) | at->before.throttle_bits | at->after.throttle_bits;
        if (at->compute_ns <= 0)
            continue;
        best_ns = best_ns == 0 || at->compute_ns < best_ns ? at->compute_ns : best_ns;
        sum_ns += (double)at->compute_ns;
        count++;
    }
    if (freq_khz >= 0)
        row->freq_khz_min = freq_khz;
    if (temp_mc >= 0)
        row->temp_mc_max = temp_mc;
    if (store->is_sustained)
        row->regime = "sustained";
    row->throttled = store->is_sustained ? 1 : bits < 0 ? -1 : (bits & 0xf) != 0;
    row->canary_ratio = count > 0 ? sum_ns / count / (double)best_ns : -1.0;
}

static void put_known(struct out *out, int64_t value)
{
    out_char(out, ',');
    if (value >= 0)
        out_int(out, value);
}

static void put_ratio(struct out *out, double ratio)
{
    if (ratio >= 0.0)
        out_printf(out, ",%.4f", ratio);
    else
        out_char(out, ',');
}

void rounds_write(struct out *out, struct store *const *stores, int store_count)
{
    out_text(out, "# orrery: rounds 1\nthreads,slices,dtype,proc,round,t_ns,end_ns,canary_c_ns,"
                  "canary_m_ns,freq_khz,temp_mc,throttle_bits,nivcsw,psi_us,others_busy_ratio,"
                  "steal_ratio,verdict\n");
    for (int s = 0; s < store_count; s++) {
        const struct store_variant *variant = &stores[s]->variant;

        for (int i = 0; i < stores[s]->round_count; i++) {
            const struct store_round *round = &stores[s]->rounds[i];
            const struct round_readings *at = &round->readings;

            out_printf(out, "%d,%d,%s,%d,%d", variant->threads, variant->slices,
                       kernel_dtype_names[variant->dtype], round->proc, round->round);
            put_known(out, at->before.t_ns);
            put_known(out, at->after.t_ns);
            put_known(out, at->compute_ns);
            put_known(out, at->memory_ns);
            put_known(out, at->after.freq_khz);
            put_known(out, at->after.temp_mc);
            put_known(out, at->after.throttle_bits);
            put_known(out, round->nivcsw);
            put_known(out, at->after.psi_us);
            put_ratio(out, machine_others_busy_ratio(&at->before, &at->after, at->own_cpu_ns));
            put_ratio(out, machine_steal_ratio(&at->before, &at->after));
            out_printf(out, ",%s\n", round_verdict_name(round->verdict));
        }
    }
}
