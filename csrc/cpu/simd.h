// Vectors of floats as wide as the instruction set that the including file is compiled for, over
// the vector types of GCC and Clang, so that one source serves every ISA; only what those types
// cannot say (fp16 conversion, sums across lanes) is written per ISA. Everything is in an anonymous
// namespace: each ISA file has its own copy.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/ops.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace tinychat {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

constexpr float kInfinity = __builtin_inff();

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef std::int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef std::uint32_t Words __attribute__((vector_size(kLanes * 4)));
typedef std::uint16_t Halves __attribute__((vector_size(kLanes * 2)));
typedef std::int8_t Bytes __attribute__((vector_size(kLanes)));

// Elements of a cache or table that are not float32.
struct Float16 {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};
struct Int8 {
  std::int8_t code;
};

template <class To, class From>
inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "as many bits");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// x in every lane. Subtracting zero, unlike adding it, keeps the sign of -0.
inline Floats all(float x) { return x - Floats{}; }

inline Floats max(Floats a, Floats b) { return a > b ? a : b; }

inline Floats load(const float* x) {
  Floats v;
  std::memcpy(&v, x, sizeof(v));
  return v;
}

inline void store(float* x, Floats v) { std::memcpy(x, &v, sizeof(v)); }

// The first n lanes from memory, the others `fill`.
inline Floats load(const float* x, int n, float fill = 0.0f) {
  if (n == kLanes) return load(x);
  Floats v = all(fill);
  std::memcpy(&v, x, static_cast<std::size_t>(n) * sizeof(float));
  return v;
}

inline void store(float* x, Floats v, int n) {
  if (n == kLanes) return store(x, v);
  std::memcpy(x, &v, static_cast<std::size_t>(n) * sizeof(float));
}

// Calls f(i, n) for the vectors of 0..size: n is kLanes but for a ragged end.
template <class F>
inline void for_vectors(int size, F f) {
  int i = 0;
  for (; i + kLanes <= size; i += kLanes) f(i, kLanes);
  if (i < size) f(i, size - i);
}

// A vector's halves, then those of the halves: sums and the like across lanes.
#if defined(__AVX512F__)
inline __m256 low(Floats v) { return _mm512_extractf32x8_ps((__m512)v, 0); }
inline __m256 high(Floats v) { return _mm512_extractf32x8_ps((__m512)v, 1); }
inline __m256 fold_sum(Floats v) { return _mm256_add_ps(low(v), high(v)); }
inline __m256 fold_max(Floats v) { return _mm256_max_ps(low(v), high(v)); }
#elif defined(__AVX2__)
inline __m256 fold_sum(Floats v) { return (__m256)v; }
inline __m256 fold_max(Floats v) { return (__m256)v; }
#endif
#if defined(__AVX2__)
inline __m128 low(__m256 v) { return _mm256_castps256_ps128(v); }
inline __m128 high(__m256 v) { return _mm256_extractf128_ps(v, 1); }
#endif

inline float sum(Floats v) {
#if defined(__AVX2__)
  __m128 four = _mm_add_ps(low(fold_sum(v)), high(fold_sum(v)));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
#else
  return (v[0] + v[1]) + (v[2] + v[3]);
#endif
}

inline float max(Floats v) {
#if defined(__AVX2__)
  __m128 four = _mm_max_ps(low(fold_max(v)), high(fold_max(v)));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
#else
  const float a = v[0] > v[1] ? v[0] : v[1];
  const float b = v[2] > v[3] ? v[2] : v[3];
  return a > b ? a : b;
#endif
}

inline bool any(Ints mask) {
  std::int32_t found = 0;
  for (int i = 0; i < kLanes; ++i) found |= mask[i];
  return found != 0;
}

// out[0..3] = the sums of the lanes of a, b, c and d.
inline void store_sums(float* out, Floats a, Floats b, Floats c, Floats d) {
#if defined(__AVX2__)
  const __m256 ab = _mm256_hadd_ps(fold_sum(a), fold_sum(b));
  const __m256 cd = _mm256_hadd_ps(fold_sum(c), fold_sum(d));
  const __m256 sums = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(low(sums), high(sums)));
#else
  out[0] = sum(a);
  out[1] = sum(b);
  out[2] = sum(c);
  out[3] = sum(d);
#endif
}

inline Floats to_floats(Halves bits, Bfloat16) {
  return bits_as<Floats>(__builtin_convertvector(bits, Words) << 16);
}

inline Floats to_floats(Halves bits, Float16) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtph_ps(bits_as<__m256i>(bits));
#elif defined(__AVX2__)
  return (Floats)_mm256_cvtph_ps(bits_as<__m128i>(bits));
#else
  // Exponent and mantissa move into place, and a product corrects the exponent's bias, for
  // subnormal numbers too; infinities and NaN then only lack the high bits of theirs.
  constexpr std::uint32_t kTwoTo112 = 0x77800000;
  const Words wide = __builtin_convertvector(bits, Words);
  const Words sign = (wide & 0x8000u) << 16;
  const Floats magnitude = bits_as<Floats>((wide & 0x7fffu) << 13) * bits_as<float>(kTwoTo112);
  const Words special = (wide & 0x7c00u) == 0x7c00u ? Words{} + 0x7f800000u : Words{};
  return bits_as<Floats>(bits_as<Words>(magnitude) | special | sign);
#endif
}

// Round to nearest, ties to even.
inline Halves from_floats(Floats v, Bfloat16) {
  const Words bits = bits_as<Words>(v);
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words quiet = (bits >> 16) | 0x40u;
  return __builtin_convertvector(v == v ? rounded : quiet, Halves);
}

inline Halves from_floats(Floats v, Float16) {
#if defined(__AVX512F__)
  return bits_as<Halves>(_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
  return bits_as<Halves>(_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  constexpr std::uint32_t kSmallestNormal = 113u << 23;  // 2^-14
  constexpr std::uint32_t kOverflow = 143u << 23;        // 2^16; what rounds up to it gets there
  constexpr std::uint32_t kBias = 112u << 23;
  const Words bits = bits_as<Words>(v);
  const Words sign = (bits >> 16) & 0x8000u;
  const Words magnitude = bits & 0x7fffffffu;
  // Normal: half a unit less one, plus one where the last kept bit is odd, then cut.
  const Words normal = (magnitude - kBias + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Subnormal: adding 0.5 makes the float unit round at fp16's last bit.
  const Words subnormal =
      bits_as<Words>(bits_as<Floats>(magnitude) + 0.5f) - bits_as<std::uint32_t>(0.5f);
  const Words nan_bit = v == v ? Words{} : Words{} + 0x200u;
  Words half = magnitude < kSmallestNormal ? subnormal : normal;
  half = magnitude >= kOverflow ? nan_bit + 0x7c00u : half;
  return __builtin_convertvector(half | sign, Halves);
#endif
}

// 16-bit elements, as floats.
template <class Element>
inline Floats load(const Element* x) {
  Halves bits;
  std::memcpy(&bits, x, sizeof(bits));
  return to_floats(bits, Element{});
}

inline Floats to_floats(Bytes codes) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bits_as<__m128i>(codes)));
#elif defined(__AVX2__)
  return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)&codes)));
#else
  return __builtin_convertvector(__builtin_convertvector(codes, Ints), Floats);
#endif
}

// Codes, as floats.
inline Floats load(const Int8* x) {
  Bytes codes;
  std::memcpy(&codes, x, sizeof(codes));
  return to_floats(codes);
}

inline Floats load(const Int8* x, int n) {
  Bytes codes{};
  std::memcpy(&codes, x, static_cast<std::size_t>(n));
  return to_floats(codes);
}

template <class Element>
inline Floats load(const Element* x, int n) {
  Halves bits{};
  std::memcpy(&bits, x, static_cast<std::size_t>(n) * sizeof(Element));
  return to_floats(bits, Element{});
}

template <class Element>
inline void store(Element* x, Floats v, int n) {
  const Halves bits = from_floats(v, Element{});
  std::memcpy(x, &bits, static_cast<std::size_t>(n) * sizeof(Element));
}

}  // namespace
}  // namespace tinychat
