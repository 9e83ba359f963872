/* test_json.c - what the writer writes is JSON, and what the reader takes is nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void write_sample(struct json_writer *json)
{
    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_begin_array(json, "list");
    json_put_int(json, NULL, INT64_C(9007199254740993));
    json_put_double(json, NULL, NAN);
    json_begin_object(json, NULL);
    json_end_object(json);
    json_end_array(json);
    json_begin_array(json, "empty");
    json_end_array(json);
    json_put_bool(json, "yes", true);
    json_put_bool(json, "no", false);
    json_put_text(json, "text", "a");
    json_put_text(json, "none", NULL);
    json_put_null(json, "null");
    json_put_double(json, "tenth", 0.1);
    json_put_double(json, "infinite", -INFINITY);
    json_put_seconds(json, "latency_s", 1);
    json_end_object(json);
}

static void a_line_holds_one_object(void **state)
{
    struct out *out = out_open_memory(*state);

    write_sample(json_writer_create(*state, out, false));
    assert_string_equal(out_memory(out, NULL),
                        "{\"schema\":1,\"list\":[9007199254740993,null,{}],\"empty\":[],"
                        "\"yes\":true,\"no\":false,\"text\":\"a\",\"none\":null,\"null\":null,"
                        "\"tenth\":0.1,\"infinite\":null,\"latency_s\":0.000000000001}\n");
}

static void pretty_output_has_a_value_a_line(void **state)
{
    struct out *out = out_open_memory(*state);
    struct json_writer *json = json_writer_create(*state, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "a", 1);
    json_begin_array(json, "b");
    json_put_int(json, NULL, 2);
    json_put_int(json, NULL, 3);
    json_end_array(json);
    json_begin_object(json, "c");
    json_end_object(json);
    json_end_object(json);
    assert_string_equal(out_memory(out, NULL),
                        "{\n  \"a\": 1,\n  \"b\": [\n    2,\n    3\n  ],\n  \"c\": {}\n}\n");
}

static void strings_are_escaped_and_always_utf8(void **state)
{
    struct out *out = out_open_memory(*state);
    struct json_writer *json = json_writer_create(*state, out, false);

    json_put_text(json, NULL, "\"\\/\n\t\x01\x7f \xe2\x82\xac \xff\xc3");
    assert_string_equal(out_memory(out, NULL),
                        "\"\\\"\\\\/\\u000a\\u0009\\u0001\x7f \xe2\x82\xac \\ufffd\\ufffd\"\n");
}

static void the_reader_reads_what_the_writer_wrote(void **state)
{
    struct err err = ERR_INIT;
    struct out *out = out_open_memory(*state);
    const struct json *json;
    int64_t number = 0;
    double real = 0;
    bool flag = false;

    write_sample(json_writer_create(*state, out, true));
    json = json_parse(*state, out_memory(out, NULL), "mem", &err);
    assert_non_null(json);
    assert_true(json_int(json_get(json, "schema"), &number));
    assert_int_equal(number, 1);
    assert_true(json_bool(json_get(json, "yes"), &flag));
    assert_true(flag);
    assert_true(json_bool(json_get(json, "no"), &flag));
    assert_false(flag);
    assert_string_equal(json_text(json_get(json, "text")), "a");
    assert_true(json_is_text(json_get(json, "text")));
    assert_null(json_get(json, "null"));
    assert_null(json_get(json, "absent"));
    assert_true(json_double(json_get(json, "tenth"), &real));
    assert_true(real == 0.1);
    assert_int_equal(json_count(json_get(json, "list")), 3);
    assert_int_equal(json_count(json_get(json, "empty")), 0);
    assert_int_equal(json_count(json_get(json, "text")), 0);
    assert_null(json_at(json_get(json, "list"), 3));
    assert_null(json_at(json_get(json, "list"), -1));
    assert_null(json_get(json_get(json, "list"), "a"));
}

static void kinds_are_not_mixed_up(void **state)
{
    struct err err = ERR_INIT;
    const struct json *json = json_parse(*state, "[1.5, \"1\", true, {}, 12, -3]", "mem", &err);
    int64_t number;
    double real;
    bool flag;

    assert_false(json_int(json_at(json, 0), &number));
    assert_false(json_int(json_at(json, 1), &number));
    assert_false(json_int(json_at(json, 2), &number));
    assert_false(json_int(NULL, &number));
    assert_false(json_double(json_at(json, 1), &real));
    assert_false(json_double(NULL, &real));
    assert_false(json_bool(json_at(json, 4), &flag));
    assert_false(json_bool(NULL, &flag));
    assert_null(json_text(json_at(json, 4)));
    assert_null(json_text(NULL));
    assert_false(json_is_text(json_at(json, 3)));
    assert_true(json_int(json_at(json, 5), &number));
    assert_int_equal(number, -3);
}

static void integers_that_a_double_cannot_hold_are_refused(void **state)
{
    struct err err = ERR_INIT;
    const struct json *json = json_parse(
        *state, "[9007199254740991, 9007199254740992, 9007199254740993, -1e300]", "mem", &err);
    int64_t number;

    assert_true(json_int(json_at(json, 0), &number));
    assert_int_equal(number, INT64_C(9007199254740991));
    assert_false(json_int(json_at(json, 1), &number));
    assert_false(json_int(json_at(json, 2), &number));
    assert_false(json_int(json_at(json, 3), &number));
}

static void text_that_is_no_json_is_located(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        { "", "c.json:1:1: not JSON from here on" },
        { "{\n  \"a\": 1,\n  \"b\": nope\n}", "c.json:3:8: not JSON from here on" },
        { "[1,2] x", "c.json:1:7: not JSON from here on" },
        { "[1,2", "c.json:1:5: not JSON from here on" },
        { "{\"a\":1,\"b\":2,\"a\":3}", "c.json: key 'a' is there twice" },
        { "[1e999]", "c.json: a number is too large: expected less than 1.8e308" },
        { "[\"a\nb\"]", "c.json:1:4: control character inside a string" },
        { "[\"a\\u0000b\"]", "c.json:1:4: NUL character" },
        { "[\"\xff\"]", "c.json:1:3: not UTF-8" },
        { "[NaN]", "c.json:1:2: not JSON from here on" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;

        assert_null(json_parse(*state, cases[i].text, "c.json", &err));
        assert_string_equal(err.text, cases[i].error);
        assert_int_equal(err.kind, ERR_INPUT);
    }
}

static void escaped_backslashes_hide_no_quote(void **state)
{
    struct err err = ERR_INIT;
    const struct json *json =
        json_parse(*state, "[\"a\\\\\", \"\\\"\", \"\\\\u0000\", \"\\u00e9\"]", "mem", &err);

    assert_non_null(json);
    assert_string_equal(json_text(json_at(json, 0)), "a\\");
    assert_string_equal(json_text(json_at(json, 1)), "\"");
    assert_string_equal(json_text(json_at(json, 2)), "\\u0000");
    assert_string_equal(json_text(json_at(json, 3)), "\xc3\xa9");
}

static void deep_nesting_ends_in_an_error(void **state)
{
    struct err err = ERR_INIT;
    char *text = arena_alloc(*state, 100001);

    memset(text, '[', 100000);
    assert_null(json_parse(*state, text, "deep.json", &err));
    assert_non_null(strstr(err.text, "deep.json:1:"));
}

static const char *put_temporary(struct arena *arena, const char *bytes, size_t count)
{
    char *path = arena_strdup(arena, "/tmp/test_json.XXXXXX");
    int fd = mkstemp(path);

    assert_int_equal(write(fd, bytes, count), count);
    close(fd);
    return path;
}

static void files_are_read_whole(void **state)
{
    struct err err = ERR_INIT;
    size_t size = 200000;
    char *text = arena_alloc(*state, size + 1);
    const char *path;
    const struct json *json;

    memset(text, ' ', size);
    text[0] = '[';
    text[size - 2] = '7';
    text[size - 1] = ']';
    path = put_temporary(*state, text, size);
    json = json_load(*state, path, &err);
    assert_non_null(json);
    assert_int_equal(json_count(json), 1);
    unlink(path);

    path = put_temporary(*state, "[1]\0[2]", 7);
    assert_null(json_load(*state, path, &err));
    assert_non_null(strstr(err.text, ":1:4: NUL byte"));
    unlink(path);
}

static void unreadable_files_are_errors(void **state)
{
    struct err err = ERR_INIT;

    assert_null(json_load(*state, "/tmp/nowhere.json", &err));
    assert_string_equal(err.text, "/tmp/nowhere.json: No such file or directory");
    err = (struct err)ERR_INIT;
    assert_null(json_load(*state, "/tmp", &err));
    assert_string_equal(err.text, "/tmp: Is a directory");
    err = (struct err)ERR_INIT;
    assert_null(json_load(*state, "/dev/zero", &err));
    assert_string_equal(err.text, "/dev/zero: file is larger than 64 MiB");
}

static void members_are_told_in_order_with_their_keys(void **state)
{
    struct err err = ERR_INIT;
    const struct json *json =
        json_parse(*state, "{\"b\": [], \"a\": null, \"c\": {\"d\": 1}}", "mem", &err);
    const char *key = NULL;

    assert_true(json_is_object(json));
    assert_false(json_is_array(json));
    assert_true(json_is_array(json_member(json, 0, &key)));
    assert_string_equal(key, "b");
    assert_non_null(json_member(json, 1, &key));
    assert_string_equal(key, "a");
    assert_null(json_member(json_member(json, 2, &key), 1, &key));
    assert_string_equal(key, "c");
    assert_null(json_member(json, 3, &key));
    assert_null(json_member(json, -1, &key));
    assert_null(json_member(json_get(json, "b"), 0, &key));
    assert_false(json_is_object(NULL));
    assert_false(json_is_array(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        RULE(a_line_holds_one_object),
        RULE(pretty_output_has_a_value_a_line),
        RULE(strings_are_escaped_and_always_utf8),
        RULE(the_reader_reads_what_the_writer_wrote),
        RULE(kinds_are_not_mixed_up),
        RULE(integers_that_a_double_cannot_hold_are_refused),
        RULE(text_that_is_no_json_is_located),
        RULE(escaped_backslashes_hide_no_quote),
        RULE(deep_nesting_ends_in_an_error),
        RULE(files_are_read_whole),
        RULE(unreadable_files_are_errors),
        RULE(members_are_told_in_order_with_their_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
