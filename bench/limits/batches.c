// The floor of many trivial items: batches of numbers by pipes to forked workers, several batches in each pipe.
// The size and number of batches that is cheapest here is found during the warm-up.

#include "../common/bench.h"

#include <fcntl.h>
#include <poll.h>

enum { most_workers = 64, most_depth = 4, largest_batch = 4096 };

struct worker {
    int jobs, results;
    const int32_t* sent; // where the next batch begins
    int32_t* in_flight[most_depth]; // results of each batch that is out, oldest first
    long sizes[most_depth];
    int batches;
};

struct plan {
    long batch;
    int depth;
};

static struct worker workers[most_workers];
static struct pollfd watched[most_workers];
static int worker_count;

static void serve(int jobs, int results)
{
    static int32_t numbers[largest_batch];
    for (;;) {
        int32_t count;
        if (!bench_read_all(jobs, &count, sizeof count) || !bench_read_all(jobs, numbers, (size_t)count * sizeof *numbers))
            _exit(0);
        for (int32_t i = 0; i < count; ++i)
            numbers[i] += 1;
        bench_write_all(results, numbers, (size_t)count * sizeof *numbers);
    }
}

static void start_worker(int number)
{
    int job[2], result[2];
    if (pipe2(job, O_CLOEXEC) != 0 || pipe2(result, O_CLOEXEC) != 0)
        bench_fail("pipe2");
    fcntl(job[1], F_SETPIPE_SZ, 1 << 18); // so that neither end ever blocks in a write
    fcntl(result[1], F_SETPIPE_SZ, 1 << 18);
    const pid_t child = fork();
    if (child < 0)
        bench_fail("fork");
    if (child == 0) {
        for (int i = 0; i < number; ++i) {
            close(workers[i].jobs);
            close(workers[i].results);
        }
        close(job[1]);
        close(result[0]);
        serve(job[0], result[1]);
    }
    close(job[0]);
    close(result[1]);
    workers[number].jobs = job[1];
    workers[number].results = result[0];
    watched[number].fd = result[0];
    watched[number].events = POLLIN;
}

static void send_batch(struct worker* w, const int32_t* items, int32_t* results, long count)
{
    static int32_t message[1 + largest_batch];
    message[0] = (int32_t)count;
    memcpy(message + 1, items, (size_t)count * sizeof *items);
    bench_write_all(w->jobs, message, (size_t)(count + 1) * sizeof *message);
    w->in_flight[w->batches] = results;
    w->sizes[w->batches] = count;
    ++w->batches;
}

static void take_batch(struct worker* w)
{
    if (!bench_read_all(w->results, w->in_flight[0], (size_t)w->sizes[0] * sizeof(int32_t)))
        bench_fail("a worker ended");
    --w->batches;
    for (int i = 0; i < w->batches; ++i) {
        w->in_flight[i] = w->in_flight[i + 1];
        w->sizes[i] = w->sizes[i + 1];
    }
}

static void run(const int32_t* items, int32_t* results, long count, struct plan p)
{
    long sent = 0, out = 0;
    for (int turn = 0; turn < p.depth; ++turn)
        for (int i = 0; i < worker_count && sent < count; ++i, ++out) {
            const long size = count - sent < p.batch ? count - sent : p.batch;
            send_batch(&workers[i], items + sent, results + sent, size);
            sent += size;
        }
    while (out > 0) {
        if (poll(watched, (nfds_t)worker_count, -1) < 0)
            bench_fail("poll");
        for (int i = 0; i < worker_count; ++i) {
            if (!(watched[i].revents & POLLIN))
                continue;
            take_batch(&workers[i]);
            --out;
            if (sent < count) {
                const long size = count - sent < p.batch ? count - sent : p.batch;
                send_batch(&workers[i], items + sent, results + sent, size);
                sent += size;
                ++out;
            }
        }
    }
}

static struct plan cheapest(const int32_t* items, int32_t* results, long count)
{
    struct plan best = {largest_batch, 1};
    int64_t best_took = INT64_MAX;
    for (long batch = 256; batch <= largest_batch; batch *= 2)
        for (int depth = 1; depth <= most_depth; depth *= 2)
            for (int again = 0; again < 3; ++again) {
                const int64_t began = bench_now();
                run(items, results, count, (struct plan){batch, depth});
                const int64_t took = bench_now() - began;
                if (took < best_took) {
                    best_took = took;
                    best = (struct plan){batch, depth};
                }
            }
    return best;
}

int main(int argc, char** argv)
{
    const long count = bench_number(argc, argv, "--items", 10000);
    const long rounds = bench_number(argc, argv, "--rounds", 5);
    worker_count = (int)bench_number(argc, argv, "--workers", 2);
    int32_t* const items = malloc((size_t)count * sizeof *items);
    int32_t* const results = calloc((size_t)count, sizeof *results);
    if (!items || !results || worker_count > most_workers)
        bench_fail("arguments");
    for (long i = 0; i < count; ++i)
        items[i] = (int32_t)i;
    for (int i = 0; i < worker_count; ++i)
        start_worker(i);
    const struct plan p = cheapest(items, results, count);
    struct bench_series took = {0};
    int64_t sum = 0;
    for (long round = 0; round < rounds; ++round) {
        memset(results, 0, (size_t)count * sizeof *results);
        const int64_t began = bench_now();
        run(items, results, count, p);
        bench_add(&took, bench_now() - began);
        sum = 0;
        for (long i = 0; i < count; ++i)
            sum += results[i];
    }
    bench_print("total_ns", &took, sum);
    bench_print_one("batch_items", p.batch, 0);
    bench_print_one("batches_in_a_pipe", p.depth, 0);
}
