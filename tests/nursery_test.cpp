// A nursery and its client: who is forked, who is killed, who hears of it.

#include "support/faults.hpp"

#include "nursery_client.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <vector>

namespace {

using namespace cofork::detail;

struct listener final : nursery_user {
    std::vector<nursery_report> reports;
    bool lost = false;

    void on_report(const nursery_report& report) noexcept override { reports.push_back(report); }
    void on_reports_read() noexcept override {}
    void on_nursery_lost() noexcept override { lost = true; }

    std::ptrdiff_t count(nursery_news news) const
    {
        return std::count_if(reports.begin(), reports.end(), [&](const auto& r) { return r.news == news; });
    }
};

/// A nursery that is being listened to, and the job pipes of its workers, which live as long as those are open.
struct rig {
    asio::io_context context{1};
    std::shared_ptr<listener> heard = std::make_shared<listener>();
    std::shared_ptr<nursery_client> client;
    std::vector<pipe_ends> kept;

    explicit rig(std::uint32_t slots)
        : client{std::make_shared<nursery_client>(
            context.get_executor(), slots, worker_life{}, 0u, std::make_shared<std::recursive_mutex>())}
    {
        client->watch(heard);
    }
    ~rig()
    {
        client->unwatch();
        client->end();
    }
    rig(const rig&) = delete;
    rig& operator=(const rig&) = delete;

    void spawn(std::uint32_t slot, std::uint64_t generation)
    {
        pipe_ends jobs = make_pipe();
        pipe_ends results = make_pipe();
        client->spawn(slot, generation, std::move(jobs.read), std::move(results.write));
        kept.push_back({std::move(results.read), std::move(jobs.write)});
    }
    bool hear(nursery_news news, std::ptrdiff_t times)
    {
        return test::run_until(context, [&] { return heard->count(news) >= times; });
    }
    pid_t pid_of(std::uint32_t slot, std::uint64_t generation) const
    {
        for (const auto& r : heard->reports) {
            if (r.news == nursery_news::spawned && r.slot == slot && r.generation == generation)
                return r.pid;
        }
        return 0;
    }
};

} // namespace

TEST_CASE("each worker's start and end is told once, with how it ended", "[nursery]")
{
    const test::leaves_nothing nothing;
    rig r{4};
    for (std::uint32_t slot = 0; slot < 4; ++slot)
        r.spawn(slot, 10 + slot);
    REQUIRE(r.hear(nursery_news::spawned, 4));

    ::kill(r.pid_of(0, 10), SIGSEGV);
    ::kill(r.pid_of(1, 11), SIGTERM);
    r.client->kill(2, 12);
    r.kept[3].write.reset(); // the end of its jobs

    REQUIRE(r.hear(nursery_news::ended, 4));
    CHECK(r.heard->reports.size() == 8);
    for (const auto& report : r.heard->reports) {
        if (report.news != nursery_news::ended)
            continue;
        CAPTURE(report.slot);
        CHECK(report.generation == 10 + report.slot);
        CHECK(report.pid == r.pid_of(report.slot, report.generation));
        CHECK(test::is_gone(report.pid)); // reaped
        if (report.slot == 3) {
            CHECK(report.code == CLD_EXITED);
            CHECK(report.status == 0);
        }
        else
            CHECK(report.status == (report.slot == 0 ? SIGSEGV : report.slot == 1 ? SIGTERM : SIGKILL));
    }
}

TEST_CASE("a late kill does not hit the successor in its slot", "[nursery]")
{
    const test::leaves_nothing nothing;
    rig r{1};
    r.spawn(0, 1);
    REQUIRE(r.hear(nursery_news::spawned, 1));
    ::kill(r.pid_of(0, 1), SIGKILL);
    REQUIRE(r.hear(nursery_news::ended, 1));
    r.spawn(0, 2);
    r.client->kill(0, 1);
    REQUIRE(r.hear(nursery_news::spawned, 2));
    r.client->kill(0, 1);
    r.kept[1].write.reset(); // it ends by itself, which a kill before would have forestalled
    REQUIRE(r.hear(nursery_news::ended, 2));
    CHECK(r.heard->reports.back().code == CLD_EXITED);
}

TEST_CASE("a kill that follows a spawn at once is not lost", "[nursery]")
{
    const test::leaves_nothing nothing;
    rig r{1};
    for (std::uint64_t generation = 1; generation <= 50; ++generation) {
        r.spawn(0, generation);
        r.client->kill(0, generation);
        REQUIRE(r.hear(nursery_news::ended, static_cast<std::ptrdiff_t>(generation)));
        CHECK(r.heard->reports.back().status == SIGKILL);
    }
}

TEST_CASE("more requests than the socket holds are kept and sent later", "[nursery]")
{
    const test::leaves_nothing nothing;
    rig r{64};
    ::kill(r.client->pid(), SIGSTOP);
    REQUIRE(test::eventually([&] { return test::state_of(r.client->pid()) == 'T'; }));
    for (std::uint32_t slot = 0; slot < 64; ++slot)
        r.spawn(slot, slot + 1);
    for (int i = 0; i < 2000; ++i)
        r.client->kill(0, 1'000'000); // nobody's
    ::kill(r.client->pid(), SIGCONT);
    CHECK(r.hear(nursery_news::spawned, 64));
    CHECK(test::eventually([] { return test::workers().size() == 64; })); // each takes its name a moment later
}

TEST_CASE("the end of a nursery is the end of all its workers, and is heard when nobody asked for it", "[nursery]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    rig r{3};
    for (std::uint32_t slot = 0; slot < 3; ++slot)
        r.spawn(slot, slot + 1);
    REQUIRE(r.hear(nursery_news::spawned, 3));
    std::vector<pid_t> pids;
    for (std::uint32_t slot = 0; slot < 3; ++slot)
        pids.push_back(r.pid_of(slot, slot + 1));
    SECTION("asked for")
    {
        r.client->end();
        for (const pid_t pid : pids)
            CHECK(test::is_gone(pid)); // reaped when it returns
        CHECK_FALSE(r.heard->lost);
    }
    SECTION("asked for without waiting")
    {
        bool done = false;
        r.client->async_end([&] { done = true; });
        REQUIRE(test::run_until(r.context, [&] { return done; }));
        for (const pid_t pid : pids)
            CHECK(test::is_gone(pid));
        CHECK_FALSE(r.heard->lost);
    }
    SECTION("killed")
    {
        ::kill(r.client->pid(), SIGKILL);
        CHECK(test::run_until(r.context, [&] { return r.heard->lost; }));
        r.client->end();
        CHECK(test::eventually([&] {
            while (::waitpid(-1, nullptr, WNOHANG) > 0)
                ;
            return std::all_of(pids.begin(), pids.end(), test::is_gone);
        }));
    }
}

TEST_CASE("workers do not see each other's pages or descriptors", "[nursery]")
{
    const test::leaves_nothing nothing;
    rig r{8};
    for (std::uint32_t slot = 0; slot < 8; ++slot)
        r.spawn(slot, slot + 1);
    REQUIRE(r.hear(nursery_news::spawned, 8));
    for (std::uint32_t slot = 0; slot < 8; ++slot) {
        const std::string where = "/proc/" + std::to_string(r.pid_of(slot, slot + 1));
        CHECK(test::eventually([&] { return r.client->pages()->get()[slot].pid != 0; }));
        const std::ptrdiff_t descriptors = std::distance(
            std::filesystem::directory_iterator{where + "/fd"}, std::filesystem::directory_iterator{});
        CHECK(descriptors == 5); // stdio and two pipes
        std::istringstream maps{test::text_of(where + "/maps")};
        std::size_t shared_bytes = 0;
        for (std::string line; std::getline(maps, line);) {
            if (line.find("--s ") == std::string::npos && line.find("w-s ") == std::string::npos)
                continue;
            std::size_t dash = 0;
            const auto from = std::stoull(line, &dash, 16);
            shared_bytes += std::stoull(line.substr(dash + 1), nullptr, 16) - from;
        }
        CHECK(shared_bytes == sizeof(page) + sizeof(arena));
    }
}
