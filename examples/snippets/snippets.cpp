// snippets: what README.md and docs/servers.md show in a line or two, made whole.
//
// Shows: parallel() with an item type and a result type of one's own; stream(), as results come; a pool for what strangers
// chose.
// Ends with 0 when the answers are right, and with 77 where this machine has no strict sandbox.

#include <cofork/cofork.hpp>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;

struct page {
    std::string title;
    std::size_t words = 0;

    template <typename Archive>
    void serialize(Archive& archive) // how it comes back from a worker
    {
        archive(title, words);
    }
    bool operator==(const page&) const = default;
};

/// The first word is the title.
static page parse(const std::string& document)
{
    std::istringstream text{document};
    page p;
    text >> p.title;
    for (std::string word; text >> word;)
        ++p.words;
    return p;
}

/// What a parser does that somebody has taken over by a clever document.
static bool can_read(const std::string& name)
{
    return std::ifstream{name}.is_open();
}

static asio::awaitable<std::size_t> words_in(const std::vector<std::string>& documents)
{
    std::size_t words = 0;
    auto pages = cofork::stream(parse, documents, {.timeout = 2s, .delivery = cofork::order::finished});
    while (auto next = co_await pages.next()) {
        if (next->outcome)
            words += next->outcome->words;
        else
            std::cerr << describe(next->outcome.error()) << '\n'; // of documents[next->index]
    }
    co_return words;
}

static asio::awaitable<void> parse_all(bool& right)
{
    const std::vector<std::string> documents{"One", "Two and more", ""};

    std::vector<page> pages = co_await cofork::parallel(parse, documents);

    right = pages == std::vector<page>{{"One", 0}, {"Two", 2}, {"", 0}};
    const std::size_t words = co_await words_in(documents);
    right = right && words == 2;
    std::cout << "parallel: " << (right ? "right" : "wrong") << '\n';
}

static asio::awaitable<void> shut_in(cofork::pool& pool, const std::string& file, bool& right)
{
    const page p = co_await cofork::run(pool, parse, std::string{"Two and more"});
    const bool opened = co_await cofork::run(pool, can_read, file);
    right = p == page{"Two", 2} && !opened;
    std::cout << "strict pool: " << (right ? "right" : "wrong") << '\n';
}

static void rethrow(std::exception_ptr error)
{
    if (error)
        std::rethrow_exception(error);
}

int main()
{
    asio::io_context context;
    bool parsed = false;
    asio::co_spawn(context, parse_all(parsed), rethrow);
    context.run();

    bool kept_out = false;
    try {
        const std::string file = "/etc/passwd"; // which everybody may read, also who is not root
        cofork::pool pool{context, {.sandbox = {.level = cofork::containment::strict, .memory = std::size_t{256} << 20, .cpu = 5s}}};
        asio::co_spawn(context, shut_in(pool, file, kept_out), rethrow);
        context.restart();
        context.run();
        kept_out = kept_out && can_read(file);
    }
    catch (const std::system_error& e) {
        std::cout << "strict pool: " << e.what() << '\n';
        return parsed && e.code() == cofork::errc::boot_failed ? 77 : 1;
    }
    return parsed && kept_out ? 0 : 1;
}
