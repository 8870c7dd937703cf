// The layout tc16 of 4- and 8-bit weights on a card, as index functions; tinychat/kernels/tc16.py
// packs it. It is the same for every architecture. Weights of 2 and 3 bits are kept as 4-bit ones.
//
// A weight [N, K] is cut into tiles of 16 rows that follow each other, and a tile is
//
// clang-format off
//   tile    = codes | scales of group 0 | scales of group 1 | ...
//   codes   = loads of 512 bytes: all rows of 64 inputs (W4) or 32 inputs (W8), and of them
//             16 bytes for each of the 32 lanes of a warp, which it reads by one instruction
//   scales  = 64 bytes: (row 0, row 8), (row 1, row 9), ... (row 7, row 15), each row two float16:
//             its scale, and its zero as a number
//
// The 16 bytes of a lane are four words, and in each it finds its own part of the A operand
// [16 rows, 16 inputs] of a tensor core, as drawn in ptx.cuh: with g = lane / 4, t = lane % 4
//
//   W4, word f, inputs 16f..16f+15 of the load          W8, word 2f + b, inputs 16f + 8b..16f + 8b + 7
//   bits   0   4   8  12 |  16  20  24  28              bits     0       8    |   16      24
//   row    g  g+8  g  g+8|   g  g+8  g  g+8             row      g      g+8   |    g      g+8
//   input 2t  2t  2t+8   | 2t+1 2t+1 2t+9               input   2t      2t    |  2t+1    2t+1
// clang-format on
//
// so that a mask of the word (after a shift) leaves two codes, each at the low end of 16 bits,
// where float16 numbers are made of them: the registers a[0], a[1], a[2], a[3] of the operand.
//
// A group is 32, 64 or 128 inputs. A weight with one scale a row is packed as groups of 128 that
// repeat it. Rows are filled up to whole tiles, inputs to a multiple of 64 and of the group; what
// fills stands for zero: a code equal to its group's zero, and in rows and groups that are all
// filling, scale, zero and codes of 0.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define TINYCHAT_BOTH_SIDES __host__ __device__
#else
#define TINYCHAT_BOTH_SIDES
#endif

namespace tinychat::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kFragmentInputs = 16;  // of one A operand
inline constexpr int kUnitInputs = 64;      // inputs come in multiples of it
inline constexpr int kLoadBytes = 512;
inline constexpr int kGroupScaleBytes = kTileRows * 2 * static_cast<int>(sizeof(std::uint16_t));

// Where the bits of a code are.
struct CodePlace {
  std::size_t byte;
  int shift;
};

// Where everything of one packed weight lies. Offsets are in bytes; all of tiles, loads and scales
// are multiples of 64.
struct Tc16 {
  int bits;   // 4 or 8
  int rows;   // N
  int cols;   // K
  int group;  // Q as packed: 32, 64 or 128

  TINYCHAT_BOTH_SIDES constexpr int tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  TINYCHAT_BOTH_SIDES constexpr int padded_cols() const {
    const int step = group > kUnitInputs ? group : kUnitInputs;
    return (cols + step - 1) / step * step;
  }
  TINYCHAT_BOTH_SIDES constexpr int groups() const { return padded_cols() / group; }
  TINYCHAT_BOTH_SIDES constexpr int group_bits() const {  // log2
    return group == 32 ? 5 : group == 64 ? 6 : 7;
  }
  TINYCHAT_BOTH_SIDES constexpr int load_inputs() const {
    return kLoadBytes * 8 / (kTileRows * bits);
  }

  // Of a tile.
  TINYCHAT_BOTH_SIDES constexpr std::size_t code_bytes() const {
    return static_cast<std::size_t>(padded_cols() / load_inputs()) * kLoadBytes;
  }
  TINYCHAT_BOTH_SIDES constexpr std::size_t tile_bytes() const {
    return code_bytes() + static_cast<std::size_t>(groups()) * kGroupScaleBytes;
  }
  TINYCHAT_BOTH_SIDES constexpr std::size_t bytes() const {
    return static_cast<std::size_t>(tiles()) * tile_bytes();
  }

  // Offsets from the start of the weight.
  TINYCHAT_BOTH_SIDES constexpr std::size_t load(int tile, int index) const {
    return static_cast<std::size_t>(tile) * tile_bytes() +
           static_cast<std::size_t>(index) * kLoadBytes;
  }
  TINYCHAT_BOTH_SIDES constexpr std::size_t scales(int tile, int g) const {
    return static_cast<std::size_t>(tile) * tile_bytes() + code_bytes() +
           static_cast<std::size_t>(g) * kGroupScaleBytes;
  }

  // Of one element; kernels need none of these, tests compare them with what Python packed.
  constexpr std::size_t scale(int row, int col) const {
    const int r = row % kTileRows;
    return scales(row / kTileRows, col / group) + static_cast<std::size_t>((r % 8 * 2 + r / 8) * 4);
  }
  constexpr CodePlace code(int row, int col) const {
    const int r = row % kTileRows;
    const int k = col % load_inputs();
    const int fragment = k / kFragmentInputs;
    const int upper = k / 8 % 2;  // half of the fragment's inputs
    const int lane = r % 8 * 4 + k % 8 / 2;
    const int odd = k % 2;
    const int word = bits == 4 ? fragment : fragment * 2 + upper;
    const int bit =
        bits == 4 ? 4 * (r / 8 + 2 * upper + 4 * odd) : 8 * (r / 8 + 2 * odd);  // of the word
    const int byte = lane * 16 + word * 4 + bit / 8;
    return {load(row / kTileRows, col / load_inputs()) + static_cast<std::size_t>(byte), bit % 8};
  }
};

static_assert(Tc16{4, 16, 128, 128}.bytes() == 2 * 512 + 64);
static_assert(Tc16{4, 17, 130, 64}.bytes() == 2 * (3 * 512 + 3 * 64));
static_assert(Tc16{4, 1, 32, 32}.bytes() == 512 + 2 * 64);
static_assert(Tc16{8, 16, 128, 128}.bytes() == 4 * 512 + 64);
static_assert(Tc16{4, 4096, 4096, 128}.bytes() == std::size_t{4096} * 4096 / 8 * 17 / 4);

}  // namespace tinychat::cuda
