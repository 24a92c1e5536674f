#pragma once
// What a call tells about itself while it runs, and who hears it.

#include <chrono>
#include <cstddef>
#include <type_traits>

namespace cofork {

/// How far a call has come. Counts completions, not results delivered in order.
struct progress_state {
    std::size_t done = 0;    ///< items with an outcome, failed ones among them
    std::size_t failed = 0;  ///< of these, items without a value
    std::size_t retried = 0; ///< attempts after an item's first
    std::size_t total = 0;   ///< items of the call; 0 = not known
    unsigned busy = 0;       ///< workers that run an item now
    std::chrono::nanoseconds elapsed{0}; ///< since the call started
    bool finished = false;   ///< the last update of this call
};

/// Refers to anything with `update(progress_state const&)`, which must outlive the call. Owns nothing.
///
/// update() is called on the call's executor: once at its start, after completions (those that
/// arrive together share one update), about ten times a second while nothing completes, and once at its end. An exception from it ends the call with that exception.
class progress_ref {
public:
    progress_ref() = default;

    template <typename P>
        requires(!std::is_same_v<std::remove_cv_t<P>, progress_ref> && requires(P& p, const progress_state& s) { p.update(s); })
    progress_ref(P& listener) noexcept
        : listener_{const_cast<void*>(static_cast<const void*>(&listener))},
          update_{[](void* p, const progress_state& s) { static_cast<P*>(p)->update(s); }}
    {
    }

    [[nodiscard]] explicit operator bool() const noexcept { return update_ != nullptr; }

    /// Precondition: not empty.
    void update(const progress_state& state) const { update_(listener_, state); }

private:
    void* listener_ = nullptr;
    void (*update_)(void*, const progress_state&) = nullptr;
};

} // namespace cofork
