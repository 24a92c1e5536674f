#include "ledger.hpp"

#include "url.hpp"

#include <algorithm>
#include <utility>

namespace crawler {

namespace {

// A server may redirect to ever new places; browsers give up at 20, too.
constexpr unsigned most_hops = 20;
constexpr std::size_t slowest_kept = 10;

} // namespace

ledger::ledger(const std::vector<std::string>& start) : start_{start}
{
    for (const std::string& url : start) {
        origins_.emplace(origin_of(url));
        if (numbers_.emplace(url, static_cast<std::uint32_t>(entries_.size())).second)
            entries_.push_back({.url = url, .is_start = true});
    }
}

std::vector<url_item> ledger::take_new()
{
    std::vector<url_item> fresh;
    for (; handed_out_ < entries_.size(); ++handed_out_)
        fresh.push_back({entries_[handed_out_].url});
    return fresh;
}

void ledger::add(std::size_t index, const page& got)
{
    entry& item = entries_.at(index);
    item.status = got.status;
    item.bytes = got.bytes;
    item.took = got.took;

    // A site that has moved as a whole is crawled where it is now.
    if (item.is_start && got.location.starts_with("http://"))
        origins_.emplace(origin_of(got.location));
    const bool leads_on = !got.location.empty() && item.hops < most_hops;
    if (got.status < 300)
        item.now = got.html ? state::page : state::file;
    else
        item.now = got.status < 400 && leads_on ? state::redirect : state::broken;

    if (item.now == state::redirect) {
        link(index, got.location);
    } else if (item.now == state::page) {
        ++pages_;
        links_ += got.links.size();
        for (const std::string& url : got.links)
            link(index, url);
    }
}

void ledger::add(std::size_t index, const cofork::failure& why)
{
    entries_.at(index).now = state::failed;
    entries_.at(index).why = why;
}

// May move the entries: no reference to one survives it.
void ledger::link(std::size_t from, const std::string& to)
{
    const bool redirect = entries_[from].now == state::redirect;
    if (!origins_.contains(std::string{origin_of(to)})) {
        outside_ += redirect ? 0 : 1;
        return;
    }
    const auto [known, fresh] = numbers_.emplace(to, static_cast<std::uint32_t>(entries_.size()));
    if (fresh && redirect)
        entries_.push_back({.url = to, .hops = entries_[from].hops + 1, .is_start = entries_[from].is_start});
    else if (fresh)
        entries_.push_back({.url = to});
    entries_[known->second].on.push_back(static_cast<std::uint32_t>(from));
}

std::vector<std::string> ledger::holders(const entry& of) const
{
    std::vector<std::string> urls;
    for (const std::uint32_t number : of.on)
        urls.push_back(entries_[number].url);
    std::ranges::sort(urls);
    return urls;
}

report ledger::summary() const
{
    report all;
    all.start = start_;
    all.links = links_;
    all.outside = outside_;
    for (const entry& item : entries_) {
        if (item.now == state::page || item.now == state::file)
            all.bytes += item.bytes;
        switch (item.now) {
        case state::waiting: ++all.unfetched; break;
        case state::page:
            all.pages.push_back(item.url);
            all.slowest.push_back({item.url, item.took, item.bytes});
            break;
        case state::file: all.files.push_back(item.url); break;
        case state::redirect: all.redirects.push_back(item.url); break;
        case state::broken: all.broken.push_back({item.url, item.status, holders(item)}); break;
        case state::failed: all.failed.push_back({item.url, *item.why, holders(item)}); break;
        }
    }
    std::ranges::sort(all.pages);
    std::ranges::sort(all.files);
    std::ranges::sort(all.redirects);
    std::ranges::sort(all.broken, {}, &broken_link::url);
    std::ranges::sort(all.failed, {}, &failed_item::url);
    std::ranges::sort(all.slowest, std::ranges::greater{}, &timed_page::took);
    all.slowest.resize(std::min(all.slowest.size(), slowest_kept));
    return all;
}

} // namespace crawler
