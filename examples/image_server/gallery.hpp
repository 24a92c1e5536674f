#pragma once
// The photographs that are served: what a folder held when the server was started.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace image_server {

struct photograph {
    std::string name; ///< its path inside the folder
    std::shared_ptr<const std::string> file;
    std::size_t fingerprint = 0; ///< of the file: what is made from equal ones is equal
};

/// All of them are in memory: Asio reads no files without blocking its loop, and a request can then name no other file, however
/// it spells its path.
class gallery {
public:
    static constexpr std::size_t most_bytes = std::size_t{1} << 30;

    /// Reads all regular files under `folder` that could be a picture by their names. Throws std::runtime_error, also when they
    /// have more than most_bytes.
    explicit gallery(const std::filesystem::path& folder);

    /// Null when there is none of that name.
    const photograph* find(std::string_view name) const;
    const std::map<std::string, photograph, std::less<>>& all() const noexcept { return photographs_; }

private:
    void add(const std::filesystem::path& path, std::string name);

    std::map<std::string, photograph, std::less<>> photographs_;
    std::size_t bytes_ = 0;
};

} // namespace image_server
