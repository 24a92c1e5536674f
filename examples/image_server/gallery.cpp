#include "gallery.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <utility>

namespace image_server {

namespace {

bool is_picture_by_name(const std::filesystem::path& path)
{
    std::string ending = path.extension().string();
    std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    constexpr std::array<std::string_view, 4> endings{".jpg", ".jpeg", ".png", ".webp"};
    return std::ranges::find(endings, ending) != endings.end();
}

} // namespace

gallery::gallery(const std::filesystem::path& folder)
{
    constexpr auto how = std::filesystem::directory_options::skip_permission_denied;
    for (const auto& entry : std::filesystem::recursive_directory_iterator{folder, how}) {
        if (entry.is_regular_file() && is_picture_by_name(entry.path()))
            add(entry.path(), entry.path().lexically_relative(folder).generic_string());
    }
    if (photographs_.empty())
        throw std::runtime_error{folder.string() + ": no photographs (.jpg, .jpeg, .png, .webp)"};
}

void gallery::add(const std::filesystem::path& path, std::string name)
{
    bytes_ += std::filesystem::file_size(path);
    if (bytes_ > most_bytes)
        throw std::runtime_error{"the photographs are more than 1 GiB, which the server holds in memory"};
    std::ifstream in{path, std::ios::binary};
    std::string bytes(std::filesystem::file_size(path), '\0');
    if (!in.read(bytes.data(), static_cast<std::streamsize>(bytes.size())))
        throw std::runtime_error{path.string() + ": cannot be read"};
    const std::size_t fingerprint = std::hash<std::string_view>{}(bytes);
    photographs_.emplace(name, photograph{name, std::make_shared<const std::string>(std::move(bytes)), fingerprint});
}

const photograph* gallery::find(std::string_view name) const
{
    const auto found = photographs_.find(name);
    return found == photographs_.end() ? nullptr : &found->second;
}

} // namespace image_server
