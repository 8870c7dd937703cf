// One row of floats to codes, scales and zeros: the vector part of round_to_nearest.
#pragma once

#include "cpu/simd.h"

namespace tinychat {
namespace {

typedef std::uint8_t Codes __attribute__((vector_size(kLanes)));

constexpr float kSmallestScale = 0x1p-24f;  // the smallest positive float16
constexpr float kRoundToInt = 12582912.0f;  // 1.5 · 2^23: adding it rounds, ties to even

// The first n lanes from memory, the others a copy of the first.
template <class Element>
inline Floats load_filled(const Element* x, int n) {
  if (n == kLanes) return load(x);
  Element lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = x[i < n ? i : 0];
  return load(lanes);
}

inline Floats rounded(Floats x) { return (x + kRoundToInt) - kRoundToInt; }

// The grid of one group, as Grid.fit of tinychat/quantize/grid.py has it; every operation is the
// one that torch does, so that the codes are the same. Where a weight is an infinity or a NaN, so
// is the scale.
struct GroupGrid {
  std::uint16_t scale_bits;
  float scale;
  float zero;

  template <class Element>
  GroupGrid(const Element* x, const RoundingRule& rule) {
    Floats least = all(kInfinity), most = -least, odd = {};
    for_vectors(rule.group, [&](int i, int n) {
      const Floats v = load_filled(x + i, n);
      least = v < least ? v : least;
      most = v > most ? v : most;
      odd += v * 0.0f;
    });
    const float lowest = -max(-least), highest = max(most);
    const float low = lowest < 0.0f ? lowest : 0.0f, high = highest > 0.0f ? highest : 0.0f;
    float span;
    if (rule.symmetric) {
      const float up = high / static_cast<float>(rule.middle() - 1);
      const float down = -low / static_cast<float>(rule.middle());
      span = up > down ? up : down;
    } else {
      span = (high - low) / (lowest == highest ? 1.0f : static_cast<float>(rule.top()));
    }
    span = span > kSmallestScale ? span : kSmallestScale;
    const Halves halves = from_floats(all(span + sum(odd)), Float16{});
    scale_bits = halves[0];
    scale = to_floats(halves, Float16{})[0];
    const float largest = static_cast<float>(rule.top());
    zero = rule.symmetric ? static_cast<float>(rule.middle()) : rounded(all(-low / scale))[0];
    zero = zero < largest ? zero : largest;
  }
};

template <class Element>
void round_elements(const Element* x, int n, const RoundingRule& rule, std::uint8_t* codes,
                    std::uint16_t* scales, std::uint8_t* zeros) {
  const Floats least = {}, most = all(static_cast<float>(rule.top()));
  for (int begin = 0; begin < n; begin += rule.group, x += rule.group, codes += rule.group) {
    const GroupGrid grid(x, rule);
    *scales++ = grid.scale_bits;
    *zeros++ = static_cast<std::uint8_t>(grid.zero);
    const Floats scale = all(grid.scale), zero = all(grid.zero);
    for_vectors(rule.group, [&](int i, int lanes) {
      Floats code = rounded(load_filled(x + i, lanes) / scale) + zero;
      code = code > least ? code : least;
      code = code < most ? code : most;
      const Codes bytes = __builtin_convertvector(__builtin_convertvector(code, Ints), Codes);
      std::memcpy(codes + i, &bytes, static_cast<std::size_t>(lanes));
    });
  }
}

void round_row(DType dtype, const void* x, int n, const RoundingRule& rule, std::uint8_t* codes,
               std::uint16_t* scales, std::uint8_t* zeros) {
  switch (dtype) {
    case DType::kFloat32:
      return round_elements(static_cast<const float*>(x), n, rule, codes, scales, zeros);
    case DType::kFloat16:
      return round_elements(static_cast<const Float16*>(x), n, rule, codes, scales, zeros);
    case DType::kBfloat16:
      return round_elements(static_cast<const Bfloat16*>(x), n, rule, codes, scales, zeros);
    case DType::kInt8:
      return;  // not a dtype of weights; refused before
  }
}

}  // namespace
}  // namespace tinychat
