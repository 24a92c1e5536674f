#pragma once
// What a crawl needs from a page: its links. The parser is gumbo.

#include <string>
#include <string_view>
#include <vector>

namespace crawler {

/// The distinct http and https URLs that `html`, fetched from `url`, refers to, normalised, in order of appearance.
///
/// Counted are <a>, <area>, <link> (href), <img>, <script>, <iframe>, <frame>, <embed>, <input>, <audio>, <video>,
/// <source>, <track> (src), <video> (poster), <object> (data), srcset of <img> and <source>, and <meta> refresh, all
/// relative to the first <base>.
std::vector<std::string> links_of(std::string_view html, std::string_view url);

} // namespace crawler
