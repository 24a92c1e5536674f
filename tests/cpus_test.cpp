#include "support/catch.hpp"

#include "cpus.hpp"

#include <cofork/error.hpp>
#include <cofork/options.hpp>

#include <sched.h>
#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <system_error>

namespace fs = std::filesystem;
using cofork::detail::affinity_cpus;
using cofork::detail::available_cpus;
using cofork::detail::cgroup_cpus;

namespace {

/// A root directory with the given files, gone at the end.
class fake_root {
public:
    explicit fake_root(const std::map<std::string, std::string>& files)
    {
        std::string name = fs::temp_directory_path() / "cofork_cpus_XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        root_ = name;
        for (const auto& [path, text] : files) {
            fs::create_directories((root_ / path).parent_path());
            std::ofstream{root_ / path} << text;
        }
    }

    fake_root(const fake_root&) = delete;
    fake_root& operator=(const fake_root&) = delete;
    ~fake_root() { fs::remove_all(root_); }

    [[nodiscard]] const fs::path& path() const { return root_; }

private:
    fs::path root_;
};

struct row {
    const char* name;
    std::map<std::string, std::string> files;
    std::optional<unsigned> cpus;
};

const char v2_mount[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const char v1_mount[] = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
                        "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n";

const row rows[] = {
    {"there is no /proc", {}, {}},
    {"v2 without a quota",
     {{"proc/self/mountinfo", v2_mount}, {"proc/self/cgroup", "0::/a\n"}, {"sys/fs/cgroup/a/cpu.max", "max 100000\n"}},
     {}},
    {"v2 with a quota of one and a half",
     {{"proc/self/mountinfo", v2_mount},
      {"proc/self/cgroup", "0::/a\n"},
      {"sys/fs/cgroup/a/cpu.max", "150000 100000\n"}},
     2},
    {"v2 with a quota of exactly three",
     {{"proc/self/mountinfo", v2_mount},
      {"proc/self/cgroup", "0::/a\n"},
      {"sys/fs/cgroup/a/cpu.max", "300000 100000\n"}},
     3},
    {"v2 with a quota of a tenth",
     {{"proc/self/mountinfo", v2_mount},
      {"proc/self/cgroup", "0::/a\n"},
      {"sys/fs/cgroup/a/cpu.max", "10000 100000\n"}},
     1},
    {"v2: a quota further up the tree binds",
     {{"proc/self/mountinfo", v2_mount},
      {"proc/self/cgroup", "0::/user.slice/a/b\n"},
      {"sys/fs/cgroup/user.slice/cpu.max", "200000 100000\n"},
      {"sys/fs/cgroup/user.slice/a/cpu.max", "max 100000\n"},
      {"sys/fs/cgroup/user.slice/a/b/cpu.max", "900000 100000\n"}},
     2},
    {"v2: a quota further down, of another cgroup, does not",
     {{"proc/self/mountinfo", v2_mount},
      {"proc/self/cgroup", "0::/a\n"},
      {"sys/fs/cgroup/a/cpu.max", "500000 100000\n"},
      {"sys/fs/cgroup/a/b/cpu.max", "100000 100000\n"}},
     5},
    {"v2 in a container with a cgroup namespace: the mount point is our cgroup",
     {{"proc/self/mountinfo", v2_mount},
      {"proc/self/cgroup", "0::/\n"},
      {"sys/fs/cgroup/cpu.max", "400000 100000\n"}},
     4},
    {"v2: a path that leads out of the namespace is not followed",
     {{"proc/self/mountinfo", v2_mount},
      {"proc/self/cgroup", "0::/../b\n"},
      {"sys/fs/b/cpu.max", "100000 100000\n"},
      {"sys/fs/cgroup/cpu.max", "400000 100000\n"}},
     4},
    {"v2 at an unusual place with a blank in its name",
     {{"proc/self/mountinfo", "30 23 0:26 / /my\\040groups rw - cgroup2 none rw\n"},
      {"proc/self/cgroup", "0::/a\n"},
      {"my groups/a/cpu.max", "600000 100000\n"}},
     6},
    {"v1 without a quota",
     {{"proc/self/mountinfo", v1_mount},
      {"proc/self/cgroup", "4:cpu,cpuacct:/a\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}},
     {}},
    {"v1 with a quota of two and a bit",
     {{"proc/self/mountinfo", v1_mount},
      {"proc/self/cgroup", "5:cpuset:/elsewhere\n4:cpu,cpuacct:/a\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "100001\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "50000\n"}},
     3},
    {"v1: a quota further up the tree binds",
     {{"proc/self/mountinfo", v1_mount},
      {"proc/self/cgroup", "4:cpu,cpuacct:/a/b\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "800000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"}},
     1},
    {"v1 in a container that sees its host's path",
     {{"proc/self/mountinfo", "32 31 0:29 /docker/0123 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"},
      {"proc/self/cgroup", "4:cpu:/docker/0123/inner\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "700000\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "500000\n"},
      {"sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n"}},
     5},
    {"v1: a cgroup beside the mounted one, with the same beginning, is not inside of it",
     {{"proc/self/mountinfo", "32 31 0:29 /a /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"},
      {"proc/self/cgroup", "4:cpu:/ab\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "700000\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "100000\n"},
      {"sys/fs/cgroup/cpu/b/cpu.cfs_period_us", "100000\n"}},
     7},
    {"both versions are mounted: the smaller quota binds",
     {{"proc/self/mountinfo",
       std::string{v1_mount} + "40 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
      {"proc/self/cgroup", "4:cpu,cpuacct:/a\n0::/u\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "800000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/unified/u/cpu.max", "300000 100000\n"}},
     3},
    {"nonsense in the files sets no limit",
     {{"proc/self/mountinfo", "nonsense\n - \n" + std::string{v2_mount}},
      {"proc/self/cgroup", "nonsense\n::\n0::/a\n"},
      {"sys/fs/cgroup/a/cpu.max", "-3 0 x\n"}},
     {}},
};

template <int Count>
int has(std::size_t size, cpu_set_t* mask)
{
    CPU_ZERO_S(size, mask);
    for (std::size_t cpu = 0; cpu < Count; ++cpu)
        CPU_SET_S(cpu * 2, size, mask); // every other one
    return 0;
}

int has_3000_of_8192(std::size_t size, cpu_set_t* mask)
{
    if (size * 8 < 8192) { // as the kernel does: the mask must hold all that it could ever have
        errno = EINVAL;
        return -1;
    }
    return has<3000>(size, mask);
}

int refuses(std::size_t, cpu_set_t*)
{
    errno = EPERM;
    return -1;
}

int never_fits(std::size_t, cpu_set_t*)
{
    errno = EINVAL;
    return -1;
}

} // namespace

TEST_CASE("the quota is the smallest on the way from our cgroup to the root, rounded up", "[cpus]")
{
    for (const row& r : rows) {
        INFO(r.name);
        const fake_root root{r.files};
        CHECK(cgroup_cpus(root.path()) == r.cpus);
    }
}

TEST_CASE("the affinity mask is counted, however many processors the machine has", "[cpus]")
{
    CHECK(affinity_cpus(has<3>) == 3);
    CHECK(affinity_cpus(has_3000_of_8192) == 3000);
}

TEST_CASE("where the affinity is not told there is still at least one processor", "[cpus]")
{
    CHECK(affinity_cpus(refuses) >= 1);
    CHECK(affinity_cpus(never_fits) >= 1);
}

TEST_CASE("the smaller of affinity and quota counts", "[cpus]")
{
    const fake_root two{{{"proc/self/mountinfo", v2_mount},
                         {"proc/self/cgroup", "0::/\n"},
                         {"sys/fs/cgroup/cpu.max", "200000 100000\n"}}};
    const fake_root none{{}};
    CHECK(available_cpus(nullptr, has<3>, two.path()) == 2);
    CHECK(available_cpus(nullptr, has<1>, two.path()) == 1);
    CHECK(available_cpus(nullptr, has<3>, none.path()) == 3);
}

TEST_CASE("COFORK_WORKERS overrides both", "[cpus]")
{
    const fake_root none{{}};
    CHECK(available_cpus("12", has<3>, none.path()) == 12);
    CHECK(available_cpus("1", has<3>, none.path()) == 1);
}

TEST_CASE("a COFORK_WORKERS that is no positive number is an error that names it", "[cpus]")
{
    const fake_root none{{}};
    for (const char* wish : {"", "0", "-1", "+2", " 2", "2 ", "two", "2.5", "0x2", "4294967295", "99999999999"}) {
        INFO('"' << wish << '"');
        try {
            available_cpus(wish, has<3>, none.path());
            FAIL("accepted");
        } catch (const std::system_error& error) {
            CHECK(error.code() == cofork::errc::invalid_options);
            CHECK(std::string{error.what()}.find("COFORK_WORKERS") == 0);
            CHECK(std::string{error.what()}.find('"' + std::string{wish} + '"') != std::string::npos);
        }
    }
}

TEST_CASE("available_cpus follows this process's own affinity and environment", "[cpus]")
{
    ::unsetenv("COFORK_WORKERS");
    cpu_set_t before;
    REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
    CHECK(cofork::available_cpus() >= 1);
    CHECK(cofork::available_cpus() <= static_cast<unsigned>(CPU_COUNT(&before)));

    cpu_set_t one;
    CPU_ZERO(&one);
    for (std::size_t cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(cofork::available_cpus() == 1);
    REQUIRE(::sched_setaffinity(0, sizeof before, &before) == 0);

    REQUIRE(::setenv("COFORK_WORKERS", "77", 1) == 0);
    CHECK(cofork::available_cpus() == 77);
    REQUIRE(::setenv("COFORK_WORKERS", "many", 1) == 0);
    CHECK_THROWS_AS(cofork::available_cpus(), std::system_error);
    ::unsetenv("COFORK_WORKERS");
}
