/* test_ziggurat.c - the layers are those that their formulas give, and cover their density; what is
 * drawn with them is distributed as it should be, tails included. */
#include "lib/base/ziggurat.h"

#include "lib/base/dmath.h"
#include "lib/base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define DRAWS 1000000

static const struct shape {
    const char *name;
    const struct ziggurat_layer *layers;
    bool is_normal;
    double end;
} shapes[] = {
    { "exponential", ziggurat_exponential, false, ZIGGURAT_EXPONENTIAL_END },
    { "normal", ziggurat_normal, true, ZIGGURAT_NORMAL_END },
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

static double density_at(const struct shape *shape, double x)
{
    return dmath_exp(shape->is_normal ? -x * x / 2 : -x);
}

static double place_of(const struct shape *shape, double density)
{
    return shape->is_normal ? dmath_sqrt(-2 * dmath_log(density)) : -dmath_log(density);
}

static double area_of(const struct shape *shape)
{
    return shape->is_normal ? ZIGGURAT_NORMAL_AREA : (shape->end + 1) * dmath_exp(-shape->end);
}

/* Bit for bit, on every machine and by every compiler. */
static void the_tables_follow_from_dmath(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        const struct shape *shape = &shapes[s];
        double density = density_at(shape, shape->end), area = area_of(shape);
        double x = area / density, next = shape->end, above = density;

        density = 0; /* the base begins there */
        for (int i = 0; i < ZIGGURAT_LAYERS; i++) {
            const struct ziggurat_layer *layer = &shape->layers[i];

            if (layer->inside != (uint64_t)(next / x * 0x1p53) || layer->width != x * 0x1p-53 ||
                layer->density != density)
                fail_msg("layer %d of %s is not what it should be", i, shape->name);
            x = next;
            density = above;
            above = density + area / x;
            next = i < ZIGGURAT_LAYERS - 2 ? place_of(shape, above) : 0;
        }
        assert_true(shape->layers[ZIGGURAT_LAYERS].inside == 0 &&
                    shape->layers[ZIGGURAT_LAYERS].width == 0 &&
                    shape->layers[ZIGGURAT_LAYERS].density == 1);
    }
}

/* By Simpson's rule; the density is below 1e-40 beyond 100 (14 for the normal). */
static double area_beyond(const struct shape *shape)
{
    double far = shape->is_normal ? 14 : 100, step = (far - shape->end) / 20000, sum = 0;

    for (int i = 0; i < 20000; i += 2) {
        double x = shape->end + i * step;

        sum += density_at(shape, x) + 4 * density_at(shape, x + step) +
               density_at(shape, x + 2 * step);
    }
    return sum * step / 3;
}

static void layers_are_equal_and_close_at_the_top(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        const struct shape *shape = &shapes[s];
        const struct ziggurat_layer *layers = shape->layers;
        double area = area_of(shape);

        for (int i = 1; i < ZIGGURAT_LAYERS; i++) {
            double x = layers[i].width * 0x1p53;

            assert_true(layers[i + 1].density > layers[i].density);
            assert_true(layers[i].width < layers[i - 1].width);
            assert_true(fabs(density_at(shape, x) - layers[i].density) < 1e-12);
            assert_true(fabs(x * (layers[i + 1].density - layers[i].density) / area - 1) < 1e-9);
        }
        assert_true(fabs(shape->end * layers[1].density + area_beyond(shape) - area) < 1e-12);
    }
}

static int compare(const void *left, const void *right)
{
    const double *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

static double cumulative(const struct shape *shape, double x)
{
    return shape->is_normal ? 0.5 * erfc(-x / sqrt(2)) : -expm1(-x);
}

static double draw(const struct shape *shape, struct rng *rng)
{
    return shape->is_normal ? rng_normal(rng, 0, 1) : rng_exponential(rng, 1);
}

/* Kolmogorov and Smirnov: the largest distance exceeds 2.2 / sqrt(n) once in 8000 seeds. */
static void draws_follow_their_distribution(void **state)
{
    double *values = malloc(DRAWS * sizeof *values);

    (void)state;
    assert_non_null(values);
    for (size_t s = 0; s < SHAPES; s++) {
        struct rng rng = rng_stream(1, RNG_TEST, 20 + s);
        double most = 0;

        for (int i = 0; i < DRAWS; i++)
            values[i] = draw(&shapes[s], &rng);
        qsort(values, DRAWS, sizeof *values, compare);
        for (int i = 0; i < DRAWS; i++) {
            double should = cumulative(&shapes[s], values[i]);

            most = fmax(most, fabs(should - (double)i / DRAWS));
            most = fmax(most, fabs(should - (i + 1.0) / DRAWS));
        }
        if (most > 2.2 / sqrt(DRAWS))
            fail_msg("%s: the distance is %g", shapes[s].name, most);
    }
    free(values);
}

/* In cells of equal probability, which are finer than the layers; chi-square of 1000 - 1 degrees.
 */
static void draws_fill_cells_evenly(void **state)
{
    enum { CELLS = 1000 };

    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        struct rng rng = rng_stream(2, RNG_TEST, 20 + s);
        int counts[CELLS] = { 0 };
        double chi2 = 0;

        for (int i = 0; i < DRAWS; i++)
            counts[(int)fmin(CELLS * cumulative(&shapes[s], draw(&shapes[s], &rng)), CELLS - 1)]++;
        for (int c = 0; c < CELLS; c++)
            chi2 += (counts[c] - (double)DRAWS / CELLS) * (counts[c] - (double)DRAWS / CELLS) /
                    ((double)DRAWS / CELLS);
        if (fabs(chi2 - (CELLS - 1)) > 5 * sqrt(2.0 * (CELLS - 1)))
            fail_msg("%s: chi-square is %g", shapes[s].name, chi2);
    }
}

/* Moments about 0 and their variances: E x^k = k! of the exponential, (k - 1)!! of the normal. */
static void draws_have_their_moments(void **state)
{
    static const double exact[][9] = { { 1, 1, 2, 6, 24, 120, 720, 5040, 40320 },
                                       { 1, 0, 1, 0, 3, 0, 15, 0, 105 } };

    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        struct rng rng = rng_stream(3, RNG_TEST, 20 + s);
        double sums[5] = { 0 };

        for (int i = 0; i < DRAWS; i++) {
            double x = draw(&shapes[s], &rng), power = 1;

            for (int k = 1; k <= 4; k++)
                sums[k] += power *= x;
        }
        for (int k = 1; k <= 4; k++) {
            double sd = sqrt((exact[s][2 * k] - exact[s][k] * exact[s][k]) / DRAWS);

            if (fabs(sums[k] / DRAWS - exact[s][k]) > 5 * sd)
                fail_msg("%s: moment %d is %g", shapes[s].name, k, sums[k] / DRAWS);
        }
    }
}

/* Beyond the last layer, where draws are made in another way; the exponential's tail twice over. */
static void tails_are_as_heavy_as_they_should_be(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        const struct shape *shape = &shapes[s];
        struct rng rng = rng_stream(4, RNG_TEST, 20 + s);
        double share = (shape->is_normal ? 2 : 1) * (1 - cumulative(shape, shape->end));
        int beyond = 0, far = 0, below = 0, draws = 10 * DRAWS;
        double mean = 0;

        for (int i = 0; i < draws; i++) {
            double x = draw(shape, &rng);

            if (fabs(x) < shape->end)
                continue;
            beyond++;
            below += x < 0;
            far += fabs(x) > shape->end + 0.5;
            mean += fabs(x) - shape->end;
        }
        assert_true(fabs(beyond - share * draws) < 5 * sqrt(share * draws));
        share = (1 - cumulative(shape, shape->end + 0.5)) / (1 - cumulative(shape, shape->end));
        assert_true(fabs(far - share * beyond) < 5 * sqrt(share * beyond));
        if (shape->is_normal)
            assert_true(abs(2 * below - beyond) < 5 * sqrt(beyond));
        else
            assert_true(below == 0 && fabs(mean / beyond - 1) < 5 / sqrt(beyond));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_follow_from_dmath),
        cmocka_unit_test(layers_are_equal_and_close_at_the_top),
        cmocka_unit_test(draws_follow_their_distribution),
        cmocka_unit_test(draws_fill_cells_evenly),
        cmocka_unit_test(draws_have_their_moments),
        cmocka_unit_test(tails_are_as_heavy_as_they_should_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
