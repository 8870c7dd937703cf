// A few neighbouring elements as floats, moved by one load or store of all their bytes.
#pragma once

#include "cuda/half.cuh"

namespace tinychat::cuda {

template <int kCount>
struct Floats {
  float at[kCount];
};

// What one instruction moves. Its address must be a multiple of its size.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T at[kCount];
};

template <int kCount, class T>
__device__ __forceinline__ Floats<kCount> load(const T* from) {
  const Pack<T, kCount> pack = *reinterpret_cast<const Pack<T, kCount>*>(from);
  Floats<kCount> values;
#pragma unroll
  for (int i = 0; i < kCount; ++i) values.at[i] = to_float(pack.at[i]);
  return values;
}

template <int kCount, class T>
__device__ __forceinline__ void store(T* to, const Floats<kCount>& values) {
  Pack<T, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.at[i] = from_float<T>(values.at[i]);
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

// Whether rows of `cols` elements that start at `address` can be moved `count` at a time.
template <class T>
bool can_pack(const T* address, int cols, int count) {
  const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(count);
  return cols % count == 0 && reinterpret_cast<std::uintptr_t>(address) % bytes == 0;
}

}  // namespace tinychat::cuda
