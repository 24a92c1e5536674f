// A stranger's program: it knows nothing of this project but its installed headers and cofork.pc.

#include <cofork/cofork.hpp>

#include <iostream>
#include <string>
#include <vector>

int main()
{
    const std::vector<std::string> words{"one", "three", "seventeen"};
    const auto length = [](const std::string& word) { return word.size(); };

    const std::vector<std::size_t> lengths = cofork::wait(cofork::parallel(length, words));

    for (const std::size_t n : lengths)
        std::cout << n << '\n';
    return lengths == std::vector<std::size_t>{3, 5, 9} ? 0 : 1;
}
