/* child.c - fork, wait4 and its accounts. */
#include "tests/bench/child.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

static double wall_s(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool settle(pid_t pid, double began_s, struct child *child, int *status)
{
    struct rusage usage;
    int how;

    if (pid < 0 || wait4(pid, &how, 0, &usage) != pid || !WIFEXITED(how))
        return false;
    *status = WEXITSTATUS(how);
    child->cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    child->wall_s = wall_s() - began_s;
    child->peak_bytes = (double)usage.ru_maxrss * 1024;
    return true;
}

bool child_call(bool (*work)(void *arg), void *arg, struct child *child)
{
    double began_s = wall_s();
    int status = 1;
    pid_t pid;

    (void)fflush(NULL); /* or the child would write it as well */
    pid = fork();
    if (pid == 0)
        _exit(work(arg) ? 0 : 1);
    return settle(pid, began_s, child, &status) && status == 0;
}

bool child_run(char *const *arguments, struct child *child, int *status)
{
    double began_s = wall_s();
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        if (null >= 0 && dup2(null, STDOUT_FILENO) >= 0)
            (void)execvp(arguments[0], arguments);
        perror(arguments[0]);
        _exit(127);
    }
    return settle(pid, began_s, child, status);
}
