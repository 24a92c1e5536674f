#include "thumbs.hpp"

#include "scale.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>

#include <asio/redirect_error.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <csignal>
#include <exception>
#include <system_error>
#include <utility>

namespace image_server {

namespace {

using namespace std::chrono_literals;

/// A worker that is killed while it scales costs a new start, which the client does not notice; one that is killed so often was
/// not the killer's bad luck.
constexpr unsigned attempts = 5;

/// For the whole request: the time in the queue and all attempts.
constexpr auto patience = 30s;

bool is(const cofork::failure& why, const char* type)
{
    return why.kind == cofork::failure_kind::exception && why.type == type;
}

int status_of(const cofork::failure& why)
{
    using enum cofork::failure_kind;
    if (is(why, "image_server::unreadable_picture"))
        return 422;
    if (is(why, "image_server::too_many_pixels") || is(why, "std::bad_alloc") || why.limit == cofork::limited::memory)
        return 413;
    if (why.kind == timeout || why.limit == cofork::limited::cpu)
        return 504;
    // Nobody sends a SIGKILL because of what a picture holds, so the same request may go well in a moment.
    if ((why.kind == crashed && why.signal == SIGKILL) || why.kind == not_started || why.kind == cancelled)
        return 503;
    return 500;
}

// Without the pids and functions that are for the log and nobody's business outside.
std::string reason_of(const cofork::failure& why)
{
    using enum cofork::failure_kind;
    switch (why.kind) {
    case exception: return why.type == "std::bad_alloc" ? "it takes too much memory" : why.what;
    case timeout: return "it takes too long";
    case limit: return std::string{"it takes too much: "} + to_string(why.limit);
    case crashed: return why.signal == SIGKILL ? "the worker was killed, several times" : "the decoder crashed";
    default: return to_string(why.kind);
    }
}

thumb refused(std::error_code why)
{
    if (why == cofork::errc::deadline)
        return {504, nullptr, "no worker had time for it"};
    if (why == cofork::errc::overloaded)
        return {503, nullptr, "too many requests wait already"};
    return {503, nullptr, why.message()};
}

fault fault_of(const settings& chosen, const std::string& name)
{
    if (name == chosen.crash)
        return fault::crash;
    return name == chosen.hang ? fault::hang : fault::none;
}

} // namespace

asio::awaitable<thumb> thumbs::get(thumb_key key)
{
    if (cache::bytes found = cache_.find(key)) {
        ++counts_.hits;
        co_return thumb{200, std::move(found), {}};
    }
    if (const auto other = flights_.find(key); other != flights_.end()) {
        ++counts_.shared;
        const auto same = other->second;
        std::error_code woken;
        co_await same->landed.async_wait(asio::redirect_error(asio::use_awaitable, woken));
        co_return same->result;
    }
    const auto mine = std::make_shared<flight>(co_await asio::this_coro::executor);
    flights_.emplace(key, mine);
    mine->result = co_await made(key);
    flights_.erase(key);
    ++(mine->result.bytes ? counts_.made : counts_.failed);
    if (mine->result.bytes)
        cache_.add(key, mine->result.bytes);
    mine->landed.cancel();
    co_return mine->result;
}

asio::awaitable<thumb> thumbs::made(thumb_key key)
{
    try {
        scale_job job{key.photo->file, key.width, key.kind, chosen_.most_pixels, fault_of(chosen_, key.photo->name)};
        // To scale twice does no harm, so an item whose worker died is started again.
        const cofork::options how{
            .timeout = chosen_.timeout, .deadline = patience, .attempts = attempts, .again = cofork::retry_on::crash,
            .name = key.photo->name.c_str()};
        auto result = co_await cofork::try_run(pool_, scale, std::move(job), how);
        if (result)
            co_return thumb{200, std::make_shared<const std::string>(std::move(*result)), {}};
        co_return thumb{status_of(result.error()), nullptr, reason_of(result.error())};
    }
    catch (const std::system_error& e) { // of the pool, not of the picture
        co_return refused(e.code());
    }
    catch (const std::exception& e) { // whatever it is, those who wait for the flight must learn that it is over
        co_return thumb{500, nullptr, e.what()};
    }
}

} // namespace image_server
