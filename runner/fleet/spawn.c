/* spawn.c - worker processes on this machine: started, and never left behind. */
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/internal.h"
#include "runner/setup/setup.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAVE_NS INT64_C(1000000000) /* for a process that has been told to go */

/* How many workers that are padded come before it; -1: it is not. */
static int turn_of(const struct fleet *fleet, const struct fleet_worker *worker)
{
    const struct assignment *assignment = worker->is_new ? fleet->update.all : fleet->assignment;
    int number = (int)(worker - fleet->workers), turn = 0;

    for (int i = 0; i < number; i++)
        turn += assignment->setups[i].pad_ratio > 0;
    return assignment->setups[number].pad_ratio > 0 ? turn : -1;
}

/* A group of its own: a Ctrl-C at the terminal is for the coordinator, which then tells the
 * workers. The coordinator's blocked signals are unblocked again. */
bool fleet_spawn_one(struct fleet *fleet, struct fleet_worker *worker, struct err *err)
{
    const char *address = fleet_reachable_address(fleet);
    int turn = turn_of(fleet, worker), count = 5;
    char *argv[8] = { arena_strdup(fleet->arena, "orrery-run"),
                      arena_strdup(fleet->arena, "worker"),
                      arena_printf(fleet->arena, "--device=%s", worker->device),
                      arena_printf(fleet->arena, "--connect=%s", address),
                      arena_printf(fleet->arena, "--parent=%ld", (long)getpid()) };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;

    if (fleet->keys_folder)
        argv[count++] = arena_printf(fleet->arena, "--keys=%s", fleet->keys_folder);
    if (turn >= 0)
        argv[count++] = arena_printf(fleet->arena, "--processor=%d", turn);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    errno = posix_spawn(&worker->pid, "/proc/self/exe", &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (errno == 0)
        return true;
    worker->pid = 0;
    return err_errno(err, "cannot start a worker process");
}

bool fleet_spawn(struct fleet *fleet, struct err *err)
{
    fleet->is_local = true;
    for (int i = 0; i < fleet->count; i++)
        if (!fleet_spawn_one(fleet, &fleet->workers[i], err))
            return false;
    return true;
}

void fleet_kill_worker(struct fleet *fleet, int worker, const char *trouble)
{
    struct fleet_worker *victim = &fleet->workers[worker];

    if (victim->pid > 0) {
        kill(victim->pid, SIGKILL);
        while (waitpid(victim->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        victim->pid = 0;
    }
    victim->is_awaited = false;
    victim->next_peer.count = 0;
    fleet_die(victim, trouble);
}

bool fleet_respawn(struct fleet *fleet, int worker, struct err *err)
{
    fleet->workers[worker].is_awaited = fleet_spawn_one(fleet, &fleet->workers[worker], err);
    return fleet->workers[worker].is_awaited;
}

void fleet_kill(struct fleet *fleet)
{
    int64_t deadline_ns = clock_now_ns() + LEAVE_NS;

    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if (worker->pid > 0 && worker->state != FLEET_STOPPED)
            kill(worker->pid, SIGKILL);
        while (worker->pid > 0) {
            if (waitpid(worker->pid, NULL, WNOHANG) != 0) {
                worker->pid = 0;
                break;
            }
            if (clock_now_ns() >= deadline_ns)
                kill(worker->pid, SIGKILL);
            clock_sleep_until_ns(clock_now_ns() + 1000000);
        }
    }
}
