/* command.c - posix_spawn with a pipe and a time limit. */
#include "profiler/device/command.h"
#include "lib/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool spawn(const char *const *argv, int write_fd, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    union { /* posix_spawn takes, but does not change, char *const [] */
        const char *const *from;
        char *const *to;
    } arguments = { argv };

    if (posix_spawn_file_actions_init(&actions) != 0)
        return false;
    bool is_started =
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, write_fd, STDOUT_FILENO) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, write_fd, STDERR_FILENO) == 0 &&
        posix_spawn(pid, argv[0], &actions, NULL, arguments.to, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return is_started;
}

/* Until the end of the output; false when the time is over first. */
static bool read_all(int fd, int64_t deadline_ns, char *text, size_t room)
{
    size_t count = 0;

    for (;;) {
        int64_t left_ms = (deadline_ns - clock_now_ns()) / 1000000;
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        char spill[512];

        if (left_ms <= 0)
            return false;
        int ready = poll(&wait, 1, (int)left_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        bool is_full = count + 1 >= room;
        ssize_t got =
            read(fd, is_full ? spill : text + count, is_full ? sizeof(spill) : room - 1 - count);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        if (!is_full)
            count += (size_t)got;
        text[count] = '\0';
    }
}

bool command_output(const char *const *argv, int timeout_ms, char *text, size_t room)
{
    int64_t deadline_ns = clock_now_ns() + (int64_t)timeout_ms * 1000000;
    int fds[2], status = 0;
    pid_t pid;

    text[0] = '\0';
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    bool is_started = spawn(argv, fds[1], &pid);
    close(fds[1]);
    bool is_complete = is_started && read_all(fds[0], deadline_ns, text, room);
    close(fds[0]);
    if (!is_started)
        return false;
    if (!is_complete)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return is_complete && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
