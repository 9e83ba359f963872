/* fuzz_csv.c - the CSV reader itself: rows and fields keep their promises on any bytes. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const struct csv_column columns[] = { { "name", true }, { "value", false } };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct csv *csv =
        csv_open_text(arena, (const char *)bytes, count, "f.csv", "fuzz", columns, 2, &err);
    long line = 0;

    assert((csv != NULL) == (err.kind == ERR_NONE));
    while (csv && csv_next(csv, &err)) {
        struct err field_err = ERR_INIT;
        double number;
        int64_t time_ps;

        assert(csv_line(csv) > line);
        line = csv_line(csv);
        assert(strlen(csv_text(csv, 0)) < count + 1);
        if (!csv_double(csv, 1, -1e9, 1e9, &number, &field_err))
            assert(strncmp(field_err.text, "f.csv:", 6) == 0);
        csv_seconds(csv, 1, 0, &time_ps, &field_err);
    }
    csv_close(csv);
    arena_destroy(arena);
    return 0;
}
