// The floor of one call for a program that has a loop: eight bytes to a forked process and back, where the caller submits the
// write and the read to io_uring together, and waits with epoll for the ring as it waits for all else.
// --registered 1: descriptors, buffers and the ring itself are registered with the kernel.

#include "../common/bench.h"

#include <liburing.h>
#include <sys/epoll.h>

static void serve(int jobs, int results)
{
    for (int64_t x; bench_read_all(jobs, &x, sizeof x);) {
        ++x;
        bench_write_all(results, &x, sizeof x);
    }
    _exit(0);
}

enum { out, in };

struct caller {
    struct io_uring ring;
    int epoll;
    int fds[2];
    int64_t numbers[2];
    int registered;
};

static void prepare(struct caller* c)
{
    if (io_uring_queue_init(8, &c->ring, IORING_SETUP_COOP_TASKRUN) < 0)
        bench_fail("io_uring_queue_init");
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event watch = {.events = EPOLLIN};
    if (c->epoll < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->ring.ring_fd, &watch) != 0)
        bench_fail("epoll");
    if (!c->registered)
        return;
    const struct iovec buffers[2] = {{&c->numbers[out], sizeof(int64_t)}, {&c->numbers[in], sizeof(int64_t)}};
    if (io_uring_register_files(&c->ring, c->fds, 2) < 0 || io_uring_register_buffers(&c->ring, buffers, 2) < 0
        || io_uring_register_ring_fd(&c->ring) < 0)
        bench_fail("io_uring_register");
}

static void ask(struct caller* c, int side)
{
    struct io_uring_sqe* const sqe = io_uring_get_sqe(&c->ring);
    void* const at = &c->numbers[side];
    if (c->registered && side == out)
        io_uring_prep_write_fixed(sqe, side, at, sizeof(int64_t), (uint64_t)-1, side);
    else if (c->registered)
        io_uring_prep_read_fixed(sqe, side, at, sizeof(int64_t), (uint64_t)-1, side);
    else if (side == out)
        io_uring_prep_write(sqe, c->fds[side], at, sizeof(int64_t), (uint64_t)-1);
    else
        io_uring_prep_read(sqe, c->fds[side], at, sizeof(int64_t), (uint64_t)-1);
    if (c->registered)
        sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = (uint64_t)side;
}

static void call(struct caller* c)
{
    ask(c, out);
    ask(c, in);
    if (io_uring_submit(&c->ring) != 2)
        bench_fail("io_uring_submit");
    for (int missing = 2; missing > 0;) {
        struct io_uring_cqe* cqe = NULL;
        if (io_uring_peek_cqe(&c->ring, &cqe) == 0) {
            if (cqe->res != (int)sizeof(int64_t))
                bench_fail("io_uring");
            io_uring_cqe_seen(&c->ring, cqe);
            --missing;
            continue;
        }
        struct epoll_event event;
        if (epoll_wait(c->epoll, &event, 1, -1) < 0 && errno != EINTR)
            bench_fail("epoll_wait");
    }
}

int main(int argc, char** argv)
{
    const struct bench_place place = bench_placement(argc, argv);
    const long calls = bench_number(argc, argv, "--calls", 2000);
    struct caller c = {.registered = (int)bench_number(argc, argv, "--registered", 0)};
    int job[2], result[2];
    if (pipe2(job, 0) != 0 || pipe2(result, 0) != 0)
        bench_fail("pipe2");
    bench_go(place.caller);
    const pid_t child = fork();
    if (child < 0)
        bench_fail("fork");
    if (child == 0) {
        bench_go(place.worker);
        close(job[1]);
        close(result[0]);
        serve(job[0], result[1]);
    }
    c.fds[out] = job[1];
    c.fds[in] = result[0];
    prepare(&c);
    struct bench_series took = {0};
    int64_t sum = 0;
    for (long i = -calls / 10; i < calls; ++i) {
        c.numbers[out] = i;
        const int64_t began = bench_now();
        call(&c);
        if (i >= 0) {
            bench_add(&took, bench_now() - began);
            sum += c.numbers[in];
        }
    }
    io_uring_queue_exit(&c.ring);
    close(job[1]);
    waitpid(child, NULL, 0);
    bench_print("call_ns", &took, sum);
}
