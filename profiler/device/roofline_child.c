/* roofline_child.c - the measuring process: rounds over memory first, then rounds over the BLAS,
 * whose waiting threads would disturb the others. */
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/format/cost.h"
#include "lib/kernels/kernels.h"
#include "profiler/device/crew.h"
#include "profiler/device/roofline.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BUDGET_NS INT64_C(1200000000)
#define BUDGET_QUICK_NS INT64_C(400000000)
#define MEMORY_PERCENT                                                                             \
    60 /* of the time for the rounds over memory, the first of them half of it                     \
        */
#define FIRST_WS (INT64_C(32) << 10)
#define MIN_LAST_WS (INT64_C(64) << 20)
#define UNKNOWN_AVAILABLE (INT64_C(1) << 30) /* a quarter of it is used */
#define LLC_TIMES 4
#define MEMORY_SHARE 4
#define WINDOW_BYTES (INT64_C(32) << 20)   /* read at once from a larger working set */
#define SHORTEST_BYTES (INT64_C(8) << 20)  /* read at least, however small the working set */
#define LARGEST_REPEATS (INT64_C(1) << 20) /* of a working set */
#define MAX_PROBES 64
#define MAX_SAMPLES 64
#define MIN_CLEAN 3
#define MIN_ROUNDS 3
#define TIMER_CALLS 1000
#define SMALL_CALLS 1000
#define FIRST_N 256
#define LAST_N 1024
#define MATRIX_FLOATS ((ptrdiff_t)LAST_N * LAST_N)
#define IDLE_N 96
#define IDLE_NS (COST_IDLE_PS / 1000)
#define IDLE_SAMPLES 3
#define STEADY_CALLS 5
#define FAULT_PAGES 256
#define PAGE_BYTES 4096

struct probe {
    enum roofline_metric metric;
    int64_t ws_bytes; /* COST_UNKNOWN: has none */
    int n;            /* of an sgemm */
    int64_t cost_ns;  /* of its last visit */
    int count, clean; /* samples; the clean ones come first */
    double samples[MAX_SAMPLES];
};

struct bench {
    struct arena *arena;
    const struct roofline_plan *plan;
    int threads, fd;
    struct crew *crew;
    float *floats; /* the largest working set, touched as far as it has been used */
    int64_t room_bytes, touched_bytes, at_bytes;
    float *matrices;
    struct probe probes[MAX_PROBES];
    int probe_count;
    int64_t deadline_ns;
};

static long switches(const struct bench *bench)
{
    struct rusage usage;

    getrusage(bench->threads > 1 ? RUSAGE_SELF : RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static struct probe *add_probe(struct bench *bench, enum roofline_metric metric, int64_t ws_bytes)
{
    struct probe *probe = &bench->probes[bench->probe_count++];

    *probe = (struct probe){ .metric = metric, .ws_bytes = ws_bytes };
    return probe;
}

static void put_sample(struct probe *probe, double value, bool is_clean)
{
    if (probe->count == MAX_SAMPLES)
        return;
    probe->samples[probe->count] = probe->samples[probe->clean];
    probe->samples[is_clean ? probe->clean : probe->count] = value;
    probe->clean += is_clean;
    probe->count++;
}

/* ---- memory ---- */

static double bytes_per_s(int64_t bytes, int64_t ns)
{
    return (double)bytes * 1e9 / (double)(ns > 0 ? ns : 1);
}

/* Everything was read once, size_bytes before it is read again: what a cache keeps, it has. */
static double visit_ws(struct bench *bench, const struct probe *probe)
{
    int64_t size = probe->ws_bytes, window = size < WINDOW_BYTES ? size : WINDOW_BYTES;
    int64_t times = window < SHORTEST_BYTES ? SHORTEST_BYTES / window : 1;

    if (size > bench->touched_bytes) {
        crew_run(bench->crew, CREW_TOUCH, bench->floats + bench->touched_bytes / 4,
                 (size - bench->touched_bytes) / 4, 1);
        bench->touched_bytes = size;
    }
    crew_run(bench->crew, CREW_READ, bench->floats, size / 4, 1);
    if (size <= WINDOW_BYTES)
        return bytes_per_s(size * times,
                           crew_run(bench->crew, CREW_READ, bench->floats, size / 4, (int)times));
    return bytes_per_s(window,
                       crew_run(bench->crew, CREW_READ, bench->floats, window / 4, (int)times));
}

/* The next window of the largest working set: last used a whole working set ago. */
static double visit_stream(struct bench *bench, const struct probe *probe)
{
    int64_t size = bench->touched_bytes < WINDOW_BYTES ? bench->touched_bytes : WINDOW_BYTES;
    enum crew_job job = probe->metric == ROOFLINE_READ_BW   ? CREW_READ
                        : probe->metric == ROOFLINE_COPY_BW ? CREW_COPY
                                                            : CREW_TRIAD;

    if (bench->at_bytes + size > bench->touched_bytes)
        bench->at_bytes = 0;
    float *at = bench->floats + bench->at_bytes / 4;
    bench->at_bytes += size;
    return bytes_per_s(size, crew_run(bench->crew, job, at, size / 4, 1));
}

/* ---- the BLAS and the system ---- */

static void multiply(const struct bench *bench, int n)
{
    float *a = bench->matrices, *b = a + MATRIX_FLOATS, *c = b + MATRIX_FLOATS;

    kernel_linear(a, b, NULL, c, n, n, n);
}

static double visit_sgemm(const struct bench *bench, const struct probe *probe)
{
    double n = probe->n;
    int64_t start_ns = clock_raw_ns();

    multiply(bench, probe->n);
    int64_t taken_ns = clock_raw_ns() - start_ns;
    return 2.0 * n * n * n / (double)(taken_ns > 0 ? taken_ns : 1);
}

static double visit_timer(void)
{
    int64_t start_ns = clock_raw_ns(), end_ns = start_ns;

    for (int i = 0; i < TIMER_CALLS; i++)
        end_ns = clock_raw_ns();
    return (double)(end_ns - start_ns) / TIMER_CALLS;
}

/* One output of one input: nothing but the way into the BLAS and back. 8 rows are an sgemm. */
static double visit_call(const struct bench *bench, int rows)
{
    float *a = bench->matrices, *b = a + MATRIX_FLOATS, *c = b + MATRIX_FLOATS;
    int64_t start_ns = clock_raw_ns();

    for (int i = 0; i < SMALL_CALLS; i++)
        kernel_linear(a, b, NULL, c, rows, 1, 1);
    return (double)(clock_raw_ns() - start_ns) / SMALL_CALLS;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), compare);
    return (values[(count - 1) / 2] + values[count / 2]) / 2.0;
}

static double visit_idle(const struct bench *bench)
{
    struct timespec pause = { IDLE_NS / 1000000000, IDLE_NS % 1000000000 };
    double steady_ns[STEADY_CALLS];

    nanosleep(&pause, NULL);
    int64_t start_ns = clock_raw_ns();
    multiply(bench, IDLE_N);
    double first_ns = (double)(clock_raw_ns() - start_ns);
    for (int i = 0; i < STEADY_CALLS; i++) {
        start_ns = clock_raw_ns();
        multiply(bench, IDLE_N);
        steady_ns[i] = (double)(clock_raw_ns() - start_ns);
    }
    return first_ns - median(steady_ns, STEADY_CALLS);
}

static bool visit_page_fault(double *value)
{
    volatile char *pages = mmap(NULL, (size_t)FAULT_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED)
        return false;
    int64_t start_ns = clock_raw_ns();
    for (int i = 0; i < FAULT_PAGES; i++)
        pages[(ptrdiff_t)i * PAGE_BYTES] = 1;
    *value = (double)(clock_raw_ns() - start_ns) / FAULT_PAGES;
    munmap((void *)(uintptr_t)pages, (size_t)FAULT_PAGES * PAGE_BYTES);
    return true;
}

/* ---- rounds ---- */

static bool visit_value(struct bench *bench, const struct probe *probe, double *value)
{
    switch (probe->metric) {
    case ROOFLINE_SGEMM_PEAK:
        *value = visit_sgemm(bench, probe);
        return true;
    case ROOFLINE_READ_BW:
    case ROOFLINE_TRIAD_BW:
    case ROOFLINE_COPY_BW:
        *value = visit_stream(bench, probe);
        return true;
    case ROOFLINE_WS_BW:
        *value = visit_ws(bench, probe);
        return true;
    case ROOFLINE_TIMER_NS:
        *value = visit_timer();
        return true;
    case ROOFLINE_CALL_GEMM_NS:
        *value = visit_call(bench, 8);
        return true;
    case ROOFLINE_CALL_GEMV_NS:
        *value = visit_call(bench, 1);
        return true;
    case ROOFLINE_IDLE_RESUME_NS:
        *value = visit_idle(bench);
        return true;
    case ROOFLINE_PAGE_FAULT_NS:
        return visit_page_fault(value);
    case ROOFLINE_METRIC_COUNT:
        return false;
    }
    return false;
}

/* The first visit touches memory and fills caches: it counts only where there are too few others.
 */
static void visit(struct bench *bench, struct probe *probe, bool is_first)
{
    long before = switches(bench);
    int64_t start_ns = clock_now_ns();
    double value;
    bool is_measured = visit_value(bench, probe, &value);

    probe->cost_ns = clock_now_ns() - start_ns;
    if (is_measured)
        put_sample(probe, value, !is_first && switches(bench) == before);
}

static bool is_wanted(const struct bench *bench, const struct probe *probe, int round)
{
    if (probe->count >= MAX_SAMPLES ||
        (probe->metric == ROOFLINE_IDLE_RESUME_NS && probe->count >= IDLE_SAMPLES))
        return false;
    /* what is cheap is measured often enough on the slowest board */
    int64_t fair_ns = bench->plan->budget_ns / MAX_PROBES;
    return clock_now_ns() + probe->cost_ns <= bench->deadline_ns ||
           (round < MIN_ROUNDS && probe->cost_ns <= fair_ns);
}

/* Forwards and backwards in turn, so that no probe always follows the same other. The time of the
 * first visits is known when this begins. */
static void run_rounds(struct bench *bench, int first)
{
    int count = bench->probe_count - first, visited = 1;

    for (int round = 1; visited > 0 && round < MAX_SAMPLES; round++) {
        visited = 0;
        for (int i = 0; i < count; i++) {
            struct probe *probe = &bench->probes[first + (round % 2 ? count - 1 - i : i)];

            if (!is_wanted(bench, probe, round))
                continue;
            visit(bench, probe, false);
            visited++;
        }
    }
}

/* Working sets grow while there is time: twice the size takes twice as long. */
static void measure_memory(struct bench *bench, int64_t budget_ns)
{
    int64_t began_ns = clock_now_ns(), last_ns = 0;

    bench->deadline_ns = began_ns + budget_ns;
    for (int64_t size = FIRST_WS; size <= bench->room_bytes; size *= 2) {
        bool is_short = size <= MIN_LAST_WS / 8; /* the least that tells anything */

        /* up to where a reported cache can be doubted, all of the time may go */
        bool is_telling = size / 2 < ROOFLINE_REPORTED_TIMES * bench->plan->llc_bytes;
        int64_t share_ns = is_telling ? budget_ns : budget_ns / 2;

        if (!is_short && clock_now_ns() - began_ns + 2 * last_ns > share_ns)
            break;
        struct probe *probe = add_probe(bench, ROOFLINE_WS_BW, size);
        visit(bench, probe, true);
        last_ns = probe->cost_ns;
    }
    for (int m = ROOFLINE_READ_BW; m <= ROOFLINE_COPY_BW; m++)
        visit(bench, add_probe(bench, (enum roofline_metric)m, COST_UNKNOWN), true);
    run_rounds(bench, 0);
}

static void measure_calls(struct bench *bench, int64_t budget_ns)
{
    int64_t began_ns = clock_now_ns(), last_ns = 0;
    int first = bench->probe_count;

    bench->deadline_ns = began_ns + budget_ns;
    multiply(bench, IDLE_N); /* the first calls of a process allocate */
    multiply(bench, IDLE_N);
    for (int n = FIRST_N; n <= LAST_N; n *= 2) {
        if (n > FIRST_N && 8 * last_ns > budget_ns / 8)
            break;
        struct probe *probe = add_probe(bench, ROOFLINE_SGEMM_PEAK, INT64_C(12) * n * n);
        probe->n = n;
        visit(bench, probe, true);
        last_ns = probe->cost_ns;
    }
    for (int m = ROOFLINE_TIMER_NS; m < ROOFLINE_METRIC_COUNT; m++)
        visit(bench, add_probe(bench, (enum roofline_metric)m, COST_UNKNOWN), true);
    run_rounds(bench, first);
}

/* ---- the process ---- */

static int64_t room_for(const struct roofline_plan *plan)
{
    int64_t available = plan->available_bytes > 0 ? plan->available_bytes : UNKNOWN_AVAILABLE;
    int64_t wanted = MIN_LAST_WS, room = FIRST_WS;

    if (plan->llc_bytes < available && LLC_TIMES * plan->llc_bytes > wanted)
        wanted = LLC_TIMES * plan->llc_bytes;
    else if (plan->llc_bytes >= available)
        wanted = available;
    while (room < wanted && 2 * room <= available / MEMORY_SHARE)
        room *= 2;
    return room;
}

static bool prepare(struct bench *bench, struct err *err)
{
    bench->room_bytes = room_for(bench->plan);
    if (!kernel_use_threads(bench->threads, err))
        return false;
    bench->floats = mmap(NULL, (size_t)bench->room_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bench->floats == MAP_FAILED)
        return err_errno(err, "memory for the working sets");
    /* only to be ready sooner: reading in order costs the same with small pages */
    (void)madvise(bench->floats, (size_t)bench->room_bytes, MADV_HUGEPAGE);
    size_t cells = (size_t)3 * LAST_N * LAST_N;
    bench->matrices = arena_array(bench->arena, cells, sizeof(float));
    for (size_t i = 0; i < cells; i++)
        bench->matrices[i] = 0.25f + (float)(i % 7);
    bench->crew = crew_create(bench->arena, bench->threads, err);
    return bench->crew;
}

static bool tell(const struct bench *bench, const struct roofline_told *told)
{
    return write(bench->fd, told, sizeof(*told)) == (ssize_t)sizeof(*told);
}

static void tell_all(struct bench *bench)
{
    for (int i = 0; i < bench->probe_count; i++) {
        struct probe *probe = &bench->probes[i];
        int used = probe->clean >= MIN_CLEAN ? probe->clean : probe->count;
        struct roofline_told told = { .metric = (int32_t)probe->metric,
                                      .ws_bytes = probe->ws_bytes };

        if (used == 0)
            continue;
        told.value = median(probe->samples, used);
        if (probe->metric >= ROOFLINE_READ_BW && probe->metric <= ROOFLINE_COPY_BW)
            told.ws_bytes = bench->touched_bytes;
        if (!tell(bench, &told))
            return; /* the parent has gone */
    }
}

int roofline_child(const struct roofline_plan *plan, int threads, int fd)
{
    struct arena *arena = arena_create();
    struct bench *bench = arena_alloc(arena, sizeof(*bench));
    struct roofline_plan own = *plan;
    struct err err = ERR_INIT;

    if (own.budget_ns <= 0)
        own.budget_ns = own.is_quick ? BUDGET_QUICK_NS : BUDGET_NS;
    bench->arena = arena;
    bench->plan = &own;
    bench->threads = threads;
    bench->fd = fd;
    int64_t began_ns = clock_now_ns();
    if (prepare(bench, &err)) {
        measure_memory(bench, own.budget_ns * MEMORY_PERCENT / 100);
        crew_destroy(bench->crew);
        int64_t left_ns = began_ns + own.budget_ns - clock_now_ns();
        measure_calls(bench, left_ns > 0 ? left_ns : 0);
        tell_all(bench);
    } else {
        struct roofline_told told = { .metric = -1 };

        memcpy(told.text, err.text, sizeof(told.text) - 1);
        tell(bench, &told);
    }
    arena_destroy(arena);
    return 0;
}
