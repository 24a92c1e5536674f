#include "cache.hpp"

#include <utility>

namespace image_server {

cache::bytes cache::find(const thumb_key& key)
{
    const auto place = places_.find(key);
    if (place == places_.end())
        return nullptr;
    entries_.splice(entries_.begin(), entries_, place->second);
    return place->second->thumb;
}

void cache::add(const thumb_key& key, bytes thumb)
{
    if (thumb->size() > most_ || places_.contains(key))
        return;
    used_ += thumb->size();
    entries_.push_front({key, std::move(thumb)});
    places_[key] = entries_.begin();
    while (used_ > most_) {
        used_ -= entries_.back().thumb->size();
        places_.erase(entries_.back().key);
        entries_.pop_back();
    }
}

} // namespace image_server
