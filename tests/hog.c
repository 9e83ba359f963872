/* hog.c - a noisy neighbour, for `make bench` and for tests.
 *
 *     hog cpu N SECONDS            N threads that compute
 *     hog memory N SECONDS [MB]    N threads that copy MB each (default 256) from one half to the
 * other
 *
 * Ends after SECONDS (0: not by itself), on SIGTERM or SIGINT, and with its parent. Then it prints
 * one line, kind,n,begin_ns,on_ns,off_ns,end_ns (CLOCK_MONOTONIC, the clock of rounds.csv): all
 * threads were busy from on to off, and none of them existed before begin or after end. */
#include "lib/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 1024, MAX_SECONDS = 86400, MAX_MB = 1 << 20, DEFAULT_MB = 256 };

struct hog {
    size_t bytes;     /* of one thread; 0: computes */
    atomic_int ready; /* threads that have touched their memory */
    atomic_bool stop;
    atomic_bool failed;
    atomic_uint_fast64_t sink; /* results go here, so that no work is optimised away */
};

static void compute(struct hog *hog)
{
    uint64_t x = 1;

    while (!atomic_load_explicit(&hog->stop, memory_order_relaxed))
        for (int i = 0; i < 100000; i++)
            x = x * 6364136223846793005u + 1442695040888963407u;
    atomic_fetch_add(&hog->sink, x);
}

/* Copies back and forth in pieces, so that a stop is seen soon. */
static void copy(struct hog *hog, unsigned char *memory)
{
    size_t half = hog->bytes / 2, piece = half < (4u << 20) ? half : (4u << 20);

    for (bool forth = true; !atomic_load_explicit(&hog->stop, memory_order_relaxed); forth = !forth)
        for (size_t at = 0; at + piece <= half; at += piece) {
            if (atomic_load_explicit(&hog->stop, memory_order_relaxed))
                break;
            memcpy(memory + (forth ? half : 0) + at, memory + (forth ? 0 : half) + at, piece);
        }
    atomic_fetch_add(&hog->sink, memory[half]);
}

static void *work(void *argument)
{
    struct hog *hog = argument;
    unsigned char *memory = NULL;

    if (hog->bytes > 0) {
        memory = mmap(NULL, hog->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            atomic_store(&hog->failed, true);
        else
            memset(memory, 1, hog->bytes);
    }
    atomic_fetch_add(&hog->ready, 1);
    if (hog->bytes == 0)
        compute(hog);
    else if (memory != MAP_FAILED)
        copy(hog, memory);
    return NULL; /* the memory goes with the process */
}

static bool number(const char *text, long min, long max, long *value)
{
    char *end;

    errno = 0;
    *value = strtol(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 && *value >= min && *value <= max;
}

/* Until a signal of the set, or the seconds are over. */
static void wait_for(const sigset_t *set, long seconds)
{
    int64_t end_ns = clock_now_ns() + seconds * 1000000000;

    for (;;) {
        int64_t left_ns = seconds == 0 ? 3600000000000 : end_ns - clock_now_ns();
        if (left_ns <= 0)
            return;
        struct timespec left = { .tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000 };
        if (sigtimedwait(set, NULL, &left) > 0)
            return;
    }
}

struct options {
    bool is_memory;
    long threads, seconds, mb;
};

static bool options_read(int argc, char **argv, struct options *options)
{
    options->mb = DEFAULT_MB;
    options->is_memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    if (!options->is_memory && (argc < 2 || strcmp(argv[1], "cpu") != 0))
        return false;
    return argc >= 4 && argc <= (options->is_memory ? 5 : 4) &&
           number(argv[2], 1, MAX_THREADS, &options->threads) &&
           number(argv[3], 0, MAX_SECONDS, &options->seconds) &&
           (argc == 4 || number(argv[4], 1, MAX_MB, &options->mb));
}

/* Runs the threads between the four moments. False: they could not start, or lacked memory. */
static bool run(const struct options *options, const sigset_t *signals, int64_t moments_ns[4])
{
    struct hog hog = { .bytes = options->is_memory ? (size_t)options->mb * 1000000 : 0 };
    struct timespec moment = { .tv_nsec = 1000000 };
    pthread_t threads[MAX_THREADS];
    int count = 0;

    moments_ns[0] = clock_now_ns();
    while (count < options->threads && pthread_create(&threads[count], NULL, work, &hog) == 0)
        count++;
    if (count < options->threads)
        atomic_store(&hog.failed, true);
    while (atomic_load(&hog.ready) < count)
        nanosleep(&moment, NULL);
    moments_ns[1] = clock_now_ns();
    if (!atomic_load(&hog.failed))
        wait_for(signals, options->seconds);
    moments_ns[2] = clock_now_ns();
    atomic_store(&hog.stop, true);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    moments_ns[3] = clock_now_ns();
    return !atomic_load(&hog.failed);
}

int main(int argc, char **argv)
{
    pid_t parent = getppid();
    struct options options;
    int64_t moments_ns[4];
    sigset_t signals;

    if (!options_read(argc, argv, &options)) {
        fputs("usage: hog cpu N SECONDS | hog memory N SECONDS [MB]\n", stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* its line is printed even then */
    if (getppid() != parent)          /* it had left before the line above */
        return 2;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (!run(&options, &signals, moments_ns)) {
        fputs("hog: not enough memory, or threads\n", stderr);
        return 2;
    }
    printf("%s,%ld,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "\n", argv[1], options.threads,
           moments_ns[0], moments_ns[1], moments_ns[2], moments_ns[3]);
    return fflush(stdout) != 0 ? 2 : 0;
}
