// One emulated grid: blocks, warps and threads, who waits where, and who goes on next.
//
// A thread runs until it has to wait: at a barrier, in an operation of its warp, or in a loop that
// says it spins. An operation of a warp is done by the lane that comes last, for all: each lane
// leaves the address of its operands, and the last one reads and writes those of the others. When
// no thread can go on though some are left, that is the kernel's mistake, and the report says who
// waits where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cuda/emulation/fiber.h"
#include "cuda/emulation/settings.h"
#include "cuda/emulation/types.h"

namespace tinychat::emulation {

inline constexpr unsigned kLanes = 32;
inline constexpr unsigned kMostThreads = 1024;

// Where a kernel's source asked for something: the names in reports.
struct Site {
  const char* what;
  const char* file;
  int line;
};

// A copy of 16 bytes that cp.async has begun.
struct Copy {
  void* to;
  const void* from;  // null: zeros
};

struct Block;
class Grid;

struct Thread {
  uint3 index;
  unsigned number;  // of the thread in its block
  Block* block;
  Grid* grid;
  Fiber fiber;
  Site waits_at;
  std::vector<Copy> copies;          // begun by cp.async and not done, the oldest first
  std::vector<std::size_t> commits;  // where in `copies` each group ends
};

struct Warp {
  using Combine = void (*)(void* const operands[kLanes], std::uint32_t mask);

  std::uint32_t alive, ready, paused;  // one bit a lane
  std::uint32_t arrived;               // lanes that have left operands
  struct Lane {
    void* operands;
    Combine combine;
    std::uint32_t mask;
  } lanes[kLanes];
  Thread* threads;
};

struct Block {
  uint3 index;
  unsigned alive, at_barrier;
  Site barrier;
  std::byte* shared;
  Warp* warps;
  Thread* threads;
};

// The shape of a launch, and the kernel with its arguments.
struct Launch {
  std::string name;
  dim3 grid, block;
  std::size_t shared_bytes;
  bool programmatic;
  std::function<void()> kernel;
};

class Grid {
 public:
  // `previous` runs what this launch may have overtaken, and returns its error or nothing.
  Grid(const Launch& launch, const Settings& settings, StackPool& stacks,
       std::function<std::string()> previous);
  ~Grid();
  Grid(const Grid&) = delete;
  Grid& operator=(const Grid&) = delete;

  // Runs all blocks. Returns what went wrong, or nothing.
  std::string run();

  const Launch& launch() const { return launch_; }
  const Settings& settings() const { return settings_; }

  // What follows is called by the running thread. Each comes back when the thread may go on.
  void barrier(const Site& site);
  void collective(std::uint32_t mask, void* operands, Warp::Combine combine, const Site& site);
  void pause(const Site& site);
  void wait_for_previous();
  [[noreturn]] void fail(const std::string& mistake);

 private:
  static void thread_entry();
  void start_block(std::size_t slot, std::size_t number);
  void free_shared();
  void leave(bool ended);
  void release_barrier(Block& block);
  void release(Warp& warp, std::uint32_t lanes);
  Thread* next();
  std::string report_deadlock() const;
  void run_previous();

  const Launch& launch_;
  const Settings settings_;
  StackPool& stacks_;
  std::function<std::string()> previous_;
  std::minstd_rand random_;
  unsigned threads_per_block_, warps_per_block_;
  std::vector<Block> blocks_;  // those alive at once
  std::vector<Warp> warps_;
  std::vector<Thread> threads_;
  std::size_t ready_ = 0, paused_ = 0, alive_ = 0;
  std::size_t first_ = 0;  // no warp before this one, in the order of search, is ready
  std::size_t idle_pauses_ = 0;
  Fiber launcher_;
  std::string error_;
};

// The thread that runs. There is one emulated card in a process, and launches take turns on it.
extern Thread* current;

// The mistakes that are found at the place where they are made.
[[noreturn]] void fail(const std::string& mistake);
void require_aligned(const void* address, std::size_t bytes, const char* what);
void require_shared(const void* address, std::size_t bytes, const char* what);

}  // namespace tinychat::emulation
