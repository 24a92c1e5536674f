#pragma once
// Everything.

#include <cofork/by_bytes.hpp>
#include <cofork/codec.hpp>
#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/feed.hpp>
#include <cofork/options.hpp>
#include <cofork/outcome.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/progress.hpp>
#include <cofork/progress_bar.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>
#include <cofork/transport.hpp>
#include <cofork/wait.hpp>
