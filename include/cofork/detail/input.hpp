#pragma once
// Where a call's items come from: by index out of the snapshot, pulled one by one, or pushed into a feed.

#include <cofork/detail/callable.hpp>
#include <cofork/detail/job.hpp>
#include <cofork/detail/travel.hpp>
#include <cofork/feed.hpp>

#include <deque>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace cofork::detail {

/// Holds a range as the contract says: an lvalue is borrowed, an rvalue moved in, a view copied.
template <typename I>
inline constexpr bool borrows = std::is_lvalue_reference_v<I> && !std::ranges::view<std::remove_cvref_t<I>>;

template <typename I>
class held_range {
    using value = std::conditional_t<borrows<I>, std::remove_reference_t<I>*, std::remove_cvref_t<I>>;

public:
    using range = std::conditional_t<borrows<I>, std::remove_reference_t<I>, std::remove_cvref_t<I>>;

    explicit held_range(I&& items) : value_{hold(std::forward<I>(items))} {}

    range& get() noexcept
    {
        if constexpr (borrows<I>)
            return *value_;
        else
            return value_;
    }

private:
    static decltype(auto) hold(I&& items) noexcept
    {
        if constexpr (borrows<I>)
            return std::addressof(items);
        else
            return std::forward<I>(items);
    }

    value value_;
};

template <typename Range>
std::optional<std::size_t> size_of(Range& range)
{
    if constexpr (std::ranges::sized_range<Range>)
        return static_cast<std::size_t>(std::ranges::size(range));
    else
        return {};
}

/// Random access: the worker reads items by index, from the memory that it inherited.
template <typename I>
class indexed_input {
public:
    using range = typename held_range<I>::range;
    using reference = std::ranges::range_reference_t<range>;
    static constexpr bool by_index = true;
    static constexpr bool borrows = detail::borrows<I> || std::ranges::view<std::remove_cvref_t<I>>;

    explicit indexed_input(I&& items) : items_{std::forward<I>(items)} {}

    std::optional<std::size_t> size() { return size_of(items_.get()); }
    reference at(std::uint64_t index)
    {
        using difference = std::ranges::range_difference_t<range>;
        return std::ranges::begin(items_.get())[static_cast<difference>(index)];
    }

private:
    held_range<I> items_;
};

/// A list, a set: a table of addresses, made before the fork, does what random access does.
template <typename I>
class addressed_input {
public:
    using range = typename held_range<I>::range;
    using reference = std::ranges::range_reference_t<range>;
    static constexpr bool by_index = true;
    static constexpr bool borrows = detail::borrows<I> || std::ranges::view<std::remove_cvref_t<I>>;

    explicit addressed_input(I&& items) : items_{std::forward<I>(items)} {}

    std::optional<std::size_t> size() { return size_of(items_.get()); }
    /// To be called once, before the fork, when this object has its final place.
    void settle()
    {
        addresses_.reserve(*size());
        for (auto&& item : items_.get())
            addresses_.push_back(std::addressof(item));
    }
    reference at(std::uint64_t index) { return static_cast<reference>(*addresses_[index]); }

private:
    held_range<I> items_;
    std::vector<std::remove_reference_t<reference>*> addresses_;
};

template <typename Range>
inline constexpr bool owns_elements = is_a<std::vector, Range> || is_a<std::deque, Range> || is_a<std::list, Range>;
template <>
inline constexpr bool owns_elements<std::vector<bool>> = false;

/// Any input range: pulled one item at a time, on demand, and encoded.
template <typename I>
class pulled_input {
public:
    using range = typename held_range<I>::range;
    using item = std::remove_cvref_t<std::ranges::range_value_t<range>>;
    using reference = std::ranges::range_reference_t<range>;
    static constexpr bool by_index = false;
    /// Its elements are in it and it is ours: nobody sees what becomes of them.
    static constexpr bool may_empty = !std::is_lvalue_reference_v<I> && owns_elements<range>;

    explicit pulled_input(I&& items) : items_{std::forward<I>(items)} {}

    std::optional<std::size_t> size() { return size_of(items_.get()); }

    pulled pull(encoded_items& out)
    {
        // Advanced when the next item is asked for, not when this one is taken: a generator runs no further than needed.
        if (!at_)
            at_.emplace(std::ranges::begin(items_.get()));
        else if (*at_ != std::ranges::end(items_.get()))
            ++*at_;
        if (*at_ == std::ranges::end(items_.get()))
            return pulled::end;
        encoder to{out.bytes, out.left};
        if constexpr (may_empty)
            encode_last(to, **at_);
        else if constexpr (std::is_same_v<std::remove_cvref_t<reference>, item> && !std::is_lvalue_reference_v<reference>) {
            item next = **at_;
            encode_last(to, next);
        }
        else {
            const item& next = **at_;
            to.value(next);
        }
        return pulled::item;
    }
    bool over_when_idle() const noexcept { return true; }

private:
    held_range<I> items_;
    std::optional<std::ranges::iterator_t<range>> at_;
};

/// A feed.
template <typename T>
class feed_input {
public:
    using item = T;
    static constexpr bool by_index = false;

    explicit feed_input(const feed<T>& source) : state_{detail_state(source)} {}
    ~feed_input() { listen(nullptr); }
    feed_input(feed_input&&) = default;

    std::optional<std::size_t> size() { return {}; }

    pulled pull(encoded_items& out)
    {
        const std::lock_guard lock{state_->mutex};
        if (state_->items.empty())
            return state_->closed ? pulled::end : pulled::later;
        encoder to{out.bytes, out.left};
        encode_last(to, state_->items.front());
        state_->items.pop_front(); // not before it is encoded: what throws loses nothing
        return pulled::item;
    }

    /// `wake` is called after every push, on the thread that pushed; and at once when there is something, which may have
    /// come after a pull that found nothing.
    void listen(std::function<void()> wake)
    {
        if (!state_)
            return;
        bool something = false;
        {
            const std::lock_guard lock{state_->mutex};
            something = !state_->items.empty() || state_->closed;
            state_->pushed = wake;
        }
        if (wake && something)
            wake();
    }

private:
    std::shared_ptr<feed_state<T>> state_;
};

template <typename>
inline constexpr bool is_feed = false;
template <typename T>
inline constexpr bool is_feed<feed<T>> = true;

template <typename I>
concept item_source = is_feed<std::remove_cvref_t<I>> || std::ranges::input_range<std::remove_reference_t<I>&>;

template <typename I, bool Snapshot>
struct input_for {
    static auto choose()
    {
        using range = std::remove_reference_t<I>;
        if constexpr (is_feed<std::remove_cvref_t<I>>)
            return std::type_identity<feed_input<typename std::remove_cvref_t<I>::value_type>>{};
        else if constexpr (Snapshot && std::ranges::random_access_range<range&> && std::ranges::sized_range<range&>)
            return std::type_identity<indexed_input<I>>{};
        else if constexpr (Snapshot && std::ranges::forward_range<range&> && std::ranges::sized_range<range&>
                           && std::is_lvalue_reference_v<std::ranges::range_reference_t<range&>>)
            return std::type_identity<addressed_input<I>>{};
        else
            return std::type_identity<pulled_input<I>>{};
    }
    using type = typename decltype(choose())::type;
};

/// The input of a call with items of type I (with its reference), in a snapshot or in a pool.
template <typename I, bool Snapshot>
using input_t = typename input_for<I, Snapshot>::type;

/// What f is called with.
template <typename Input>
struct item_of {
    using type = typename Input::item;
};
template <typename Input>
    requires(Input::by_index)
struct item_of<Input> {
    using type = typename Input::reference;
};

} // namespace cofork::detail
