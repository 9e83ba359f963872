/* bench_process.c - runs a program and tells its processor time and its largest memory.
 *
 *     bench_process FIGURE REPEAT PROGRAM ARGUMENT...
 *
 * Prints two rows (bench.h) without a head: `FIGURE seconds` and `FIGURE bytes`. The program's
 * stdout is dropped; its exit status, when it is not 0, becomes this one's. */
#include "lib/base/units.h"
#include "tests/bench/bench.h"
#include "tests/bench/child.h"

int main(int argc, char **argv)
{
    struct child child;
    char figure[256];
    int64_t repeat;
    int status;

    if (argc < 4 || !units_parse_int(argv[2], &repeat) || repeat < 1 || repeat > 99) {
        fprintf(stderr, "usage: bench_process FIGURE REPEAT PROGRAM ARGUMENT...\n");
        return 2;
    }
    if (!child_run(argv + 3, &child, &status)) {
        fprintf(stderr, "bench_process: %s did not end by itself\n", argv[3]);
        return 2;
    }
    if (status != 0) {
        fprintf(stderr, "bench_process: exit status %d of %s\n", status, argv[3]);
        return status;
    }
    (void)snprintf(figure, sizeof figure, "%s seconds", argv[1]);
    bench_row(figure, (int)repeat, child.cpu_s, 0, "s");
    (void)snprintf(figure, sizeof figure, "%s bytes", argv[1]);
    bench_row(figure, (int)repeat, child.peak_bytes, 0, "bytes");
    return 0;
}
