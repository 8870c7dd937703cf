// A pool whose threads all run the same function (SPMD) and share its loops by taking parts of
// them.
//
// It believes that ops are short (microseconds) and come in bursts, so waiting is mostly spinning;
// that other processes want the cores too, so nothing spins for long; and that a thread which the
// system has put aside must not be waited for unless it holds work. So a loop ends when all its
// parts are done, whoever did them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>

namespace tinychat {

// Half-open interval of work items.
struct Range {
  int begin;
  int end;
};

struct PoolState;

// One thread's view of the team that runs an op.
//
// Every thread calls an op's for_each loops in the same order, but one may come late, when others
// have done a loop or the whole op already: it then finds nothing left and passes. Hence two rules
// for ops. All work is inside for_each bodies; outside of them an op may only compute with its
// arguments and with memory that no op of its plan writes. And nothing may depend on how many
// threads take part or which of them does what.
class Team {
 public:
  Team(PoolState* state, int rank_in_team, int team_size, std::uint32_t loop)
      : rank(rank_in_team), size(team_size), state_(state), loop_(loop) {}

  const int rank;  // 0..size-1: which part of scratch memory is this thread's own
  const int size;

  // Calls body(Range) for parts of 0..n on whichever threads come for them; the parts are multiples
  // of `grain` items (but for the last) and become smaller. Returns when all n items are done and
  // visible to this thread.
  template <class Body>
  void for_each(int n, int grain, Body&& body) {
    Range part;
    while (take(n, grain, &part)) body(part);
    finish();
  }

  // Memory shared by the team, 64-byte aligned, as large as the op asked for when it was submitted.
  std::byte* scratch() const;

 private:
  // Reports the part taken before as done and takes another; false if none is left.
  bool take(int n, int grain, Range* part);
  // Waits until the loop is done.
  void finish();

  PoolState* state_;
  std::uint32_t loop_;  // number of the loop this thread is in, counted over the life of the pool
  std::uint32_t unreported_ = 0;  // grains done since the last report
};

// Thrown when a pool is used after close().
struct ClosedError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Job = std::function<void(Team&)>;

// Threads that live as long as the pool; the caller of run() works as rank 0.
// One run at a time: further callers wait. After fork() the child starts its own threads on first
// use.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs the job on the team; no thread uses it any more when this returns. The job must not throw.
  void run(const Job& job, std::size_t scratch_bytes = 0);

  // Stops the threads; idempotent. run() throws ClosedError afterwards.
  void close();

  int size() const { return size_; }

 private:
  PoolState& state_of_this_process();

  const int size_;
  std::unique_ptr<PoolState> state_;
};

}  // namespace tinychat
