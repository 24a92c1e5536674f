// What a policy is made into before any worker has it.

#include "support/catch.hpp"

#include "system_call_filter.hpp"

#include <cofork/policy.hpp>

#include <cctype>
#include <chrono>
#include <random>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using cofork::containment;
using cofork::policy;

} // namespace

TEST_CASE("policies that make no sense are refused", "[sandbox]")
{
    policy p;
    p.level = containment::strict;
    p.system_calls = {"no_such_call"};
    CHECK_THROWS_WITH(cofork::detail::make_rules(p), ContainsSubstring("no_such_call"));
    p.system_calls.clear();
    p.cpu = -1s;
    CHECK_THROWS_WITH(cofork::detail::make_rules(p), ContainsSubstring("policy::cpu"));
}

TEST_CASE("any set of system calls makes a filter", "[sandbox]")
{
    std::minstd_rand random{4711};
    for (int round = 0; round < 50; ++round) {
        policy p;
        p.level = containment::strict;
        for (int i = 0; i < 20; ++i) {
            std::string name = cofork::detail::system_call_name(static_cast<int>(random() % 450));
            if (!std::isdigit(static_cast<unsigned char>(name[0])))
                p.system_calls.push_back(std::move(name));
        }
        if (round % 2)
            p.readable = {"/"};
        CHECK(!cofork::detail::make_rules(p)->filter.empty());
    }
}
