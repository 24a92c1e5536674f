// expect: this result type cannot travel to another process: give it a serialize member
#include <cofork/parallel.hpp>
#include <cofork/wait.hpp>

#include <vector>

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

static opaque f(int)
{
    return {};
}

int main()
{
    std::vector<int> items{1, 2, 3};
    cofork::wait(cofork::parallel(f, items));
}
