// The floor of large results and items: one worker makes or gets a buffer of its own for each call, and the other end a fresh
// one. --by pipe | vmsplice | readv | arena, --direction result | item.

#include "../common/bench.h"
#include "../common/touch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

enum { pipe_bytes = 1 << 20, slots = 4, slot_bytes = 1 << 18 };

struct path { // one way, from the sender to the receiver
    int data[2], credit[2];
    char* arena;
    pid_t sender;
};

static const char* by;

static struct path make_path(void)
{
    struct path p;
    if (pipe(p.data) != 0 || pipe(p.credit) != 0)
        bench_fail("pipe");
    fcntl(p.data[1], F_SETPIPE_SZ, pipe_bytes);
    p.arena = mmap(NULL, (size_t)slots * slot_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p.arena == MAP_FAILED)
        bench_fail("mmap");
    return p;
}

static void splice_bytes(const struct path* p, const char* from, size_t size)
{
    struct iovec part = {(void*)(uintptr_t)from, size};
    while (part.iov_len > 0) {
        const ssize_t n = vmsplice(p->data[1], &part, 1, 0);
        if (n <= 0)
            bench_fail("vmsplice");
        part.iov_base = (char*)part.iov_base + n;
        part.iov_len -= (size_t)n;
    }
}

static void send_by_arena(const struct path* p, const char* from, size_t size)
{
    char token = 0;
    for (size_t at = 0, k = 0; at < size; at += slot_bytes, ++k) {
        if (k >= slots && !bench_read_all(p->credit[0], &token, 1))
            bench_fail("credit");
        memcpy(p->arena + k % slots * slot_bytes, from + at, size - at < slot_bytes ? size - at : slot_bytes);
        bench_write_all(p->data[1], &token, 1);
    }
    for (size_t left = (size + slot_bytes - 1) / slot_bytes, k = 0; k < left && k < slots; ++k)
        bench_read_all(p->credit[0], &token, 1);
}

/// Returns when `from` is not needed any more.
static void send_bytes(const struct path* p, const char* from, size_t size)
{
    char token = 0;
    if (strcmp(by, "arena") == 0)
        send_by_arena(p, from, size);
    else if (strcmp(by, "pipe") == 0)
        bench_write_all(p->data[1], from, size);
    else {
        if (strcmp(by, "vmsplice") == 0)
            splice_bytes(p, from, size);
        else
            bench_write_all(p->data[1], &from, sizeof from);
        bench_read_all(p->credit[0], &token, 1);
    }
}

static void take_by_arena(const struct path* p, char* to, size_t size)
{
    char token = 0;
    for (size_t at = 0, k = 0; at < size; at += slot_bytes, ++k) {
        bench_read_all(p->data[0], &token, 1);
        memcpy(to + at, p->arena + k % slots * slot_bytes, size - at < slot_bytes ? size - at : slot_bytes);
        bench_write_all(p->credit[1], &token, 1);
    }
}

static void take_by_readv(const struct path* p, char* to, size_t size)
{
    char* from = NULL;
    bench_read_all(p->data[0], &from, sizeof from);
    for (size_t at = 0; at < size;) {
        const struct iovec here = {to + at, size - at}, there = {from + at, size - at};
        const ssize_t n = process_vm_readv(p->sender, &here, 1, &there, 1, 0);
        if (n <= 0)
            bench_fail("process_vm_readv");
        at += (size_t)n;
    }
}

static void take_bytes(const struct path* p, char* to, size_t size)
{
    if (strcmp(by, "arena") == 0)
        take_by_arena(p, to, size);
    else if (strcmp(by, "readv") == 0)
        take_by_readv(p, to, size);
    else
        bench_read_all(p->data[0], to, size);
    if (strcmp(by, "vmsplice") == 0 || strcmp(by, "readv") == 0)
        bench_write_all(p->credit[1], "", 1);
}

struct request {
    int64_t size;
    int64_t value;
};

static void serve(int jobs, int answers, const struct path* up, const struct path* down, int results)
{
    struct request r;
    while (bench_read_all(jobs, &r, sizeof r)) {
        const size_t size = (size_t)r.size;
        char* const buffer = malloc(size);
        if (!buffer)
            bench_fail("malloc");
        if (results) {
            memset(buffer, (int)r.value, size);
            send_bytes(up, buffer, size);
        } else {
            take_bytes(down, buffer, size);
            const int64_t seen = touch_pages(buffer, size);
            bench_write_all(answers, &seen, sizeof seen);
        }
        free(buffer);
    }
    _exit(0);
}

int main(int argc, char** argv)
{
    const struct bench_place place = bench_placement(argc, argv);
    const size_t size = (size_t)bench_number(argc, argv, "--size", 1 << 20);
    const long calls = bench_number(argc, argv, "--calls", 20);
    const int results = strcmp(bench_word(argc, argv, "--direction", "result"), "result") == 0;
    by = bench_word(argc, argv, "--by", "pipe");
    int jobs[2], answers[2];
    if (pipe(jobs) != 0 || pipe(answers) != 0)
        bench_fail("pipe");
    struct path up = make_path(), down = make_path();
    down.sender = getpid();
    bench_go(place.caller);
    up.sender = fork();
    if (up.sender == 0) {
        close(jobs[1]);
        bench_go(place.worker);
        serve(jobs[0], answers[1], &up, &down, results);
    }
    struct bench_series took = {0};
    int64_t check = 0;
    for (long i = -2; i < calls; ++i) {
        const struct request r = {(int64_t)size, (i + 2) % 100};
        char* item = results ? NULL : malloc(size);
        if (item)
            memset(item, (int)r.value, size);
        const int64_t began = bench_now();
        bench_write_all(jobs[1], &r, sizeof r);
        char* const buffer = results ? malloc(size) : item;
        int64_t seen = 0;
        if (results)
            take_bytes(&up, buffer, size);
        else {
            send_bytes(&down, buffer, size);
            bench_read_all(answers[0], &seen, sizeof seen);
        }
        const int64_t ended = bench_now();
        if (i >= 0)
            bench_add(&took, ended - began);
        check += results ? touch_pages(buffer, size) : seen;
        free(buffer);
    }
    bench_print("call_ns", &took, check);
}
