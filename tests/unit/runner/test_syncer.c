/* test_syncer.c - files are given to the disk while others write them; what cannot be is said. */
#include "runner/report/syncer.h"

#include "lib/base/clock.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "tests/unit/scratch.h"

#define PATIENCE_NS INT64_C(20000000000)
#define MOST_SYNCED 16

/* In the place of the library's: what was given to the disk, in order. */
static _Atomic int synced_count;
static ino_t synced[MOST_SYNCED];

int fsync(int handle)
{
    struct stat status;
    int number = synced_count++;

    if (number < MOST_SYNCED)
        synced[number] = fstat(handle, &status) == 0 ? status.st_ino : 0;
    return (int)syscall(SYS_fsync, handle);
}

static void await_rounds(const struct syncer *syncer, int64_t rounds)
{
    int64_t deadline_ns = clock_now_ns() + PATIENCE_NS;

    while (syncer_rounds(syncer) < rounds && clock_now_ns() < deadline_ns)
        clock_sleep_until_ns(clock_now_ns() + 5000000);
    assert_true(syncer_rounds(syncer) >= rounds);
}

static void it_goes_on_while_a_file_grows(void **state)
{
    struct scratch *scratch = *state;
    struct arena *arena = scratch->arena;
    struct err err = ERR_INIT;
    const char *paths[] = { scratch_write(scratch, "a", "x"), scratch_write(scratch, "b", "") };
    struct syncer *syncer = syncer_start(arena, paths, 2, &err);
    int handle = open(paths[0], O_WRONLY | O_APPEND | O_CLOEXEC);

    assert_non_null(syncer);
    assert_true(handle >= 0);
    await_rounds(syncer, 1);
    assert_int_equal(write(handle, "yz", 2), 2);
    close(handle); /* and whoever writes may be done with it */
    await_rounds(syncer, 3);
    assert_true(syncer_look(syncer, &err));
    syncer_stop(syncer);
    assert_true(syncer_settle(arena, paths[0], &err));
}

/* Who owns everything may read everything: as somebody else, if that one gets there. */
static bool is_somebody_else(const char *folder)
{
    return (geteuid() != 0 || seteuid(65534) == 0) && euidaccess(folder, X_OK) == 0;
}

/* Who gets into the folder, but may not read what the file is in, loses nothing of the run. */
static void goes_on_as_somebody_else(struct arena *arena, const char *folder, const char *path)
{
    struct err err = ERR_INIT;
    const char *paths[] = { path };
    uid_t owner = geteuid();
    struct syncer *syncer;

    if (!is_somebody_else(folder)) {
        assert_int_equal(seteuid(owner), 0);
        skip();
    }
    syncer = syncer_start(arena, paths, 1, &err);
    assert_non_null(syncer);
    await_rounds(syncer, 2);
    assert_true(syncer_look(syncer, &err));
    syncer_stop(syncer);
    assert_true(syncer_settle(arena, paths[0], &err));
    assert_int_equal(seteuid(owner), 0);
}

/* Files may be put there, but nobody looks at what is there. */
static void a_folder_that_may_not_be_read(void **state)
{
    struct scratch *scratch = *state;
    struct arena *arena = scratch->arena;
    const char *folder = arena_printf(arena, "%s/box", scratch->folder);
    const char *paths[] = { arena_printf(arena, "%s/c", folder) };

    assert_int_equal(chmod(scratch->folder, 0711), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    (void)scratch_write(scratch, "box/c", "x");
    assert_int_equal(chmod(paths[0], 0644), 0);
    assert_int_equal(chmod(folder, 0333), 0);
    goes_on_as_somebody_else(arena, folder, paths[0]);
    assert_int_equal(chmod(folder, 0700), 0);
}

static void a_file_that_may_not_be_read(void **state)
{
    struct scratch *scratch = *state;
    struct arena *arena = scratch->arena;
    const char *paths[] = { scratch_write(scratch, "d", "x") };

    assert_int_equal(chmod(scratch->folder, 0755), 0);
    assert_int_equal(chmod(paths[0], 0222), 0);
    goes_on_as_somebody_else(arena, scratch->folder, paths[0]);
}

static ino_t number_of(const char *path)
{
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    return status.st_ino;
}

/* The name that a rename has changed is that behind the link. */
static void a_link_to_a_file_elsewhere(void **state)
{
    struct scratch *scratch = *state;
    struct arena *arena = scratch->arena;
    struct err err = ERR_INIT;
    const char *folder = arena_printf(arena, "%s/elsewhere", scratch->folder);
    const char *link = arena_printf(arena, "%s/link", scratch->folder);

    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(symlink(scratch_write(scratch, "elsewhere/e", "x"), link), 0);
    synced_count = 0;
    assert_true(syncer_settle(arena, link, &err));
    assert_int_equal(synced_count, 2);
    assert_int_equal(synced[0], number_of(link));
    assert_int_equal(synced[1], number_of(folder));
}

static void what_the_disk_cannot_take_is_named_once(void **state)
{
    struct scratch *scratch = *state;
    struct arena *arena = scratch->arena;
    struct err err = ERR_INIT, none = ERR_INIT;
    const char *fifo = arena_printf(arena, "%s/fifo", scratch->folder);
    const char *paths[] = { scratch_write(scratch, "g", "x"), fifo };
    struct syncer *syncer;
    int other;

    assert_int_equal(mkfifo(fifo, 0600), 0); /* which no disk takes */
    other = open(fifo, O_RDWR | O_CLOEXEC);  /* so that opening it does not wait */
    assert_true(other >= 0);
    syncer = syncer_start(arena, paths, 2, &err);
    assert_non_null(syncer);
    await_rounds(syncer, 1);
    assert_false(syncer_look(syncer, &err));
    assert_non_null(strstr(err.text, "/fifo: "));
    await_rounds(syncer, 2);
    assert_true(syncer_look(syncer, &none));
    syncer_stop(syncer);
    close(other);
}

/* The run goes on without it. */
static void a_file_that_is_not_there(void **state)
{
    struct scratch *scratch = *state;
    struct arena *arena = scratch->arena;
    struct err err = ERR_INIT, next = ERR_INIT, none = ERR_INIT, other = ERR_INIT;
    const char *missing = arena_printf(arena, "%s/none", scratch->folder);
    const char *paths[] = { missing, scratch_write(scratch, "i", ""),
                            arena_printf(arena, "%s/nor-this/x", scratch->folder) };
    struct syncer *syncer = syncer_start(arena, paths, 3, &err);

    assert_non_null(syncer);
    await_rounds(syncer, 2);
    assert_false(syncer_look(syncer, &err));
    assert_non_null(strstr(err.text, "/none: No such file"));
    assert_false(syncer_look(syncer, &next));
    assert_non_null(strstr(next.text, "/nor-this/x: No such file"));
    assert_true(syncer_look(syncer, &none));
    assert_false(syncer_settle(arena, missing, &other));
    syncer_stop(syncer);
    syncer_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(it_goes_on_while_a_file_grows),
        scratch_test(a_folder_that_may_not_be_read),
        scratch_test(a_file_that_may_not_be_read),
        scratch_test(a_link_to_a_file_elsewhere),
        scratch_test(what_the_disk_cannot_take_is_named_once),
        scratch_test(a_file_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
