// The floor of one call: eight bytes to a forked process and back, by two pipes and blocking reads.
// --spin 1: the worker looks again instead of sleeping; --spin 2: both ends do.

#include "../common/bench.h"

#include <fcntl.h>

static void read_number(int fd, int64_t* to, int spin)
{
    if (!spin) {
        if (!bench_read_all(fd, to, sizeof *to))
            _exit(0);
        return;
    }
    for (;;) {
        const ssize_t n = read(fd, to, sizeof *to);
        if (n == (ssize_t)sizeof *to)
            return;
        if (n >= 0 || errno != EAGAIN)
            _exit(0);
    }
}

static void serve(int jobs, int results, int spin)
{
    int64_t x;
    for (;;) {
        read_number(jobs, &x, spin);
        ++x;
        bench_write_all(results, &x, sizeof x);
    }
}

int main(int argc, char** argv)
{
    const struct bench_place place = bench_placement(argc, argv);
    const long calls = bench_number(argc, argv, "--calls", 2000);
    const long spin = bench_number(argc, argv, "--spin", 0);
    int job[2], result[2];
    if (pipe2(job, spin >= 1 ? O_NONBLOCK : 0) != 0 || pipe2(result, spin >= 2 ? O_NONBLOCK : 0) != 0)
        bench_fail("pipe2");
    bench_go(place.caller);
    const pid_t child = fork();
    if (child < 0)
        bench_fail("fork");
    if (child == 0) {
        bench_go(place.worker);
        close(job[1]);
        close(result[0]);
        serve(job[0], result[1], spin >= 1);
    }
    struct bench_series took = {0};
    int64_t sum = 0;
    for (long i = -calls / 10; i < calls; ++i) {
        int64_t x = i;
        const int64_t began = bench_now();
        bench_write_all(job[1], &x, sizeof x);
        read_number(result[0], &x, spin >= 2);
        if (i >= 0) {
            bench_add(&took, bench_now() - began);
            sum += x;
        }
    }
    close(job[1]);
    if (waitpid(child, NULL, spin ? WNOHANG : 0) == 0) {
        close(result[0]);
        waitpid(child, NULL, 0);
    }
    bench_print("call_ns", &took, sum);
}
