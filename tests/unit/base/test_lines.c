/* test_lines.c - lines of any length up to the limit, their numbers, their ends, and stdin. */
#include "lib/base/lines.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h> /* after the four headers that it needs */

static struct arena *arena;
static struct err err;
static char path[40];

static int set_up(void **state)
{
    int descriptor;

    (void)state;
    arena = arena_create();
    err = (struct err)ERR_INIT;
    strncpy(path, "/tmp/orrery-test-lines-XXXXXX", sizeof path - 1);
    descriptor = mkstemp(path);
    return descriptor < 0 || close(descriptor) != 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return unlink(path);
}

static struct lines *open_bytes(const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    struct lines *lines;

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
    lines = lines_open(arena, path, &err);
    assert_non_null(lines);
    return lines;
}

static void assert_line(struct lines *lines, long number, const char *text)
{
    const char *line = lines_next(lines, &err);

    assert_non_null(line);
    assert_string_equal(line, text);
    assert_int_equal(lines_number(lines), number);
}

static void assert_end(struct lines *lines)
{
    assert_null(lines_next(lines, &err));
    assert_int_equal(err.kind, ERR_NONE);
    assert_null(lines_next(lines, &err)); /* and stays there */
    lines_close(lines);
}

static void line_ends_come_off_and_blank_lines_count(void **state)
{
    static const char bytes[] = "one\r\n\n\r\nt\rwo\r\r\nlast";
    struct lines *lines = open_bytes(bytes, sizeof bytes - 1);

    (void)state;
    assert_string_equal(lines_path(lines), path);
    assert_line(lines, 1, "one");
    assert_line(lines, 2, "");
    assert_line(lines, 3, "");
    assert_line(lines, 4, "t\rwo\r");
    assert_line(lines, 5, "last");
    assert_end(lines);
}

static void an_empty_file_has_no_line_and_a_newline_is_one(void **state)
{
    struct lines *lines = open_bytes("", 0);

    (void)state;
    assert_end(lines);
    lines = open_bytes("\n", 1);
    assert_line(lines, 1, "");
    assert_end(lines);
}

static void a_line_may_be_as_long_as_the_limit_and_no_longer(void **state)
{
    size_t room = LINES_MAX_BYTES + 8;
    char *bytes = arena_alloc(arena, room);
    struct lines *lines;
    const char *line;

    (void)state;
    memset(bytes, 'x', room);
    memcpy(bytes + LINES_MAX_BYTES, "\r\nend", 5);
    lines = open_bytes(bytes, LINES_MAX_BYTES + 5);
    line = lines_next(lines, &err);
    assert_non_null(line);
    assert_int_equal(strlen(line), LINES_MAX_BYTES);
    assert_line(lines, 2, "end");
    assert_end(lines);
    for (size_t extra = 1; extra <= 2; extra++) { /* the byte where a CR may be, and the next */
        bytes[0] = '\n';
        memset(bytes + 1, 'x', room - 1);
        lines = open_bytes(bytes, 1 + LINES_MAX_BYTES + extra);
        assert_line(lines, 1, "");
        assert_null(lines_next(lines, &err));
        lines_close(lines);
        assert_non_null(strstr(err.text, ":2: line is longer than 1048576 bytes"));
        err = (struct err)ERR_INIT;
    }
}

static void a_nul_byte_is_refused_with_its_line(void **state)
{
    struct lines *lines = open_bytes("a\nb\0c\n", 6);

    (void)state;
    assert_line(lines, 1, "a");
    assert_null(lines_next(lines, &err));
    assert_non_null(strstr(err.text, ":2: line holds a NUL byte"));
    assert_int_equal(err.kind, ERR_INPUT);
    lines_close(lines);
}

static void what_cannot_be_read_is_a_system_error(void **state)
{
    struct lines *lines;

    (void)state;
    assert_null(lines_open(arena, "/nowhere/at/all", &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    err = (struct err)ERR_INIT;
    lines = lines_open(arena, "/", &err);
    assert_non_null(lines);
    assert_null(lines_next(lines, &err));
    lines_close(lines);
    assert_int_equal(err.kind, ERR_SYSTEM);
    assert_string_equal(err.text, "/: Is a directory");
}

static void a_dash_is_stdin_and_only_once(void **state)
{
    struct lines *lines = open_bytes("a\nb", 3);

    (void)state;
    lines_close(lines);
    assert_non_null(freopen(path, "r", stdin));
    lines = lines_open(arena, "-", &err);
    assert_non_null(lines);
    assert_string_equal(lines_path(lines), "stdin");
    assert_line(lines, 1, "a");
    assert_line(lines, 2, "b");
    assert_end(lines);
    assert_null(lines_open(arena, "-", &err)); /* an empty second file would go unnoticed */
    assert_int_equal(err.kind, ERR_INPUT);
    assert_non_null(strstr(err.text, "stdin: read to its end already"));
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(line_ends_come_off_and_blank_lines_count),
        RULE(an_empty_file_has_no_line_and_a_newline_is_one),
        RULE(a_line_may_be_as_long_as_the_limit_and_no_longer),
        RULE(a_nul_byte_is_refused_with_its_line),
        RULE(what_cannot_be_read_is_a_system_error),
        RULE(a_dash_is_stdin_and_only_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
