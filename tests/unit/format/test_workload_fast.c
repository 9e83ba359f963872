/* test_workload_fast.c - the scanner of plain rows gives what libcsv gives, value by value and
 * error by error, on any file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/workload_table.h"
#include "tests/unit/scratch.h"
#include <time.h>
#include <unistd.h>

#define HEAD "request_id,arrival_s,service"
#define MEBIBYTE ((size_t)1 << 20)

static const char *write_bytes(struct scratch *scratch, const char *bytes, size_t length)
{
    const char *path = scratch_write(scratch, "w.csv", "");
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void assert_same_column(const void *a, const void *b, size_t bytes)
{
    assert_int_equal(a != NULL, b != NULL);
    if (a)
        assert_memory_equal(a, b, bytes);
}

static void assert_same_names(const char **a, int a_count, const char **b, int b_count)
{
    assert_int_equal(a_count, b_count);
    for (int i = 0; i < a_count; i++)
        assert_string_equal(a[i], b[i]);
}

static void assert_same(const struct workload *a, const struct workload *b)
{
    size_t wide = a->count * sizeof(int64_t), narrow = a->count * sizeof(int32_t);

    assert_int_equal(a->count, b->count);
    assert_string_equal(a->path, b->path);
    assert_same_column(a->arrivals_ps, b->arrivals_ps, wide);
    assert_same_column(a->request_ids, b->request_ids, wide);
    assert_same_column(a->thinks_ps, b->thinks_ps, wide);
    assert_same_column(a->slos_ps, b->slos_ps, wide);
    assert_same_column(a->service_ids, b->service_ids, narrow);
    assert_same_column(a->client_ids, b->client_ids, narrow);
    assert_same_column(a->session_ids, b->session_ids, narrow);
    assert_same_column(a->prompt_tokens, b->prompt_tokens, narrow);
    assert_same_column(a->output_tokens, b->output_tokens, narrow);
    assert_same_column(a->prefix_tokens, b->prefix_tokens, narrow);
    assert_same_column(a->batches, b->batches, narrow);
    assert_same_names(a->services, a->service_count, b->services, b->service_count);
    assert_same_names(a->clients, a->client_count, b->clients, b->client_count);
    assert_same_names(a->sessions, a->session_count, b->sessions, b->session_count);
    for (size_t i = 0; i < a->count; i++)
        assert_int_equal(workload_line(a, i), workload_line(b, i));
    assert_int_equal(a->line_count, b->line_count);
    assert_int_equal(a->has_tokens, b->has_tokens);
    assert_int_equal(a->service_column, b->service_column);
    assert_int_equal(a->prompt_column, b->prompt_column);
    assert_int_equal(a->output_column, b->output_column);
    assert_int_equal(a->batch_column, b->batch_column);
}

/* Reads the file both ways. The workload, or NULL when both gave the same error. */
static struct workload *read_both(struct arena *arena, const char *path, struct err *err)
{
    struct err slow_err = ERR_INIT;
    const struct workload *slow = workload_read(arena, path, false, &slow_err);
    struct workload *fast = workload_read(arena, path, true, err);

    assert_string_equal(err->text, slow_err.text);
    assert_int_equal(err->kind, slow_err.kind);
    assert_int_equal(fast != NULL, slow != NULL);
    if (fast)
        assert_same(fast, slow);
    return fast;
}

static struct workload *load(struct scratch *scratch, const char *text)
{
    return read_both(scratch->arena, write_bytes(scratch, text, strlen(text)),
                     scratch_err(scratch));
}

/* ---- rules, one by one ---- */

static void every_form_of_a_row_reads_the_same(void **state)
{
    static const char *const good[] = {
        HEAD "\n0,0,a\n1,1.5,b\n",
        HEAD "\r\n0,0,a\r\n1,1.5,b\r\n",
        HEAD "\n0,0,a\n1,0,a\r\r\n",
        "\xef\xbb\xbf" HEAD "\n0,0,a",
        "# orrery: workload 1\n# note: x\n\n" HEAD "\n\n0,0,a\n\n\r\n1,0,a\n\n",
        HEAD "\n0,\"0\",\"a,b\"\n1,1,\"a\"\"b\"\n2,2,a\n",
        "service,arrival_s,x_mine,request_id\na,0,what ever,7\nb,0,,8\nb,1,\xc3\xa9,9\n",
        HEAD "\n 0 , 0 , a \n1\t,1,a b\n2,2,a b\n3,3, a b\n",
        HEAD "\n+0,+0,a\n007,1e0,a\n8,1.,a\n9,01.50,a\n10,1500e-3,a\n",
        HEAD ",think_s\n0,0,a,.5\n1,0,a,0.\n2,0,a,\n",
        HEAD "\n0,0,\xc3\xa9t\xc3\xa9\n1,0,\xc3\xa9t\xc3\xa9\n2,0,\xc3\xa9t\xc3\xa8\n",
        HEAD ",client\n0,,a,c\n1,,a,c\n2,3,a,\n",
        HEAD ",session\n0,,a,s\n1,,a,s\n2,3,a,\n",
        HEAD "\n9223372036854775806,0,a\n9223372036854775807,0,a\n",
        HEAD "\n0,8999999.999999999999,a\n1,9000000,a\n2,9000000.0000000000004,a\n",
        HEAD ",batch,prefix_tokens,prompt_tokens\n0,0,a,1000000,1000000000,1000000000\n",
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!load(scratch, good[i]))
            fail_msg("%s: %s", good[i], scratch->err.text);
}

static void every_mistake_is_told_the_same(void **state)
{
    static const char *const bad[] = {
        HEAD "\n0,0,a\n0,1,a\n",
        HEAD "\n0,1,a\n1,0.999999999999,a\n",
        HEAD "\n0,0,a\n1,,a\n",
        HEAD ",client\n0,0,a,\n1,,a,\n",
        HEAD "\n0,0,a\n1,0,\n",
        HEAD "\n0,0,a\n,0,a\n",
        HEAD "\n0,0,a\n1,.,a\n",
        HEAD "\n0,0,a\n1,0\n",
        HEAD "\n0,0,a\n1,0,a,b\n",
        HEAD "\n0,0,a\n1,0,a,\n",
        HEAD "\n0,0,a\n1,0,\"a\n",
        HEAD "\n0,0,a\n1,0,a\"b\n",
        HEAD "\n0,0,a\n1,0,\xff\n",
        HEAD ",x_note\n0,0,a,ok\n1,0,a,\xff\n",
        HEAD "\n0,0,a\n1,9000000.000000000001,a\n",
        HEAD "\n0,0,a\n1,99999999999999999999,a\n",
        HEAD "\n0,0,a\n9223372036854775808,0,a\n",
        HEAD "\n0,0,a\n1000000000000000000000000000,0,a\n",
        HEAD "\n0,0,a\n1\r,0,a\n",
        HEAD ",prompt_tokens\n0,0,a,1\n1,0,a,0\n",
        HEAD ",prompt_tokens\n0,0,a,1\n1,0,a,1000000001\n",
        HEAD ",prompt_tokens\n0,0,a,1\n1,0,a,18446744073709551617\n",
        HEAD ",prompt_tokens,prefix_tokens\n0,0,a,1,1\n1,0,a,1,2\n",
        HEAD ",batch\n0,0,a,1\n1,0,a,0\n",
        HEAD ",batch\n0,0,a,1\n1,0,a,1000001\n",
        HEAD ",slo_s\n0,0,a,1\n1,0,a,0.0\n",
        HEAD ",slo_s\n0,0,a,1\n1,0,a,0.0000000000005\n",
        HEAD ",think_s\n0,0,a,0\n1,0,a,-0.1\n",
        HEAD "\n\n\n",
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (load(scratch, bad[i]))
            fail_msg("no error: %s", bad[i]);
    assert_null(read_both(scratch->arena,
                          write_bytes(scratch, HEAD "\n0,0,a\n1,0,\0\n", sizeof HEAD + 12),
                          scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch), "w.csv:3: line holds a NUL byte");
}

/* Any number of digits before and behind the point, halves among them. */
static void seconds_are_those_of_units_parse_seconds(void **state)
{
    enum { COUNT = 20000 };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct rng rng = rng_stream(1, RNG_TEST, 0);
    char(*texts)[64] = arena_array(scratch->arena, COUNT, sizeof *texts);
    const struct workload *w;

    out_text(out, HEAD ",think_s\n");
    for (int i = 0; i < COUNT; i++) {
        int whole = (int)rng_below(&rng, 7), decimals = (int)rng_below(&rng, 22), at = 0;

        for (int d = 0; d < whole; d++)
            texts[i][at++] = (char)('0' + rng_below(&rng, 10));
        if (whole == 0 || rng_below(&rng, 4) > 0)
            texts[i][at++] = '.';
        else
            decimals = 0;
        for (int d = 0; d < decimals + (whole == 0); d++)
            texts[i][at++] = (char)('0' + rng_below(&rng, 10));
        for (int d = whole + 13; rng_below(&rng, 2) == 0 && d < at; d++)
            texts[i][d] = d == whole + 13 ? '5' : '0'; /* just between two picoseconds */
        out_printf(out, "%d,0,a,%s\n", i, texts[i]);
    }
    w = load(scratch, scratch_text(out));
    assert_non_null(w);
    for (int i = 0; i < COUNT; i++) {
        int64_t time_ps;

        assert_true(units_parse_seconds(texts[i], &time_ps));
        assert_true(workload_at(w, (size_t)i).think_ps == time_ps);
    }
}

static void many_and_long_names_keep_their_numbers(void **state)
{
    enum { COUNT = 20000 };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    char *name = arena_alloc(scratch->arena, 3000);
    const struct workload *w;

    out_text(out, HEAD ",client,session\n");
    for (int i = 0; i < COUNT; i++) {
        int length = 1 + i % 40 + (i % 1000 == 0 ? 2900 : 0);

        memset(name, 'a' + i % 3, (size_t)length);
        name[length / 2] = (char)('a' + i % 7);
        name[length] = '\0';
        out_printf(out, "%d,%d,%s,client-%d,%s %d\n", i, i, name, i * 7 % 5000, name, i % 3);
    }
    w = load(scratch, scratch_text(out));
    assert_non_null(w);
    assert_int_equal(w->client_count, 5000);
    for (size_t i = 0; i < COUNT; i++)
        assert_string_equal(w->clients[workload_at(w, i).client],
                            arena_printf(scratch->arena, "client-%d", (int)i * 7 % 5000));
}

/* ---- large files ---- */

static void a_large_workload_takes_the_room_of_its_columns(void **state)
{
    enum { COUNT = 300000 };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct workload *w;
    const char *path;
    size_t length;

    out_text(out, HEAD ",prompt_tokens\n");
    for (int i = 0; i < COUNT; i++)
        out_printf(out, "%d,%d.%06d,chat,%d\n", 100000000 + i, i / 1000, i, 1 + i % 1000);
    path = out_memory(out, &length);
    path = write_bytes(scratch, path, length);
    w = workload_load(arena, path, &err);
    assert_non_null(w);
    assert_int_equal(w->count, COUNT);
    assert_null(w->service_ids);
    assert_int_equal(workload_line(w, COUNT - 1), COUNT + 1);
    assert_true(arena_used_bytes(arena) < (size_t)COUNT * (8 + 8 + 4) * 11 / 10 + MEBIBYTE);
    arena_destroy(arena);
    assert_non_null(read_both(scratch->arena, path, scratch_err(scratch)));
}

/* The room is guessed from the first rows: here they are long, and very many short ones follow. */
static void rows_that_get_shorter_are_all_read(void **state)
{
    enum { LONG = 1100, COUNT = 100000 };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    const struct workload *w;

    out_text(out, HEAD ",x_note\n");
    for (int i = 0; i < COUNT; i++)
        out_printf(out, "%d,0,a,%*s\n", i, i < LONG ? 900 : 0, "");
    w = load(scratch, scratch_text(out));
    assert_non_null(w);
    assert_int_equal(w->count, COUNT);
}

static void a_pipe_reads_as_a_file_does(void **state)
{
    struct scratch *scratch = *state;
    const char *text = HEAD ",prompt_tokens\n0,0,a,1\n1,0.5,b,2\n2,7,a,3\n";
    const struct workload *a = load(scratch, text), *b;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(ends[1]), 0);
    b = workload_load(scratch->arena, arena_printf(scratch->arena, "/dev/fd/%d", ends[0]),
                      scratch_err(scratch));
    assert_int_equal(close(ends[0]), 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(b->count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(workload_at(a, i).arrival_ps, workload_at(b, i).arrival_ps);
        assert_int_equal(workload_at(a, i).service, workload_at(b, i).service);
    }
}

/* A line of a gigabyte, which a file system keeps as a hole: neither time nor memory go into it. */
static void a_line_of_a_gigabyte_is_refused_at_once(void **state)
{
    struct scratch *scratch = *state;
    const char *path = write_bytes(scratch, HEAD "\n0,0,a\n", sizeof HEAD + 6);
    clock_t start = clock();
    size_t before_bytes = arena_used_bytes(scratch->arena);

    assert_int_equal(truncate(path, (off_t)1 << 30), 0);
    assert_null(workload_load(scratch->arena, path, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch), "w.csv:3: line is longer than 1048576 bytes");
    assert_true(arena_used_bytes(scratch->arena) - before_bytes < 8 * MEBIBYTE);
    assert_true(clock() - start < CLOCKS_PER_SEC);
}

static void lines_up_to_a_mebibyte_are_read(void **state)
{
    struct scratch *scratch = *state;

    for (int more = 0; more < 2; more++) {
        struct out *out = out_open_memory(scratch->arena);
        size_t left = MEBIBYTE - 6 + (size_t)more;

        out_text(out, HEAD ",x_note\n0,0,a,\n1,0,a,");
        while (left-- > 0)
            out_char(out, 'x');
        out_text(out, "\n2,0,a,\n");
        assert_int_equal(load(scratch, scratch_text(out)) == NULL, more);
    }
}

/* ---- random files ---- */

struct table {
    struct rng rng;
    struct out *out;
    int fields[16], field_count; /* of the header: enum workload_column; COUNT: a user's column */
    const char *newline;
    int64_t id, arrival_ps;
};

static bool one_in(struct table *table, uint64_t n)
{
    return rng_below(&table->rng, n) == 0;
}

static void begin_table(struct table *table)
{
    static const char *const names[WORKLOAD_COLUMN_COUNT + 1] = {
        "request_id", "arrival_s", "service", "prompt_tokens", "output_tokens", "slo_s",
        "client",     "think_s",   "session", "prefix_tokens", "batch",         "x_note"
    };

    table->field_count = 0;
    for (int column = 0; column <= WORKLOAD_COLUMN_COUNT; column++) {
        int place = (int)rng_below(&table->rng, (uint64_t)table->field_count + 1);

        if (column > WORKLOAD_SERVICE && one_in(table, 3))
            continue;
        table->fields[table->field_count++] = table->fields[place];
        table->fields[place] = column;
    }
    table->newline = one_in(table, 3) ? "\r\n" : "\n";
    if (one_in(table, 8))
        out_text(table->out, "\xef\xbb\xbf");
    if (one_in(table, 3))
        out_printf(table->out, "# orrery: workload 1%s", table->newline);
    for (int i = 0; i < table->field_count; i++)
        out_printf(table->out, "%s%s", i ? "," : "", names[table->fields[i]]);
    out_text(table->out, table->newline);
}

static void put_seconds(struct table *table, int64_t time_ps)
{
    char text[UNITS_TEXT_BYTES];

    switch (rng_below(&table->rng, 8)) {
    case 0:
        out_printf(table->out, "%lld.%012lld", (long long)(time_ps / UNITS_PS_PER_S),
                   (long long)(time_ps % UNITS_PS_PER_S));
        break;
    case 1: /* more digits than a picosecond has */
        out_printf(table->out, "%lld.%012lld%d", (long long)(time_ps / UNITS_PS_PER_S),
                   (long long)(time_ps % UNITS_PS_PER_S), (int)rng_below(&table->rng, 5000));
        break;
    case 2:
        out_printf(table->out, "%llde-12", (long long)time_ps);
        break;
    default:
        out_text(table->out, units_format_seconds(time_ps, text));
    }
}

static void put_text(struct table *table, const char *stem, uint64_t count)
{
    int number = (int)rng_below(&table->rng, count);

    switch (rng_below(&table->rng, 20)) {
    case 0:
        out_printf(table->out, "%s %d", stem, number);
        break;
    case 1:
        out_printf(table->out, " %s%d", stem, number);
        break;
    case 2:
        out_printf(table->out, "%s%d ", stem, number);
        break;
    case 3:
        out_printf(table->out, "\"%s,\"\"%d\"", stem, number);
        break;
    case 4:
        out_printf(table->out, "\xc3\xa9%s%d", stem, number);
        break;
    default:
        out_printf(table->out, "%s%d", stem, number);
    }
}

static void put_field(struct table *table, int column)
{
    switch (column) {
    case WORKLOAD_REQUEST_ID:
        out_int(table->out, table->id);
        break;
    case WORKLOAD_ARRIVAL_S:
        if (!one_in(table, 50))
            put_seconds(table, table->arrival_ps);
        break;
    case WORKLOAD_SERVICE:
        put_text(table, "service-of-some-length-", 1 + rng_below(&table->rng, 100));
        break;
    case WORKLOAD_PROMPT_TOKENS:
        out_int(table->out, 100 + (int64_t)rng_below(&table->rng, 1000000));
        break;
    case WORKLOAD_PREFIX_TOKENS:
        out_int(table->out, (int64_t)rng_below(&table->rng, 101));
        break;
    case WORKLOAD_OUTPUT_TOKENS:
    case WORKLOAD_BATCH:
        if (!one_in(table, 3))
            out_int(table->out, 1 + (int64_t)rng_below(&table->rng, 3));
        break;
    case WORKLOAD_SLO_S:
    case WORKLOAD_THINK_S:
        if (!one_in(table, 3))
            put_seconds(table, 1 + (int64_t)rng_below(&table->rng, 1000) * 1000000007);
        break;
    case WORKLOAD_CLIENT:
    case WORKLOAD_SESSION:
        if (!one_in(table, 3))
            put_text(table, "c", 1000);
        break;
    default:
        put_text(table, "", 10);
    }
}

static void put_rows(struct table *table, int count)
{
    for (int i = 0; i < count; i++) {
        for (int field = 0; field < table->field_count; field++) {
            if (field > 0)
                out_char(table->out, ',');
            put_field(table, table->fields[field]);
        }
        if (i < count - 1 || !one_in(table, 3))
            out_text(table->out, table->newline);
        if (one_in(table, 20))
            out_text(table->out, table->newline);
        table->id += 1 + (one_in(table, 10) ? (int64_t)rng_below(&table->rng, 1000000000) : 0);
        table->arrival_ps += (int64_t)rng_below(&table->rng, 3) * 1234567891;
    }
}

/* Returns whether the file, as it is after `spoilt` bytes were changed, is a workload. */
static bool try_random_file(struct scratch *scratch, uint64_t seed, int rows, int spoilt)
{
    static const char marks[] = ",,,\n\r\"\"0159.-+e #x\t\xff\xc3";
    struct arena *arena = arena_create();
    struct table table = { .rng = rng_stream(seed, RNG_TEST, 1), .out = out_open_memory(arena) };
    struct err err = ERR_INIT;
    size_t length;
    char *bytes;
    bool is_ok;

    begin_table(&table);
    put_rows(&table, rows);
    bytes = arena_strdup(arena, out_memory(table.out, &length));
    for (int i = 0; i < spoilt; i++)
        bytes[rng_below(&table.rng, length)] = one_in(&table, 2)
                                                   ? marks[rng_below(&table.rng, sizeof marks)]
                                                   : bytes[rng_below(&table.rng, length)];
    is_ok = read_both(arena, write_bytes(scratch, bytes, length), &err) != NULL;
    arena_destroy(arena);
    return is_ok;
}

static void random_files_read_the_same(void **state)
{
    int good = 0;

    for (uint64_t seed = 0; seed < 600; seed++)
        good += try_random_file(*state, seed, 1 + (int)(seed % 60), 0);
    assert_true(good > 100 && good < 600); /* a closed row without a client is an error */
    for (uint64_t seed = 0; seed < 6; seed++)
        try_random_file(*state, seed + 1000, 5000, 0); /* more than one block */
}

static void spoilt_files_read_the_same(void **state)
{
    int good = 0;

    for (uint64_t seed = 0; seed < 3000; seed++)
        good += try_random_file(*state, seed, 1 + (int)(seed % 12), 1 + (int)(seed % 3));
    assert_true(good > 100 && good < 2900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(every_form_of_a_row_reads_the_same),
        scratch_test(every_mistake_is_told_the_same),
        scratch_test(seconds_are_those_of_units_parse_seconds),
        scratch_test(many_and_long_names_keep_their_numbers),
        scratch_test(a_large_workload_takes_the_room_of_its_columns),
        scratch_test(rows_that_get_shorter_are_all_read),
        scratch_test(a_pipe_reads_as_a_file_does),
        scratch_test(a_line_of_a_gigabyte_is_refused_at_once),
        scratch_test(lines_up_to_a_mebibyte_are_read),
        scratch_test(random_files_read_the_same),
        scratch_test(spoilt_files_read_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
