/* crew.c - threads behind two barriers: one to start together, one to know that all are done. */
#include "profiler/device/crew.h"
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/kernels/stream.h"
#include <pthread.h>

#define PAGE_FLOATS 1024
#define LINE_FLOATS 16 /* parts begin at cache lines */

struct member {
    struct crew *crew;
    int index;
    pthread_t thread;
    float sum; /* so that no reading is left out */
};

struct crew {
    int threads;
    struct member *members;
    pthread_barrier_t start, end;
    enum crew_job job;
    float *floats;
    int64_t count;
    int times;
};

static void work(struct member *member)
{
    const struct crew *crew = member->crew;
    int64_t part = crew->count / crew->threads / LINE_FLOATS * LINE_FLOATS;
    int64_t third = part / 3 / LINE_FLOATS * LINE_FLOATS;
    float *at = crew->floats + member->index * part;

    if (member->index == crew->threads - 1)
        part = crew->count - member->index * part;
    switch (crew->job) {
    case CREW_TOUCH:
        for (int64_t i = 0; i < part; i += PAGE_FLOATS)
            at[i] = 1.0f;
        break;
    case CREW_READ:
        for (int i = 0; i < crew->times; i++)
            member->sum += stream_read(at, part);
        break;
    case CREW_COPY:
        for (int i = 0; i < crew->times; i++)
            stream_copy(at, 1.0f, at + part / 2, part / 2);
        break;
    case CREW_TRIAD:
        for (int i = 0; i < crew->times; i++)
            stream_triad(at, at + third, 0.5f, at + 2 * third, third);
        break;
    case CREW_END:
        break;
    }
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct crew *crew = member->crew;

    for (;;) {
        pthread_barrier_wait(&crew->start);
        if (crew->job == CREW_END)
            return NULL;
        work(member);
        pthread_barrier_wait(&crew->end);
    }
}

struct crew *crew_create(struct arena *arena, int threads, struct err *err)
{
    struct crew *crew = arena_alloc(arena, sizeof(*crew));

    crew->threads = threads;
    crew->members = arena_array(arena, (size_t)threads, sizeof(*crew->members));
    pthread_barrier_init(&crew->start, NULL, (unsigned)threads);
    pthread_barrier_init(&crew->end, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        crew->members[i] = (struct member){ .crew = crew, .index = i };
        /* those that did start wait for good: the caller's process ends with this error */
        if (i > 0 &&
            pthread_create(&crew->members[i].thread, NULL, member_main, &crew->members[i]) != 0) {
            err_set(err, ERR_SYSTEM, "the system refuses thread %d of %d", i + 1, threads);
            return NULL;
        }
    }
    return crew;
}

int64_t crew_run(struct crew *crew, enum crew_job job, float *floats, int64_t count, int times)
{
    crew->job = job;
    crew->floats = floats;
    crew->count = count;
    crew->times = times;
    int64_t start_ns = clock_raw_ns();
    pthread_barrier_wait(&crew->start);
    work(&crew->members[0]);
    pthread_barrier_wait(&crew->end);
    return clock_raw_ns() - start_ns;
}

void crew_destroy(struct crew *crew)
{
    crew->job = CREW_END;
    pthread_barrier_wait(&crew->start);
    for (int i = 1; i < crew->threads; i++)
        pthread_join(crew->members[i].thread, NULL);
    pthread_barrier_destroy(&crew->start);
    pthread_barrier_destroy(&crew->end);
}
