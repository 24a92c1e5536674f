#pragma once
// What the embedded server answers: the files of one directory. No sockets here.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace crawler {

struct reply {
    int status = 200;
    std::string content_type = "text/html; charset=utf-8";
    std::string location{};       ///< of a redirect
    std::string text{};           ///< the body, unless it is a file
    std::filesystem::path file{}; ///< the body, when not empty
    std::uint64_t size = 0;       ///< of the body
};

/// The files below a directory, by the paths of URLs.
class site {
public:
    /// Throws std::filesystem::filesystem_error when `root` is not there.
    explicit site(const std::filesystem::path& root) : root_{std::filesystem::canonical(root)} {}

    /// The answer to GET `target` (path and query). Never a file outside the directory, whatever dots, percent signs
    /// and symbolic links the target holds: then 404. A directory is its index.html or, without one, a list.
    [[nodiscard]] reply get(std::string_view target) const;

    [[nodiscard]] bool has_index() const { return std::filesystem::is_regular_file(root_ / "index.html"); }

private:
    std::filesystem::path root_;
};

} // namespace crawler
