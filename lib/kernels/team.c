/* team.c - threads that spin briefly for the next range, then sleep on a condition variable. */
#include "lib/kernels/team.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Some 10 us: longer than what lies between two products of a step, shorter than a time slice. */
#define SPINS 400

struct member {
    struct team *team;
    pthread_t thread;
    int index;
};

struct team {
    int threads;
    struct member *members; /* [threads]; 0 is the caller */
    pthread_mutex_t lock;
    pthread_cond_t has_turn, is_done;
    atomic_uint turn; /* counts the ranges given out; what follows is written before it moves */
    atomic_int busy;
    bool is_ending;
    team_fn *fn;
    void *arg;
    int count;
};

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* as long as a pause of x86; yield takes no time */
#endif
}

static void run_part(struct team *team, int index)
{
    int first = (int)((int64_t)team->count * index / team->threads);
    int last = (int)((int64_t)team->count * (index + 1) / team->threads);

    if (first < last)
        team->fn(team->arg, first, last);
}

static void wait_for_turn(struct team *team, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&team->turn, memory_order_acquire) != seen)
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&team->lock);
    while (atomic_load_explicit(&team->turn, memory_order_acquire) == seen)
        pthread_cond_wait(&team->has_turn, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

static void *serve(void *arg)
{
    const struct member *member = arg;
    struct team *team = member->team;

    for (unsigned turn = 0;; turn++) {
        wait_for_turn(team, turn);
        if (team->is_ending)
            return NULL;
        run_part(team, member->index);
        if (atomic_fetch_sub_explicit(&team->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&team->lock); /* so that the wake-up cannot fall between its look
                                                at busy and its sleep */
            pthread_cond_signal(&team->is_done);
            pthread_mutex_unlock(&team->lock);
        }
    }
}

static void give_turn(struct team *team)
{
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add_explicit(&team->turn, 1, memory_order_release);
    pthread_cond_broadcast(&team->has_turn);
    pthread_mutex_unlock(&team->lock);
}

static void wait_for_all(struct team *team)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&team->busy, memory_order_acquire) == 0)
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&team->lock);
    while (atomic_load_explicit(&team->busy, memory_order_acquire) != 0)
        pthread_cond_wait(&team->is_done, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

struct team *team_create(struct arena *arena, int threads, struct err *err)
{
    struct team *team = arena_alloc(arena, sizeof(*team));

    assert(threads >= 1);
    team->members = arena_array(arena, (size_t)threads, sizeof(*team->members));
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->has_turn, NULL);
    pthread_cond_init(&team->is_done, NULL);
    atomic_init(&team->turn, 0);
    atomic_init(&team->busy, 0);
    for (team->threads = 1; team->threads < threads; team->threads++) {
        struct member *member = &team->members[team->threads];

        member->team = team;
        member->index = team->threads;
        if (pthread_create(&member->thread, NULL, serve, member) != 0) {
            err_set(err, ERR_SYSTEM, "the system refuses thread %d of %d", team->threads + 1,
                    threads);
            team_destroy(team);
            return NULL;
        }
    }
    return team;
}

void team_run(struct team *team, team_fn *fn, void *arg, int count)
{
    if (!team || team->threads == 1) {
        if (count > 0)
            fn(arg, 0, count);
        return;
    }
    team->fn = fn;
    team->arg = arg;
    team->count = count;
    atomic_store_explicit(&team->busy, team->threads - 1, memory_order_relaxed);
    give_turn(team);
    run_part(team, 0);
    wait_for_all(team);
}

void team_destroy(struct team *team)
{
    if (!team)
        return;
    team->is_ending = true;
    give_turn(team);
    for (int i = 1; i < team->threads; i++)
        pthread_join(team->members[i].thread, NULL);
    pthread_cond_destroy(&team->is_done);
    pthread_cond_destroy(&team->has_turn);
    pthread_mutex_destroy(&team->lock);
}
