#pragma once
// Items that are found while results come in: a crawl's frontier.

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace cofork {

namespace detail {

template <typename T>
struct feed_state {
    std::mutex mutex;
    std::deque<T> items;
    bool closed = false;
    std::function<void()> pushed; // of the call that takes from it; empty while there is none
};

} // namespace detail

/// A source of items that grows while results come in. It ends when it is closed and empty; or when it is empty,
/// nothing runs, and the consumer asks for more: then nobody is left who could push.
///
///     cofork::feed<url> frontier;
///     frontier.push(start);
///     auto pages = cofork::stream(fetch, frontier);
///     while (auto page = co_await pages.next())
///         for (auto& link : page->outcome->links)
///             frontier.push(link);
///
/// One call takes from a feed at a time. Copies share the items. Threads: all members may be called from any thread.
template <typename T>
class feed {
public:
    using value_type = T;

    feed() = default;

    /// Adds an item. Ignored after close().
    void push(T item)
    {
        std::function<void()> wake;
        {
            const std::lock_guard lock{state_->mutex};
            if (state_->closed)
                return;
            state_->items.push_back(std::move(item));
            wake = state_->pushed;
        }
        if (wake)
            wake();
    }

    /// No more items: the call ends when those that are there are done.
    void close()
    {
        std::function<void()> wake;
        {
            const std::lock_guard lock{state_->mutex};
            state_->closed = true;
            wake = state_->pushed;
        }
        if (wake)
            wake();
    }

    /// Items that no call has taken.
    std::size_t size() const
    {
        const std::lock_guard lock{state_->mutex};
        return state_->items.size();
    }
    bool empty() const { return size() == 0; }

private:
    template <typename U>
    friend const std::shared_ptr<detail::feed_state<U>>& detail_state(const feed<U>& f) noexcept;

    std::shared_ptr<detail::feed_state<T>> state_ = std::make_shared<detail::feed_state<T>>();
};

template <typename U>
const std::shared_ptr<detail::feed_state<U>>& detail_state(const feed<U>& f) noexcept
{
    return f.state_;
}

} // namespace cofork
