// How the lanes of a warp share the rows of a head's keys and values, and read them.
#pragma once

#include <type_traits>

#include "cuda/cache_rows.cuh"
#include "cuda/elements.cuh"

namespace tinychat::cuda {

// A lane's elements of a row: kPieces times kWide neighbours, one load each.
template <class T, int kWideElements, int kLoads>
struct Layout {
  using Element = T;
  static constexpr int kWide = kWideElements, kPieces = kLoads;
  static constexpr int kCount = kWide * kPieces;  // 8
  // What a load is kept as: whole registers, so that codes do not take one each.
  static constexpr int kBytes = kWide * static_cast<int>(sizeof(T));
  using Word = std::conditional_t<kBytes % 4 == 0, std::uint32_t, T>;
  static constexpr int kWords = kBytes / static_cast<int>(sizeof(Word));
  static constexpr int kStep = kWide < 4 ? kWide : 4;  // floats that one instruction moves
};

// The lanes that share a row are a team: 2^shift neighbours of a warp.
struct Teams {
  int shift;

  __host__ __device__ constexpr int lanes() const { return 1 << shift; }
  __host__ __device__ constexpr int in_warp() const { return kWarpLanes >> shift; }
  __device__ __forceinline__ int own() const { return static_cast<int>(threadIdx.x) >> shift; }
  __device__ __forceinline__ int lane() const { return lane_index() & (lanes() - 1); }

  // Where element i of the own lane stands in a row; beyond the head there may be more of them.
  template <class L>
  __device__ __forceinline__ int column(int i) const {
    return ((i / L::kWide << shift) + lane()) * L::kWide + i % L::kWide;
  }
};

// The rows of a head's keys or values: those that the cache had before the launch, and behind them
// the new ones, in shared memory.
template <class T>
struct Rows {
  const T* cached;
  const T* fresh;
  int first_fresh;  // position
  int width, fresh_width;

  __device__ __forceinline__ const T* at(int position) const {
    const bool old = position < first_fresh;
    const std::size_t i = static_cast<std::size_t>(old ? position : position - first_fresh);
    return (old ? cached : fresh) + i * static_cast<std::size_t>(old ? width : fresh_width);
  }
};

// A fresh row begins at a multiple of 16 bytes, as cached ones may.
template <class T>
__host__ __device__ constexpr int fresh_width(int dim) {
  constexpr int kAligned = 16 / static_cast<int>(sizeof(T));
  return ceil_div(row_width<T>(dim), kAligned) * kAligned;
}

// A lane's part of a row, as it comes from memory.
template <class L>
struct RawRow {
  Pack<typename L::Word, L::kWords> piece[L::kPieces];
  float scale;
};

// Where `there` is false nothing is read, and all is zero.
template <class L>
__device__ __forceinline__ RawRow<L> load_row(const Teams& teams, const typename L::Element* row,
                                              int dim, bool there) {
  using Raw = Pack<typename L::Word, L::kWords>;
  RawRow<L> raw = {};
  if (!there) return raw;
#pragma unroll
  for (int i = 0; i < L::kPieces; ++i) {
    const int column = teams.column<L>(i * L::kWide);
    if (column < dim) raw.piece[i] = *reinterpret_cast<const Raw*>(row + column);
  }
  if constexpr (kHasScale<typename L::Element>) {
    if constexpr (L::kWide % sizeof(float) == 0) {
      raw.scale = *reinterpret_cast<const float*>(row + dim);
    } else {
      memcpy(&raw.scale, row + dim, sizeof(float));
    }
  }
  return raw;
}

// A step of elements from the lane's element `first` on, without the scale.
template <class L>
__device__ __forceinline__ Floats<L::kStep> numbers_of(const RawRow<L>& raw, int first) {
  Pack<typename L::Element, L::kWide> piece;  // a step does not reach beyond one
  memcpy(&piece, &raw.piece[first / L::kWide], sizeof(piece));
  Floats<L::kStep> numbers;
#pragma unroll
  for (int e = 0; e < L::kStep; ++e) {
    numbers.at[e] = to_float(piece.at[(first + e) % L::kWide]);
  }
  return numbers;
}

}  // namespace tinychat::cuda
