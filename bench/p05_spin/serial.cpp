// Items of processor time in a loop; says also what share of it the busier of two workers would have at best.

#include "../common/spins.hpp"

int main(int argc, char** argv)
{
    bench::time_spins(argc, argv, [](const std::vector<std::uint64_t>& items) {
        std::vector<bench::spun> results;
        results.reserve(items.size());
        for (const auto turns : items)
            results.push_back(bench::spin(turns, 0));
        return results;
    });
    const auto items = bench::spin_items(argc, argv);
    const auto workers = static_cast<int>(bench_number(argc, argv, "--workers", 2));
    const double share = spin_ideal_share(items.data(), static_cast<long>(items.size()), workers);
    bench_print_one("ideal_share_millionths", static_cast<std::int64_t>(share * 1e6), 0);
}
