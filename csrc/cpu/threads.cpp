// The thread pool's waiting, sharing and life cycle.
#include "cpu/threads.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tinychat {
namespace {

// Longer than the gap between two ops or two decode steps, shorter than anyone notices as load.
constexpr auto kSpin = std::chrono::microseconds(100);
constexpr int kPausesPerClockRead = 32;
constexpr std::size_t kCacheLine = 64;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Threads waiting for a condition on sequentially consistent atomics: they spin, then sleep.
class Waiters {
 public:
  template <class Condition>
  void wait_until(const Condition& holds) {
    if (holds()) return;
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < kPausesPerClockRead; ++i) {
        pause();
        if (holds()) return;
      }
    } while (std::chrono::steady_clock::now() < deadline);
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1);
    changed_.wait(lock, holds);
    sleepers_.fetch_sub(1);
  }

  // To be called after the change. The order of all these operations is one order for all threads,
  // so either the waiter sees the change or we see the sleeper.
  void wake() {
    if (sleepers_.load() == 0) return;
    std::lock_guard<std::mutex> lock(mutex_);
    changed_.notify_all();
  }

 private:
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

// The state of the current loop in one word, so that taking work and reporting it is one atomic
// step and a thread that slept through some loops can never take a part of the wrong one.
struct Progress {
  std::uint32_t loop;
  std::uint32_t taken;  // grains, 16 bits
  std::uint32_t done;   // grains, 16 bits

  static constexpr std::int64_t kMostGrains = 0xffff;

  static Progress unpack(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint32_t>(word >> 16 & 0xffff),
            static_cast<std::uint32_t>(word & 0xffff)};
  }
  std::uint64_t pack() const { return static_cast<std::uint64_t>(loop) << 32 | taken << 16 | done; }
};

struct AlignedDelete {
  void operator()(std::byte* memory) const {
    ::operator delete[](memory, std::align_val_t(kCacheLine));
  }
};

}  // namespace

// What the threads of one pool in one process share.
struct PoolState {
  alignas(kCacheLine) std::atomic<std::uint64_t> progress{0};
  alignas(kCacheLine) Waiters loop_waiters;

  alignas(kCacheLine) std::atomic<std::uint32_t> runs{0};  // started so far
  Waiters run_waiters;
  std::atomic<int> inside{0};  // workers that joined the current run and have not left it
  Waiters leave_waiters;

  std::mutex entrance;  // guards the next three
  const Job* job = nullptr;
  std::uint32_t first_loop = 0;
  bool stopping = false;

  std::mutex running;  // guards the rest
  bool closed = false;
  std::size_t scratch_bytes = 0;
  std::unique_ptr<std::byte[], AlignedDelete> scratch;
  std::vector<std::thread> workers;
  const pid_t process = getpid();

  explicit PoolState(int size) {
    workers.reserve(static_cast<std::size_t>(size - 1));
    try {
      for (int rank = 1; rank < size; ++rank) {
        workers.emplace_back([this, rank, size] { work_until_stopped(rank, size); });
      }
    } catch (...) {
      stop();
      throw;
    }
  }

  void work_until_stopped(int rank, int size) {
    std::uint32_t seen = 0;
    for (;;) {
      run_waiters.wait_until([&] { return runs.load() != seen; });
      const Job* joined;
      std::uint32_t loop;
      {
        std::lock_guard<std::mutex> lock(entrance);
        if (stopping) return;
        seen = runs.load();
        joined = job;
        loop = first_loop;
        if (joined != nullptr) inside.fetch_add(1);
      }
      if (joined == nullptr) continue;  // too late, the run is over
      Team team(this, rank, size, loop);
      (*joined)(team);
      inside.fetch_sub(1);
      leave_waiters.wake();
    }
  }

  void open(const Job& next) {
    {
      std::lock_guard<std::mutex> lock(entrance);
      job = &next;
      first_loop = Progress::unpack(progress.load()).loop;
      runs.fetch_add(1);
    }
    run_waiters.wake();
  }

  void close_and_wait() {
    {
      std::lock_guard<std::mutex> lock(entrance);
      job = nullptr;
    }
    leave_waiters.wait_until([&] { return inside.load() == 0; });
  }

  void reserve(std::size_t bytes) {
    if (bytes <= scratch_bytes) return;
    scratch.reset();
    scratch_bytes = 0;
    scratch.reset(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t(kCacheLine))));
    scratch_bytes = bytes;
  }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(entrance);
      stopping = true;
      runs.fetch_add(1);
    }
    run_waiters.wake();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
  }
};

bool Team::take(int n, int grain, Range* part) {
  const std::int64_t least = std::max(grain, 1);
  const std::int64_t wide =
      std::max(least, (n + Progress::kMostGrains - 1) / Progress::kMostGrains);
  const auto grains = static_cast<std::uint32_t>((n + wide - 1) / wide);
  std::uint64_t word = state_->progress.load();
  for (;;) {
    const Progress now = Progress::unpack(word);
    if (now.loop != loop_) return false;
    Progress next = {loop_, now.taken, now.done + unreported_};
    const std::uint32_t left = grains - now.taken;
    std::uint32_t mine = 0;
    if (next.done == grains) {
      next = {loop_ + 1, 0, 0};
    } else if (left > 0) {
      // Half of an equal share of the rest, so that the last parts are small.
      mine = size == 1 ? left
                       : std::max<std::uint32_t>(1, left / (2 * static_cast<std::uint32_t>(size)));
      next.taken += mine;
    } else if (unreported_ == 0) {
      return false;
    }
    if (!state_->progress.compare_exchange_weak(word, next.pack())) continue;
    unreported_ = mine;
    if (next.loop != loop_) state_->loop_waiters.wake();
    if (mine == 0) return false;
    *part = {static_cast<int>(now.taken * wide),
             static_cast<int>(std::min<std::int64_t>(n, (now.taken + mine) * wide))};
    return true;
  }
}

void Team::finish() {
  state_->loop_waiters.wait_until(
      [&] { return Progress::unpack(state_->progress.load()).loop != loop_; });
  ++loop_;
}

std::byte* Team::scratch() const { return state_->scratch.get(); }

ThreadPool::ThreadPool(int threads) : size_(threads) {
  if (threads < 1) throw std::invalid_argument("a thread pool needs at least one thread");
  state_ = std::make_unique<PoolState>(size_);
}

ThreadPool::~ThreadPool() { close(); }

PoolState& ThreadPool::state_of_this_process() {
  if (state_->process != getpid()) {
    // The threads did not survive fork(), and a lock may be held for ever, so the old state is
    // left, not destroyed.
    const bool closed = state_->closed;
    state_.release();
    state_ = std::make_unique<PoolState>(closed ? 1 : size_);
    state_->closed = closed;
  }
  return *state_;
}

void ThreadPool::run(const Job& job, std::size_t scratch_bytes) {
  PoolState& state = state_of_this_process();
  std::lock_guard<std::mutex> lock(state.running);
  if (state.closed) throw ClosedError("these ops are closed; load the model again");
  state.reserve(scratch_bytes);
  state.open(job);
  Team team(&state, 0, size_, state.first_loop);
  job(team);
  state.close_and_wait();
}

void ThreadPool::close() {
  PoolState& state = state_of_this_process();
  std::lock_guard<std::mutex> lock(state.running);
  if (state.closed) return;
  state.closed = true;
  state.stop();
}

}  // namespace tinychat
