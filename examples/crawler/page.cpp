#include "page.hpp"

#include "url.hpp"

#include <gumbo.h>
#include <strings.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <new>
#include <string>
#include <unordered_set>
#include <utility>

namespace crawler {

namespace {

struct link_attribute {
    GumboTag tag;
    const char* name;
};

constexpr link_attribute link_attributes[] = {
    {GUMBO_TAG_A, "href"},      {GUMBO_TAG_AREA, "href"},   {GUMBO_TAG_LINK, "href"},   {GUMBO_TAG_IMG, "src"},
    {GUMBO_TAG_SCRIPT, "src"},  {GUMBO_TAG_IFRAME, "src"},  {GUMBO_TAG_FRAME, "src"},   {GUMBO_TAG_EMBED, "src"},
    {GUMBO_TAG_INPUT, "src"},   {GUMBO_TAG_AUDIO, "src"},   {GUMBO_TAG_VIDEO, "src"},   {GUMBO_TAG_VIDEO, "poster"},
    {GUMBO_TAG_SOURCE, "src"},  {GUMBO_TAG_TRACK, "src"},   {GUMBO_TAG_OBJECT, "data"},
};

struct output_deleter {
    void operator()(GumboOutput* output) const { ::gumbo_destroy_output(&kGumboDefaultOptions, output); }
};

const char* attribute(const GumboElement& element, const char* name)
{
    const GumboAttribute* const found = ::gumbo_get_attribute(&element.attributes, name);
    return found ? found->value : nullptr;
}

// Calls `visit` with every element, in document order. Not recursive: the page decides how deep it nests.
template <typename Visit>
void for_each_element(const GumboNode* root, Visit visit)
{
    std::vector<const GumboNode*> waiting{root};
    while (!waiting.empty()) {
        const GumboNode* const node = waiting.back();
        waiting.pop_back();
        if (node->type != GUMBO_NODE_ELEMENT && node->type != GUMBO_NODE_TEMPLATE)
            continue;
        visit(node->v.element);
        const GumboVector& children = node->v.element.children;
        for (unsigned i = children.length; i > 0; --i)
            waiting.push_back(static_cast<const GumboNode*>(children.data[i - 1]));
    }
}

// The URL of "5; url='next.html'"; empty when it only reloads the page itself.
std::string_view refresh_target(std::string_view content)
{
    std::string small{content};
    std::ranges::transform(small, small.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto at = small.find("url=");
    if (at == small.npos)
        return {};
    content.remove_prefix(at + 4);
    if (content.starts_with('\'') || content.starts_with('"')) {
        const char quote = content.front();
        content.remove_prefix(1);
        content = content.substr(0, content.find(quote));
    }
    return content;
}

// Calls `use` with the URLs of "a.png 1x, b.png 2x".
template <typename Use>
void for_each_candidate(std::string_view srcset, Use use)
{
    constexpr std::string_view space = " \t\r\n\f";
    while (!srcset.empty()) {
        const auto start = srcset.find_first_not_of(" \t\r\n\f,");
        if (start == srcset.npos)
            return;
        srcset.remove_prefix(start);
        const auto length = std::min(srcset.find_first_of(space), srcset.size());
        std::string_view url = srcset.substr(0, length);
        srcset.remove_prefix(length);
        const bool described = !url.ends_with(','); // a URL may hold commas, but not end with one
        while (url.ends_with(','))
            url.remove_suffix(1);
        use(url);
        if (described)
            srcset.remove_prefix(std::min(srcset.find(','), srcset.size()));
    }
}

/// Collects what it has not seen yet.
class link_collector {
public:
    explicit link_collector(std::string_view page) : base_{page} {}

    /// Only the first <base> with an address counts.
    void rebase(const char* href)
    {
        if (rebased_)
            return;
        if (const auto url = base_.resolve(href)) {
            base_ = base_url{*url};
            rebased_ = true;
        }
    }

    void add(std::string_view reference)
    {
        if (auto url = base_.resolve(reference); url && seen_.insert(*url).second)
            links_.push_back(std::move(*url));
    }

    std::vector<std::string> take() { return std::move(links_); }

private:
    base_url base_;
    bool rebased_ = false;
    std::unordered_set<std::string> seen_;
    std::vector<std::string> links_;
};

void collect(const GumboElement& element, link_collector& links)
{
    for (const auto& [tag, name] : link_attributes)
        if (element.tag == tag)
            if (const char* const value = attribute(element, name))
                links.add(value);

    if (element.tag == GUMBO_TAG_IMG || element.tag == GUMBO_TAG_SOURCE)
        if (const char* const value = attribute(element, "srcset"))
            for_each_candidate(value, [&](std::string_view url) { links.add(url); });

    if (element.tag == GUMBO_TAG_META) {
        const char* const kind = attribute(element, "http-equiv");
        const char* const content = attribute(element, "content");
        if (kind && content && ::strcasecmp(kind, "refresh") == 0)
            if (const auto target = refresh_target(content); !target.empty())
                links.add(target);
    }
}

} // namespace

std::vector<std::string> links_of(std::string_view html, std::string_view url)
{
    const std::unique_ptr<GumboOutput, output_deleter> output{
        ::gumbo_parse_with_options(&kGumboDefaultOptions, html.data(), html.size())};
    if (!output)
        throw std::bad_alloc{};

    link_collector links{url};
    // The base first: links before it are relative to it, too.
    for_each_element(output->root, [&](const GumboElement& element) {
        if (element.tag == GUMBO_TAG_BASE)
            if (const char* const href = attribute(element, "href"))
                links.rebase(href);
    });
    for_each_element(output->root, [&](const GumboElement& element) { collect(element, links); });
    return links.take();
}

} // namespace crawler
