/* test_quantise.c - bytes of values that are sent in few bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/policy/quantise.h"

static void whole_values_stand_in_words(void **state)
{
    (void)state;
    assert_int_equal(quantise_bytes(7, 0), 28); /* as they are */
    assert_int_equal(quantise_bytes(7, 32), 28);
    assert_int_equal(quantise_bytes(7, 16), 4 * 4 + 8);
    assert_int_equal(quantise_bytes(7, 12), 4 * 4 + 8);
    assert_int_equal(quantise_bytes(7, 10), 4 * 3 + 8);
    assert_int_equal(quantise_bytes(8, 8), 4 * 2 + 8);
    assert_int_equal(quantise_bytes(9, 8), 4 * 3 + 8);
    assert_int_equal(quantise_bytes(0, 8), 8);
    assert_int_equal(quantise_bytes(INT64_C(1) << 60, 31), (INT64_C(1) << 62) + 8);
    assert_false(quantise_applies(0) || quantise_applies(32));
    assert_true(quantise_applies(1) && quantise_applies(31));
}

/* A whole number among the fields of the line. */
static int64_t field(const char *line, int number)
{
    char text[24];
    int64_t value;
    size_t length;

    for (int i = 0; i < number; i++) {
        line = strchr(line, ',');
        assert_non_null(line);
        line++;
    }
    length = strcspn(line, ",\r\n");
    assert_true(length < sizeof text);
    memcpy(text, line, length);
    text[length] = '\0';
    assert_true(units_parse_int(text, &value));
    return value;
}

/* What PipeEdge's own encoder made of tensors of a vision transformer. */
static void pipeedge_packs_into_as_many_bytes(void **state)
{
    const char *path = "../shared/data/pipeedge/quant/wire_size.csv";
    FILE *file = fopen(path, "r");
    char line[200];
    int rows = 0;

    (void)state;
    if (!file) {
        print_message("skipped: no %s beside this checkout\n", path);
        skip();
    }
    assert_non_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file)) {
        int32_t bits = (int32_t)field(line, 0);

        if (!quantise_applies(bits))
            continue;
        assert_int_equal(quantise_bytes(197 * 768, bits) - QUANTISE_SCALE_BYTES, field(line, 5));
        assert_int_equal(quantise_bytes(197 * 3072, bits) - QUANTISE_SCALE_BYTES, field(line, 6));
        rows++;
    }
    assert_true(rows >= 10);
    assert_int_equal(fclose(file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_values_stand_in_words),
        cmocka_unit_test(pipeedge_packs_into_as_many_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
