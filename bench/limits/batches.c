// The floor of many trivial items: batches of numbers by pipes to forked workers, several batches in each pipe.
// The size and number of batches that is cheapest here is found during the warm-up.
// --accounted 1: and what has to be kept for each item if a worker may crash in it, hang in it, or lie. The item has a size, is
// claimed in memory that the parent shares, so that it can be taken back or blamed, is timed, is a call of a function that is
// not known before, and is answered under a header, which the parent checks.

#include "../common/bench.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum { most_workers = 64, most_depth = 4, largest_batch = 4096 };

/// What the parent sees of a worker while it works.
struct account {
    _Atomic uint64_t claim; // high half: the epoch, in which its items are its own; low half: items started
    _Atomic uint64_t started_at;
    _Atomic uint32_t finished;
};

struct job_item {
    uint64_t size;
    int32_t value;
} __attribute__((packed));

struct reply {
    uint16_t magic;
    uint8_t kind, ran;
    uint32_t sequence;
    uint64_t size;
    int32_t value;
} __attribute__((packed));

enum { reply_magic = 0x7263, value_kind = 1 };

struct worker {
    int jobs, results;
    struct account* account;
    uint32_t answered;
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
static int accounted;

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

static uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#else
    return (uint64_t)bench_now();
#endif
}

static int32_t add_one(int32_t x)
{
    return x + 1;
}

static int32_t (*volatile function)(int32_t) = add_one;

static void serve_accounted(int jobs, int results, struct account* account)
{
    static struct job_item items[largest_batch];
    static struct reply replies[largest_batch];
    uint64_t now = ticks();
    for (;;) {
        int32_t count;
        if (!bench_read_all(jobs, &count, sizeof count) || !bench_read_all(jobs, items, (size_t)count * sizeof *items))
            _exit(0);
        int32_t answered = 0;
        for (int32_t i = 0; i < count; ++i) {
            uint64_t seen = atomic_load_explicit(&account->claim, memory_order_acquire);
            if (seen >> 32 != 0 || items[i].size != sizeof items[i].value)
                continue;
            const uint64_t started = now;
            atomic_store_explicit(&account->started_at, started, memory_order_relaxed);
            if (!atomic_compare_exchange_strong(&account->claim, &seen, seen + 1))
                continue;
            const int32_t value = function(items[i].value);
            now = ticks();
            atomic_store_explicit(&account->finished, (uint32_t)seen + 1, memory_order_release);
            replies[answered++] = (struct reply){reply_magic, value_kind, (uint8_t)(now - started), (uint32_t)seen, sizeof value, value};
        }
        bench_write_all(results, replies, (size_t)answered * sizeof *replies);
    }
}

static void start_worker(int number)
{
    int job[2], result[2];
    struct account* const account = mmap(NULL, sizeof *account, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (account == MAP_FAILED)
        bench_fail("mmap");
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
        if (accounted)
            serve_accounted(job[0], result[1], account);
        serve(job[0], result[1]);
    }
    close(job[0]);
    close(result[1]);
    workers[number].jobs = job[1];
    workers[number].results = result[0];
    workers[number].account = account;
    watched[number].fd = result[0];
    watched[number].events = POLLIN;
}

static void send_batch(struct worker* w, const int32_t* items, int32_t* results, long count)
{
    static struct {
        int32_t count;
        union {
            int32_t numbers[largest_batch];
            struct job_item items[largest_batch];
        };
    } __attribute__((packed)) message;
    message.count = (int32_t)count;
    if (accounted)
        for (long i = 0; i < count; ++i)
            message.items[i] = (struct job_item){sizeof *items, items[i]};
    else
        memcpy(message.numbers, items, (size_t)count * sizeof *items);
    bench_write_all(w->jobs, &message, sizeof message.count + (size_t)count * (accounted ? sizeof *message.items : sizeof *items));
    w->in_flight[w->batches] = results;
    w->sizes[w->batches] = count;
    ++w->batches;
}

static void take_accounted(struct worker* w)
{
    static struct reply replies[largest_batch];
    if (!bench_read_all(w->results, replies, (size_t)w->sizes[0] * sizeof *replies))
        bench_fail("a worker ended");
    if (atomic_load_explicit(&w->account->finished, memory_order_acquire) - w->answered < (uint32_t)w->sizes[0])
        bench_fail("a reply without an end of its item");
    for (long i = 0; i < w->sizes[0]; ++i, ++w->answered) {
        const struct reply* const r = &replies[i];
        if (r->magic != reply_magic || r->kind != value_kind || r->sequence != w->answered || r->size != sizeof r->value)
            bench_fail("a wrong reply");
        w->in_flight[0][i] = r->value;
    }
}

static void take_batch(struct worker* w)
{
    if (accounted)
        take_accounted(w);
    else if (!bench_read_all(w->results, w->in_flight[0], (size_t)w->sizes[0] * sizeof(int32_t)))
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
    accounted = bench_number(argc, argv, "--accounted", 0) != 0;
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
