// The portable micro-kernels: what every other ISA's must agree with, and all there is on CPUs
// without their own file.
#include <cfloat>
#include <cmath>
#include <cstring>

#include "cpu/ops.h"
#include "cpu/read_page.h"
#include "cpu/vector_ops.h"

namespace tinychat {
namespace {

// --- matmul ---

float quantize_group(const float* x, int n, int group, std::int8_t* codes, int stride,
                     std::int32_t* minus_sum) {
  float largest = 0.0f;
  bool finite = true;
  for (int i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    if (size > largest) largest = size;
    if (!(size <= FLT_MAX)) finite = false;
  }
  if (!finite) {
    for (int i = 0; i < group; ++i) codes[i / 4 * stride + i % 4] = 0;
    *minus_sum = 0;
    return NAN;
  }
  const float inverse = largest > kSmallestRange ? 127.0f / largest : 0.0f;
  std::int32_t sum = 0;
  for (int i = 0; i < group; ++i) {
    const auto code = static_cast<std::int8_t>(i < n ? std::lrintf(x[i] * inverse) : 0);
    codes[i / 4 * stride + i % 4] = code;
    sum += code;
  }
  *minus_sum = -sum;
  return largest > kSmallestRange ? largest / 127.0f : 0.0f;
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 31u;
  const std::uint32_t mantissa = half & 1023u;
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -value : value;
  }
  const std::uint32_t bits =
      sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | mantissa << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// A code of one step of the layout; `byte` is 4 r + j for row r and input j of the quad.
template <int kBits>
int code_of(const std::uint8_t* step, int quad, int byte) {
  constexpr int kWidth = low_width(kBits);
  constexpr int kQuadsPerLine = 8 / kWidth;
  const int low = step[quad / kQuadsPerLine * kLineBytes + byte];
  const int code = (low >> quad % kQuadsPerLine * kWidth) & ((1 << kWidth) - 1);
  if constexpr (kBits != 3) return code;
  return code | ((step[2 * kLineBytes + byte] >> quad) & 1) << 2;
}

// sums += dots of one group and token · their scales.
void add_scaled(const std::uint8_t* scales, float scale, const std::int32_t* dots, float* sums) {
  for (int r = 0; r < kTileRows; ++r) {
    std::uint16_t row_scale;
    std::memcpy(&row_scale, scales + 2 * r, sizeof row_scale);
    sums[r] += static_cast<float>(dots[r]) * scale * half_to_float(row_scale);
  }
}

template <int kBits>
void matmul_tile(const Packing& packing, const std::uint8_t* tile, const TokenTile& x,
                 const float* bias, float* out, std::size_t out_stride) {
  const int tokens = x.tokens;
  const int quads = packing.group / 4;
  for (int t = 0; t < tokens; ++t) {
    float sum[kTileRows] = {};
    for (std::size_t g = 0; g < packing.groups(); ++g) {
      const std::uint8_t* zeros = tile + packing.zeros(g);
      const std::size_t column = g * static_cast<std::size_t>(tokens) + static_cast<std::size_t>(t);
      std::int32_t acc[kTileRows];
      for (int r = 0; r < kTileRows; ++r) acc[r] = zeros[r] * x.minus_sums[column];
      const std::uint8_t* lines = tile + packing.lines(g);
      const std::int8_t* quad =
          x.codes +
          (g * static_cast<std::size_t>(quads * tokens) + static_cast<std::size_t>(t)) * 4;
      for (int q = 0; q < quads; ++q, quad += tokens * 4) {
        const std::uint8_t* step = lines + q / kStepQuads * kBits * kLineBytes;
        for (int r = 0; r < kTileRows; ++r) {
          for (int j = 0; j < 4; ++j) {
            acc[r] += code_of<kBits>(step, q % kStepQuads, r * 4 + j) * quad[j];
          }
        }
      }
      add_scaled(tile + packing.scales(g), x.scales[column], acc, sum);
    }
    float* row = out + static_cast<std::size_t>(t) * out_stride;
    for (int r = 0; r < kTileRows; ++r) row[r] = bias == nullptr ? sum[r] : sum[r] + bias[r];
  }
}

// See Isa::multiply_registers.
std::int64_t multiply_registers(int rounds) {
  std::int32_t dots[kLineBytes] = {};
  std::uint8_t codes[kLineBytes];
  std::memset(codes, 1, sizeof codes);
  const std::int8_t quad[4] = {1, 1, 1, 1};
  for (int round = 0; round < rounds; ++round) {
    // Nobody knows that they are the same again, nor that the result is not wanted.
    asm volatile("" : : "r"(codes), "r"(dots) : "memory");
    for (int byte = 0; byte < kLineBytes; ++byte) dots[byte] += codes[byte] * quad[byte % 4];
  }
  return std::int64_t{rounds} * kLineBytes * 2;
}

}  // namespace

Isa scalar_isa() {
  Isa isa{};
  isa.name = "scalar";
  // --- matmul ---
  isa.max_tokens = kMostTokens;
  isa.quantize_group = quantize_group;
  isa.matmul[2] = matmul_tile<2>;
  isa.matmul[3] = matmul_tile<3>;
  isa.matmul[4] = matmul_tile<4>;
  isa.matmul[8] = matmul_tile<8>;
  // --- read_bandwidth, int8_rate ---
  isa.sum_page = sum_page;
  isa.multiply_registers = multiply_registers;
  // --- norm, embedding, attention, activation, sample ---
  use_vector_ops(&isa);
  return isa;
}

}  // namespace tinychat
