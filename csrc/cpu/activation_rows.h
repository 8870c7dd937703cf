// The vector part of activation and gated_activation.
#pragma once

#include "cpu/vector_math.h"

namespace tinychat {
namespace {

inline Floats silu(Floats x) { return x / (1.0f + exp(-x)); }

inline Floats gelu(Floats x) {
  const Floats magnitude = max(x, -x);
  const Floats tail = 0.5f * x * erfc(magnitude * 0.70710678f);
  return x > 0.0f ? x - tail : tail;
}

// x · (1 + tanh(u)) / 2 = x / (1 + e^(-2u)).
inline Floats gelu_tanh(Floats x) {
  constexpr float kTwiceSqrtTwoOverPi = 1.59576912f;
  const Floats u2 = kTwiceSqrtTwoOverPi * (x + 0.044715f * (x * x * x));
  return x / (1.0f + exp(-u2));
}

// Not max(x, 0): NaN must stay visible.
inline Floats relu(Floats x) { return x < 0.0f ? Floats{} : x; }

template <class F>
inline void map_scaled(F f, const float* x, const float* factor, float* out, int n) {
  for_vectors(n, [&](int i, int lanes) {
    Floats v = f(load(x + i, lanes));
    if (factor != nullptr) v *= load(factor + i, lanes);
    store(out + i, v, lanes);
  });
}

void activate(Activation kind, const float* x, const float* factor, float* out, int n) {
  // Lambdas, not the functions' addresses: those would be called for each vector.
  switch (kind) {
    case Activation::kSilu:
      return map_scaled([](Floats v) { return silu(v); }, x, factor, out, n);
    case Activation::kGelu:
      return map_scaled([](Floats v) { return gelu(v); }, x, factor, out, n);
    case Activation::kGeluTanh:
      return map_scaled([](Floats v) { return gelu_tanh(v); }, x, factor, out, n);
    case Activation::kRelu:
      return map_scaled([](Floats v) { return relu(v); }, x, factor, out, n);
  }
}

}  // namespace
}  // namespace tinychat
