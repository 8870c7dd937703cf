// What products with a weight in the layout tc16 share: how a warp reads the weight, how a row of
// activations is normalized, ordered and scaled on its way to float16, and how the sums end.
#pragma once

#include <string>

#include "cuda/activation.cuh"
#include "cuda/elements.cuh"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/row_norm.cuh"
#include "cuda/tc16.cuh"

namespace tinychat::cuda {

// --- weights

// How much of the weight's rows a warp works on at a time.
template <int kBits, int kGroup>
struct ItemShape {
  static constexpr int kCodeBits = kBits, kGroupInputs = kGroup;
  static constexpr int kInputs = kGroup > kUnitInputs ? kGroup : kUnitInputs;
  static constexpr int kGroups = kInputs / kGroup;
  static constexpr int kWords = kInputs * kBits * kTileRows / (32 * kWarpLanes);  // of a lane
  static constexpr int kRegisters = kWords + 2 * kGroups;
};

// What a lane reads of an item of a tile.
template <int kBits, int kGroup>
struct Item {
  using Shape = ItemShape<kBits, kGroup>;
  std::uint32_t words[Shape::kWords];
  uint2 scales[Shape::kGroups];
};

// Where the lane's part of a tile starts.
struct TileAddress {
  const std::uint8_t *words, *scales;
  int group_bits;  // log2 of the inputs of a group
};
__device__ __forceinline__ TileAddress tile_address(const std::uint8_t* weight, const Tc16& layout,
                                                    int tile) {
  const int lane = lane_index();
  return {weight + layout.load(tile, 0) + lane * sizeof(uint4),
          weight + layout.scales(tile, 0) + lane / 4 * sizeof(uint2), layout.group_bits()};
}

template <int kBits, int kGroup>
__device__ __forceinline__ Item<kBits, kGroup> load_item(const TileAddress& tile, int index) {
  Item<kBits, kGroup> item;
  const int first_group = index * Item<kBits, kGroup>::Shape::kInputs >> tile.group_bits;
  constexpr int kLoads = Item<kBits, kGroup>::Shape::kWords / 4;
  constexpr int kGroups = Item<kBits, kGroup>::Shape::kGroups;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const std::size_t load = static_cast<std::size_t>(index * kLoads + i);
    const uint4 words = load_stream16(tile.words + load * kLoadBytes);
    item.words[4 * i] = words.x;
    item.words[4 * i + 1] = words.y;
    item.words[4 * i + 2] = words.z;
    item.words[4 * i + 3] = words.w;
  }
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    const std::size_t group = static_cast<std::size_t>(first_group + i);
    item.scales[i] = *reinterpret_cast<const uint2*>(tile.scales + group * kGroupScaleBytes);
  }
  return item;
}

// What no kernel reads, as a message that begins with the name of the op.
inline Status refuse_weight(const char* op, const Tc16& layout, bool gated) {
  const std::string name = std::string(op) + ": a ";
  if (gated && layout.rows % (2 * kTileRows) != 0) {
    return {name + "gated weight has " + std::to_string(layout.rows) +
            " rows; a multiple of 32 is needed"};
  }
  const int bits = layout.bits, group = layout.group;
  if ((bits == 4 || bits == 8) && (group == 32 || group == 64 || group == 128)) return {};
  return {name + "weight has " + std::to_string(bits) + " bits in groups of " +
          std::to_string(group) + "; 4 or 8 in groups of 32, 64 or 128 are read"};
}

// What `of` returns for the ItemShape of this layout, or nothing where no kernel reads it. Kernels
// that read a unit of 64 inputs at a time have kMostGroup = kUnitInputs: to them a group of 128 is
// two of 64 with the same scales, and a variant of its own would do the same.
template <int kMostGroup = 128, class F>
auto variant_of(const Tc16& layout, F of) -> decltype(of(ItemShape<4, 32>{})) {
  switch (layout.bits * 1000 + layout.group) {
    case 4032:
      return of(ItemShape<4, 32>{});
    case 4064:
      return of(ItemShape<4, 64>{});
    case 4128:
      return of(ItemShape<4, kMostGroup>{});
    case 8032:
      return of(ItemShape<8, 32>{});
    case 8064:
      return of(ItemShape<8, 64>{});
    case 8128:
      return of(ItemShape<8, kMostGroup>{});
    default:
      return {};
  }
}

// --- activations

// What becomes of a row of x [K] before the product.
struct Inputs {
  Norm norm;                  // a null weight for none
  const std::int32_t* order;  // [K] or null
  int cols;                   // K
};

// Whether the inputs of all rows of x lie side by side, to be read four at a time.
inline bool can_load_fours(const float* x, const Inputs& inputs) {
  return inputs.order == nullptr && can_pack(x, inputs.cols, 4) &&
         can_pack(inputs.norm.weight, inputs.cols, 4) && can_pack(inputs.norm.bias, inputs.cols, 4);
}

// The column of x that input k is. An order that points outside gives the last one.
__device__ __forceinline__ int column_of(const Inputs& inputs, int k) {
  if (inputs.order == nullptr) return k;
  const int col = inputs.order[k];
  return col < 0 || col >= inputs.cols ? inputs.cols - 1 : col;
}

// The inputs k .. k + 3 of a token's row, zeros from K on; kFours where they lie side by side.
template <bool kFours>
__device__ __forceinline__ Floats<4> load_inputs(const Inputs& inputs, const float* row, int k) {
  Floats<4> values = {};
  if constexpr (kFours) {
    if (k < inputs.cols) values = load<4>(row + k);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (k + i < inputs.cols) values.at[i] = row[column_of(inputs, k + i)];
    }
  }
  return values;
}

template <bool kFours>
__device__ __forceinline__ void normalize_inputs(const Inputs& inputs,
                                                 const RowStatistics& statistics, int k,
                                                 Floats<4>& values) {
  if constexpr (kFours) {
    if (k < inputs.cols) values = normalized(values, inputs.norm, statistics, k);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (k + i >= inputs.cols) continue;
      const Floats<1> one{{values.at[i]}};
      values.at[i] = normalized(one, inputs.norm, statistics, column_of(inputs, k + i)).at[0];
    }
  }
}

// A power of two and its inverse.
struct Scaling {
  float down, up;
};

// What brings numbers with this largest magnitude to 2^target .. 2^(target + 1), and back. Those
// all below 2^-100 are brought up no further than that one, so that both powers stay normal; of an
// infinite one it does not matter.
inline constexpr std::uint32_t kMostTarget = 14;  // of what stays finite in float16
__device__ __forceinline__ Scaling scaling_of(float largest, std::uint32_t target = kMostTarget) {
  constexpr std::uint32_t kExponentShift = 23, kBias = 127, kLeast = kBias - 100;
  std::uint32_t exponent = bit_cast<std::uint32_t>(largest) >> kExponentShift;
  if (exponent < kLeast) exponent = kLeast;
  return {bit_cast<float>((2 * kBias + target - exponent) << kExponentShift),
          bit_cast<float>((exponent - target) << kExponentShift)};
}

// --- results

// Where sum[j] of mma_m16n8k16 has its place in the result [16 rows, 8 columns], see ptx.cuh.
__device__ __forceinline__ int sum_row(int j) { return lane_index() / 4 + j / 2 * 8; }
__device__ __forceinline__ int sum_col(int j) { return lane_index() % 4 * 2 + j % 2; }

// One of a token's `outputs`, of sum_of(0); `gated`, which is the ending's, of sum_of(1) as well,
// where those are the sums of the rows of the first and the second half.
template <class F>
__device__ __forceinline__ void finish(const Ending& ending, bool gated, int token, int output,
                                       int outputs, F sum_of) {
  const auto biased = [&](int half) {
    const float sum = sum_of(half);
    return ending.bias == nullptr ? sum : sum + ending.bias[half * outputs + output];
  };
  float value = biased(0);
  if (gated) value = activate(ending.gate, value) * biased(1);
  float* const out =
      ending.out + static_cast<std::size_t>(token) * static_cast<std::size_t>(outputs) + output;
  *out = ending.add ? *out + value : value;
}

}  // namespace tinychat::cuda
