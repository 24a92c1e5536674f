#pragma once
// Thumbs that were made, as many as have room; who was asked for last stays.

#include "gallery.hpp"
#include "picture.hpp"

#include <compare>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <string>

namespace image_server {

/// Which thumb.
struct thumb_key {
    const photograph* photo = nullptr;
    unsigned width = 0;
    format kind = format::jpeg;

    friend auto operator<=>(const thumb_key&, const thumb_key&) = default;
};

class cache {
public:
    using bytes = std::shared_ptr<const std::string>;

    /// Holds at most so many bytes of thumbs.
    explicit cache(std::size_t most) noexcept : most_{most} {}

    /// Null when it is not there.
    bytes find(const thumb_key& key);
    /// One that is larger than all the room is not kept.
    void add(const thumb_key& key, bytes thumb);

    std::size_t size() const noexcept { return places_.size(); }
    std::size_t used() const noexcept { return used_; }

private:
    struct entry {
        thumb_key key;
        bytes thumb;
    };

    std::size_t most_;
    std::size_t used_ = 0;
    std::list<entry> entries_; // who was asked for last comes first
    std::map<thumb_key, std::list<entry>::iterator> places_;
};

} // namespace image_server
