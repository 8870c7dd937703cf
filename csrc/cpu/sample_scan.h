// Passes over all logits: the vector part of sample.
#pragma once

#include "cpu/vector_math.h"

namespace tinychat {
namespace {

// The largest of n logits; NaN counts as minus infinity, and so does nothing at all.
float largest(const float* x, int n) {
  Floats best[4];
  for (Floats& b : best) b = all(-kInfinity);
  int i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    // max takes its second operand where the first is NaN.
    for (int j = 0; j < 4; ++j) best[j] = max(load(x + i + j * kLanes), best[j]);
  }
  for (; i < n; i += kLanes) {
    best[0] = max(load(x + i, n - i < kLanes ? n - i : kLanes, -kInfinity), best[0]);
  }
  return max(max(max(best[0], best[1]), max(best[2], best[3])));
}

// weights[i] = e^((x[i] - top) / temperature) for x[i] <= top, in double precision; 0 for NaN.
void exp_weights(const float* x, float top, double temperature, double* weights, int n) {
  constexpr int kStep = kLanes / 2;
  typedef float Narrow __attribute__((vector_size(kStep * 4)));
  const double inverse = 1.0 / temperature;
  const Doubles highest = Doubles{} + static_cast<double>(top);
  const auto step = [&](int i, int count) {
    Narrow narrow{};
    std::memcpy(&narrow, x + i, static_cast<std::size_t>(count) * sizeof(float));
    const Doubles logits = __builtin_convertvector(narrow, Doubles);
    // At the top the difference is 0 even where the top or the inverse is infinite.
    const Doubles below = logits == highest ? Doubles{} : (logits - highest) * inverse;
    const Doubles w = below <= 0.0 ? exp_of_negative(below) : Doubles{};
    std::memcpy(weights + i, &w, static_cast<std::size_t>(count) * sizeof(double));
  };
  int i = 0;
  for (; i + kStep <= n; i += kStep) step(i, kStep);
  if (i < n) step(i, n - i);
}

}  // namespace
}  // namespace tinychat
