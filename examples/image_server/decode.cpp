#include "picture.hpp"

#include <gd.h>
#include <png.h>
#include <turbojpeg.h>
#include <webp/decode.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <limits>
#include <new>
#include <vector>

namespace image_server {

namespace {

struct extent {
    unsigned width = 0;
    unsigned height = 0;
};

// What gd says while it reads; it has no other way to tell why it gives nothing.
std::array<char, 256> complaint;

void remember(int, const char* format, va_list arguments)
{
    if (complaint[0] == '\0') // the first is the cause
        std::vsnprintf(complaint.data(), complaint.size(), format, arguments);
}

std::string complaint_or(const char* otherwise)
{
    std::string text = complaint.data();
    while (text.ends_with('\n'))
        text.pop_back();
    return text.empty() ? otherwise : text;
}

// A header is believed only so far as it costs nothing: a bomb is a few bytes that promise many pixels.
extent checked(long width, long height, std::size_t most_pixels)
{
    if (width < 1 || height < 1)
        throw unreadable_picture{"it has no pixels"};
    if (most_pixels > 0 && static_cast<std::size_t>(width) > most_pixels / static_cast<std::size_t>(height)) {
        throw too_many_pixels{
            std::to_string(width) + "x" + std::to_string(height) + " pixels are more than " + std::to_string(most_pixels)};
    }
    return {static_cast<unsigned>(width), static_cast<unsigned>(height)};
}

picture blank(extent size)
{
    picture made{::gdImageCreateTrueColor(static_cast<int>(size.width), static_cast<int>(size.height))};
    if (!made)
        throw std::bad_alloc{};
    return made;
}

class jpeg_reader {
public:
    jpeg_reader() : handle_{::tjInitDecompress()}
    {
        if (!handle_)
            throw std::bad_alloc{};
    }
    ~jpeg_reader() { ::tjDestroy(handle_); }
    jpeg_reader(const jpeg_reader&) = delete;
    jpeg_reader& operator=(const jpeg_reader&) = delete;

    // Warnings fail too: what is grey below a line where the file was cut is not the picture that was asked for.
    void require(int result)
    {
        if (result < 0)
            throw unreadable_picture{std::string{"JPEG: "} + ::tjGetErrorStr2(handle_)};
    }
    tjhandle get() const noexcept { return handle_; }

private:
    tjhandle handle_;
};

// The decoder gives a picture of n eighths by leaving work out: by far the fastest way to make one small.
extent cheapest(extent full, unsigned wanted)
{
    int count = 0;
    const tjscalingfactor* const factors = ::tjGetScalingFactors(&count);
    extent best = full;
    for (int i = 0; i < count; ++i) {
        const auto width = static_cast<unsigned>(TJSCALED(static_cast<int>(full.width), factors[i]));
        const auto height = static_cast<unsigned>(TJSCALED(static_cast<int>(full.height), factors[i]));
        if (width >= wanted && width < best.width)
            best = {width, height};
    }
    return best;
}

decoded decode_jpeg(std::string_view file, unsigned wanted, std::size_t most_pixels)
{
    const auto* const bytes = reinterpret_cast<const unsigned char*>(file.data());
    jpeg_reader reader;
    int width = 0, height = 0, sampling = 0, colours = 0;
    reader.require(::tjDecompressHeader3(reader.get(), bytes, file.size(), &width, &height, &sampling, &colours));
    const extent full = checked(width, height, most_pixels);
    const extent size = cheapest(full, wanted);
    constexpr std::size_t depth = 3;
    std::vector<unsigned char> rows(std::size_t{size.width} * size.height * depth);
    const int flags = TJFLAG_LIMITSCANS; // a progressive file may hold thousands of scans of nothing
    reader.require(::tjDecompress2(
        reader.get(), bytes, file.size(), rows.data(), static_cast<int>(size.width), 0, static_cast<int>(size.height), TJPF_RGB,
        flags));
    picture made = blank(size);
    const unsigned char* from = rows.data();
    for (unsigned y = 0; y < size.height; ++y) {
        int* const row = made->tpixels[y];
        for (unsigned x = 0; x < size.width; ++x, from += depth)
            row[x] = gdTrueColor(from[0], from[1], from[2]);
    }
    return {std::move(made), full.width, full.height};
}

extent extent_of_png(std::string_view file, std::size_t most_pixels)
{
    png_image header{};
    header.version = PNG_IMAGE_VERSION;
    if (::png_image_begin_read_from_memory(&header, file.data(), file.size()) == 0)
        throw unreadable_picture{std::string{"PNG: "} + header.message};
    const long width = header.width, height = header.height;
    ::png_image_free(&header);
    return checked(width, height, most_pixels);
}

extent extent_of_webp(std::string_view file, std::size_t most_pixels)
{
    int width = 0, height = 0;
    if (::WebPGetInfo(reinterpret_cast<const std::uint8_t*>(file.data()), file.size(), &width, &height) == 0)
        throw unreadable_picture{"WebP: its header is broken"};
    return checked(width, height, most_pixels);
}

decoded decode_by_gd(gdImagePtr (*read)(int, void*), std::string_view file, extent size)
{
    if (file.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
        throw unreadable_picture{"the file is too large"};
    complaint[0] = '\0';
    ::gdSetErrorMethod(remember);
    errno = 0;
    picture made{read(static_cast<int>(file.size()), const_cast<char*>(file.data()))}; // gd only reads it
    if (!made && errno == ENOMEM)
        throw std::bad_alloc{};
    if (!made)
        throw unreadable_picture{complaint_or("the file is broken")};
    if (gdImageTrueColor(made.get()) == 0 && ::gdImagePaletteToTrueColor(made.get()) == 0)
        throw std::bad_alloc{};
    return {std::move(made), size.width, size.height};
}

} // namespace

void picture_destroyer::operator()(gdImageStruct* pixels) const noexcept
{
    ::gdImageDestroy(pixels);
}

decoded decode(std::string_view file, unsigned wanted, std::size_t most_pixels)
{
    if (file.starts_with("\xff\xd8\xff"))
        return decode_jpeg(file, wanted, most_pixels);
    if (file.starts_with("\x89PNG\r\n\x1a\n"))
        return decode_by_gd(::gdImageCreateFromPngPtr, file, extent_of_png(file, most_pixels));
    if (file.starts_with("RIFF") && file.substr(0, 12).ends_with("WEBP"))
        return decode_by_gd(::gdImageCreateFromWebpPtr, file, extent_of_webp(file, most_pixels));
    throw unreadable_picture{"neither a JPEG nor a PNG nor a WebP file"};
}

} // namespace image_server
