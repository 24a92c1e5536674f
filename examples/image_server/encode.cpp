#include "picture.hpp"

#include <gd.h>

#include <new>
#include <utility>

namespace image_server {

namespace {

constexpr int jpeg_quality = 82;
constexpr int webp_quality = 80;
constexpr int png_effort = 6;

picture on_white(picture from)
{
    const int width = gdImageSX(from.get()), height = gdImageSY(from.get());
    picture paper{::gdImageCreateTrueColor(width, height)};
    if (!paper)
        throw std::bad_alloc{};
    ::gdImageFilledRectangle(paper.get(), 0, 0, width - 1, height - 1, gdTrueColor(255, 255, 255));
    ::gdImageCopy(paper.get(), from.get(), 0, 0, 0, 0, width, height);
    return paper;
}

void* written(gdImagePtr from, format kind, int& size)
{
    switch (kind) {
    case format::jpeg: return ::gdImageJpegPtr(from, &size, jpeg_quality);
    case format::png: return ::gdImagePngPtrEx(from, &size, png_effort);
    case format::webp: return ::gdImageWebpPtrEx(from, &size, webp_quality);
    }
    return nullptr;
}

} // namespace

const char* media_type(format kind) noexcept
{
    switch (kind) {
    case format::jpeg: return "image/jpeg";
    case format::png: return "image/png";
    case format::webp: return "image/webp";
    }
    return "application/octet-stream";
}

picture scaled(picture from, unsigned width, unsigned height)
{
    if (static_cast<unsigned>(gdImageSX(from.get())) == width && static_cast<unsigned>(gdImageSY(from.get())) == height)
        return from;
    // Of gd's methods only those with a filter look at all pixels when they make a picture smaller.
    ::gdImageSetInterpolationMethod(from.get(), GD_MITCHELL);
    picture made{::gdImageScale(from.get(), width, height)};
    if (!made)
        throw std::bad_alloc{};
    return made;
}

std::string encode(picture from, format kind)
{
    if (kind == format::jpeg)
        from = on_white(std::move(from));
    else
        ::gdImageSaveAlpha(from.get(), 1);
    int size = 0;
    const std::unique_ptr<void, void (*)(void*)> bytes{written(from.get(), kind, size), ::gdFree};
    if (!bytes)
        throw std::bad_alloc{};
    return {static_cast<const char*>(bytes.get()), static_cast<std::size_t>(size)};
}

} // namespace image_server
