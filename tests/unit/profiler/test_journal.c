/* test_journal.c - what is put comes back, wherever the file was cut; what is not ours is refused.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cost.h"
#include "profiler/journal/identity.h"
#include "profiler/journal/journal.h"
#include "tests/unit/scratch.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct point POINTS[] = { { OP_PREFILL, 8, 8, 1 }, { OP_DECODE, 1, 64, 1 } };
#define POINT_COUNT 2
#define MAX_SEEN 64

struct fixture {
    struct arena *arena;
    char folder[256];
    const char *path;
    struct identity identity;
    bool is_reversed; /* the points stand in the other order */
    int seen_count;
    struct {
        int variant, proc;
        struct message message;
    } seen[MAX_SEEN];
};

static bool point_of(void *arg, int variant, enum message_kind kind, int index, struct point *point)
{
    const struct fixture *fixture = arg;

    (void)variant;
    (void)kind;
    if (index < 0 || index >= POINT_COUNT)
        return false;
    *point = POINTS[fixture->is_reversed ? POINT_COUNT - 1 - index : index];
    return true;
}

static int index_of(void *arg, int variant, enum message_kind kind, const struct point *point)
{
    for (int i = 0; i < POINT_COUNT; i++) {
        struct point at;

        if (point_of(arg, variant, kind, i, &at) && memcmp(&at, point, sizeof(at)) == 0)
            return i;
    }
    return -1;
}

static bool apply(void *arg, int variant, int proc, const struct message *message, struct err *err)
{
    struct fixture *fixture = arg;

    (void)err;
    if (fixture->seen_count < MAX_SEEN) {
        fixture->seen[fixture->seen_count].variant = variant;
        fixture->seen[fixture->seen_count].proc = proc;
        fixture->seen[fixture->seen_count].message = *message;
    }
    fixture->seen_count++;
    return true;
}

static struct identity make_identity(struct arena *arena, const char *cpu, const char *tokens)
{
    struct identity identity = identity_create(arena);

    identity_put(&identity, IDENTITY_TOOL, "tool_version", "0.1.0");
    identity_put(&identity, IDENTITY_MACHINE, "cpu", cpu);
    identity_put(&identity, IDENTITY_OPTIONS, "tokens", tokens);
    return identity;
}

static int make_fixture(void **state)
{
    struct arena *arena = arena_create();
    struct fixture *fixture = arena_alloc(arena, sizeof(*fixture));

    fixture->arena = arena;
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "%s/orrery-journal-XXXXXX",
                   scratch_base());
    *state = fixture;
    if (!mkdtemp(fixture->folder))
        return -1;
    fixture->path = arena_printf(arena, "%s/%s", fixture->folder, JOURNAL_NAME);
    fixture->identity = make_identity(arena, "Cortex-A76, \"r4\"\n", "");
    return 0;
}

static int drop_fixture(void **state)
{
    struct fixture *fixture = *state;
    int result = system(arena_printf(fixture->arena, "rm -r '%s'", fixture->folder));

    arena_destroy(fixture->arena);
    return result;
}

static struct journal *begin(struct fixture *fixture, struct err *err)
{
    const struct journal_places places = { 2, point_of, index_of, fixture };

    return journal_begin(fixture->arena, fixture->folder, &fixture->identity, &places, err);
}

static struct journal *resume(struct fixture *fixture, struct err *err)
{
    const struct journal_places places = { 2, point_of, index_of, fixture };

    fixture->seen_count = 0;
    return journal_resume(fixture->arena, fixture->folder, &fixture->identity, &places, apply,
                          fixture, err);
}

static size_t read_file(struct fixture *fixture, char **bytes)
{
    FILE *file = fopen(fixture->path, "rb");

    assert_non_null(file);
    *bytes = arena_alloc(fixture->arena, 1 << 16);
    size_t length = fread(*bytes, 1, 1 << 16, file);
    fclose(file);
    return length;
}

static void write_file(struct fixture *fixture, const char *bytes, size_t length)
{
    FILE *file = fopen(fixture->path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* One message of each kind; returns how many. */
static int make_messages(struct message messages[8])
{
    memset(messages, 0, 8 * sizeof(messages[0]));
    messages[0].kind = MESSAGE_ROUND;
    messages[0].body.round = (struct store_round){
        .proc = 0,
        .round = 3,
        .readings = { .before = { .t_ns = INT64_MAX, .freq_khz = -1, .temp_mc = 45000 },
                      .after = { .t_ns = INT64_MAX, .throttle_bits = 0x50005, .psi_us = -1 },
                      .own_cpu_ns = 99,
                      .compute_ns = 1234,
                      .memory_ns = 5 },
        .nivcsw = 7
    };
    messages[1] = (struct message){ .kind = MESSAGE_SAMPLE,
                                    .index = 1,
                                    .op = OP_QKV,
                                    .round = 3,
                                    .is_dirty = true,
                                    .ns = INT64_MAX,
                                    .cpu_ns = 17 };
    messages[2] = messages[1];
    messages[2].index = 0;
    messages[2].is_dirty = false;
    messages[2].ns = 0;
    messages[3] = messages[1];
    messages[3].kind = MESSAGE_ANCHOR;
    messages[3].op = OP_LMHEAD;
    messages[4] = (struct message){
        .kind = MESSAGE_COUNT, .index = 1, .op = OP_ATTN, .counter = COST_LLC_MISS, .ns = -5
    };
    messages[5] = (struct message){ .kind = MESSAGE_REASON, .index = COST_INS };
    message_put_text(&messages[5], " a, \"b\"\n100 %41 \xff");
    messages[6] = (struct message){ .kind = MESSAGE_STATE };
    message_put_text(&messages[6], "");
    messages[7] = (struct message){ .kind = MESSAGE_STATE };
    memset(messages[7].body.text, '%', sizeof(messages[7].body.text) - 1);
    return 8;
}

static void put_all(struct fixture *fixture)
{
    struct err err = ERR_INIT;
    struct message messages[8];
    struct journal *journal = begin(fixture, &err);

    assert_non_null(journal);
    for (int i = 0, count = make_messages(messages); i < count; i++)
        assert_true(journal_put(journal, i % 2, 0, &messages[i], &err));
    assert_true(journal_put(journal, 0, 0, &(struct message){ .kind = MESSAGE_SLOW }, &err));
    assert_true(journal_end_process(journal, 0, 0, &err));
    assert_int_equal(journal_complete_count(journal, 0), 1);
    journal_close(journal);
}

static void every_kind_comes_back_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    struct message messages[8];
    int count = make_messages(messages);

    put_all(fixture);
    struct journal *journal = resume(fixture, &err);
    assert_non_null(journal);
    assert_int_equal(fixture->seen_count, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(fixture->seen[i].variant, i % 2);
        assert_int_equal(fixture->seen[i].proc, 0);
        assert_memory_equal(&fixture->seen[i].message, &messages[i], sizeof(messages[i]));
    }
    assert_int_equal(journal_sample_count(journal), 3);
    assert_int_equal(journal_resume_count(journal), 1);
    assert_int_equal(journal_complete_count(journal, 0), 1);
    assert_int_equal(journal_next_proc(journal, 0), 1);
    /* it has samples of its first process, but not its end */
    assert_int_equal(journal_complete_count(journal, 1), 0);
    assert_int_equal(journal_next_proc(journal, 1), 1);
    journal_close(journal);
}

static void points_are_found_again_in_another_order(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;

    put_all(fixture);
    fixture->is_reversed = true;
    struct journal *journal = resume(fixture, &err);
    assert_non_null(journal);
    assert_int_equal(fixture->seen[1].message.index, 0);
    assert_int_equal(fixture->seen[2].message.index, 1);
    journal_close(journal);
}

/* kill -9 leaves a prefix: each gives a prefix of what was put, and can be gone on with. */
static void cut_anywhere_it_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct message messages[8];
    int count = make_messages(messages), most = 0;
    char *bytes, *left;

    put_all(fixture);
    size_t length = read_file(fixture, &bytes);
    for (size_t cut = 0; cut <= length; cut++) {
        struct err err = ERR_INIT;

        write_file(fixture, bytes, cut);
        struct journal *journal = resume(fixture, &err);
        if (!journal)
            fail_msg("cut at %zu: %s", cut, err.text);
        assert_true(fixture->seen_count >= most && fixture->seen_count <= count);
        most = fixture->seen_count;
        for (int i = 0; i < fixture->seen_count; i++)
            assert_memory_equal(&fixture->seen[i].message, &messages[i], sizeof(messages[i]));
        journal_close(journal);
        /* whole lines alone are left, so that the next run reads them all */
        size_t after = read_file(fixture, &left);
        assert_true(after > 0 && left[after - 1] == '\n');
        journal = resume(fixture, &err);
        assert_non_null(journal);
        assert_int_equal(fixture->seen_count, most);
        journal_remove(journal);
    }
    assert_int_equal(most, count);
}

static void expect_refused(struct fixture *fixture, const char *part)
{
    struct err err = ERR_INIT;
    char *before, *after;
    size_t length = read_file(fixture, &before);

    assert_null(resume(fixture, &err));
    if (!strstr(err.text, part))
        fail_msg("'%s' is not in: %s", part, err.text);
    assert_int_equal(read_file(fixture, &after), length);
    assert_memory_equal(before, after, length);
}

static void another_machine_or_run_is_refused_by_the_first_difference(void **state)
{
    struct fixture *fixture = *state;

    put_all(fixture);
    fixture->identity = make_identity(fixture->arena, "Cortex-A53", "");
    expect_refused(fixture, "measured on another machine: cpu is 'Cortex-A53' here, "
                            "'Cortex-A76%2C %22r4%22%0A' there");
    fixture->identity = make_identity(fixture->arena, "Cortex-A76, \"r4\"\n", "1:512");
    expect_refused(fixture, "with other options: tokens is '1:512' here, '' there");
    fixture->identity = make_identity(fixture->arena, "Cortex-A76, \"r4\"\n", "");
    identity_put(&fixture->identity, IDENTITY_MACHINE, "OMP_NUM_THREADS", "4");
    expect_refused(fixture, "OMP_NUM_THREADS is '4' here, '' there");
    fixture->identity = identity_create(fixture->arena);
    expect_refused(fixture, "tool_version is '' here, '0.1.0' there");
}

static void spoilt_lines_are_named_and_the_file_stays(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        { ",17,1,", ",17,2,", ":7:13: is_dirty is '2': expected a whole number from 0 to 1" },
        { "sample,1,0", "sample,9,0", ":7: variant 9: this run has 2" },
        { "sample,1,0", "simple,1,0", ":7:1: kind is 'simple'" },
        { "decode,1,64,1,qkv", "decode,1,65,1,qkv",
          ":7: this run does not measure decode of 1 on "
          "65 keys" },
        { "anchor,1,0,3", "anchor,1,0,2", "round 2 after round 3" },
        { "sample,0,0,3", "sample,0,-1,3", ":8:3: proc is '-1'" },
        { "freq_khz=-1", "freq_khz=x", "freq_khz is not a whole number" },
        { "nivcsw=7", "nivcsw=7 more", "something after nivcsw" },
        { "%22b%22", "%2xb%22", "expected two hexadecimal digits" },
        { "kind,variant", "kind,varixnt", "unknown column 'varixnt'" },
        { "# orrery: journal 1", "# orrery: kernels 1", ":1: not the journal of a profile" },
    };
    char *bytes;

    put_all(fixture);
    size_t length = read_file(fixture, &bytes);
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        char *at = strstr(bytes, cases[c].from);

        assert_non_null(at);
        const char *spoilt = arena_printf(fixture->arena, "%.*s%s%s", (int)(at - bytes), bytes,
                                          cases[c].to, at + strlen(cases[c].from));
        write_file(fixture, spoilt, strlen(spoilt));
        expect_refused(fixture, cases[c].says);
    }
    bytes[length / 2] = '\0';
    write_file(fixture, bytes, length);
    expect_refused(fixture, "NUL byte");
    /* NUL bytes at the end, as a power cut leaves them, are no line */
    bytes[length / 2] = 'x';
    put_all((unlink(fixture->path), fixture));
    length = read_file(fixture, &bytes);
    write_file(fixture, bytes, length + 4096);
    struct err err = ERR_INIT;
    struct journal *journal = resume(fixture, &err);
    assert_non_null(journal);
    assert_int_equal(fixture->seen_count, 8);
    journal_close(journal);
}

/* Whatever one byte becomes, reading ends with a journal or with an error that leaves the file. */
static void any_spoilt_byte_is_survived(void **state)
{
    static const char values[] = { 0, '\n', ',', '"', '%', '#', '9', '-', (char)255 };
    struct fixture *fixture = *state;
    struct arena *arena = fixture->arena;
    char *bytes, *after;
    int refused = 0;

    put_all(fixture);
    size_t length = read_file(fixture, &bytes);
    for (size_t i = 0; i < length; i++) {
        char kept = bytes[i];
        struct err err = ERR_INIT;

        fixture->arena = arena_create();
        bytes[i] = values[i % sizeof(values)];
        write_file(fixture, bytes, length);
        struct journal *journal = resume(fixture, &err);
        assert_int_equal(journal == NULL, err.kind != ERR_NONE);
        if (!journal) {
            assert_int_equal(read_file(fixture, &after), length);
            assert_memory_equal(after, bytes, length);
            refused++;
        }
        journal_close(journal);
        bytes[i] = kept;
        arena_destroy(fixture->arena);
    }
    fixture->arena = arena;
    assert_true(refused > (int)length / 4);
}

static void lines_out_of_order_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    struct message sample = { .kind = MESSAGE_SAMPLE, .ns = 1 };
    struct journal *journal = begin(fixture, &err);

    assert_true(journal_put(journal, 0, 1, &sample, &err));
    assert_true(journal_put(journal, 0, 0, &sample, &err));
    journal_close(journal);
    expect_refused(fixture, ":7: process 0 after process 1 of variant 0");
}

static void other_files_are_left_alone(void **state)
{
    struct fixture *fixture = *state;

    write_file(fixture, "a letter to my mother", 21);
    expect_refused(fixture, "not the journal of a profile");
    write_file(fixture, "dear\nmother\n", 12);
    expect_refused(fixture, "not the journal of a profile");
    write_file(fixture, "\0\0\0\n", 4);
    expect_refused(fixture, "NUL byte");
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(mkdir(fixture->path, 0700), 0);
    struct err err = ERR_INIT;
    assert_null(resume(fixture, &err));
    assert_non_null(strstr(err.text, "Is a directory"));
}

static void an_unfinished_run_is_not_written_over(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;

    put_all(fixture);
    assert_null(begin(fixture, &err));
    assert_non_null(strstr(err.text, "an unfinished run is here: go on with --resume, or remove"));
}

static void two_runs_at_once_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT, other = ERR_INIT;
    struct journal *journal = begin(fixture, &err);

    assert_non_null(journal);
    assert_null(begin(fixture, &other));
    assert_non_null(strstr(other.text, "another run is measuring into this folder"));
    journal_remove(journal);
    journal = resume(fixture, &err); /* nothing is there: a new one */
    assert_non_null(journal);
    assert_int_equal(journal_resume_count(journal), 0);
    journal_remove(journal);
    assert_int_equal(access(fixture->path, F_OK), -1);
}

/* The children of a run that was killed must not keep its successor out. */
static void a_child_lets_go_of_the_lock(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    struct journal *journal = begin(fixture, &err);
    pid_t child = fork();

    if (child == 0) {
        journal_leave(journal);
        pause();
        _exit(0);
    }
    journal_close(journal);
    assert_int_equal(unlink(fixture->path), 0);
    journal = begin(fixture, &err);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_non_null(journal);
    journal_close(journal);
}

/* Until a write fails; returns how many messages were put before. */
static int fill(struct fixture *fixture, const char *folder, struct err *err)
{
    const struct journal_places places = { 2, point_of, index_of, fixture };
    struct message sample = { .kind = MESSAGE_SAMPLE, .ns = 12345 };
    struct journal *journal =
        journal_begin(fixture->arena, folder, &fixture->identity, &places, err);
    int count = 0;

    if (!journal)
        return -1;
    while (count < 1000000 && journal_put(journal, 0, 0, &sample, err) &&
           journal_flush(journal, err))
        count++;
    /* the first error stays, and nothing more is tried */
    (void)journal_put(journal, 0, 0, &sample, err);
    journal_close(journal);
    return count;
}

static void a_full_disk_is_an_error_and_keeps_what_is_there(void **state)
{
    struct fixture *fixture = *state;
    pid_t child = fork();
    int status;

    if (child == 0) {
        const struct rlimit limit = { 20000, 20000 };
        struct err err = ERR_INIT;

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        int count = fill(fixture, fixture->folder, &err);
        _exit(count > 100 && strstr(err.text, "profile.journal: File too large") ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct err err = ERR_INIT;
    struct journal *journal = resume(fixture, &err);
    assert_non_null(journal);
    assert_true(journal_sample_count(journal) > 100);
    journal_close(journal);
}

static void samples_alone_become_a_file_of_their_own(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    const char *path = arena_printf(fixture->arena, "%s/samples.csv", fixture->folder);
    char line[2048];
    int samples = 0, others = 0;

    put_all(fixture);
    struct journal *journal = resume(fixture, &err);
    assert_true(journal_write_samples(journal, path, &err));
    assert_false(journal_write_samples(journal, "/nowhere/samples.csv", &err));
    journal_close(journal);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    assert_string_equal(line, "# orrery: samples 1\n");
    while (fgets(line, sizeof(line), file)) {
        bool is_sample = strncmp(line, "sample,", 7) == 0 || strncmp(line, "anchor,", 7) == 0;

        samples += is_sample;
        others += !is_sample && line[0] != '#';
    }
    fclose(file);
    assert_int_equal(samples, 3);
    assert_int_equal(others, 1); /* the header */
}

static void a_large_journal_comes_back_whole(void **state)
{
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    struct message sample = { .kind = MESSAGE_SAMPLE, .index = 1, .op = OP_ADD };
    struct journal *journal = begin(fixture, &err);
    const int rounds = 50000;

    for (int i = 0; i < rounds; i++) {
        sample.round = i;
        sample.ns = i;
        assert_true(journal_put(journal, 1, 4, &sample, &err));
    }
    journal_close(journal);
    journal = resume(fixture, &err);
    assert_non_null(journal);
    assert_int_equal(journal_sample_count(journal), rounds);
    assert_int_equal(journal_next_proc(journal, 1), 5);
    assert_int_equal(journal_next_proc(journal, 0), 0);
    journal_close(journal);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, drop_fixture)
    const struct CMUnitTest tests[] = {
        TEST(every_kind_comes_back_as_it_was),
        TEST(points_are_found_again_in_another_order),
        TEST(cut_anywhere_it_goes_on),
        TEST(another_machine_or_run_is_refused_by_the_first_difference),
        TEST(spoilt_lines_are_named_and_the_file_stays),
        TEST(any_spoilt_byte_is_survived),
        TEST(lines_out_of_order_are_refused),
        TEST(other_files_are_left_alone),
        TEST(an_unfinished_run_is_not_written_over),
        TEST(two_runs_at_once_are_refused),
        TEST(a_child_lets_go_of_the_lock),
        TEST(a_full_disk_is_an_error_and_keeps_what_is_there),
        TEST(samples_alone_become_a_file_of_their_own),
        TEST(a_large_journal_comes_back_whole),
    };

    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
