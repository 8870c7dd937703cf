// A buffer is read once by the team, in the way that the matmul kernels read weights, and nothing
// else is done; or operands are multiplied as those kernels do it, and nothing is read.
#include "cpu/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>

#include "cpu/memory.h"

namespace tinychat {

double read_bandwidth(ThreadPool& pool, const Isa& isa, std::size_t bytes, int repeats) {
  constexpr int kPagesPerPart = 64;
  const auto pages = static_cast<int>(bytes / kPageBytes);
  const std::size_t size = static_cast<std::size_t>(pages) * kPageBytes;
  const auto buffer = std::unique_ptr<std::byte[]>(new std::byte[size]);
  prefer_large_pages(buffer.get(), size);
  std::memset(buffer.get(), 1, size);
  // The sum is kept, so that no read can be left out.
  std::atomic<std::uint64_t> sum{0};
  double best = 0.0;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](Team& team) {
      team.for_each(pages, kPagesPerPart, [&](Range part) {
        std::uint64_t part_sum = 0;
        for (int page = part.begin; page < part.end; ++page) {
          part_sum += isa.sum_page(buffer.get() + static_cast<std::size_t>(page) * kPageBytes);
        }
        sum.fetch_add(part_sum, std::memory_order_relaxed);
      });
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(size) / seconds.count() / 1e9);
  }
  return best;
}

double int8_rate(ThreadPool& pool, const Isa& isa, int repeats) {
  constexpr int kRounds = 1 << 14, kPartsPerThread = 16;
  double best = 0.0;
  for (int i = 0; i < repeats; ++i) {
    std::atomic<std::int64_t> operations{0};
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](Team& team) {
      team.for_each(kPartsPerThread * team.size, 1, [&](Range part) {
        for (int p = part.begin; p < part.end; ++p) operations += isa.multiply_registers(kRounds);
      });
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(operations) / seconds.count() / 1e9);
  }
  return best;
}

}  // namespace tinychat
