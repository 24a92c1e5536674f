#pragma once
// Work of a known size: items that are numbers of turns of a loop, equal or log-normal.

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint64_t spin_turns(uint64_t turns)
{
    uint64_t x = turns | 1;
    for (uint64_t i = 0; i < turns; ++i) { // each turn needs the one before it: nothing to vectorise
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

/// Fills `turns` with sizes around `mean`; "equal", or "lognormal" with a standard deviation of the logarithm of 0.5.
/// Always the same numbers.
static inline void spin_sizes(const char* kind, double mean, long count, uint64_t* turns)
{
    const double sigma = strcmp(kind, "lognormal") == 0 ? 0.5 : 0;
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (long i = 0; i < count; ++i) {
        double u[2];
        for (int k = 0; k < 2; ++k) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            u[k] = ((double)(state >> 11) + 0.5) / 9007199254740992.0;
        }
        const double normal = sqrt(-2 * log(u[0])) * cos(6.283185307179586 * u[1]);
        turns[i] = (uint64_t)(mean * exp(sigma * normal - sigma * sigma / 2));
    }
}

/// How much of the whole work the busier of `workers` has when each takes the next item as soon as it is free, at no cost: the
/// ideal for sizes that nobody knows beforehand.
static inline double spin_ideal_share(const uint64_t* turns, long count, int workers)
{
    double ends[64] = {0}, sum = 0, last = 0;
    for (long i = 0; i < count; ++i) {
        int first = 0;
        for (int w = 1; w < workers; ++w)
            if (ends[w] < ends[first])
                first = w;
        ends[first] += (double)turns[i];
        sum += (double)turns[i];
    }
    for (int w = 0; w < workers; ++w)
        last = ends[w] > last ? ends[w] : last;
    return last / sum;
}

#ifdef __cplusplus
}
#endif
