/* A wall clock that is wrong by as many seconds as the file $WALL_CLOCK holds, for LD_PRELOAD.

   Every other clock is true, the monotonic one above all. The file is read at each look, so that
   the clock jumps when somebody writes to it. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *error;

__attribute__((constructor)) static void find_error(void)
{
    const char *name = getenv("WALL_CLOCK");
    int file = open(name ? name : "", O_RDONLY);
    void *found = mmap(NULL, sizeof *error, PROT_READ, MAP_SHARED, file, 0);
    if (found == MAP_FAILED)
        abort(); /* a test must not go on with a right clock */
    error = found;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && error && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *error;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed && error)
        now->tv_sec += *error;
    return failed;
}

time_t time(time_t *result)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}
