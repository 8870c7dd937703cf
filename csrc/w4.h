// The packed layout of 4- and 8-bit weights on the CPU, as index functions; pack.cpp writes it, the
// kernels read it.
//
// A weight [N, K] is cut into tiles of 16 rows, and a tile is one stream of memory, read from its
// start to its end:
//
// clang-format off
//   tile     = block of groups 0..3 | block of groups 4..7 | ...   (the last may have fewer)
//   block    = head, padded to 64 bytes | lines of its first group | lines of its second | ...
//   head     = per group: 16 fp16 scales (one a row), 16 uint8 zeros
//   line, W4 = 64 bytes: byte 4 r + j holds row r, low nibble input 8 i + j, high 8 i + 4 + j  (j < 4)
//   line, W8 = 64 bytes: byte 4 r + j holds row r, input 4 i + j
// clang-format on
//
// so that a 32-bit lane of a line is one row, and a dot product of bytes with four broadcast inputs
// leaves each row's sum in its own lane. Heads of four groups fill whole lines, and are short
// enough that going on behind them is not a jump for the processor's prefetcher: one head a tile,
// 768 bytes for K = 2048, halved the speed from memory.
//
// A group is 32, 64 or 128 inputs. A weight with one scale a row is packed as groups of 128 that
// repeat it, because activations are rounded group by group. Rows and inputs that only fill a tile
// or group are zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tinychat {

inline constexpr int kTileRows = 16;
inline constexpr int kLineBytes = 64;
// Inputs that a kernel takes in one step: 4 lines of W4 or 8 lines of W8.
inline constexpr int kStepInputs = 32;
inline constexpr int kMaxGroup = 128;
inline constexpr std::size_t kBlockGroups = 4;

constexpr std::size_t ceil_div(std::size_t n, std::size_t by) { return (n + by - 1) / by; }
constexpr std::size_t round_up(std::size_t n, std::size_t to) { return ceil_div(n, to) * to; }

// Where everything of one packed weight lies. All offsets are in bytes from the weight's start.
struct Packing {
  int bits;   // 4 or 8
  int rows;   // N
  int cols;   // K
  int group;  // Q as packed: 32, 64 or 128

  constexpr std::size_t groups() const {
    return ceil_div(static_cast<std::size_t>(cols), static_cast<std::size_t>(group));
  }
  constexpr std::size_t padded_cols() const { return groups() * static_cast<std::size_t>(group); }
  constexpr std::size_t tiles() const {
    return ceil_div(static_cast<std::size_t>(rows), kTileRows);
  }

  constexpr int inputs_per_line() const { return bits == 4 ? 8 : 4; }
  constexpr std::size_t group_bytes() const {
    return static_cast<std::size_t>(group / inputs_per_line()) * kLineBytes;
  }

  // The head of a block of n groups, and where its parts for one of them start.
  static constexpr std::size_t kHeadStride = kTileRows * (sizeof(std::uint16_t) + 1);
  static constexpr std::size_t kZerosInHead = kTileRows * sizeof(std::uint16_t);
  static constexpr std::size_t head_bytes(std::size_t n) {
    return round_up(n * kHeadStride, kLineBytes);
  }

  // Offsets within a tile.
  constexpr std::size_t block(std::size_t g) const {
    return g / kBlockGroups * (head_bytes(kBlockGroups) + kBlockGroups * group_bytes());
  }
  constexpr std::size_t scales(std::size_t g) const {
    return block(g) + g % kBlockGroups * kHeadStride;
  }
  constexpr std::size_t zeros(std::size_t g) const { return scales(g) + kZerosInHead; }
  constexpr std::size_t lines(std::size_t g) const {
    const std::size_t left = groups() - g / kBlockGroups * kBlockGroups;
    const std::size_t in_block = left < kBlockGroups ? left : kBlockGroups;
    return block(g) + head_bytes(in_block) + g % kBlockGroups * group_bytes();
  }

  constexpr std::size_t tile_bytes() const { return lines(groups() - 1) + group_bytes(); }
  constexpr std::size_t bytes() const { return tiles() * tile_bytes(); }
};

static_assert(Packing{4, 16, 128, 128}.bytes() == 64 + 16 * 64);
static_assert(Packing{4, 17, 130, 64}.bytes() == 2 * (3 * 64 + 3 * 8 * 64));
static_assert(Packing{8, 16, 32, 32}.bytes() == 64 + 8 * 64);
static_assert(Packing{4, 16, 640, 128}.lines(4) == 3 * 64 + 4 * 16 * 64 + 64);

}  // namespace tinychat
