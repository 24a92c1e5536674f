// Catch2's main for every test program. Ends with 0, 1 or, for Meson, 77 when everything was skipped: Catch2's own exit
// codes are numbers of failures in some versions, and 77 failures are not a skip.

#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include "support/catch.hpp"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string_view>

namespace {

constexpr int exit_skipped = 77;

/// Whether this run is about io_uring and the machine refuses it: containers do so by seccomp (EPERM, ENOSYS), and an
/// administrator by kernel.io_uring_disabled (EPERM). The run would only repeat the one on Asio's reactor.
bool wants_a_refused_ring()
{
    const char* const transport = std::getenv("COFORK_TRANSPORT");
    if (transport == nullptr || std::string_view{transport} != "ring")
        return false;
    io_uring_params params{};
    const long fd = ::syscall(SYS_io_uring_setup, 1, &params);
    const int error = errno;
    if (fd >= 0) {
        ::close(static_cast<int>(fd));
        return false;
    }
    if (error != EPERM && error != ENOSYS)
        return false;
    std::cerr << "skipped: io_uring_setup: " << std::strerror(error) << '\n';
    return true;
}

#ifdef CATCH_CONFIG_RUNNER
using listener = Catch::TestEventListenerBase;

bool all_skipped(const Catch::Totals& totals)
{
    return test::skipped && totals.assertions.total() == 0;
}
#else
using listener = Catch::EventListenerBase;

bool all_skipped(const Catch::Totals& totals)
{
    return totals.testCases.skipped > 0 && totals.testCases.skipped == totals.testCases.total();
}
#endif

bool nothing_but_skips = false;
bool nothing_at_all = false; // no test case matches the filter

struct skip_listener : listener {
    using listener::listener;

    void testRunEnded(const Catch::TestRunStats& stats) override
    {
        nothing_but_skips = all_skipped(stats.totals);
        nothing_at_all = stats.totals.testCases.total() == 0;
    }
};

CATCH_REGISTER_LISTENER(skip_listener)

} // namespace

int main(int argc, char** argv)
{
    if (wants_a_refused_ring())
        return exit_skipped;
    const int result = Catch::Session{}.run(argc, argv);
    if (nothing_but_skips)
        return exit_skipped;
    return result == 0 && !nothing_at_all ? 0 : 1;
}
