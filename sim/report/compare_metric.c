/* compare_metric.c - errors of one column of times against another. */
#include "sim/report/compare_metric.h"

#include "lib/base/arena.h"
#include <stdbool.h>

void compare_pairs_reserve(struct arena *arena, struct compare_pairs *pairs, size_t count)
{
    pairs->count = 0;
    pairs->predicted = arena_array(arena, count, sizeof(int64_t));
    pairs->real = arena_array(arena, count, sizeof(int64_t));
}

void compare_pairs_add(struct compare_pairs *pairs, int64_t predicted, int64_t real)
{
    if (real <= 0)
        return;
    pairs->predicted[pairs->count] = predicted;
    pairs->real[pairs->count++] = real;
}

static double error_ratio(int64_t predicted, int64_t real)
{
    return ((double)predicted - (double)real) / (double)real;
}

static double magnitude(double x)
{
    return x < 0 ? -x : x;
}

struct compare_metric compare_metric_of(struct compare_pairs *pairs)
{
    struct compare_metric metric = { .pairs = pairs->count };
    double sum = 0;

    if (pairs->count == 0)
        return metric;
    for (size_t i = 0; i < pairs->count; i++)
        sum += magnitude(error_ratio(pairs->predicted[i], pairs->real[i]));
    metric.mare = sum / (double)pairs->count;
    metric.predicted = stats_summarize(pairs->predicted, pairs->count);
    metric.real = stats_summarize(pairs->real, pairs->count);
    metric.mean_error_ratio = error_ratio(metric.predicted.mean, metric.real.mean);
    metric.p50_error_ratio = error_ratio(metric.predicted.p50, metric.real.p50);
    metric.p90_error_ratio = error_ratio(metric.predicted.p90, metric.real.p90);
    metric.p99_error_ratio = error_ratio(metric.predicted.p99, metric.real.p99);
    return metric;
}

void compare_worst_add(struct compare_worst_list *list, int64_t request_id, int32_t step,
                       int64_t predicted_ps, int64_t real_ps)
{
    struct compare_worst one = { request_id, step, predicted_ps, real_ps, 0 };
    int i = list->count;

    if (real_ps <= 0)
        return;
    one.error_ratio = error_ratio(predicted_ps, real_ps);
    while (i > 0 && magnitude(list->item[i - 1].error_ratio) < magnitude(one.error_ratio))
        i--;
    if (i == COMPARE_WORST)
        return;
    if (list->count < COMPARE_WORST)
        list->count++;
    for (int k = list->count - 1; k > i; k--)
        list->item[k] = list->item[k - 1];
    list->item[i] = one;
}

int64_t compare_minus(int64_t a_ps, int64_t b_ps)
{
    int64_t difference_ps;

    if (__builtin_sub_overflow(a_ps, b_ps, &difference_ps))
        return a_ps < 0 ? INT64_MIN : INT64_MAX;
    return difference_ps;
}
