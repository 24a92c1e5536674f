// Loaded before a program (LD_PRELOAD), counts how often that asks for memory of the heap, not its forks, and writes the number to
// the file that BENCH_BLOCKS_TO names when it ends.

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// glibc's own, by the names that remain when a program has others.
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static atomic_long blocks;
static pid_t counted;

static void count(void)
{
    atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
}

void* malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void* calloc(size_t n, size_t size)
{
    count();
    return __libc_calloc(n, size);
}

void* realloc(void* p, size_t size)
{
    count();
    return __libc_realloc(p, size);
}

void* memalign(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void** to, size_t alignment, size_t size)
{
    count();
    *to = __libc_memalign(alignment, size);
    return *to ? 0 : ENOMEM;
}

__attribute__((constructor)) static void begin(void)
{
    counted = getpid();
}

__attribute__((destructor)) static void end(void)
{
    const char* const path = getenv("BENCH_BLOCKS_TO");
    if (!path || getpid() != counted)
        return;
    const long all = atomic_load(&blocks);
    FILE* const to = fopen(path, "w");
    if (to) {
        fprintf(to, "%ld\n", all);
        fclose(to);
    }
}
