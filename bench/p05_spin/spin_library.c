// The same work for contenders in other languages.

#include "../common/spin.h"

uint64_t spin(uint64_t turns);
void sizes(const char* kind, double mean, long count, uint64_t* turns);

uint64_t spin(uint64_t turns)
{
    return spin_turns(turns);
}

void sizes(const char* kind, double mean, long count, uint64_t* turns)
{
    spin_sizes(kind, mean, count, turns);
}
