// One row of a normalization: the vector part of norm.
#pragma once

#include "cpu/simd.h"

namespace tinychat {
namespace {

// Sums in one vector per four, so that additions do not wait for each other.
template <class Term>
inline float sum_of(int n, Term term) {
  Floats sums[4] = {};
  int i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) sums[j] += term(i + j * kLanes, kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += term(i, kLanes);
  if (i < n) sums[1] += term(i, n - i);
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

void rms_norm_row(const float* x, const float* weight, float* out, int n, float eps) {
  const float squares = sum_of(n, [&](int i, int lanes) {
    const Floats v = load(x + i, lanes);
    return v * v;
  });
  const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
  for_vectors(n, [&](int i, int lanes) {
    store(out + i, load(x + i, lanes) * factor * load(weight + i, lanes), lanes);
  });
}

void layer_norm_row(const float* x, const float* weight, const float* bias, float* out, int n,
                    float eps) {
  const float mean =
      sum_of(n, [&](int i, int lanes) { return load(x + i, lanes); }) / static_cast<float>(n);
  // Lanes beyond the row hold the mean: they add nothing to the variance.
  const float squares = sum_of(n, [&](int i, int lanes) {
    const Floats v = load(x + i, lanes, mean) - mean;
    return v * v;
  });
  const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
  for_vectors(n, [&](int i, int lanes) {
    Floats v = (load(x + i, lanes) - mean) * factor * load(weight + i, lanes);
    if (bias != nullptr) v += load(bias + i, lanes);
    store(out + i, v, lanes);
  });
}

}  // namespace
}  // namespace tinychat
