// The CPU ops and what an instruction set must provide for them.
//
// An op is a function that every thread of a team runs; its loops go through Team::for_each, whose
// rules are in threads.h. Loops, tiles and threads are written once in <op>.cpp, and only the
// innermost work goes through the table `Isa`. All arrays are float32, contiguous and row-major
// unless said otherwise. Shape letters as in tinychat/kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/memory.h"
#include "cpu/threads.h"
#include "kinds.h"
#include "w4.h"

namespace tinychat {

// Some tokens' activations as matmul kernels read them: int8 with one scale per token and group.
struct TokenTile {
  int tokens;
  const std::int8_t* codes;        // see TokenCodes
  const float* scales;             // [groups, tokens]
  const std::int32_t* minus_sums;  // [groups, tokens], minus the sum of the group's codes
};

// Multiplies one tile of 16 rows by a tile of tokens: out[t * out_stride + r] for r in 0..15, plus
// bias[r] if given.
using MatmulKernel = void(const Packing& packing, const std::uint8_t* tile, const TokenTile& x,
                          const float* bias, float* out, std::size_t out_stride);

// How the codes of a TokenTile lie.
enum class TokenCodes {
  kByQuad,   // [padded K / 4, tokens, 4]
  kByToken,  // [tokens, padded K]; what lies behind, up to a multiple of 16 tokens, may be read
};

// A panel holds the codes of some groups of a tile of rows, each in a byte of its own: quad after
// quad, a line of 64 bytes each, in which byte 4 r + j belongs to row r and input j of the quad.
// Unpacked once, it is multiplied by many tokens; see matmul_panels.h.
using UnpackKernel = void(const Packing& packing, const std::uint8_t* tile, int first_group,
                          int groups, std::uint8_t* panel);

// How many inputs of a row a panel holds at most: few enough that panels stay in the first level.
inline constexpr int kPanelInputs = 512;
// Tiles of rows that a panel kernel takes at a time, and the largest tile of tokens.
inline constexpr int kPanelTiles = 2;
inline constexpr int kPanelTokens = 32;

// Panels of tiles of rows against a tile of tokens.
struct PanelWork {
  Packing packing;
  const std::uint8_t* tiles[kPanelTiles];   // packed, for their scales and zeros
  const std::uint8_t* panels[kPanelTiles];  // of `groups` groups from first_group on
  int first_group;
  int groups;
  TokenTile x;  // of all groups, its codes by token
  float* sums;  // [tokens, kPanelTiles, 16], added to
};
using PanelKernel = void(const PanelWork& work);

// A group of activations whose largest magnitude is below this is rounded to zeros: 127 / magnitude
// would overflow.
inline constexpr float kSmallestRange = 1e-30f;

// What weights are rounded to: Grid of tinychat/quantize/grid.py.
struct RoundingRule {
  int bits;
  int group;  // divides the inputs of a row
  bool symmetric;

  int top() const { return (1 << bits) - 1; }
  int middle() const { return 1 << (bits - 1); }
};

// Attention goes through the keys this many at a time.
inline constexpr int kKeyBlock = 64;

// One query row of an attention tile.
struct AttentionRow {
  int position;   // it sees no later key
  float slope;    // ALiBi: added per position of distance
  float largest;  // score so far
  float sum;      // of e^(score - largest) so far
};

// Query rows of one kv head against the keys begin..end of its cache.
struct AttentionTile {
  DType dtype;
  const void* keys;    // [capacity] rows
  const void* values;  // [capacity] rows
  int head_dim;
  int begin;
  int end;
  int window;  // keys at or before position - window are hidden; 0: none are
  int rows;
  int stride;         // head_dim rounded up to the widest vector
  const float* q;     // [rows, stride] rotated and scaled, zero beyond head_dim
  float* acc;         // [rows, stride] sum of e^(score - largest) · value, updated
  AttentionRow* row;  // [rows], updated
  float* scores;      // [rows rounded up to the widest vector, kKeyBlock] scratch
  float* columns;     // [stride, rows rounded up] scratch
  // Scratch for converted blocks, [kKeyBlock, stride] each, zero beyond head_dim.
  float* key_block;
  float* value_block;
};

// Bounds what a matmul keeps on the stack for a tile of tokens.
inline constexpr int kMostTokens = 8;

// Micro-kernels of one instruction set. An ISA starts from a smaller one's table and replaces what
// it does better.
struct Isa {
  const char* name;

  // --- matmul ---
  int max_tokens;  // the largest TokenTile that `matmul` takes, up to kMostTokens
  // Rounds one group of one token: x [n], n <= group, to codes [group / 4, 4], `stride` bytes from
  // quad to quad; returns the scale and writes minus the sum of the codes. The scale of a
  // group that holds an infinity or a NaN is NaN, so that it shows in the product.
  float (*quantize_group)(const float* x, int n, int group, std::int8_t* codes, int stride,
                          std::int32_t* minus_sum);
  MatmulKernel* matmul[kMostBits + 1];  // by bits: 2, 3, 4 and 8; for refine, too
  // Null where matmul_panels.h does not apply. A thread calls the first before and the last after
  // some products.
  void (*begin_panels)(const Packing& packing);
  PanelKernel* multiply_panels;
  void (*end_panels)();
  UnpackKernel* unpack_panel[kMostBits + 1];

  // --- read_bandwidth, int8_rate ---
  std::uint64_t (*sum_page)(const std::byte* page);  // reads kPageBytes
  // Multiplies and adds in the way of the fastest matmul; returns how often it did either.
  std::int64_t (*multiply_registers)(int rounds);

  // --- norm ---
  void (*rms_norm_row)(const float* x, const float* weight, float* out, int n, float eps);
  void (*layer_norm_row)(const float* x, const float* weight, const float* bias, float* out, int n,
                         float eps);

  // --- embedding ---
  // A row of n elements to float32 and back, rounded to nearest even.
  void (*read_row)(DType dtype, const void* x, float* out, int n);
  void (*write_row)(DType dtype, const float* x, void* out, int n);

  // --- round_to_nearest ---
  // x [n] to n codes, and a scale and a zero for each of its n / rule.group groups.
  void (*round_row)(DType dtype, const void* x, int n, const RoundingRule& rule,
                    std::uint8_t* codes, std::uint16_t* scales, std::uint8_t* zeros);

  // --- attention ---
  // x [n] with its first 2 · half numbers turned by the angles of cos and sin, times scale; out
  // may be x.
  void (*rotate_row)(const float* x, const float* cos, const float* sin, int half, int n,
                     float scale, float* out);
  void (*attend)(const AttentionTile& tile);

  // --- activation ---
  // act(x) · factor, or act(x) where factor is null.
  void (*activate)(Activation kind, const float* x, const float* factor, float* out, int n);

  // --- sample, refine ---
  // NaN counts as minus infinity.
  float (*largest)(const float* x, int n);
  // e^((x - top) / temperature), 0 for NaN; no x is above top.
  void (*exp_weights)(const float* x, float top, double temperature, double* weights, int n);
};

// The tables; only select.cpp may call them, and only on a CPU that has the instructions.
Isa scalar_isa();
Isa avx2_isa();
Isa avx_vnni_isa();
Isa avx512_vnni_isa();
Isa amx_isa();
Isa emulated_amx_isa();  // for tests: its tiles are in memory

// --- matmul ---
struct MatmulArgs {
  const float* x;              // [T, K]
  Norm norm;                   // what x goes through first; none where its weight is null
  const std::int32_t* order;   // [K]: input k of the weight is column order[k] of x; or null
  const std::uint8_t* weight;  // packed
  const float* bias;           // [N] or null
  float* out;                  // [T, outputs()]
  int tokens;                  // T
  Packing packing;
  bool gated;       // out = gate(first half of the rows) · second half
  Activation gate;  // where gated
  bool add;         // out += instead of out =; not where gated

  int outputs() const { return gated ? packing.rows / 2 : packing.rows; }
};
std::size_t matmul_scratch_bytes(const Isa& isa, const MatmulArgs& args, int threads);
void matmul(Team& team, const Isa& isa, const MatmulArgs& args) noexcept;

// --- refine ---
struct RefineArgs {
  float* logits;               // [T, N], added to
  const float* x;              // [T, K]
  const std::uint8_t* weight;  // packed
  int tokens;                  // T
  int most_tiles;              // of a token's outputs that are refined, at least 1
  Packing packing;

  // How many of a token's tiles are refined.
  int chosen() const { return std::min(most_tiles, static_cast<int>(packing.tiles())); }
  bool refines_all() const { return chosen() == static_cast<int>(packing.tiles()); }
};
std::size_t refine_scratch_bytes(const RefineArgs& args, int threads);
void refine(Team& team, const Isa& isa, const RefineArgs& args) noexcept;

// --- pack ---
struct PackArgs {
  std::uint8_t* codes;    // [N, K]
  std::uint16_t* scales;  // [N, G] fp16 bits
  std::uint8_t* zeros;    // [N, G]
  int groups;             // G: packing.groups(), or 1 for one scale a row
  std::uint8_t* packed;   // packing.bytes()
  Packing packing;
};
void pack(Team& team, const Isa& isa, const PackArgs& args) noexcept;    // reads all but packed
void unpack(Team& team, const Isa& isa, const PackArgs& args) noexcept;  // reads packed

// --- round_to_nearest ---
struct RoundToNearestArgs {
  const std::byte* weights;  // [rows, cols]
  DType dtype;               // of the weights
  std::uint8_t* codes;       // [rows, cols]
  std::uint16_t* scales;     // [rows, cols / group] fp16 bits
  std::uint8_t* zeros;       // [rows, cols / group]
  int rows;
  int cols;
  RoundingRule rule;
};
void round_to_nearest(Team& team, const Isa& isa, const RoundToNearestArgs& args) noexcept;

// --- unpack_rows ---
struct UnpackRowsArgs {
  const std::uint32_t* words;  // [rows, words_per_row], of any strides
  std::ptrdiff_t row_stride;   // in words
  std::ptrdiff_t word_stride;
  const std::int32_t* order;  // [codes_per_row()] or null
  std::uint8_t* codes;        // [rows, codes_per_row()]
  int rows;
  int words_per_row;
  int bits;  // 2, 3, 4 or 8

  int codes_per_row() const { return static_cast<int>(std::int64_t{words_per_row} * 32 / bits); }
};
std::size_t unpack_rows_scratch_bytes(const UnpackRowsArgs& args, int threads);
void unpack_rows(Team& team, const Isa& isa, const UnpackRowsArgs& args) noexcept;

// --- unpack_awq ---
struct UnpackAwqArgs {
  const std::uint32_t* words;  // [inputs, words_per_input]
  std::uint8_t* codes;         // [8 words_per_input, inputs]
  int inputs;
  int words_per_input;
};
void unpack_awq(Team& team, const Isa& isa, const UnpackAwqArgs& args) noexcept;

// --- norm ---
struct NormArgs {
  const float* x;  // [rows, cols]
  Norm norm;
  float* out;  // [rows, cols]
  int rows;
  int cols;
};
void norm(Team& team, const Isa& isa, const NormArgs& args) noexcept;

// --- embedding ---
struct EmbeddingArgs {
  const std::int32_t* ids;  // [rows]
  const std::byte* table;   // [vocabulary, cols]
  DType dtype;              // of the table
  float* out;               // [rows, cols]
  int rows;
  int cols;
};
void embedding(Team& team, const Isa& isa, const EmbeddingArgs& args) noexcept;

// --- attention ---
struct AttentionArgs {
  const float* qkv;           // [tokens, heads + 2 kv_heads, head_dim]
  std::byte* keys;            // [kv_heads, capacity] rows, position start + t is written
  std::byte* values;          // [kv_heads, capacity] rows
  DType dtype;                // of keys and values
  const std::int32_t* start;  // [1]
  const float* cos;           // [capacity, rotary_half]
  const float* sin;           // [capacity, rotary_half]
  const float* alibi;         // [heads] or null
  QKNorm qk_norm;
  float* out;  // [tokens, heads, head_dim]
  int tokens;
  int heads;
  int kv_heads;
  int head_dim;
  int capacity;
  int rotary_half;  // 0: no rotation
  int window;       // 0: none
  float scale;

  int group() const { return heads / kv_heads; }
};
std::size_t attention_scratch_bytes(const AttentionArgs& args, int threads);
void attention(Team& team, const Isa& isa, const AttentionArgs& args) noexcept;

// --- activation ---
struct ActivationArgs {
  const float* x;      // [rows, cols]; gated: [rows, 2 cols], gate before up
  const float* scale;  // [cols] or null; gated: null
  float* out;          // [rows, cols]
  int rows;
  int cols;
  Activation kind;
};
void activation(Team& team, const Isa& isa, const ActivationArgs& args) noexcept;
void gated_activation(Team& team, const Isa& isa, const ActivationArgs& args) noexcept;

// --- sample ---
struct SampleArgs {
  const float* logits;         // [vocabulary]
  const std::int32_t* recent;  // [recent_count]
  int vocabulary;
  int recent_count;
  int top_k;
  float penalty;
  double temperature;
  double top_p;
  double min_p;
  double uniform;
};
// What sample() returns when `recent` holds an id outside the vocabulary.
inline constexpr int kUnknownRecentId = -1;
// Runs on the calling thread and is never recorded: its result decides what comes next.
int sample(const Isa& isa, const SampleArgs& args);

}  // namespace tinychat
