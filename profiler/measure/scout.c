/* scout.c - see scout.h. */
#include "profiler/measure/scout.h"
#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/measure.h"
#include "profiler/measure/pool.h"
#include "profiler/measure/store.h"

#define DENSE_TOKENS 17 /* two multiples of 8 and all residues between them */
#define STEP_RATIO 0.02
#define SCOUT_LLC_BYTES (INT64_C(8) << 20) /* nearly cold is cold enough to see tiles */

static const enum op products[] = { OP_QKV, OP_OPROJ, OP_FFN_UP, OP_FFN_DOWN };

static int64_t median_ps(struct arena *scratch, const struct store *store, int row)
{
    struct samples_summary summary;

    return row >= 0 && samples_summarize(scratch, &store->rows[row].samples, &summary)
               ? summary.median_ps
               : 0;
}

/* Time of all products of a layer at m tokens; 0 when it was not measured. */
static double products_ps(struct arena *scratch, const struct store *store, int32_t m)
{
    double sum = 0.0;

    for (int p = 0; p < store->point_count; p++)
        for (size_t i = 0; store->points[p].m == m && i < sizeof(products) / sizeof(products[0]);
             i++)
            sum += (double)median_ps(scratch, store, store->row_of[p][products[i]]);
    return sum;
}

/* How far the odd multiples of half the period lie above the line between their neighbours: when
 * they do, a tile is at least that long. */
static double step_ratio(struct arena *scratch, const struct store *store, int32_t period)
{
    double sum = 0.0;
    int count = 0;

    for (int32_t low = period; low + period <= DENSE_TOKENS; low += period) {
        double before = products_ps(scratch, store, low);
        double after = products_ps(scratch, store, low + period);
        double middle = products_ps(scratch, store, low + period / 2);

        if (before <= 0.0 || after <= 0.0 || middle <= 0.0)
            continue;
        sum += middle / ((before + after) / 2.0) - 1.0;
        count++;
    }
    return count > 0 ? sum / count : 0.0;
}

/* Residues cost 5 to 50 % where they exist; what is measured here is known to about 1 %. */
static int32_t find_period(struct arena *scratch, const struct store *store)
{
    for (int32_t period = 8; period > 1; period /= 2)
        if (step_ratio(scratch, store, period) > STEP_RATIO)
            return period;
    return 1;
}

/* From one layer and the ends of the largest point. */
static int64_t forward_ns(struct arena *scratch, struct store *store,
                          const struct store_variant *variant)
{
    int last = store->point_count - 1;
    double ends_ps = (double)median_ps(scratch, store, store->row_of[last][OP_EMBED]) +
                     (double)median_ps(scratch, store, store->row_of[last][OP_LMHEAD]);
    double layers_ps = store_layer_ps(store, scratch, last) * variant->model->layers;

    /* a slice is about one of so many equal parts; fewer tokens are about so much less */
    return (int64_t)((ends_ps + layers_ps) / 1000.0 * variant->slices * SCOUT_FORWARD_TOKENS /
                     store->points[last].m);
}

bool scout_run(struct arena *arena, struct measure *measure, const struct store_variant *variant,
               int32_t last_tokens, int64_t available_bytes, struct scouted *scouted,
               struct err *err)
{
    struct store *store = store_create(arena, variant);
    struct forward_shape shape = chain_shape(variant->model, variant->dtype);
    int32_t limit = variant->model->max_context > 0 ? variant->model->max_context : INT32_MAX;
    int32_t most = last_tokens < SCOUT_FORWARD_TOKENS ? last_tokens : SCOUT_FORWARD_TOKENS;
    struct pool_plan pool;

    for (int32_t m = 1; m <= DENSE_TOKENS && m <= limit; m++)
        store_add_point(store, &(struct point){ OP_PREFILL, m, m, 1 }, false);
    store_add_point(store, &(struct point){ OP_PREFILL, most, most, 1 }, false);
    struct point largest = { OP_PREFILL, most > DENSE_TOKENS ? most : DENSE_TOKENS,
                             most > DENSE_TOKENS ? most : DENSE_TOKENS, 1 };
    if (!pool_plan(&shape, 2, &largest, SCOUT_LLC_BYTES, available_bytes, &pool, err) ||
        !measure_scout(measure, store, &pool, err))
        return false;
    scouted->period = find_period(arena, store);
    scouted->forward_ns = forward_ns(arena, store, variant);
    return true;
}
