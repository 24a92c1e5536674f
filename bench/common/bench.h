#pragma once
// What every program of the benchmark shares: clock, arguments, placement, and the lines of JSON that it prints. C and C++.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void bench_fail(const char* what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/// The value after `name` ("--items"), or `otherwise`.
static inline const char* bench_word(int argc, char** argv, const char* name, const char* otherwise)
{
    for (int i = 1; i + 1 < argc; ++i)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return otherwise;
}

static inline long bench_number(int argc, char** argv, const char* name, long otherwise)
{
    const char* const word = bench_word(argc, argv, name, NULL);
    return word ? atol(word) : otherwise;
}

/// The n-th processor that this process may use, modulo their number.
static inline int bench_cpu(int n)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        bench_fail("sched_getaffinity");
    n %= CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &allowed) && n-- == 0)
            return cpu;
    return 0;
}

static inline void bench_pin(int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0)
        bench_fail("sched_setaffinity");
}

/// Where the two ends of a call run: `--place same` one processor, `cross` two, `free` as the kernel likes. A negative
/// number is no processor.
struct bench_place {
    int caller, worker;
};

static inline struct bench_place bench_placement(int argc, char** argv)
{
    const char* const place = bench_word(argc, argv, "--place", "free");
    struct bench_place where = {-1, -1};
    if (strcmp(place, "free") != 0) {
        where.caller = bench_cpu(0);
        where.worker = bench_cpu(strcmp(place, "cross") == 0 ? 1 : 0);
    }
    return where;
}

static inline void bench_go(int cpu)
{
    if (cpu >= 0)
        bench_pin(cpu);
}

/// What was measured: one number a round, or a call.
struct bench_series {
    int64_t* values;
    size_t count, room;
};

static inline void bench_add(struct bench_series* s, int64_t value)
{
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 1024;
        s->values = (int64_t*)realloc(s->values, s->room * sizeof *s->values);
        if (!s->values)
            bench_fail("realloc");
    }
    s->values[s->count++] = value;
}

/// One line. `check` shows that the work was done: it has to be the same for all contenders, 0 = nothing to compare.
static inline void bench_print(const char* name, const struct bench_series* s, int64_t check)
{
    printf("{\"series\":\"%s\",\"check\":%lld,\"values\":[", name, (long long)check);
    for (size_t i = 0; i < s->count; ++i)
        printf("%s%lld", i ? "," : "", (long long)s->values[i]);
    puts("]}");
    fflush(stdout);
}

static inline void bench_print_one(const char* name, int64_t value, int64_t check)
{
    struct bench_series s = {&value, 1, 1};
    bench_print(name, &s, check);
}

/// One bare fork and wait of this process, in nanoseconds: the floor of everything that starts a process.
static inline int64_t bench_fork_and_wait(void)
{
    const int64_t began = bench_now();
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0 || waitpid(child, NULL, 0) != child)
        bench_fail("fork");
    return bench_now() - began;
}

/// A field of a file such as /proc/self/status, in its own unit; -1 when it is not there.
static inline long bench_proc_field(const char* path, const char* field)
{
    FILE* const file = fopen(path, "r");
    char line[256];
    long value = -1;
    while (file && value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = atol(line + strlen(field) + 1);
    if (file)
        fclose(file);
    return value;
}

/// Memory that only process `pid` has, in KiB.
static inline long bench_uss_kib(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    return bench_proc_field(path, "Private_Clean") + bench_proc_field(path, "Private_Dirty");
}

static inline void bench_write_all(int fd, const void* from, size_t size)
{
    const char* at = (const char*)from;
    while (size > 0) {
        const ssize_t n = write(fd, at, size);
        if (n <= 0)
            bench_fail("write");
        at += n;
        size -= (size_t)n;
    }
}

/// Returns 0 at the end of the pipe.
static inline int bench_read_all(int fd, void* to, size_t size)
{
    char* at = (char*)to;
    while (size > 0) {
        const ssize_t n = read(fd, at, size);
        if (n < 0)
            bench_fail("read");
        if (n == 0)
            return 0;
        at += n;
        size -= (size_t)n;
    }
    return 1;
}

#ifdef __cplusplus
}
#endif
