/* test_linear.c - products with weights of 16 and 8 bits against the naive product of the decoded
 * weights, over odd shapes, both ways of computing, and any number of threads. */
#include "lib/base/err.h"
#include "lib/kernels/kernels.h"
#include "lib/kernels/reference.h"
#include "lib/kernels/team.h"
#include "tests/unit/kernels/shapes.h"
#include <string.h>

static const enum kernel_dtype TYPES[] = { KERNEL_F32, KERNEL_BF16, KERNEL_Q8_0 };
static const int SHAPES[][2] = { { 1, 1 },   { 3, 5 },    { 7, 31 },   { 8, 32 },   { 17, 33 },
                                 { 40, 96 }, { 5, 2100 }, { 130, 71 }, { 1000, 64 } };

struct fixture { /* one product, and what it is compared with */
    struct arena *arena;
    enum kernel_dtype dtype;
    int m, n, k;
    float *x, *decoded, *bias, *expected;
    void *w, *scratch;
    double largest; /* of the decoded weights, 1 at least */
};

static struct fixture make_of(enum kernel_dtype dtype, int m, int n, int k, bool has_bias,
                              bool is_made_up)
{
    struct fixture f = { .arena = arena_create(), .dtype = dtype, .m = m, .n = n, .k = k };
    float *plain = filled(f.arena, (int64_t)n * k, 3, 1.0f);
    int64_t bytes = kernel_weight_bytes(dtype, n, k);

    f.x = filled(f.arena, (int64_t)m * k, 4, 1.0f);
    f.bias = has_bias ? filled(f.arena, n, 5, 1.0f) : NULL;
    f.w = arena_alloc(f.arena, (size_t)bytes);
    f.decoded = empty(f.arena, (int64_t)n * k);
    f.expected = empty(f.arena, (int64_t)m * n);
    f.scratch = arena_alloc(f.arena, (size_t)kernel_linear_scratch(dtype, m, n, k));
    if (is_made_up)
        kernel_fill(dtype, f.w, bytes, 6);
    else
        kernel_convert(dtype, plain, f.w, n, k);
    kernel_decode(dtype, f.w, f.decoded, 0, n, k);
    reference_linear(f.x, f.decoded, f.bias, f.expected, m, n, k);
    f.largest = 1.0;
    for (int64_t i = 0; i < (int64_t)n * k; i++)
        f.largest = fmax(f.largest, fabs((double)f.decoded[i]));
    return f;
}

static struct fixture make(enum kernel_dtype dtype, int m, int n, int k, bool has_bias)
{
    return make_of(dtype, m, n, k, has_bias, false);
}

/* f32 sums of k products of values up to 1 are off by some 1e-7 k at most, and as many times as
 * much as the largest weight. Where x is rounded to 8 bits as well, each value of a block is off by
 * at most half a step of max |x| / 127. */
static double bound(const struct fixture *f, int row, int column)
{
    double sum = 1e-6 * (f->k + 1) * f->largest;
    bool is_rounded = strcmp(kernel_linear_impl(f->dtype, f->m), "c_q8") == 0;

    for (int first = 0; first < f->k && is_rounded; first += 32) {
        double max = 0.0, weights = 0.0;

        for (int j = first; j < f->k && j < first + 32; j++) {
            double x = fabs((double)f->x[(int64_t)row * f->k + j]);

            max = x > max ? x : max;
            weights += fabs((double)f->decoded[(int64_t)column * f->k + j]);
        }
        sum += 0.505 * max / 127.0 * weights;
    }
    return sum;
}

static void check(const struct fixture *f, const float *y)
{
    for (int i = 0; i < f->m; i++)
        for (int j = 0; j < f->n; j++) {
            int64_t at = (int64_t)i * f->n + j;
            double error = fabs((double)y[at] - (double)f->expected[at]);

            if (!(error <= bound(f, i, j)))
                fail_msg("%s m %d n %d k %d: y[%d][%d] is %.9g: expected %.9g",
                         kernel_dtype_names[f->dtype], f->m, f->n, f->k, i, j, (double)y[at],
                         (double)f->expected[at]);
        }
}

static void products_equal_the_naive_product_of_what_is_stored(void **state)
{
    (void)state;
    for (size_t t = 0; t < 3; t++)
        for (size_t s = 0; s < sizeof(SHAPES) / sizeof(SHAPES[0]); s++)
            for (int m = 1; m <= 17; m++) {
                struct fixture f = make(TYPES[t], m, SHAPES[s][0], SHAPES[s][1], m % 2);
                float *y = empty(f.arena, (int64_t)m * f.n);

                memset(y, 0xff, (size_t)m * (size_t)f.n * sizeof(*y)); /* NaN: all are written */
                kernel_linear_typed(f.dtype, f.x, f.w, f.bias, y, m, f.n, f.k, f.scratch, NULL);
                check(&f, y);
                arena_destroy(f.arena);
            }
}

/* Few rows and many read the same numbers in what kernel_fill leaves, scales below 0 too. */
static void made_up_weights_are_what_they_decode_to(void **state)
{
    (void)state;
    for (size_t t = 0; t < 3; t++)
        for (size_t s = 0; s < sizeof(SHAPES) / sizeof(SHAPES[0]); s++)
            for (int m = 1; m <= 7; m++) {
                int k = SHAPES[s][1] + SHAPES[s][1] % 2; /* rows begin at whole halves */
                struct fixture f = make_of(TYPES[t], m, SHAPES[s][0], k, m % 2, true);
                float *y = empty(f.arena, (int64_t)m * f.n);

                kernel_linear_typed(f.dtype, f.x, f.w, f.bias, y, m, f.n, f.k, f.scratch, NULL);
                check(&f, y);
                arena_destroy(f.arena);
            }
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    for (size_t t = 1; t < 3; t++)
        for (int m = 1; m <= 9; m += 4) {
            struct fixture f = make(TYPES[t], m, 301, 200, true);
            size_t bytes = (size_t)m * 301 * sizeof(float);
            float *alone = empty(f.arena, (int64_t)m * 301), *y = empty(f.arena, (int64_t)m * 301);

            kernel_linear_typed(f.dtype, f.x, f.w, f.bias, alone, m, f.n, f.k, f.scratch, NULL);
            for (int threads = 1; threads <= 4; threads++) {
                struct err err = ERR_INIT;
                struct team *team = team_create(f.arena, threads, &err);

                assert_non_null(team);
                for (int repeat = 0; repeat < 20; repeat++) {
                    memset(y, 0, bytes);
                    kernel_linear_typed(f.dtype, f.x, f.w, f.bias, y, m, f.n, f.k, f.scratch, team);
                    assert_memory_equal(y, alone, bytes);
                }
                team_destroy(team);
            }
            arena_destroy(f.arena);
        }
}

static void rows_of_zeros_give_zeros(void **state)
{
    (void)state;
    for (size_t t = 0; t < 3; t++)
        for (int m = 1; m <= 8; m += 7) {
            struct fixture f = make(TYPES[t], m, 6, 64, false);
            float *y = empty(f.arena, (int64_t)m * 6);

            memset(f.x, 0, (size_t)m * 64 * sizeof(float));
            kernel_linear_typed(f.dtype, f.x, f.w, NULL, y, m, 6, 64, f.scratch, NULL);
            for (int i = 0; i < m * 6; i++)
                assert_true(y[i] == 0.0f);
            arena_destroy(f.arena);
        }
}

/* What the profiler does: matrices laid anywhere over one filled memory. */
static void filled_memory_gives_finite_results_wherever_a_matrix_lies(void **state)
{
    enum { BYTES = 1 << 18 };
    struct arena *arena = arena_create();
    unsigned char *memory = arena_alloc(arena, BYTES);
    float *x = filled(arena, 5 * 96, 1, 1.0f), y[5 * 40];

    (void)state;
    for (size_t t = 0; t < 3; t++) {
        kernel_fill(TYPES[t], memory, BYTES, 7);
        for (int offset = 0; offset < 64 * 200; offset += 64)
            for (int m = 1; m <= 5; m += 4) {
                void *scratch =
                    arena_alloc(arena, (size_t)kernel_linear_scratch(TYPES[t], m, 40, 96));

                kernel_linear_typed(TYPES[t], x, memory + offset, (float *)(void *)memory, y, m, 40,
                                    96, scratch, NULL);
                for (int i = 0; i < m * 40; i++)
                    assert_true(isfinite(y[i]));
            }
    }
    arena_destroy(arena);
}

static void every_way_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(kernel_linear_impl(KERNEL_F32, 1), "gemv");
    assert_string_equal(kernel_linear_impl(KERNEL_F32, 2), "gemm");
    assert_string_equal(kernel_linear_impl(KERNEL_BF16, 1), "c_bf16");
    assert_string_equal(kernel_linear_impl(KERNEL_Q8_0, 1), "c_q8");
    assert_string_equal(kernel_linear_impl(KERNEL_BF16, 64), "dequant");
    assert_string_equal(kernel_linear_impl(KERNEL_Q8_0, 64), "dequant");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_naive_product_of_what_is_stored),
        cmocka_unit_test(made_up_weights_are_what_they_decode_to),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(rows_of_zeros_give_zeros),
        cmocka_unit_test(filled_memory_gives_finite_results_wherever_a_matrix_lies),
        cmocka_unit_test(every_way_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
