// The packed layout of 4- and 8-bit weights on the CPU, as index functions; pack.cpp writes it, the
// kernels read it.
//
// A weight [N, K] is cut into tiles of 16 rows, and a tile is one stream of memory, read from its
// start to its end:
//
//   tile      = header, padded to 64 bytes | lines of group 0 | lines of group 1 | ...
//   header    = per group: 16 fp16 scales (one a row), 16 uint8 zeros
//   line, W4  = 64 bytes: byte 4 r + j holds row r; low nibble input 8 i + j, high nibble input 8 i
//   + 4 + j   (j < 4) line, W8  = 64 bytes: byte 4 r + j holds row r, input 4 i + j
//
// so that a 32-bit lane of a line is one row, and a dot product of bytes with four broadcast inputs
// leaves each row's sum in its own lane. A group is 32, 64 or 128 inputs. A weight with one scale a
// row is packed as groups of 128 that repeat it, because activations are rounded group by group.
// Rows and inputs that only fill a tile or group are zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tinychat {

inline constexpr int kTileRows = 16;
inline constexpr int kLineBytes = 64;
// Inputs that a kernel takes in one step: 4 lines of W4 or 8 lines of W8.
inline constexpr int kStepInputs = 32;
inline constexpr int kMaxGroup = 128;

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

  static constexpr std::size_t kHeadBytes = kTileRows * (sizeof(std::uint16_t) + 1);
  constexpr std::size_t header_bytes() const { return round_up(groups() * kHeadBytes, kLineBytes); }
  constexpr int inputs_per_line() const { return bits == 4 ? 8 : 4; }
  constexpr std::size_t group_bytes() const {
    return static_cast<std::size_t>(group / inputs_per_line()) * kLineBytes;
  }
  constexpr std::size_t tile_bytes() const { return header_bytes() + groups() * group_bytes(); }
  constexpr std::size_t bytes() const { return tiles() * tile_bytes(); }

  // Within a tile.
  static constexpr std::size_t scales(std::size_t g) { return g * kHeadBytes; }
  static constexpr std::size_t zeros(std::size_t g) {
    return g * kHeadBytes + kTileRows * sizeof(std::uint16_t);
  }
  constexpr std::size_t lines(std::size_t g) const { return header_bytes() + g * group_bytes(); }
};

static_assert(Packing{4, 16, 128, 128}.bytes() == 64 + 16 * 64);
static_assert(Packing{4, 17, 130, 64}.bytes() == 2 * (3 * 64 + 3 * 8 * 64));
static_assert(Packing{8, 16, 32, 32}.bytes() == 64 + 8 * 64);

}  // namespace tinychat
