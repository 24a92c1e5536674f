// expect: a type with serialize or load needs a default constructor
#include <cofork/parallel.hpp>
#include <cofork/wait.hpp>

#include <string>
#include <utility>
#include <vector>

class named {
public:
    explicit named(std::string name) : name_{std::move(name)} {}
#ifdef FIXED
    named() = default;
#endif

    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(name_);
    }

private:
    std::string name_;
};

static named f(int)
{
    return named{"x"};
}

int main()
{
    std::vector<int> items{1, 2, 3};
    cofork::wait(cofork::parallel(f, items));
}
