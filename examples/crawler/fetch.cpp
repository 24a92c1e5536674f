#include "fetch.hpp"

#include "http.hpp"
#include "page.hpp"
#include "url.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <memory>
#include <utility>

// In this file no macro but these: g++ and clang say differently that AddressSanitizer is on.
#if defined(__SANITIZE_ADDRESS__)
#define CRAWLER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CRAWLER_ASAN 1
#endif
#endif

namespace crawler {

namespace {

using namespace std::chrono_literals;

// What one page may take beyond what the worker had at its start. The parse tree of a large page has tens of MiB.
constexpr std::size_t memory_per_worker = std::size_t{512} << 20;

constexpr auto patience = 10s;

// Makes an allocation without end throw std::bad_alloc in this process before the kernel runs out of memory and kills
// one of its own choice. RLIMIT_DATA counts every private writable mapping since Linux 4.7 (getrlimit(2)).
bool limit_memory()
{
    if (!can_limit_memory())
        return false;
    // The sixth number: data and stack, in pages (proc_pid_statm(5)).
    std::ifstream statm{"/proc/self/statm"};
    std::size_t pages = 0;
    for (int field = 0; field < 6; ++field)
        statm >> pages;
    ::rlimit limit{};
    if (!statm || ::getrlimit(RLIMIT_DATA, &limit) != 0)
        return false;
    const ::rlim_t wanted = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + memory_per_worker;
    limit.rlim_cur = std::min<::rlim_t>(limit.rlim_max, wanted); // RLIM_INFINITY is the largest number
    return ::setrlimit(RLIMIT_DATA, &limit) == 0;
}

void go_wrong(const fetch_settings& settings, std::string_view target)
{
    if (target == settings.crash)
        std::raise(SIGSEGV);
    while (target == settings.hang)
        ::pause();
    if (target == settings.bomb) {
        // Written to, so that it is memory and not only address space.
        for (std::vector<std::unique_ptr<std::string>> hoard;;)
            hoard.push_back(std::make_unique<std::string>(std::size_t{1} << 20, 'x'));
    }
}

} // namespace

bool can_limit_memory()
{
#ifdef CRAWLER_ASAN
    return false;
#else
    return true;
#endif
}

page fetch_page(const fetch_settings& settings, const url_item& item)
{
    // Of this worker: it lives as long as the process and serves one page after the other.
    static const bool limited = limit_memory();
    static http_client client{patience};
    static_cast<void>(limited);

    const auto start = std::chrono::steady_clock::now();
    const response answer = client.get(item.url);

    page result;
    result.status = answer.status;
    result.html = is_html(answer.content_type);
    result.bytes = answer.bytes;
    if (answer.status >= 300 && answer.status < 400 && !answer.location.empty())
        result.location = base_url{item.url}.resolve(answer.location).value_or("");
    if (answer.status < 300 && result.html) {
        go_wrong(settings, target_of(item.url));
        result.links = links_of(answer.body, item.url);
    }
    result.took = std::chrono::steady_clock::now() - start;
    return result;
}

} // namespace crawler
