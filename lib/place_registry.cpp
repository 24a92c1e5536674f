#include "place_registry.hpp"

#include <algorithm>

namespace cofork::detail {

void place_registry::enlist(const asio::any_io_executor& ex, std::weak_ptr<registered_place> place)
{
    auto& self = asio::use_service<place_registry>(asio::query(ex, asio::execution::context));
    const std::lock_guard lock{self.mutex_};
    std::erase_if(self.places_, [](const auto& p) { return p.expired(); });
    self.places_.push_back(std::move(place));
}

void place_registry::shutdown() noexcept
{
    std::vector<std::weak_ptr<registered_place>> places;
    {
        const std::lock_guard lock{mutex_};
        places.swap(places_);
    }
    for (const auto& p : places) {
        if (const auto place = p.lock())
            place->context_ended();
    }
}

} // namespace cofork::detail
