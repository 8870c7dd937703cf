// A part is summed right after it was read, while it is in cache.
#include "cpu/file.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "w4.h"

namespace tinychat {
namespace {

constexpr std::size_t kPartBytes = 256 << 10;

// One to one; every bit reaches the others, the low ones by the product, the high ones by the
// shift.
std::uint64_t mixed(std::uint64_t x) {
  x *= 0x9e3779b97f4a7c15;
  return x ^ x >> 32;
}

// Fletcher's two sums over each of eight lanes of words: the second weighs a word by its place.
std::uint64_t part_sum(const std::byte* data, std::size_t bytes, std::uint64_t part) {
  constexpr std::size_t kLanes = kLineBytes / sizeof(std::uint64_t);
  std::uint64_t sums[kLanes] = {}, weighted[kLanes] = {};
  const auto add = [&](const std::byte* from, std::size_t n) {
    std::uint64_t words[kLanes] = {};
    std::memcpy(words, from, n);
    for (std::size_t i = 0; i < kLanes; ++i) {
      sums[i] += words[i];
      weighted[i] += sums[i];
    }
  };
  std::size_t at = 0;
  for (; at + kLineBytes <= bytes; at += kLineBytes) add(data + at, kLineBytes);
  if (at < bytes) add(data + at, bytes - at);
  std::uint64_t sum = mixed(part + 1) ^ bytes;
  for (std::size_t i = 0; i < kLanes; ++i) {
    sum = mixed(mixed(sum ^ sums[i]) ^ weighted[i]);
  }
  return sum;
}

bool read_part(int file, std::int64_t offset, std::byte* to, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = pread(file, to, bytes, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    offset += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

// Calls f(number, offset, bytes) for all parts and adds up what it returns.
template <class F>
std::uint64_t sum_of_parts(ThreadPool& pool, std::size_t bytes, F f) {
  std::atomic<std::uint64_t> sum{0};
  pool.run([&](Team& team) {
    team.for_each(static_cast<int>(ceil_div(bytes, kPartBytes)), 1, [&](Range parts) {
      for (int part = parts.begin; part < parts.end; ++part) {
        const std::size_t begin = static_cast<std::size_t>(part) * kPartBytes;
        sum.fetch_add(
            f(static_cast<std::uint64_t>(part), begin, std::min(kPartBytes, bytes - begin)),
            std::memory_order_relaxed);
      }
    });
  });
  return sum.load();
}

}  // namespace

std::optional<std::uint64_t> read_file(ThreadPool& pool, int file, std::int64_t offset,
                                       std::byte* to, std::size_t bytes) {
  std::atomic<bool> whole{true};
  const auto read = [&](std::uint64_t part, std::size_t begin, std::size_t n) -> std::uint64_t {
    const auto from = offset + static_cast<std::int64_t>(begin);
    if (!whole.load(std::memory_order_relaxed) || !read_part(file, from, to + begin, n)) {
      whole.store(false, std::memory_order_relaxed);
      return 0;
    }
    return part_sum(to + begin, n, part);
  };
  const std::uint64_t sum = sum_of_parts(pool, bytes, read);
  return whole.load() ? std::optional<std::uint64_t>(sum) : std::nullopt;
}

std::uint64_t checksum(ThreadPool& pool, const std::byte* data, std::size_t bytes) {
  return sum_of_parts(pool, bytes, [&](std::uint64_t part, std::size_t begin, std::size_t n) {
    return part_sum(data + begin, n, part);
  });
}

}  // namespace tinychat
