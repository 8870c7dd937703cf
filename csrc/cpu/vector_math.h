// Elementary functions on vectors. Polynomials are minimax fits made for this file; the errors
// stated are the largest over the whole range, rounding included.
#pragma once

#include "cpu/simd.h"

namespace tinychat {
namespace {

typedef double Doubles __attribute__((vector_size(kLanes * 4)));
typedef std::uint64_t Longs __attribute__((vector_size(kLanes * 4)));

// e^x to a relative error of 2e-7. Below the smallest normal number it is 0, above the largest it
// stays there; NaN stays NaN.
inline Floats exp(Floats x) {
  constexpr float kLowest = -87.3365f;
  constexpr float kHighest = 88.3762f;
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // few bits, so that n · kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
  const Floats inside = x > kHighest ? all(kHighest) : x;
  const Floats shifted = inside * kLog2E + kRound;
  const Floats n = shifted - kRound;
  const Floats r = inside - n * kLn2High - n * kLn2Low;
  Floats p = r * 0.001381459865f + 0.00836871688f;
  p = p * r + 0.04166838805f;
  p = p * r + 0.1666652063f;
  p = p * r + 0.4999999345f;
  p = p * (r * r) + r + 1.0f;
  const Floats result = bits_as<Floats>(bits_as<Words>(p) + (bits_as<Words>(shifted) << 23));
  return x < kLowest ? Floats{} : (x == x ? result : x);
}

// 1 - erf(z) for z >= 0 to a relative error of 1e-6, wherever exp(-z²) is a normal number.
inline Floats erfc(Floats z) {
  const Floats t = 1.0f / (z * 0.5f + 1.0f);
  Floats p = t * -0.04680861822f + 0.2329661369f;
  p = p * t - 0.3972185683f;
  p = p * t + 0.1939702432f;
  p = p * t + 0.01893320537f;
  p = p * t + 0.1882442903f;
  p = p * t + 0.2456736955f;
  p = p * t + 0.2821458948f;
  p = p * t + 0.2820940504f;
  return p * t * exp(-z * z);
}

// e^x for x <= 0 in double precision; 0 below the smallest normal number.
inline Doubles exp_of_negative(Doubles x) {
  constexpr double kLowest = -708.0;
  constexpr double kLog2E = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42fep-1;  // few bits, so that n · kLn2High is exact
  constexpr double kLn2Low = 0x1.f473de6af278fp-30;
  constexpr double kRound = 6755399441055744.0;  // 1.5 · 2^52
  const Doubles inside = x < kLowest ? Doubles{} + kLowest : x;
  const Doubles shifted = inside * kLog2E + kRound;
  const Doubles n = shifted - kRound;
  const Doubles r = inside - n * kLn2High - n * kLn2Low;
  // Taylor's series: |r| <= ln2 / 2, so the first term left out is below 2e-16.
  Doubles p = r * (1.0 / 479001600) + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const Doubles result = bits_as<Doubles>(bits_as<Longs>(p) + (bits_as<Longs>(shifted) << 52));
  return x < kLowest ? Doubles{} : result;
}

}  // namespace
}  // namespace tinychat
