#include "cpus.hpp"

#include <cofork/error.hpp>
#include <cofork/options.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace cofork {
namespace detail {
namespace {

namespace fs = std::filesystem;

enum class version { v1, v2 };

/// The hierarchy of cgroups that may carry a CPU quota, as this process sees it.
struct hierarchy {
    version format;
    fs::path mounted_at;
    std::string mounted; ///< which cgroup is mounted there: "/", or a container's own
};

bool names_cpu(std::string_view comma_separated)
{
    std::istringstream parts{std::string{comma_separated}};
    for (std::string part; std::getline(parts, part, ',');)
        if (part == "cpu")
            return true;
    return false;
}

/// Undoes the \040 and its kind of proc_pid_mountinfo(5).
std::string unescape(std::string_view text)
{
    std::string out;
    while (!text.empty()) {
        unsigned code = 0;
        const bool escaped = text.size() >= 4 && text[0] == '\\'
            && std::from_chars(text.data() + 1, text.data() + 4, code, 8).ptr == text.data() + 4;
        out += escaped ? static_cast<char>(code) : text[0];
        text.remove_prefix(escaped ? 4 : 1);
    }
    return out;
}

/// One line of proc_pid_mountinfo(5): id parent device root point options [tags] - type source super-options.
std::optional<hierarchy> parse_mount(const std::string& line)
{
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos)
        return std::nullopt;
    std::istringstream before{line.substr(0, dash)};
    std::istringstream after{line.substr(dash + 3)};
    std::string skip, mounted, point, type, super_options;
    before >> skip >> skip >> skip >> mounted >> point;
    after >> type >> skip >> super_options;
    if (type == "cgroup2")
        return hierarchy{version::v2, unescape(point), unescape(mounted)};
    if (type == "cgroup" && names_cpu(super_options))
        return hierarchy{version::v1, unescape(point), unescape(mounted)};
    return std::nullopt;
}

/// Our cgroup in the hierarchy of that version, from lines "id:controllers:path" of cgroups(7).
std::optional<std::string> own_cgroup(const fs::path& root, version format)
{
    std::ifstream file{root / "proc/self/cgroup"};
    for (std::string line; std::getline(file, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first == std::string::npos ? first : first + 1);
        if (second == std::string::npos)
            continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (format == version::v2 ? line.starts_with("0::") : names_cpu(controllers))
            return line.substr(second + 1);
    }
    return std::nullopt;
}

/// The way from the mount point to our cgroup. Empty where the mount does not show it (a container that sees its
/// host's path, or "/..", outside of its cgroup namespace): the mount point itself is then the nearest known.
fs::path below_mount(const hierarchy& h, std::string cgroup)
{
    if (h.mounted != "/") {
        const bool inside = cgroup.starts_with(h.mounted)
            && (cgroup.size() == h.mounted.size() || cgroup[h.mounted.size()] == '/');
        cgroup = inside ? cgroup.substr(h.mounted.size()) : std::string{};
    }
    const fs::path way = fs::path{cgroup}.relative_path();
    return std::find(way.begin(), way.end(), "..") == way.end() ? way : fs::path{};
}

std::optional<unsigned> rounded_up(std::int64_t quota, std::int64_t period)
{
    if (quota <= 0 || period <= 0) // v1 says -1 for "no limit"
        return std::nullopt;
    const std::int64_t cpus = quota / period + (quota % period != 0);
    return static_cast<unsigned>(std::min<std::int64_t>(cpus, all_cpus - 1));
}

std::optional<unsigned> quota_of(version format, const fs::path& cgroup)
{
    std::int64_t quota = 0, period = 0;
    if (format == version::v2) {
        std::ifstream{cgroup / "cpu.max"} >> quota >> period; // "max 100000" is no number: stays 0
    } else {
        std::ifstream{cgroup / "cpu.cfs_quota_us"} >> quota;
        std::ifstream{cgroup / "cpu.cfs_period_us"} >> period;
    }
    return rounded_up(quota, period);
}

std::optional<unsigned> smaller(std::optional<unsigned> a, std::optional<unsigned> b)
{
    if (a && b)
        return std::min(*a, *b);
    return a ? a : b;
}

std::optional<unsigned> quota_in(const hierarchy& h, const fs::path& root)
{
    const std::optional<std::string> cgroup = own_cgroup(root, h.format);
    if (!cgroup)
        return std::nullopt;
    // A quota binds everything below it, so each step of the way counts.
    fs::path here = root / h.mounted_at.relative_path();
    std::optional<unsigned> least = quota_of(h.format, here);
    for (const fs::path& step : below_mount(h, *cgroup)) {
        here /= step;
        least = smaller(least, quota_of(h.format, here));
    }
    return least;
}

} // namespace

unsigned affinity_cpus(affinity_call get)
{
    // The call fails with EINVAL while the mask is smaller than the kernel's (sched_getaffinity(2)); cpu_set_t itself
    // ends at 1024 processors.
    for (std::size_t most = 1024; most <= std::size_t{1} << 20; most *= 2) {
        const std::size_t size = CPU_ALLOC_SIZE(most);
        std::vector<cpu_set_t> mask((size + sizeof(cpu_set_t) - 1) / sizeof(cpu_set_t));
        if (get(size, mask.data()) == 0)
            return static_cast<unsigned>(std::max(CPU_COUNT_S(size, mask.data()), 1));
        if (errno != EINVAL)
            break;
    }
    return std::max(std::thread::hardware_concurrency(), 1u);
}

std::optional<unsigned> cgroup_cpus(const fs::path& root)
{
    std::optional<unsigned> least;
    std::ifstream mounts{root / "proc/self/mountinfo"};
    for (std::string line; std::getline(mounts, line);)
        if (const auto h = parse_mount(line))
            least = smaller(least, quota_in(*h, root));
    return least;
}

unsigned available_cpus(const char* wish, affinity_call get, const fs::path& root)
{
    if (wish) {
        const std::string_view text{wish};
        unsigned workers = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), workers);
        if (error != std::errc{} || end != text.data() + text.size() || workers == 0 || workers == all_cpus)
            throw std::system_error{
                errc::invalid_options, "COFORK_WORKERS must be a positive number, not \"" + std::string{text} + '"'};
        return workers;
    }
    const unsigned ours = affinity_cpus(get);
    return std::min(ours, cgroup_cpus(root).value_or(ours));
}

} // namespace detail

unsigned available_cpus()
{
    const auto get = [](std::size_t size, cpu_set_t* mask) { return ::sched_getaffinity(0, size, mask); };
    return detail::available_cpus(std::getenv("COFORK_WORKERS"), get, "/");
}

} // namespace cofork
