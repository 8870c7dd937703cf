// The scheduler of emulated threads.
#include "cuda/emulation/grid.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace tinychat::emulation {
namespace {

constexpr std::size_t kSharedAlignment = 128;
constexpr int kPoison = 0xff;  // as float16, float32 or float64 these bytes are NaN
// Looks at memory that nobody has changed; a loop that still spins then waits for ever.
constexpr std::size_t kMostIdlePauses = 100;
constexpr std::size_t kMostGroupsInReport = 8;

unsigned lowest_bit(std::uint32_t bits) { return static_cast<unsigned>(__builtin_ctz(bits)); }
unsigned highest_bit(std::uint32_t bits) { return 31 - static_cast<unsigned>(__builtin_clz(bits)); }
unsigned count_bits(std::uint32_t bits) { return static_cast<unsigned>(__builtin_popcount(bits)); }

std::size_t volume(const dim3& d) { return std::size_t{d.x} * d.y * d.z; }

uint3 unflatten(std::size_t i, const dim3& d) {
  const std::size_t row = i / d.x;
  return {static_cast<unsigned>(i % d.x), static_cast<unsigned>(row % d.y),
          static_cast<unsigned>(row / d.y)};
}

std::string text(const uint3& i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string text(const Site& site) {
  return std::string(site.what) + " at " + site.file + ":" + std::to_string(site.line);
}

bool same(const Site& a, const Site& b) {
  const auto equal = [](const char* x, const char* y) { return x == y || std::strcmp(x, y) == 0; };
  return a.line == b.line && equal(a.file, b.file) && equal(a.what, b.what);
}

}  // namespace

Thread* current = nullptr;

Grid::Grid(const Launch& launch, const Settings& settings, StackPool& stacks,
           std::function<std::string()> previous)
    : launch_(launch),
      settings_(settings),
      stacks_(stacks),
      previous_(std::move(previous)),
      random_(settings.seed + 1),
      threads_per_block_(static_cast<unsigned>(volume(launch.block))),
      warps_per_block_((threads_per_block_ + kLanes - 1) / kLanes) {
  const std::size_t together = settings.coresident != 0 ? volume(launch.grid) : 1;
  blocks_.resize(together);
  warps_.resize(together * warps_per_block_);
  threads_.resize(together * threads_per_block_);
}

Grid::~Grid() { free_shared(); }

std::string Grid::run() {
  std::vector<std::size_t> numbers(volume(launch_.grid));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
  if (settings_.order == Order::kReverse) std::reverse(numbers.begin(), numbers.end());
  if (settings_.order == Order::kShuffled) std::shuffle(numbers.begin(), numbers.end(), random_);

  Thread* const caller = current;
  for (std::size_t done = 0; done < numbers.size() && error_.empty(); done += blocks_.size()) {
    for (std::size_t slot = 0; slot < blocks_.size(); ++slot)
      start_block(slot, numbers[done + slot]);
    first_ = 0;
    if (Thread* thread = next()) {
      current = thread;
      launcher_.switch_to(thread->fiber);
    }
    if (alive_ > 0 && error_.empty()) error_ = report_deadlock();
    free_shared();
  }
  current = caller;
  if (previous_ && error_.empty()) error_ = std::exchange(previous_, nullptr)();
  return error_;
}

void Grid::start_block(std::size_t slot, std::size_t number) {
  Block& block = blocks_[slot];
  block.index = unflatten(number, launch_.grid);
  block.alive = threads_per_block_;
  block.at_barrier = 0;
  block.warps = &warps_[slot * warps_per_block_];
  block.threads = &threads_[slot * threads_per_block_];
  // As many bytes as were asked for and no more, so that AddressSanitizer sees the first beyond.
  block.shared = static_cast<std::byte*>(operator new(launch_.shared_bytes,
                                                      std::align_val_t{kSharedAlignment}));
  std::memset(block.shared, kPoison, launch_.shared_bytes);

  for (unsigned w = 0; w < warps_per_block_; ++w) {
    const unsigned lanes = std::min(kLanes, threads_per_block_ - w * kLanes);
    Warp& warp = block.warps[w];
    warp.alive = warp.ready = ~0u >> (kLanes - lanes);
    warp.paused = warp.arrived = 0;
    warp.threads = block.threads + w * kLanes;
  }
  for (unsigned t = 0; t < threads_per_block_; ++t) {
    Thread& thread = block.threads[t];
    thread.index = unflatten(t, launch_.block);
    thread.number = t;
    thread.block = &block;
    thread.grid = this;
    thread.copies.clear();
    thread.commits.clear();
    const std::size_t stack = slot * threads_per_block_ + t;
    thread.fiber.start(stacks_[stack], stack, thread_entry);
  }
  ready_ += threads_per_block_;
  alive_ += threads_per_block_;
}

void Grid::free_shared() {
  for (Block& block : blocks_) {
    if (block.shared == nullptr) continue;
    operator delete(block.shared, std::align_val_t{kSharedAlignment});
    block.shared = nullptr;
  }
}

void Grid::thread_entry() {
  Grid& grid = *current->grid;
  grid.launch_.kernel();
  grid.leave(/*ended=*/true);
}

// The running thread ends or waits, and the next one goes on.
void Grid::leave(bool ended) {
  Thread& thread = *current;
  Block& block = *thread.block;
  Warp& warp = block.warps[thread.number / kLanes];
  const std::uint32_t bit = 1u << thread.number % kLanes;
  warp.ready &= ~bit;
  --ready_;
  if (ended) {
    if (thread.fiber.overflowed()) fail("the stack of an emulated thread is too small");
    warp.alive &= ~bit;
    --block.alive;
    --alive_;
    idle_pauses_ = 0;
    if (block.at_barrier > 0 && block.at_barrier == block.alive) release_barrier(block);
  }
  Thread* const following = next();
  if (following == &thread) return;
  current = following;
  thread.fiber.switch_to(following == nullptr ? launcher_ : following->fiber, ended);
}

// The thread that goes on now; null where none can.
Thread* Grid::next() {
  if (ready_ == 0) {
    if (paused_ == 0 || ++idle_pauses_ > kMostIdlePauses) return nullptr;
    for (Warp& warp : warps_) release(warp, std::exchange(warp.paused, 0));
    paused_ = 0;
  }
  const std::size_t count = warps_.size();
  std::size_t position = settings_.order == Order::kShuffled ? random_() % count : first_;
  const auto warp_at = [&](std::size_t p) -> Warp& {
    return warps_[settings_.order == Order::kReverse ? count - 1 - p : p];
  };
  while (warp_at(position).ready == 0) position = position + 1 == count ? 0 : position + 1;
  first_ = position;
  const Warp& warp = warp_at(position);
  switch (settings_.order) {
    case Order::kForward:
      return warp.threads + lowest_bit(warp.ready);
    case Order::kReverse:
      return warp.threads + highest_bit(warp.ready);
    case Order::kShuffled:
      break;
  }
  const unsigned turn = static_cast<unsigned>(random_() % kLanes);
  const std::uint32_t above = warp.ready >> turn << turn;
  return warp.threads + lowest_bit(above != 0 ? above : warp.ready);
}

void Grid::release(Warp& warp, std::uint32_t lanes) {
  if (lanes == 0) return;
  warp.ready |= lanes;
  ready_ += count_bits(lanes);
  const auto index = static_cast<std::size_t>(&warp - warps_.data());
  first_ = std::min(first_, settings_.order == Order::kReverse ? warps_.size() - 1 - index : index);
}

void Grid::release_barrier(Block& block) {
  block.at_barrier = 0;
  idle_pauses_ = 0;
  for (unsigned w = 0; w < warps_per_block_; ++w) {
    Warp& warp = block.warps[w];
    release(warp, warp.alive & ~warp.ready);
  }
}

void Grid::barrier(const Site& site) {
  Thread& thread = *current;
  Block& block = *thread.block;
  if (block.at_barrier == 0) block.barrier = site;
  if (!same(site, block.barrier)) {
    fail("one block meets at two barriers: " + text(block.barrier) + " and " + text(site));
  }
  thread.waits_at = site;
  if (++block.at_barrier < block.alive) return leave(/*ended=*/false);
  // The last to come goes on at once, and only then are the others let go.
  Warp& own = block.warps[thread.number / kLanes];
  own.ready &= ~(1u << thread.number % kLanes);
  --ready_;
  release_barrier(block);
}

void Grid::collective(std::uint32_t mask, void* operands, Warp::Combine combine, const Site& site) {
  Thread& thread = *current;
  Warp& warp = thread.block->warps[thread.number / kLanes];
  const unsigned lane = thread.number % kLanes;
  const std::uint32_t bit = 1u << lane;
  if ((mask & bit) == 0) fail(text(site) + ": the mask leaves out the lane that calls");
  if (const std::uint32_t others = warp.arrived & mask; others != 0) {
    const unsigned other = lowest_bit(others);
    const Warp::Lane& met = warp.lanes[other];
    if (met.mask != mask || met.combine != combine) {
      fail("lanes of one warp meet in different operations: " + text(warp.threads[other].waits_at) +
           " and " + text(site));
    }
  }
  thread.waits_at = site;
  warp.lanes[lane] = {operands, combine, mask};
  warp.arrived |= bit;
  if ((warp.arrived & mask) != mask) return leave(/*ended=*/false);

  void* all[kLanes];
  for (unsigned i = 0; i < kLanes; ++i) all[i] = warp.lanes[i].operands;
  combine(all, mask);
  warp.arrived &= ~mask;
  idle_pauses_ = 0;
  release(warp, mask & ~bit);
}

void Grid::pause(const Site& site) {
  Thread& thread = *current;
  thread.waits_at = site;
  thread.block->warps[thread.number / kLanes].paused |= 1u << thread.number % kLanes;
  ++paused_;
  leave(/*ended=*/false);
}

void Grid::wait_for_previous() {
  if (!previous_) return;
  const std::string error = std::exchange(previous_, nullptr)();
  if (!error.empty()) fail(error);
}

// Ends the launch: the threads that are left are never switched to again.
void Grid::fail(const std::string& mistake) {
  error_ = "kernel " + launch_.name + ", block " + text(current->block->index) + ", thread " +
           text(current->index) + ": " + mistake;
  current->fiber.switch_to(launcher_, /*ended=*/true);
  __builtin_unreachable();
}

std::string Grid::report_deadlock() const {
  std::string report = "kernel " + launch_.name + ": no thread can go on";
  std::size_t groups = 0;
  for (const Block& block : blocks_) {
    if (block.alive == 0) continue;
    const auto state = [&](unsigned t) {
      const bool alive = (block.warps[t / kLanes].alive >> t % kLanes & 1) != 0;
      return alive ? block.threads[t].waits_at : Site{"", "", 0};
    };
    for (unsigned first = 0, end = 0; first < threads_per_block_; first = end) {
      while (end < threads_per_block_ && same(state(end), state(first))) ++end;
      if (++groups > kMostGroupsInReport) return report + "; ...";
      const Site site = state(first);
      report += "; block " + text(block.index) + ": threads " + std::to_string(first) + " to " +
                std::to_string(end - 1) +
                (site.line == 0 ? " have ended" : " wait in " + text(site));
    }
  }
  return report;
}

void fail(const std::string& mistake) { current->grid->fail(mistake); }

void require_aligned(const void* address, std::size_t bytes, const char* what) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes == 0) return;
  fail(std::string(what) + ": an address is not a multiple of " + std::to_string(bytes));
}

void require_shared(const void* address, std::size_t bytes, const char* what) {
  const Grid& grid = *current->grid;
  const auto* begin = static_cast<const std::byte*>(address);
  const std::byte* shared = current->block->shared;
  if (begin >= shared && begin + bytes <= shared + grid.launch().shared_bytes) return;
  fail(std::string(what) + ": an address is not in the shared memory of the block");
}

}  // namespace tinychat::emulation
