/* test_csv.c - every bad table is named by path:line:column, and no table breaks the reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/base/utf8.h"
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICE, OP, TIME, COUNT, COLUMNS };
static const struct csv_column columns[COLUMNS] = {
    { "device", true }, { "op", true }, { "time_ns", false }, { "count", false }
};

static int setup(void **state)
{
    *state = arena_create();
    return 0;
}

static int teardown(void **state)
{
    arena_destroy(*state);
    return 0;
}

static struct csv *open_text(struct arena *arena, const char *text, struct err *err)
{
    return csv_open_text(arena, text, strlen(text), "t.csv", "cost", columns, COLUMNS, err);
}

/* The error of a table that cannot be opened or of its first bad row; "" when all is well. */
static const char *error_of_bytes(struct arena *arena, const char *text, size_t length)
{
    struct err *err = arena_alloc(arena, sizeof *err);
    struct csv *csv = csv_open_text(arena, text, length, "t.csv", "cost", columns, COLUMNS, err);

    while (csv && csv_next(csv, err))
        continue;
    csv_close(csv);
    return err->text;
}

static const char *error_of(struct arena *arena, const char *text)
{
    return error_of_bytes(arena, text, strlen(text));
}

static void columns_are_found_by_name_in_any_order(void **state)
{
    struct err err = ERR_INIT;
    struct csv *csv =
        open_text(*state, "count,x_mine,op,device\n3,hello,ffn,pi0\n4,,attn,\n", &err);

    assert_non_null(csv);
    assert_true(csv_next(csv, &err));
    assert_string_equal(csv_text(csv, DEVICE), "pi0");
    assert_string_equal(csv_text(csv, OP), "ffn");
    assert_string_equal(csv_text(csv, COUNT), "3");
    assert_string_equal(csv_text(csv, TIME), "");
    assert_false(csv_has_column(csv, TIME));
    assert_false(csv_has(csv, TIME));
    assert_int_equal(csv_position(csv, DEVICE), 4);
    assert_int_equal(csv_position(csv, TIME), 0);
    assert_string_equal(csv_column_name(csv, OP), "op");
    assert_true(csv_next(csv, &err));
    assert_false(csv_has(csv, DEVICE));
    assert_int_equal(csv_line(csv), 3);
    assert_false(csv_next(csv, &err));
    assert_false(csv_next(csv, &err));
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
    csv_close(csv);
    csv_close(NULL);
}

static void quotes_blanks_crlf_and_a_byte_order_mark_are_read(void **state)
{
    struct err err = ERR_INIT;
    struct csv *csv = open_text(*state,
                                "\xef\xbb\xbf"
                                "device,op\r\n\r\n \t\n\"a, \"\"b\"\"\" , ffn \r\n\"\",x",
                                &err);

    assert_non_null(csv);
    assert_true(csv_next(csv, &err));
    assert_int_equal(csv_line(csv), 4);
    assert_string_equal(csv_text(csv, DEVICE), "a, \"b\"");
    assert_string_equal(csv_text(csv, OP), "ffn");
    assert_true(csv_next(csv, &err)); /* the last line needs no newline */
    assert_string_equal(csv_text(csv, DEVICE), "");
    assert_string_equal(csv_text(csv, OP), "x");
    assert_false(csv_next(csv, &err));
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

static void metadata_stands_before_the_header(void **state)
{
    struct err err = ERR_INIT;
    struct csv *csv = open_text(*state,
                                "# orrery: cost 1\n# remark\n#blas : OpenBLAS 0.3: x \n"
                                "# blas: later\ndevice,op\n#1,2\n",
                                &err);

    assert_non_null(csv);
    assert_string_equal(csv_meta(csv, "orrery"), "cost 1");
    assert_string_equal(csv_meta(csv, "blas"), "later");
    assert_null(csv_meta(csv, "none"));
    assert_true(csv_next(csv, &err));
    assert_string_equal(csv_text(csv, DEVICE), "#1"); /* after the header it is data */
    assert_string_equal(csv_path(csv), "t.csv");
    csv_close(csv);
}

static void another_format_or_version_is_refused(void **state)
{
    assert_string_equal(error_of(*state, "# orrery: workload 1\ndevice,op\n"),
                        "t.csv:1: the file says that it is 'workload 1': expected 'cost 1'");
    assert_string_equal(error_of(*state, "\n# orrery: cost 2\ndevice,op\n"),
                        "t.csv:2: the file says that it is 'cost 2': this program reads version 1");
    assert_string_equal(error_of(*state, "# orrery: cost\ndevice,op\n"),
                        "t.csv:1: the file says that it is 'cost': this program reads version 1");
}

static void headers_are_checked(void **state)
{
    assert_string_equal(error_of(*state, "device,op,time_ms\n"),
                        "t.csv:1:3: unknown column 'time_ms'; did you mean 'time_ns'?");
    assert_string_equal(error_of(*state, "device,op,quite_another\n"),
                        "t.csv:1:3: unknown column 'quite_another'");
    assert_string_equal(error_of(*state, "\n# a: b\ndevice,time_ns\n"),
                        "t.csv:3: missing column 'op'");
    assert_string_equal(error_of(*state, "op,device,op\n"),
                        "t.csv:1:3: column 'op' is there twice");
    assert_string_equal(error_of(*state, "op,device,\n"), "t.csv:1:3: unknown column ''");
    assert_string_equal(error_of(*state, ""), "t.csv:1: no header row");
    assert_string_equal(error_of(*state, "# orrery: cost 1\n"), "t.csv:2: no header row");
    assert_string_equal(error_of(*state, "\xef\xbb\xbf"), "t.csv:2: no header row");
}

static void ragged_and_badly_quoted_rows_are_errors(void **state)
{
    assert_string_equal(error_of(*state, "device,op\na,b\n\na\n"),
                        "t.csv:4: 1 field, but the header names 2");
    assert_string_equal(error_of(*state, "device,op\na,b,c,d\n"),
                        "t.csv:2: 4 fields, but the header names 2");
    assert_string_equal(error_of(*state, "device,op\na,b\"c\n"), "t.csv:2: badly quoted field");
    assert_string_equal(error_of(*state, "device,op\n\"a,b\nc\",d\n"),
                        "t.csv:2: badly quoted field");
    assert_string_equal(error_of(*state, "device,op\na,\"b\"c\n"), "t.csv:2: badly quoted field");
    assert_string_equal(error_of(*state, "device,o\rp\n"),
                        "t.csv:1:2: unknown column 'o?p'; did you mean 'op'?");
}

static void bytes_that_are_no_text_are_errors(void **state)
{
    assert_string_equal(error_of_bytes(*state, "device,op\na,\0b\n", 15),
                        "t.csv:2: line holds a NUL byte");
    assert_string_equal(error_of(*state, "device,op\na,\xff\n"), "t.csv:2: line is not UTF-8");
    assert_string_equal(error_of(*state, "device,op\na,\xc3"), "t.csv:2: line is not UTF-8");
    assert_string_equal(error_of(*state, "device,op\nj\xc3\xb6rg,\xe2\x82\xac\n"), "");
}

static void utf8_is_told_from_what_only_looks_like_it(void **state)
{
    (void)state;
    assert_int_equal(utf8_length("a", 1), 1);
    assert_int_equal(utf8_length("\xc3\xa9", 2), 2);
    assert_int_equal(utf8_length("\xe2\x82\xac", 3), 3);
    assert_int_equal(utf8_length("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(utf8_length("\xf0\x9f\x98\x80", 3), 0); /* cut off */
    assert_int_equal(utf8_length("\x80", 1), 0);
    assert_int_equal(utf8_length("\xc0\xaf", 2), 0);         /* overlong */
    assert_int_equal(utf8_length("\xe0\x80\xaf", 3), 0);     /* overlong */
    assert_int_equal(utf8_length("\xf0\x80\x80\xaf", 4), 0); /* overlong */
    assert_int_equal(utf8_length("\xed\xa0\x80", 3), 0);     /* surrogate */
    assert_int_equal(utf8_length("\xf4\x90\x80\x80", 4), 0); /* above U+10FFFF */
    assert_int_equal(utf8_length("\xf5\x80\x80\x80", 4), 0);
    assert_int_equal(utf8_length("\xe2\x82\x28", 3), 0);
}

static void a_line_holds_a_mebibyte_and_no_more(void **state)
{
    struct arena *arena = *state;
    size_t limit = (size_t)1 << 20;
    struct err err = ERR_INIT;
    char *text = arena_alloc(arena, limit + 64);
    size_t start = (size_t)snprintf(text, 32, "device,op\na,");
    struct csv *csv;

    memset(text + start, 'x', limit + 1);
    assert_string_equal(error_of_bytes(arena, text, start - 2 + limit), "");
    memcpy(text + start - 2 + limit, "\r\n", 2);
    csv = csv_open_text(arena, text, start + limit, "t.csv", NULL, columns, COLUMNS, &err);
    assert_true(csv_next(csv, &err));
    assert_int_equal(strlen(csv_text(csv, OP)), limit - 2);
    assert_false(csv_bad(csv, OP, &err, "too long"));
    assert_int_equal(strlen(err.text), strlen("t.csv:2:2: op is '': too long") + 63);
    csv_close(csv);

    memset(text + start, 'x', limit + 1);
    assert_string_equal(error_of_bytes(arena, text, start - 1 + limit),
                        "t.csv:2: line is longer than 1048576 bytes");
    memset(text, 'x', limit + 64);
    assert_string_equal(error_of_bytes(arena, text, limit + 64),
                        "t.csv:1: line is longer than 1048576 bytes");
    memset(text, ',', limit);
    assert_string_equal(error_of_bytes(arena, text, limit), "t.csv:1:1: unknown column ''");
}

static void a_shown_value_is_not_cut_inside_a_character(void **state)
{
    struct arena *arena = *state;
    struct err err = ERR_INIT;
    char text[256] = "device,op\na,x";
    struct csv *csv;

    for (int i = 0; i < 40; i++)
        strncat(text, "\xc3\xa9", sizeof text - strlen(text) - 1);
    csv = open_text(arena, text, &err);
    assert_true(csv_next(csv, &err));
    csv_bad(csv, OP, &err, "bad");
    assert_non_null(strstr(err.text, "\xc3\xa9...': bad"));
    csv_close(csv);
}

static void every_column_of_a_mebibyte_of_commas_is_counted(void **state)
{
    struct arena *arena = *state;
    char *text = arena_alloc(arena, 600000);
    size_t start = (size_t)snprintf(text, 32, "device,op\n");

    memset(text + start, ',', 500000);
    assert_string_equal(error_of_bytes(arena, text, start + 500000),
                        "t.csv:2: 500001 fields, but the header names 2");
}

/* One row under the header device,op,time_ns,count. */
static struct csv *one_row(struct arena *arena, const char *row, struct err *err)
{
    char *text = arena_printf(arena, "device,op,time_ns,count\n%s\n", row);
    struct csv *csv = open_text(arena, text, err);

    assert_non_null(csv);
    assert_true(csv_next(csv, err));
    return csv;
}

static void whole_numbers_are_checked(void **state)
{
    static const struct {
        const char *field, *expected;
    } cases[] = {
        { "", "must not be empty" },
        { "abc", "not a whole number" },
        { "1.5", "not a whole number" },
        { "1e999", "not a whole number" },
        { "nan", "not a whole number" },
        { "-", "not a whole number" },
        { "0x10", "not a whole number" },
        { "0", "expected a whole number from 1 to 12" },
        { "-3", "expected a whole number from 1 to 12" },
        { "13", "expected a whole number from 1 to 12" },
        { "99999999999999999999", "expected a whole number from 1 to 12" },
    };
    struct arena *arena = *state;
    int64_t value;
    int32_t small;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        struct csv *csv = one_row(arena, arena_printf(arena, "d,o,1,%s", cases[i].field), &err);

        assert_false(csv_int(csv, COUNT, 1, 12, &value, &err));
        assert_string_equal(err.text, arena_printf(arena, "t.csv:2:4: count is '%s': %s",
                                                   cases[i].field, cases[i].expected));
        assert_int_equal(err.kind, ERR_INPUT);
        csv_close(csv);
    }
    struct err err = ERR_INIT;
    struct csv *csv = one_row(arena, "d,o,1,12", &err);
    assert_true(csv_int32(csv, COUNT, 1, 12, &small, &err));
    assert_int_equal(small, 12);
    assert_false(csv_int32(csv, COUNT, 13, INT32_MAX, &small, &err));
    assert_non_null(strstr(err.text, "expected a whole number from 13 to 2147483647"));
    err.kind = ERR_NONE;
    assert_false(csv_int(csv, COUNT, 13, INT64_MAX, &value, &err));
    assert_non_null(strstr(err.text, "expected a whole number of at least 13"));
    csv_close(csv);
}

static void numbers_are_checked(void **state)
{
    struct err err = ERR_INIT;
    struct csv *csv = one_row(*state, "1e999,abc,,0.25", &err);
    double value;

    assert_true(csv_double(csv, COUNT, 0, 1, &value, &err));
    assert_true(value == 0.25);
    assert_false(csv_double(csv, COUNT, 0.5, 1, &value, &err));
    assert_string_equal(err.text, "t.csv:2:4: count is '0.25': expected a number of at least 0.5");
    err.kind = ERR_NONE;
    assert_false(csv_double(csv, COUNT, -1, 0.1, &value, &err));
    assert_string_equal(err.text, "t.csv:2:4: count is '0.25': expected a number of at most 0.1");
    err.kind = ERR_NONE;
    assert_false(csv_double(csv, DEVICE, 0, DBL_MAX, &value, &err));
    assert_string_equal(err.text, "t.csv:2:1: device is '1e999': not a finite decimal number");
    err.kind = ERR_NONE;
    assert_false(csv_double(csv, OP, 0, 1, &value, &err));
    err.kind = ERR_NONE;
    assert_false(csv_double(csv, TIME, 0, 1, &value, &err));
    assert_string_equal(err.text, "t.csv:2:3: time_ns is '': must not be empty");
    csv_close(csv);
}

static void times_are_read_exactly_and_checked(void **state)
{
    struct err err = ERR_INIT;
    struct csv *csv = one_row(*state, "0.126,-1,12.5,1e8", &err);
    int64_t time_ps;

    assert_true(csv_seconds(csv, DEVICE, 0, &time_ps, &err));
    assert_int_equal(time_ps, INT64_C(126000000000));
    assert_true(csv_ns(csv, TIME, 1, &time_ps, &err));
    assert_int_equal(time_ps, 12500);
    assert_false(csv_seconds(csv, OP, 0, &time_ps, &err));
    assert_string_equal(err.text, "t.csv:2:2: op is '-1': expected at least 0 seconds");
    err.kind = ERR_NONE;
    assert_false(csv_seconds(csv, OP, 1, &time_ps, &err));
    assert_string_equal(err.text, "t.csv:2:2: op is '-1': expected seconds above 0");
    err.kind = ERR_NONE;
    assert_false(csv_seconds(csv, COUNT, 0, &time_ps, &err));
    assert_non_null(strstr(err.text, "count is '1e8': expected"));
    csv_close(csv);

    static const char *const bad[] = { "abc", "nan", "inf", "1e999", "1,2", "0x1p3", "1 s" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err bad_err = ERR_INIT;

        csv = one_row(*state, arena_printf(*state, "d,o,\"%s\",", bad[i]), &bad_err);
        assert_false(csv_ns(csv, TIME, 0, &time_ps, &bad_err));
        assert_string_equal(bad_err.text,
                            arena_printf(*state,
                                         "t.csv:2:3: time_ns is '%s': expected decimal nanoseconds",
                                         bad[i]));
        csv_close(csv);
    }
}

static void choices_list_what_is_expected(void **state)
{
    static const char *const names[] = { "qkv", "attention", "out_proj", "ffn" };
    struct err err = ERR_INIT;
    struct csv *csv = one_row(*state, "ffn,fnn,,zzzzzzzzz", &err);
    int index = -1;

    assert_true(csv_choice(csv, DEVICE, names, 4, &index, &err));
    assert_int_equal(index, 3);
    assert_false(csv_choice(csv, OP, names, 4, &index, &err));
    assert_string_equal(
        err.text,
        "t.csv:2:2: op is 'fnn': expected qkv, attention, out_proj or ffn; did you mean 'ffn'?");
    err.kind = ERR_NONE;
    assert_false(csv_choice(csv, COUNT, names, 4, &index, &err));
    assert_string_equal(
        err.text, "t.csv:2:4: count is 'zzzzzzzzz': expected qkv, attention, out_proj or ffn");
    err.kind = ERR_NONE;
    assert_false(csv_choice(csv, TIME, names, 4, &index, &err));
    assert_string_equal(err.text, "t.csv:2:3: time_ns is '': must not be empty");
    csv_close(csv);
}

static void names_are_copied_and_rows_can_be_blamed(void **state)
{
    struct err err = ERR_INIT;
    struct csv *csv = open_text(*state, "device,op\npi0,a\n,b\n", &err);
    const char *name = NULL;

    assert_true(csv_next(csv, &err));
    assert_true(csv_name(csv, DEVICE, *state, &name, &err));
    assert_true(csv_next(csv, &err));
    assert_string_equal(name, "pi0");
    assert_false(csv_name(csv, DEVICE, *state, &name, &err));
    assert_string_equal(err.text, "t.csv:3:1: device is '': must not be empty");
    err.kind = ERR_NONE;
    assert_false(csv_bad_row(csv, &err, "same key as line %d", 2));
    assert_string_equal(err.text, "t.csv:3: same key as line 2");
    err.kind = ERR_NONE;
    assert_false(csv_bad(csv, TIME, &err, "it is needed here"));
    assert_string_equal(err.text, "t.csv:3: no column 'time_ns': it is needed here");
    csv_close(csv);
}

static void files_are_read_in_blocks_of_any_size(void **state)
{
    char path[] = "/tmp/test_csv.XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "wb");
    struct err err = ERR_INIT;
    struct csv *csv;
    int64_t sum = 0, value;

    assert_non_null(file);
    fputs("device,op,count\n", file);
    for (int i = 0; i < 30000; i++)
        fprintf(file, "device%d,op,%d\n", i, i);
    fclose(file);
    csv = csv_open(*state, path, NULL, columns, COLUMNS, &err);
    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        assert_true(csv_int(csv, COUNT, 0, INT64_MAX, &value, &err));
        sum += value;
    }
    assert_int_equal(err.kind, ERR_NONE);
    assert_int_equal(sum, INT64_C(30000) * 29999 / 2);
    assert_int_equal(csv_line(csv), 30002);
    csv_close(csv);
    unlink(path);
}

static void missing_files_and_folders_are_system_errors(void **state)
{
    struct err err = ERR_INIT;

    assert_null(csv_open(*state, "/tmp/nowhere.csv", NULL, columns, COLUMNS, &err));
    assert_string_equal(err.text, "/tmp/nowhere.csv: No such file or directory");
    assert_int_equal(err.kind, ERR_SYSTEM);
    err = (struct err)ERR_INIT;
    assert_null(csv_open(*state, "/tmp", NULL, columns, COLUMNS, &err));
    assert_string_equal(err.text, "/tmp: Is a directory");
    assert_int_equal(err.kind, ERR_SYSTEM);
    err = (struct err)ERR_INIT;
    assert_null(csv_open(*state, "/dev/zero", NULL, columns, COLUMNS, &err)); /* ends */
    assert_string_equal(err.text, "/dev/zero:1: line is longer than 1048576 bytes");
}

static void a_dash_is_stdin(void **state)
{
    char path[] = "/tmp/test_csv.XXXXXX";
    int fd = mkstemp(path);
    struct err err = ERR_INIT;
    struct csv *csv;

    assert_int_equal(write(fd, "device,op\n1,2\n1\n", 16), 16);
    close(fd);
    assert_non_null(freopen(path, "rb", stdin));
    csv = csv_open(*state, "-", NULL, columns, COLUMNS, &err);
    assert_non_null(csv);
    assert_true(csv_next(csv, &err));
    assert_false(csv_next(csv, &err));
    assert_string_equal(err.text, "stdin:3: 1 field, but the header names 2");
    csv_close(csv);
    unlink(path);
}

static void plain_lines_may_be_taken_off_by_the_caller(void **state)
{
    static const char text[] = "device,op\n1,2\n3,4\n5,6\n7";
    char path[] = "/tmp/orrery-csv-XXXXXX";
    struct err err = ERR_INIT;
    int fd = mkstemp(path);
    struct csv *csv;
    const char *rest;
    size_t length;

    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    csv = csv_open(*state, path, NULL, columns, COLUMNS, &err);
    assert_non_null(csv);
    assert_int_equal(csv_header_count(csv), 2);
    assert_int_equal(csv_bytes_left(csv), 13);
    rest = csv_peek(csv, &length);
    assert_int_equal(length, 13);
    assert_memory_equal(rest, "1,2\n3,4\n", 8);
    csv_skip(csv, 8, 2);
    assert_int_equal(csv_bytes_left(csv), 5);
    assert_true(csv_next(csv, &err));
    assert_string_equal(csv_text(csv, OP), "6");
    assert_int_equal(csv_line(csv), 4);
    assert_int_equal(csv_bytes_left(csv), 1);
    assert_false(csv_next(csv, &err));
    csv_peek(csv, &length);
    assert_int_equal(length, 0);
    csv_close(csv);
    unlink(path);
    csv = open_text(*state, text, &err); /* no room to read behind it */
    csv_peek(csv, &length);
    assert_int_equal(length, 0);
    assert_int_equal(csv_bytes_left(csv), 13);
    csv_close(csv);
}

static void a_file_that_was_cut_off_loses_its_last_line_alone(void **state)
{
    const char *const cut[] = { "a,x\nb,y\nc", "a,x\nb,y\nc,", "a,x\nb,y\nc,zz", "a,x\nb,y\n" };

    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        struct err err = ERR_INIT;
        char text[256];
        struct csv *csv;
        int rows = 0;

        snprintf(text, sizeof text, "# orrery: cost 1\n# partial: cut off\ndevice,op\n%s", cut[i]);
        csv = open_text(*state, text, &err);
        assert_non_null(csv);
        assert_string_equal(csv_meta(csv, "partial"), "cut off");
        while (csv_next(csv, &err))
            rows++;
        assert_int_equal(err.kind, ERR_NONE);
        assert_int_equal(rows, 2);
        csv_close(csv);
    }
    /* what is wrong elsewhere, and what does not say that it was cut off, is an error as ever */
    assert_string_equal(error_of(*state, "# partial: x\ndevice,op\na\nb,y\n"),
                        "t.csv:3: 1 field, but the header names 2");
    assert_string_equal(error_of(*state, "device,op\na,x\nb"),
                        "t.csv:3: 1 field, but the header names 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        RULE(columns_are_found_by_name_in_any_order),
        RULE(quotes_blanks_crlf_and_a_byte_order_mark_are_read),
        RULE(metadata_stands_before_the_header),
        RULE(another_format_or_version_is_refused),
        RULE(headers_are_checked),
        RULE(ragged_and_badly_quoted_rows_are_errors),
        RULE(bytes_that_are_no_text_are_errors),
        RULE(utf8_is_told_from_what_only_looks_like_it),
        RULE(a_line_holds_a_mebibyte_and_no_more),
        RULE(a_shown_value_is_not_cut_inside_a_character),
        RULE(every_column_of_a_mebibyte_of_commas_is_counted),
        RULE(whole_numbers_are_checked),
        RULE(numbers_are_checked),
        RULE(times_are_read_exactly_and_checked),
        RULE(choices_list_what_is_expected),
        RULE(names_are_copied_and_rows_can_be_blamed),
        RULE(files_are_read_in_blocks_of_any_size),
        RULE(missing_files_and_folders_are_system_errors),
        RULE(a_dash_is_stdin),
        RULE(plain_lines_may_be_taken_off_by_the_caller),
        RULE(a_file_that_was_cut_off_loses_its_last_line_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
