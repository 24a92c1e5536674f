#pragma once
// Pictures in memory: read, scaled, written. Fed by strangers and written in C underneath: a worker's job.

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

struct gdImageStruct;

namespace image_server {

/// What a picture is written as.
enum class format : unsigned char { jpeg, png, webp };

/// The media type, as "image/jpeg".
const char* media_type(format kind) noexcept;

/// The bytes are no picture that can be read; the text says why.
class unreadable_picture : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The picture has more pixels than it may have.
class too_many_pixels : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct picture_destroyer {
    void operator()(gdImageStruct* pixels) const noexcept;
};
using picture = std::unique_ptr<gdImageStruct, picture_destroyer>;

/// A picture and how large it was in its file, where that is larger.
struct decoded {
    picture pixels;
    unsigned width = 0;  ///< in the file
    unsigned height = 0; ///< in the file
};

/// Reads a JPEG, PNG or WebP file. A JPEG that is to become `wanted` pixels wide may come out smaller than it is, but no
/// narrower than that. Throws unreadable_picture, too_many_pixels (`most_pixels` 0: any number), std::bad_alloc.
decoded decode(std::string_view file, unsigned wanted, std::size_t most_pixels);

/// `from`, so wide. Throws std::bad_alloc.
picture scaled(picture from, unsigned width, unsigned height);

/// As a file. What is transparent becomes white where the format knows no transparency. Throws std::bad_alloc.
std::string encode(picture from, format kind);

} // namespace image_server
