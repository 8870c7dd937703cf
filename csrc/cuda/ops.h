// The ops of the CUDA backend: arguments and the function that launches each. Pointers are to
// memory of the card; shapes, dtypes and contiguity are checked in Python.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/queue.h"
#include "cuda/tc16.h"
#include "kinds.h"

namespace tinychat::cuda {

struct NormArgs {
  const float* x;  // [rows, cols]
  Norm norm;
  float* out;  // [rows, cols]
  int rows, cols;
};
Status norm(const Queue& queue, const NormArgs& args);

struct EmbeddingArgs {
  const std::int32_t* ids;  // [rows]
  const void* table;        // [vocabulary, cols]
  DType dtype;              // of the table: float32, float16 or bfloat16
  float* out;               // [rows, cols]
  int rows, cols, vocabulary;
};
Status embedding(const Queue& queue, const EmbeddingArgs& args);

struct ActivationArgs {
  const float* x;      // [rows, cols]; gated [rows, 2 cols]
  const float* scale;  // [cols] or null; not where gated
  float* out;          // [rows, cols]
  int rows, cols;
  Activation kind;
};
Status activation(const Queue& queue, const ActivationArgs& args);
Status gated_activation(const Queue& queue, const ActivationArgs& args);

// New tokens that follow each other, on their way into one layer's cache.
struct NewTokens {
  const float* qkv;           // [tokens, (heads + 2 kv_heads) head_dim]: the heads of q, k and v
  const std::int32_t* start;  // [1] or more: the position of the first token
  QKNorm norm;                // of the heads of q and k, before they are turned
  int tokens, heads, kv_heads, head_dim;
};

// Pairs of numbers half a rotary size apart are turned by the angles of their position.
struct Rotation {
  const float* cos;  // [capacity, half]
  const float* sin;
  int half;  // 0 for none
};

// One layer's cache, rows of `dtype`: float16, or int8 with their scale behind them.
struct Cache {
  void* keys;  // [kv_heads, capacity, row]
  void* values;
  DType dtype;
  int capacity;
};

struct AttnDecodeArgs {
  NewTokens tokens;
  Rotation rotation;
  Cache cache;
  const float* alibi;  // [heads] or null
  float scale;         // of q k
  int window;          // keys that a token sees, itself among them; 0 for all
  int splits;          // blocks that share the keys of a token and kv head, at most 128
  float* gathered;     // [tokens, heads, splits, head_dim + 4]; what it holds does not matter
  unsigned* arrived;   // [tokens, heads], zero before the first launch and after each
  float* out;          // [tokens, heads head_dim]
};
Status attn_decode(const Queue& queue, const AttnDecodeArgs& args);

struct RopeAppendArgs {
  NewTokens tokens;
  Rotation rotation;
  Cache cache;
  void* q;  // [tokens, heads head_dim] float16
};
Status rope_append(const Queue& queue, const RopeAppendArgs& args);

// What comes right after a product [tokens, N].
struct Ending {
  const float* bias;  // [N] or null
  float* out;         // [tokens, N]; gated: [tokens, N / 2]
  bool gated;         // out = gate(first half of the rows) * second half; N a multiple of 32
  Activation gate;    // where gated
  bool add;           // out += instead of out =; not where gated
};

// The product with what comes right before and right after it: Ops.matmul.
inline constexpr int kGemvTokens = 8;
struct GemvArgs {
  const float* x;             // [tokens, K]
  Norm norm;                  // of x; a null weight for none
  const std::int32_t* order;  // [K] or null: then x = x[:, order], once it is normalized
  const std::uint8_t* weight;
  Tc16 layout;  // of the weight [N, K]
  int tokens;   // 0 to kGemvTokens
  Ending ending;
};
Status gemv(const Queue& queue, const GemvArgs& args);

// Some rows of a weight, for a product by others.
struct DequantizeArgs {
  const std::uint8_t* weight;
  Tc16 layout;
  int first_row;  // a multiple of 16
  int rows;
  void* out;     // [rows, out_cols] float16; columns from K on are zeros
  int out_cols;  // K to layout.padded_cols()
};
Status dequantize(const Queue& queue, const DequantizeArgs& args);

// The activations of many tokens as float16, for gemm or a product by others.
struct HalvesArgs {
  const float* x;             // [tokens, cols]
  Norm norm;                  // of x; a null weight for none
  const std::int32_t* order;  // [cols] or null: then x = x[:, order], once it is normalized
  void* out;                  // [tokens, out_cols] float16, each row times 1 / its factor
  float* factors;             // [tokens], powers of two
  int tokens, cols;
  int out_cols;  // at least cols; columns behind those are zeros
  int exponent;  // 0 to 14: the largest magnitude of a row becomes 2^exponent .. 2^(exponent + 1)
};
Status halves(const Queue& queue, const HalvesArgs& args);

// The product of many tokens, with what comes right after it.
struct GemmArgs {
  const void* x;         // [tokens, layout.padded_cols()] float16 of halves, at a multiple of 16
  const float* factors;  // [tokens], by which results are multiplied before the bias
  const std::uint8_t* weight;
  Tc16 layout;  // of the weight [N, K]
  int tokens;
  Ending ending;
};
Status gemm(const Queue& queue, const GemmArgs& args);

// A second product where it can matter: Ops.refine. Where all tiles are refined, the workspaces are
// not used.
inline constexpr int kRefineOutputs = 1 << 19;
struct RefineArgs {
  float* logits;   // [tokens, N], changed in place
  const float* x;  // [tokens, K]
  const std::uint8_t* weight;
  Tc16 layout;        // of the weight [N, K]; N at most kRefineOutputs
  int tokens;         // 0 to kGemvTokens
  int wanted;         // tiles of 16 outputs, refined in each row; at least 1
  unsigned* keys;     // [tokens, ceil(N / 16)]; what it holds does not matter
  int* chosen;        // [tokens, wanted]; what it holds does not matter
  unsigned* arrived;  // [tokens], zero before the first launch and after each
};
Status refine(const Queue& queue, const RefineArgs& args);

// How the next token is chosen, as it lies on the card: 20 bytes.
struct SampleRule {
  float temperature;         // 0: the largest
  float top_p;               // 1 for off
  float min_p;               // 0 for off
  float repetition_penalty;  // 1 for off
  std::int32_t top_k;        // 0 for off; at most 2^31 - 1
};
static_assert(sizeof(SampleRule) == 20);

// One draw after the other: the first takes uniforms[0] and leaves its token in ring[0]; both begin
// anew behind their last.
struct Draws {
  const double* uniforms;  // [uniform_count], 0 <= u < 1
  int uniform_count;
  std::int32_t* drawn;  // [1]: how many there were; counted once the ring's token can be seen
  std::int32_t* ring;   // [ring_count], in memory that the host sees
  int ring_count;
};

// Draws a token: Ops.sample.
inline constexpr int kMostSampled = 1 << 19;
struct SampleArgs {
  const float* logits;     // [vocabulary], not changed
  int vocabulary;          // 1 to kMostSampled
  const SampleRule* rule;  // [1]
  Draws draws;
  std::uint8_t* seen;   // [vocabulary], not 0 for what is penalized, as the new token is; or null
  std::int32_t* token;  // [1], out
  std::int32_t* position;  // [1], incremented; or null
  void* workspace;         // at a multiple of 16, zero before the first launch
};
std::size_t sample_workspace(int vocabulary);  // bytes
Status sample(const Queue& queue, const SampleArgs& args);

}  // namespace tinychat::cuda
