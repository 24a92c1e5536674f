#include "crawl.hpp"

#include "fetch.hpp"
#include "ledger.hpp"

#include <cofork/cofork.hpp>

#include <asio/error.hpp>
#include <asio/this_coro.hpp>

#include <chrono>
#include <system_error>
#include <utility>

namespace crawler {

namespace {

void push_new(cofork::feed<url_item>& frontier, ledger& books)
{
    for (url_item& item : books.take_new())
        frontier.push(std::move(item));
}

// Fetches until nothing new is found or enough pages are read.
asio::awaitable<ending> fetch_all(const settings& chosen, ledger& books)
{
    const auto executor = co_await asio::this_coro::executor;
    cofork::progress_bar bar{{.label = "crawl", .clear = true}};
    cofork::feed<url_item> frontier;
    push_new(frontier, books);

    // Workers inherit what this captures. Only URLs travel to them, and only what was found travels back.
    const auto fetch = [&faults = chosen.faults](const url_item& item) { return fetch_page(faults, item); };
    const cofork::options options{
        .workers = chosen.workers.value_or(cofork::all_cpus),
        .pause = chosen.pause,
        .timeout = chosen.timeout,
        .delivery = cofork::order::finished,
        .progress = bar,
    };
    auto results = cofork::stream(executor, fetch, frontier, options);
    while (auto result = co_await results.next()) {
        if (result->outcome)
            books.add(result->index, *result->outcome);
        else
            books.add(result->index, result->outcome.error());
        if (chosen.max_pages != 0 && books.pages() == chosen.max_pages)
            co_return ending::page_limit;
        push_new(frontier, books);
    }
    co_return ending::complete;
}

} // namespace

asio::awaitable<report> crawl(settings chosen, std::vector<std::string> start)
{
    const auto began = std::chrono::steady_clock::now();
    ledger books{start};
    ending end = ending::failed;
    std::string error;
    try {
        end = co_await fetch_all(chosen, books);
    } catch (const std::system_error& e) {
        if (e.code() == asio::error::operation_aborted)
            end = ending::interrupted;
        else
            error = e.what();
    }
    report found = books.summary();
    found.end = end;
    found.error = std::move(error);
    found.elapsed = std::chrono::steady_clock::now() - began;
    co_return found;
}

} // namespace crawler
