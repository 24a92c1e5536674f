#pragma once
// Addresses: what a link on a page means (RFC 3986), in one spelling per resource.

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace crawler {

/// What links on a page are relative to. Its text is parsed once, however many links there are.
class base_url {
public:
    /// Throws std::invalid_argument when `url` is not an absolute http or https URL.
    explicit base_url(std::string_view url);
    ~base_url();

    base_url(base_url&&) noexcept;
    base_url& operator=(base_url&&) noexcept;

    /// The http or https URL that `reference` means here: absolute, normalised (RFC 3986 §6.2.2 and the default port
    /// left out), without its fragment and without user information. Nothing for other schemes and for what is no URL.
    ///
    /// Characters that no URL may contain are percent-encoded, as pages in the wild need.
    [[nodiscard]] std::optional<std::string> resolve(std::string_view reference) const;

private:
    class parsed;
    std::unique_ptr<parsed> parsed_;
};

/// The normalised form of an absolute http or https URL; nothing when `text` is not one.
std::optional<std::string> normalised(std::string_view text);

/// Scheme, host and port of a normalised URL: "http://127.0.0.1:8080".
std::string_view origin_of(std::string_view url);

/// Path and query of a normalised URL: "/search?q=1".
std::string_view target_of(std::string_view url);

/// Whom to connect to, and what to write into the Host field.
struct endpoint {
    std::string host; ///< a name or an address, IPv6 without brackets
    std::string port; ///< decimal
    std::string authority; ///< as in the URL
};

/// The endpoint of a normalised http URL.
endpoint endpoint_of(std::string_view url);

} // namespace crawler
