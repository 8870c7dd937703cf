// Launch checks, and the order in which launches run.
#include "cuda/emulation/stream.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <utility>

namespace tinychat::emulation {
namespace {

constexpr std::size_t kSharedWithoutAsking = 48 << 10;
constexpr unsigned kMostInGridX = 0x7fffffff, kMostInGridYZ = 65535, kMostInBlockZ = 64;
constexpr int kFirstArchWithOverlap = 900;
// Each launch that may overtake another runs around it, on stacks of its own.
constexpr std::size_t kLongestChain = 4;

// Shared memory that one block can ask for, in KB.
struct SharedLimit {
  int arch;
  std::size_t kilobytes;
};
constexpr SharedLimit kSharedLimits[] = {{750, 64}, {800, 163}, {860, 99},   {870, 163},
                                         {890, 99}, {900, 227}, {1000, 227}, {1200, 99}};

std::size_t most_shared(int arch) {
  for (const SharedLimit& limit : kSharedLimits) {
    if (limit.arch == arch) return limit.kilobytes << 10;
  }
  return 0;
}

std::mutex card;  // the running thread is known by one variable, so launches take turns

}  // namespace

std::string Stream::allow_shared(const void* kernel, std::size_t bytes) {
  if (bytes > most_shared(settings_.arch)) {
    return std::to_string(bytes) + " bytes of shared memory asked for; sm_" +
           std::to_string(settings_.arch / 10) + " has " +
           std::to_string(most_shared(settings_.arch));
  }
  allowed_shared_[kernel] = bytes;
  return "";
}

std::string Stream::refusal(const void* kernel, const Launch& launch) const {
  const auto text = [](const dim3& d) {
    return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
  };
  if (most_shared(settings_.arch) == 0) {
    return "there is no emulated architecture " + std::to_string(settings_.arch);
  }
  const dim3 &block = launch.block, &grid = launch.grid;
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMostThreads || block.z > kMostInBlockZ) {
    return "a block of " + text(block) + " threads; 1 to " + std::to_string(kMostThreads) + " fit";
  }
  if (std::min({grid.x, grid.y, grid.z}) == 0 || grid.x > kMostInGridX ||
      std::max(grid.y, grid.z) > kMostInGridYZ) {
    return "a grid of " + text(grid) + " blocks";
  }
  const auto asked = allowed_shared_.find(kernel);
  const std::size_t allowed =
      std::max(kSharedWithoutAsking, asked == allowed_shared_.end() ? 0 : asked->second);
  if (launch.shared_bytes > allowed) {
    return std::to_string(launch.shared_bytes) + " bytes of shared memory, " +
           std::to_string(allowed) + " are allowed; call allow_shared() first";
  }
  return "";
}

std::string Stream::launch(const void* kernel, Launch launch) {
  const std::string refused = refusal(kernel, launch);
  if (!refused.empty()) return "kernel " + launch.name + ": " + refused;
  if (settings_.overlap == 0) {
    const std::lock_guard<std::mutex> turn(card);
    return run(launch, 0, nullptr);
  }
  pending_.push_back(std::move(launch));
  return pending_.size() < kLongestChain ? "" : synchronize();
}

std::string Stream::synchronize() {
  const std::lock_guard<std::mutex> turn(card);
  const std::string error = run_pending(pending_.size(), 0);
  pending_.clear();
  return error;
}

// Runs the first `count` pending launches, the last of them around the others if it may be.
std::string Stream::run_pending(std::size_t count, std::size_t depth) {
  if (count == 0) return "";
  const Launch& last = pending_[count - 1];
  const auto before = [this, count, depth] { return run_pending(count - 1, depth + 1); };
  if (last.programmatic && settings_.arch >= kFirstArchWithOverlap) return run(last, depth, before);
  const std::string error = before();
  return error.empty() ? run(last, depth, nullptr) : error;
}

std::string Stream::run(const Launch& launch, std::size_t depth,
                        std::function<std::string()> previous) {
  try {
    while (stacks_.size() <= depth) stacks_.emplace_back();
    Settings settings = settings_;
    settings.seed += launches_++;
    return Grid(launch, settings, stacks_[depth], std::move(previous)).run();
  } catch (const std::exception& error) {
    return "kernel " + launch.name + ": " + error.what();
  }
}

}  // namespace tinychat::emulation
