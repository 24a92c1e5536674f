// The floor of a snapshot: forked workers take the next index from a shared counter and leave results in shared memory.
// --work add | spin | sleep; --cold 1: the workers are forked in each round and reaped at its end.

#include "../common/bench.h"
#include "../common/spin.h"

#include <stdatomic.h>
#include <sys/mman.h>

struct shared {
    atomic_long next;
    int64_t results[];
};

static struct shared* board;
static uint64_t* sizes;
static long count;
static const char* work;
static long step; // indices that are taken at once

static int64_t do_item(long i)
{
    if (strcmp(work, "spin") == 0)
        return (int64_t)spin_turns(sizes[i]);
    if (strcmp(work, "sleep") == 0) {
        const struct timespec t = {(time_t)(sizes[i] / 1000), (long)(sizes[i] % 1000) * 1000000};
        nanosleep(&t, NULL);
    }
    return i + 1;
}

static void take_items(void)
{
    for (;;) {
        const long first = atomic_fetch_add(&board->next, step);
        if (first >= count)
            return;
        for (long i = first; i < first + step && i < count; ++i)
            board->results[i] = do_item(i);
    }
}

static void serve(int go, int done)
{
    char byte;
    while (bench_read_all(go, &byte, 1)) {
        take_items();
        bench_write_all(done, &byte, 1);
    }
    _exit(0);
}

static void run_cold(int workers)
{
    for (int i = 0; i < workers; ++i) {
        const pid_t child = fork();
        if (child < 0)
            bench_fail("fork");
        if (child == 0) {
            take_items();
            _exit(0);
        }
    }
    for (int i = 0; i < workers; ++i)
        wait(NULL);
}

static void run_warm(int workers, int go, int done)
{
    char bytes[64] = {0};
    bench_write_all(go, bytes, (size_t)workers);
    bench_read_all(done, bytes, (size_t)workers);
}

int main(int argc, char** argv)
{
    const int workers = (int)bench_number(argc, argv, "--workers", 2);
    const long rounds = bench_number(argc, argv, "--rounds", 3);
    const long cold = bench_number(argc, argv, "--cold", 0);
    const long mean = bench_number(argc, argv, "--mean", 1000);
    count = bench_number(argc, argv, "--items", 1000);
    work = bench_word(argc, argv, "--work", "spin");
    step = bench_number(argc, argv, "--step", 1);
    board = mmap(NULL, sizeof *board + (size_t)count * sizeof(int64_t), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    sizes = malloc((size_t)count * sizeof *sizes);
    int go[2], done[2];
    if (board == MAP_FAILED || !sizes || workers > 64 || pipe(go) != 0 || pipe(done) != 0)
        bench_fail("memory or pipes");
    spin_sizes(bench_word(argc, argv, "--sizes", "equal"), (double)mean, count, sizes);
    for (int i = 0; i < workers && !cold; ++i)
        if (fork() == 0) {
            close(go[1]);
            serve(go[0], done[1]);
        }
    struct bench_series took = {0};
    const long warm_up = strcmp(work, "sleep") == 0 ? 0 : 1;
    for (long round = -warm_up; round < rounds; ++round) {
        atomic_store(&board->next, 0);
        const int64_t began = bench_now();
        if (cold)
            run_cold(workers);
        else
            run_warm(workers, go[1], done[0]);
        if (round >= 0)
            bench_add(&took, bench_now() - began);
    }
    uint64_t sum = 0;
    for (long i = 0; i < count; ++i)
        sum += (uint64_t)board->results[i];
    bench_print("total_ns", &took, (int64_t)(sum & INT64_MAX));
}
