// The loop that does not sleep while an answer is due at once: pool_options::spin.

#include "dispatcher.hpp"

#include <asio/post.hpp>

#include <cstdint>
#include <memory>
#include <thread>

namespace cofork::detail {

/// An answer is due so soon that sleeping till it comes would take longer. The loop turns, and does what else there is to do;
/// whoever else wants this processor, which may be the worker, goes first.
void dispatcher::spin_from(clock::time_point now)
{
    spins_until_ = now + spin_;
    if (spinning_ || crowd_.is_there())
        return;
    spinning_ = true;
    asio::post(strand_, [self = shared_from_this()] {
        const auto before = clock::now();
        std::this_thread::yield();
        const lock held{*self->guard_};
        self->crowd_.yielded(static_cast<std::uint64_t>((clock::now() - before).count()));
        self->spinning_ = false;
        if (!self->released_ && self->crew_.busy() > 0 && clock::now() < self->spins_until_)
            self->spin_from(self->spins_until_ - self->spin_);
    });
}

} // namespace cofork::detail
