// The packed layout of 2-, 3-, 4- and 8-bit weights on the CPU, as index functions; pack.cpp writes
// it, the kernels read it.
//
// A weight [N, K] is cut into tiles of 16 rows, and a tile is one stream of memory, read from its
// start to its end:
//
// clang-format off
//   tile     = block of groups 0..3 | block of groups 4..7 | ...   (the last may have fewer)
//   block    = head, padded to 64 bytes | steps of its first group | steps of its second | ...
//   head     = per group: 16 fp16 scales (one a row), 16 uint8 zeros
//   step     = 32 inputs of all rows, as many lines of 64 bytes as a code has bits
//
//   byte 4 r + j (j < 4) of line i of a step belongs to row r and holds, from its low bits up, of
//     W8   input  4 i + j
//     W4   inputs 8 i + j, 8 i + 4 + j                                            a nibble each
//     W2   inputs 16 i + j, 16 i + 4 + j, 16 i + 8 + j, 16 i + 12 + j             two bits each
//     W3   in lines 0 and 1 the low two bits of each code, as W2
//          in line 2 the third bits of inputs j, 4 + j, 8 + j, ..., 28 + j        one bit each
// clang-format on
//
// so that a 32-bit lane of a line is one row, and a dot product of bytes with four broadcast inputs
// leaves each row's sum in its own lane. Such four inputs are a quad; a step has eight. Three bits
// are kept as two and one because both divide a byte: no code crosses into another byte, and every
// width is taken apart by the same shift and mask.
//
// Heads of four groups fill whole lines, and are short enough that going on behind them is not a
// jump for the processor's prefetcher: one head a tile, 768 bytes for K = 2048, halved the speed
// from memory.
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
inline constexpr int kStepInputs = 32;
inline constexpr int kStepQuads = kStepInputs / 4;
inline constexpr int kMostBits = 8;
inline constexpr int kMaxGroup = 128;
inline constexpr std::size_t kBlockGroups = 4;

constexpr std::size_t ceil_div(std::size_t n, std::size_t by) { return (n + by - 1) / by; }
constexpr std::size_t round_up(std::size_t n, std::size_t to) { return ceil_div(n, to) * to; }

// Bits of a code that lie together; the third of 3 has its line to itself.
constexpr int low_width(int bits) { return bits == 3 ? 2 : bits; }

// Where everything of one packed weight lies. All offsets are in bytes from the weight's start.
struct Packing {
  int bits;   // 2, 3, 4 or 8
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

  constexpr std::size_t step_bytes() const { return static_cast<std::size_t>(bits * kLineBytes); }
  constexpr std::size_t group_bytes() const {
    return static_cast<std::size_t>(group / kStepInputs) * step_bytes();
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
static_assert(Packing{2, 16, 128, 128}.bytes() == 64 + 4 * 2 * 64);
static_assert(Packing{3, 33, 96, 32}.bytes() == 3 * (3 * 64 + 3 * 3 * 64));
static_assert(Packing{4, 16, 640, 128}.lines(4) == 3 * 64 + 4 * 16 * 64 + 64);

}  // namespace tinychat
