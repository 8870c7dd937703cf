// float16 on the host: CUDA's names over a 16-bit word, every result the exact one rounded to
// nearest, ties to even.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/emulation/types.h"

namespace tinychat::emulation {

inline float float_of_half(std::uint16_t bits) {
  // The exponent moves up to its place in a float32 and keeps its bias; the factor corrects it, and
  // brings subnormal numbers to their value.
  const std::uint32_t magnitude = (bits & 0x7fffu) << 13;
  float value;
  std::memcpy(&value, &magnitude, sizeof(value));
  value *= 0x1p112f;
  std::uint32_t word;
  std::memcpy(&word, &value, sizeof(word));
  if (magnitude >= 0x7c00u << 13) word = magnitude | 0x7f800000u;
  word |= (bits & 0x8000u) << 16;
  std::memcpy(&value, &word, sizeof(value));
  return value;
}

// From double, so that a sum or product of float16 numbers is rounded once.
inline std::uint16_t half_of_double(double value) {
  if (std::isnan(value)) return 0x7fff;
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const double magnitude = std::fabs(value);
  constexpr double kFirstToInfinity = 65520.0;
  if (magnitude >= kFirstToInfinity) return sign | 0x7c00;
  std::uint64_t word;
  std::memcpy(&word, &magnitude, sizeof(word));
  constexpr int kLeastExponent = -14;
  int exponent = static_cast<int>(word >> 52) - 1023;
  if (exponent < kLeastExponent) exponent = kLeastExponent;
  // In units of the last place, 1024 to 2047 where the number is normal. Adding 2^52 rounds.
  const double units = std::ldexp(magnitude, 10 - exponent) + 0x1p52 - 0x1p52;
  return static_cast<std::uint16_t>(
      sign | (static_cast<unsigned>(units) + (static_cast<unsigned>(exponent + 14) << 10)));
}

}  // namespace tinychat::emulation

struct __half {
  std::uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};

inline float __half2float(__half h) { return tinychat::emulation::float_of_half(h.bits); }
inline __half __float2half(float f) { return {tinychat::emulation::half_of_double(f)}; }
inline __half __float2half_rn(float f) { return __float2half(f); }

inline __half2 __halves2half2(__half low, __half high) { return {low, high}; }
inline __half2 __half2half2(__half h) { return {h, h}; }
inline __half2 __float2half2_rn(float f) { return __half2half2(__float2half(f)); }
inline __half2 __floats2half2_rn(float low, float high) {
  return {__float2half(low), __float2half(high)};
}
inline __half2 __float22half2_rn(float2 f) { return __floats2half2_rn(f.x, f.y); }
inline __half __low2half(__half2 h) { return h.x; }
inline __half __high2half(__half2 h) { return h.y; }
inline float __low2float(__half2 h) { return __half2float(h.x); }
inline float __high2float(__half2 h) { return __half2float(h.y); }
inline float2 __half22float2(__half2 h) { return {__low2float(h), __high2float(h)}; }

inline __half __hadd(__half a, __half b) {
  return {tinychat::emulation::half_of_double(double{__half2float(a)} + __half2float(b))};
}
inline __half __hsub(__half a, __half b) {
  return {tinychat::emulation::half_of_double(double{__half2float(a)} - __half2float(b))};
}
inline __half __hmul(__half a, __half b) {
  return {tinychat::emulation::half_of_double(double{__half2float(a)} * __half2float(b))};
}
// Where the double sum is not exact, one term is so far below the other that float16 cannot tell.
inline __half __hfma(__half a, __half b, __half c) {
  const double product = double{__half2float(a)} * __half2float(b);
  return {tinychat::emulation::half_of_double(product + __half2float(c))};
}
inline __half2 __hadd2(__half2 a, __half2 b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
inline __half2 __hsub2(__half2 a, __half2 b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }
inline __half2 __hmul2(__half2 a, __half2 b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
