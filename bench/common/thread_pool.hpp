#pragma once
// The pool that programs write for themselves: threads, one queue, one mutex.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace bench {

class thread_pool {
public:
    explicit thread_pool(unsigned threads)
    {
        for (unsigned i = 0; i < threads; ++i)
            threads_.emplace_back([this] { serve(); });
    }

    ~thread_pool()
    {
        {
            const std::scoped_lock lock{mutex_};
            ending_ = true;
        }
        work_.notify_all();
        for (auto& t : threads_)
            t.join();
    }

    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    void post(std::function<void()> task)
    {
        {
            const std::scoped_lock lock{mutex_};
            tasks_.push_back(std::move(task));
            ++unfinished_;
        }
        work_.notify_one();
    }

    /// Returns when all that was posted is done.
    void wait()
    {
        std::unique_lock lock{mutex_};
        idle_.wait(lock, [this] { return unfinished_ == 0; });
    }

    /// f(i) for all i below `count`, `chunk` of them in one task.
    template <typename F>
    void for_each_index(std::size_t count, std::size_t chunk, F f)
    {
        for (std::size_t first = 0; first < count; first += chunk)
            post([first, last = first + chunk < count ? first + chunk : count, f] {
                for (std::size_t i = first; i < last; ++i)
                    f(i);
            });
        wait();
    }

private:
    void serve()
    {
        std::unique_lock lock{mutex_};
        for (;;) {
            work_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
            if (tasks_.empty())
                return;
            const auto task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task();
            lock.lock();
            if (--unfinished_ == 0)
                idle_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable work_, idle_;
    std::deque<std::function<void()>> tasks_;
    std::size_t unfinished_ = 0;
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

} // namespace bench
