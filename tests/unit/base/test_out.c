/* test_out.c - files appear whole or not at all, and a full disk is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct arena *arena;
    char folder[64];
};

static int setup(void **state)
{
    struct fixture *f = test_malloc(sizeof *f);

    f->arena = arena_create();
    snprintf(f->folder, sizeof f->folder, "/tmp/test_out.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    *state = f;
    return 0;
}

static const char *in_folder(struct fixture *f, const char *name)
{
    return arena_printf(f->arena, "%s/%s", f->folder, name);
}

static int count_files(const char *folder)
{
    DIR *dir = opendir(folder);
    int count = 0;

    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
        count += e->d_name[0] != '.';
    closedir(dir);
    return count;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    DIR *dir = opendir(f->folder);

    for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
        remove(in_folder(f, e->d_name));
    closedir(dir);
    rmdir(f->folder);
    arena_destroy(f->arena);
    test_free(f);
    return 0;
}

static const char *slurp(struct fixture *f, const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = arena_alloc(f->arena, 1 << 20);

    assert_non_null(file);
    text[fread(text, 1, (1 << 20) - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    fclose(file);
}

static void every_put_writes_its_text(void **state)
{
    struct fixture *f = *state;
    struct out *out = out_open_memory(f->arena);
    size_t length;
    char longer[2000];

    memset(longer, 'z', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    out_text(out, "a");
    out_char(out, ',');
    out_int(out, INT64_MIN);
    out_char(out, ',');
    out_seconds(out, INT64_C(126000000000));
    out_char(out, ',');
    out_ns(out, 12500);
    out_char(out, ',');
    out_double(out, 0.1);
    out_double(out, NAN);
    out_double(out, INFINITY);
    out_printf(out, ",%d%s", 7, "x");
    assert_string_equal(out_memory(out, &length), "a,-9223372036854775808,0.126,12.5,0.1,7x");
    assert_int_equal(length, strlen("a,-9223372036854775808,0.126,12.5,0.1,7x"));
    out_printf(out, "%s", longer);
    out_memory(out, &length);
    assert_int_equal(length, 40 + 1999);
}

static void csv_fields_are_quoted_where_rfc_4180_asks(void **state)
{
    struct fixture *f = *state;
    struct out *out = out_open_memory(f->arena);

    out_csv(out, "plain");
    out_char(out, '|');
    out_csv(out, "a,b");
    out_char(out, '|');
    out_csv(out, "say \"hi\"");
    out_char(out, '|');
    out_csv(out, " padded");
    out_char(out, '|');
    out_csv(out, "");
    assert_string_equal(out_memory(out, NULL), "plain|\"a,b\"|\"say \"\"hi\"\"\"|\" padded\"|");
}

static void memory_grows_past_any_buffer(void **state)
{
    struct fixture *f = *state;
    struct out *out = out_open_memory(f->arena);
    struct err err = ERR_INIT;
    size_t length;
    const char *text;

    for (int i = 0; i < 50000; i++)
        out_text(out, "0123456789");
    assert_true(out_commit(out, &err));
    text = out_memory(out, &length);
    assert_int_equal(length, 500000);
    assert_int_equal(text[499999], '9');
    assert_int_equal(text[length], '\0');
    out_abort(out);
}

static void a_file_appears_only_at_commit(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "a.csv");
    struct out *out = out_open(f->arena, path, &err);

    assert_non_null(out);
    out_text(out, "x\n");
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(out_commit(out, &err));
    assert_string_equal(slurp(f, path), "x\n");
    assert_int_equal(count_files(f->folder), 1);
    out_abort(out); /* after a commit: nothing happens */
    assert_int_equal(count_files(f->folder), 1);
}

static void an_abort_leaves_the_old_file(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "a.csv");
    struct out *out;

    put_file(path, "old");
    out = out_open(f->arena, path, &err);
    out_text(out, "new");
    out_abort(out);
    out_abort(NULL);
    assert_string_equal(slurp(f, path), "old");
    assert_int_equal(count_files(f->folder), 1);
}

static void large_writes_arrive_whole(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "a.bin");
    struct out *out = out_open(f->arena, path, &err);
    size_t size = 300000;
    char *bytes = arena_alloc(f->arena, size + 1);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)('a' + i % 26);
    out_char(out, '!');
    out_bytes(out, bytes, size);
    assert_true(out_commit(out, &err));
    assert_string_equal(slurp(f, path) + 1, bytes);
}

static void room_is_there_however_much_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "room.txt"), *text;
    struct out *outs[2] = { out_open_memory(f->arena), out_open(f->arena, path, &err) };
    size_t sizes[] = { 3, 70000, 0, 5, 65535, 200000, 1 }, total = 0;

    for (int o = 0; o < 2; o++) {
        assert_non_null(outs[o]);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char *at = out_room(outs[o], sizes[i] + 10);

            memset(at, (char)('a' + i), sizes[i]);
            out_took(outs[o], at + sizes[i]);
            out_text(outs[o], "|");
        }
    }
    assert_true(out_commit(outs[1], &err));
    text = slurp(f, path);
    assert_string_equal(text, out_memory(outs[0], NULL));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++, total++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(text[total++], 'a' + (int)i);
    assert_int_equal(strlen(text), total);
}

static void a_link_stays_a_link(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "real.csv"), *link_path = in_folder(f, "link.csv");
    struct stat info;
    struct out *out;

    put_file(path, "old");
    assert_int_equal(symlink(path, link_path), 0);
    out = out_open(f->arena, link_path, &err);
    out_text(out, "new");
    assert_true(out_commit(out, &err));
    assert_int_equal(lstat(link_path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_string_equal(slurp(f, path), "new");
}

/* Two links in a row, one of them relative and in another folder: the file appears at their end. */
static void a_link_to_nothing_stays_one_as_well(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *folder = in_folder(f, "sub"), *path = in_folder(f, "sub/real.csv");
    const char *first = in_folder(f, "first.csv"), *second = in_folder(f, "second.csv");
    struct stat info;
    struct out *out;

    assert_int_equal(mkdir(folder, 0777), 0);
    assert_int_equal(symlink("second.csv", first), 0);
    assert_int_equal(symlink("sub/real.csv", second), 0);
    out = out_open(f->arena, first, &err);
    assert_non_null(out);
    out_text(out, "new");
    assert_int_equal(access(path, F_OK), -1);
    assert_true(out_commit(out, &err));
    assert_string_equal(slurp(f, path), "new");
    assert_true(lstat(first, &info) == 0 && S_ISLNK(info.st_mode));
    assert_true(lstat(second, &info) == 0 && S_ISLNK(info.st_mode));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_null(out_open(f->arena, first, &err)); /* the folder is not there */
    assert_int_equal(unlink(second), 0);
    assert_int_equal(symlink("first.csv", second), 0);
    err = (struct err)ERR_INIT;
    assert_null(out_open(f->arena, first, &err)); /* round and round */
    assert_non_null(strstr(err.text, "symbolic links"));
}

/* The default action of the signal would end the process. */
static void a_file_at_the_limit_of_its_size_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, low;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "large.csv");
    struct out *out;
    bool is_done;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){ 100000, old.rlim_max };
    cli_take_write_errors();
    out = out_open(f->arena, path, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    for (int i = 0; i < 20000; i++)
        out_text(out, "0123456789");
    is_done = out_commit(out, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(is_done);
    assert_non_null(strstr(err.text, "large.csv: File too large"));
    assert_int_equal(count_files(f->folder), 0);
}

static void a_text_too_long_for_its_column_ends_in_an_ellipsis(void **state)
{
    struct fixture *f = *state;
    struct out *out = out_open_memory(f->arena);

    out_column(out, "ab", 4);
    out_column(out, "|abcd", 5);
    out_column(out, "|abcde", 5);
    out_column(out, "|\xc3\xa9\xc3\xa9\xc3\xa9", 3);
    out_column(out, "", 2);
    out_column(out, "x", 0);
    assert_string_equal(out_memory(out, NULL), "ab  |abcd|abc\xe2\x80\xa6|\xc3\xa9\xe2\x80\xa6  ");
}

static void a_full_disk_fails_the_commit(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct out *out = out_open(f->arena, "/dev/full", &err);

    assert_non_null(out);
    out_text(out, "x");
    assert_false(out_commit(out, &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    assert_string_equal(err.text, "/dev/full: No space left on device");
    assert_int_equal(access("/dev/full", F_OK), 0);
}

static void a_full_disk_is_noticed_when_the_buffer_overflows_as_well(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct out *out = out_open(f->arena, "/dev/full", &err);

    for (int i = 0; i < 200000; i++)
        out_char(out, 'x');
    assert_false(out_commit(out, &err));
    assert_string_equal(err.text, "/dev/full: No space left on device");
}

static void special_files_are_written_not_replaced(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "pipe");
    struct out *out = out_open(f->arena, "/dev/null", &err);
    struct stat info;
    char text[8] = "";
    int fd;

    out_text(out, "x");
    assert_true(out_commit(out, &err));
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));

    assert_int_equal(mkfifo(path, 0600), 0);
    fd = open(path, O_RDONLY | O_NONBLOCK);
    out = out_open(f->arena, path, &err);
    out_text(out, "hello");
    assert_true(out_commit(out, &err));
    assert_int_equal(read(fd, text, sizeof text), 5);
    assert_string_equal(text, "hello");
    close(fd);
    assert_int_equal(stat(path, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
}

static void places_that_cannot_be_written_are_errors(void **state)
{
    struct fixture *f = *state;
    const char *plain = in_folder(f, "plain");
    const char *const paths[] = { "", f->folder, in_folder(f, "none/a.csv"),
                                  arena_printf(f->arena, "%s/b.csv", plain) };

    put_file(plain, "x");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct err err = ERR_INIT;

        assert_null(out_open(f->arena, paths[i], &err));
        assert_int_equal(err.kind, ERR_SYSTEM);
    }
    assert_int_equal(count_files(f->folder), 1);
}

static void files_are_committed_all_or_none(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "a.csv");
    struct out *outs[3] = { out_open(f->arena, path, &err), NULL,
                            out_open(f->arena, "/dev/full", &err) };

    out_text(outs[0], "x");
    out_text(outs[2], "x");
    assert_false(out_commit_all(outs, 3, &err));
    assert_int_equal(count_files(f->folder), 0);

    err.kind = ERR_NONE;
    outs[0] = out_open(f->arena, path, &err);
    outs[2] = out_open(f->arena, in_folder(f, "b.csv"), &err);
    assert_true(out_commit_all(outs, 3, &err));
    assert_int_equal(count_files(f->folder), 2);
}

static void a_rename_that_fails_leaves_no_temporary_file(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "a.csv");
    struct out *out = out_open(f->arena, path, &err);

    out_text(out, "x");
    assert_int_equal(mkdir(path, 0700), 0); /* taken meanwhile */
    assert_false(out_commit(out, &err));
    assert_non_null(strstr(err.text, "a.csv: "));
    assert_int_equal(count_files(f->folder), 1);
}

static void a_dash_is_stdout(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "stdout");
    struct out *out;
    int saved, fd;

    fflush(stdout);
    saved = dup(1);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    dup2(fd, 1);
    out = out_open(f->arena, "-", &err);
    out_text(out, "to stdout");
    assert_true(out_commit(out, &err));
    dup2(saved, 1);
    close(fd);
    close(saved);
    assert_string_equal(slurp(f, path), "to stdout");
}

static void a_file_beside_grows_under_its_own_name(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "a"), *beside = in_folder(f, "a.partial");
    struct out *out;

    put_file(beside, "of the run before");
    out = out_open_beside(f->arena, path, ".partial", &err);
    assert_non_null(out);
    assert_string_equal(slurp(f, beside), "");
    out_text(out, "one");
    assert_true(out_flush(out, &err));
    assert_string_equal(slurp(f, beside), "one");
    out_text(out, "two");
    out_leave(out);
    out_leave(out);
    assert_string_equal(slurp(f, beside), "onetwo");

    out = out_open_beside(f->arena, path, ".partial", &err);
    out_text(out, "three");
    out_abort(out);
    assert_int_equal(access(beside, F_OK), -1);
    assert_int_equal(access(path, F_OK), -1);
    out_leave(NULL);

    /* nothing stands beside what is no plain file; what cannot be made is an error */
    assert_null(out_open_beside(f->arena, "-", ".partial", &err));
    assert_null(out_open_beside(f->arena, "/dev/null", ".partial", &err));
    assert_int_equal(err.kind, ERR_NONE);
    assert_null(out_open_beside(f->arena, in_folder(f, "none/a"), ".partial", &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
}

static void folders_are_made_with_their_parents(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *path = in_folder(f, "a");
    const char *deep = in_folder(f, "a/b//c/");
    struct stat info;

    assert_true(out_make_folder(deep, &err));
    assert_true(out_make_folder(deep, &err));
    assert_int_equal(stat(deep, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    rmdir(deep);
    rmdir(in_folder(f, "a/b"));
    rmdir(path);

    put_file(path, "x");
    assert_false(out_make_folder(path, &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    err.kind = ERR_NONE;
    assert_false(out_make_folder(in_folder(f, "a/b"), &err));
    err.kind = ERR_NONE;
    assert_false(out_make_folder("", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        RULE(every_put_writes_its_text),
        RULE(csv_fields_are_quoted_where_rfc_4180_asks),
        RULE(memory_grows_past_any_buffer),
        RULE(a_file_appears_only_at_commit),
        RULE(an_abort_leaves_the_old_file),
        RULE(large_writes_arrive_whole),
        RULE(room_is_there_however_much_is_asked_for),
        RULE(a_link_stays_a_link),
        RULE(a_link_to_nothing_stays_one_as_well),
        RULE(a_file_at_the_limit_of_its_size_is_an_error),
        RULE(a_text_too_long_for_its_column_ends_in_an_ellipsis),
        RULE(a_full_disk_fails_the_commit),
        RULE(a_full_disk_is_noticed_when_the_buffer_overflows_as_well),
        RULE(special_files_are_written_not_replaced),
        RULE(places_that_cannot_be_written_are_errors),
        RULE(files_are_committed_all_or_none),
        RULE(a_rename_that_fails_leaves_no_temporary_file),
        RULE(a_dash_is_stdout),
        RULE(folders_are_made_with_their_parents),
        RULE(a_file_beside_grows_under_its_own_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
