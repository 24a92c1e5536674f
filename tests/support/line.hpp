#pragma once
// A channel of either transport, the other ends of its pipes, and bytes that go round.

#include "catch.hpp"
#include "run.hpp"

#include "channel.hpp"

#include <cofork/transport.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace test {

using bytes = std::vector<std::byte>;

/// Wishes for a transport for as long as it lives; a context asks at its first channel.
class wish {
public:
    explicit wish(cofork::transport_kind kind)
    {
        if (const char* const set = std::getenv("COFORK_TRANSPORT"))
            before_ = set;
        ::setenv("COFORK_TRANSPORT", to_string(kind), 1);
    }
    ~wish() { ::setenv("COFORK_TRANSPORT", before_.c_str(), 1); }
    wish(const wish&) = delete;
    wish& operator=(const wish&) = delete;

private:
    std::string before_;
};

inline cofork::transport_kind each_transport()
{
    const auto kind = GENERATE(cofork::transport_kind::ring, cofork::transport_kind::reactor);
    UNSCOPED_INFO("by the " << to_string(kind));
    return kind;
}

/// Writes down what it is told, and hands it on.
struct listener final : cofork::detail::channel_user, std::enable_shared_from_this<listener> {
    std::function<void(std::error_code, std::size_t)> when_read = [](std::error_code, std::size_t) {};
    std::function<void(std::error_code)> when_written = [](std::error_code) {};
    int reads = 0;
    int writes = 0;
    std::error_code read_error;
    std::error_code write_error;
    std::size_t got = 0;
    bytes buffer = bytes(1 << 16); // lives as long as we do

    void on_read(std::error_code ec, std::size_t n) noexcept override
    {
        ++reads;
        read_error = ec;
        got = n;
        when_read(ec, n);
    }
    void on_written(std::error_code ec) noexcept override
    {
        ++writes;
        write_error = ec;
        when_written(ec);
    }
};

/// A channel, and the other ends of its pipes.
struct line {
    cofork::detail::owned_fd to_us;   // what is written here is read from the channel
    cofork::detail::owned_fd from_us; // what is written to the channel is read here
    std::shared_ptr<cofork::detail::channel> ours;
    std::shared_ptr<listener> hears = std::make_shared<listener>();

    explicit line(const asio::any_io_executor& ex)
    {
        auto in = cofork::detail::make_pipe();
        auto out = cofork::detail::make_pipe();
        to_us = std::move(in.write);
        from_us = std::move(out.read);
        ours = cofork::detail::channel::make(ex, std::move(in.read), std::move(out.write));
    }
    void read() { ours->read(hears->buffer, hears); }
    void tell(const char* text) const
    {
        const std::string_view all{text};
        if (::write(to_us.get(), all.data(), all.size()) != static_cast<ssize_t>(all.size()))
            std::abort();
    }
    std::string heard() const { return {reinterpret_cast<const char*>(hears->buffer.data()), hears->got}; }
};

/// Runs the context until it has no work, or much too long; false then.
inline bool runs_out(asio::io_context& context)
{
    context.restart();
    const auto end = std::chrono::steady_clock::now() + long_enough;
    while (!context.stopped() && std::chrono::steady_clock::now() < end)
        context.run_one_until(end);
    return context.stopped();
}

inline bytes random_bytes(std::size_t size, unsigned seed)
{
    std::mt19937 generator{seed};
    bytes all(size);
    std::generate(all.begin(), all.end(), [&] { return static_cast<std::byte>(generator()); });
    return all;
}

/// Reads to the end of file, in pieces of all sizes, and sends everything back.
inline void echo(cofork::detail::owned_fd from, cofork::detail::owned_fd to)
{
    std::mt19937 generator{7};
    bytes buffer(100'000);
    while (true) {
        const ssize_t got = ::read(from.get(), buffer.data(), 1 + generator() % buffer.size());
        if (got <= 0)
            return;
        for (ssize_t put = 0, n = 0; put < got; put += n) {
            n = ::write(to.get(), buffer.data() + put, static_cast<std::size_t>(got - put));
            if (n <= 0)
                return;
        }
    }
}

/// Sends bytes to an echo, and closes the line when they are all back. Both pipes are full again and again, and at the
/// same time: the echo writes while we write.
class round_trip {
public:
    round_trip(line& l, bytes sent)
        : line_{l}, sent_{std::move(sent)}, other_{echo, std::move(l.from_us), std::move(l.to_us)}
    {
        l.hears->when_read = [this](std::error_code, std::size_t n) {
            const auto from = line_.hears->buffer.begin();
            back_.insert(back_.end(), from, from + static_cast<std::ptrdiff_t>(n));
            if (n > 0 && back_.size() < sent_.size())
                line_.read();
            end();
        };
        l.hears->when_written = [this](std::error_code) { end(); };
        if (!l.ours->reading() && !sent_.empty())
            l.read();
        l.ours->write(sent_, l.hears);
    }
    ~round_trip()
    {
        if (ended_)
            other_.join();
        else
            other_.detach(); // the test has failed; the echo has all that it needs
    }
    round_trip(const round_trip&) = delete;
    round_trip& operator=(const round_trip&) = delete;

    bool right() const { return back_ == sent_ && line_.hears->writes == 1 && !line_.hears->write_error; }

private:
    void end()
    {
        if (line_.ours->reading() || line_.ours->writing())
            return;
        line_.ours->close();
        ended_ = true;
    }

    line& line_;
    bytes sent_;
    bytes back_;
    bool ended_ = false;
    std::thread other_;
};

} // namespace test
