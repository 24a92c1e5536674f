#pragma once
// What the fault tests share: finding processes, helpers beside the test, proof that everything still works.

#include "catch.hpp"
#include "leaves_nothing.hpp"
#include "run.hpp"
#include "shared.hpp"
#include "work.hpp"

#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

#include <asio/io_context.hpp>

#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace test {

inline std::string text_of(const std::string& path)
{
    std::ostringstream text;
    text << std::ifstream{path}.rdbuf(); // no exception where the process of a /proc file has ended meanwhile
    return text.str();
}

/// Of a process with one thread, without those that have ended (proc(5): the list may leave one out while others end).
inline std::vector<pid_t> children_of(pid_t parent)
{
    const std::string number = std::to_string(parent);
    std::istringstream list{text_of("/proc/" + number + "/task/" + number + "/children")};
    return {std::istream_iterator<pid_t>{list}, {}};
}

inline bool is_called(pid_t pid, std::string_view name)
{
    return text_of("/proc/" + std::to_string(pid) + "/comm") == std::string{name} + '\n';
}

/// Our own, or those of the process `of`.
inline std::vector<pid_t> nurseries(pid_t of = ::getpid())
{
    std::vector<pid_t> found = children_of(of);
    std::erase_if(found, [](pid_t pid) { return !is_called(pid, "cofork-nursery"); });
    return found;
}

inline std::vector<pid_t> workers(pid_t of = ::getpid())
{
    std::vector<pid_t> found;
    for (const pid_t nursery : nurseries(of)) {
        for (const pid_t pid : children_of(nursery)) {
            if (is_called(pid, "cofork-worker"))
                found.push_back(pid);
        }
    }
    return found;
}

/// 'R', 'S', 'T', 'Z' ... as in proc(5); 0 when there is no such process.
inline char state_of(pid_t pid)
{
    const std::string stat = text_of("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t name_end = stat.rfind(')');
    return name_end == std::string::npos || name_end + 2 >= stat.size() ? '\0' : stat[name_end + 2];
}

/// Neither running nor a zombie.
inline bool is_gone(pid_t pid)
{
    return state_of(pid) == '\0';
}

/// An exception of the program's own.
struct refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void require_twice(const std::vector<int>& values, std::size_t count)
{
    REQUIRE(values.size() == count);
    for (std::size_t i = 0; i < count; ++i)
        REQUIRE(values[i] == 2 * static_cast<int>(i));
}

/// The pool takes work as if nothing had happened.
inline void still_works(asio::io_context& context, cofork::pool& pool)
{
    const std::vector<int> items = numbers(200);
    require_twice(run(context, cofork::parallel(pool, twice, items)), items.size());
}

/// A call without a pool works, on the same context.
inline void snapshot_works(asio::io_context& context)
{
    const std::vector<int> items = numbers(200);
    require_twice(run(context, cofork::parallel(twice, items, {.workers = 2})), items.size());
}

/// A process of our own that does something beside the test. Killed and reaped at the end.
class helper_process {
public:
    template <typename Body>
    explicit helper_process(Body body)
    {
        // A signal that came between fork and exit would run the test program's handlers in the helper.
        sigset_t all, before;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, &before);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (int signo = 1; signo < NSIG; ++signo)
                ::signal(signo, SIG_DFL); // Catch2's handlers would report a failure of the test
            ::sigprocmask(SIG_SETMASK, &before, nullptr);
            ::__fpurge(stdout); // unwritten text belongs to the test program
            run_and_exit(body);
        }
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
        REQUIRE(pid_ > 0);
    }
    ~helper_process() { end(); }
    helper_process(const helper_process&) = delete;
    helper_process& operator=(const helper_process&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }

    /// Kills it, when it has not ended by itself.
    void end()
    {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        pid_ = 0;
    }

    /// Waits for its end; its status as waitpid(2) gives it.
    int status()
    {
        int status = 0;
        REQUIRE(::waitpid(pid_, &status, 0) == pid_);
        pid_ = 0;
        return status;
    }

private:
    /// Whatever happens: two processes that go on with the tests would be one too many.
    template <typename Body>
    [[noreturn]] static void run_and_exit(Body& body)
    {
        try {
            body();
            ::_exit(0);
        }
        catch (const std::exception& e) {
            std::cerr << "the helper process threw: " << e.what() << '\n';
        }
        catch (...) {
            std::cerr << "the helper process threw\n";
        }
        ::_exit(70);
    }

    pid_t pid_ = 0;
};

} // namespace test
