// expect: this item type cannot travel to another process
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

class opaque {
public:
    opaque() = default;
    opaque(const opaque&) = default;
    virtual ~opaque() = default; // not trivially copyable, and no functions for a codec

#ifdef FIXED
    template <typename Archive>
    void serialize(Archive&)
    {
    }
#endif
};

static int f(const opaque&)
{
    return 0;
}

void start(cofork::pool& pool, const std::vector<opaque>& items)
{
    cofork::parallel(pool, f, items, [](std::exception_ptr, const std::vector<int>&) {});
}

int main() {}
