// Norms of the heads, rotation, cache append and causal attention in one op; formulas in
// tinychat/kernels/__init__.py.
//
// One token: work is dealt out by kv head. Where there are too few heads to go round, each one's
// cache is cut into stretches, and a second loop joins what was found in them. Bound by reading the
// cache once.
// A chunk: first all keys and values are appended, then tiles of query rows are taken, the longest
// first. Bound by arithmetic.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/ops.h"

namespace tinychat {
namespace {

constexpr int kMostTileRows = 64;
constexpr int kWidestVector = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Multiplications that are worth a visit to the shared counter: about a microsecond.
constexpr std::int64_t kPartWork = 1 << 15;

int padded(int head_dim) { return static_cast<int>(round_up(head_dim, kWidestVector)); }

int tile_rows_of(const AttentionArgs& args) {
  const int rows = args.tokens * args.group();
  return args.tokens == 1 ? rows : std::min(kMostTileRows, rows);
}

// Into how many stretches the cache of a kv head is cut for one token; a short one into fewer.
int most_stretches(const AttentionArgs& args, int threads) {
  if (args.tokens > 1 || args.kv_heads % threads == 0) return 1;
  constexpr int kItemsPerThread = 4;
  return static_cast<int>(ceil_div(kItemsPerThread * threads, args.kv_heads));
}

// What rows have gathered: their sums of values and the state of their softmax.
struct Gathered {
  float* acc;         // [rows, stride]
  AttentionRow* row;  // [rows]

  static std::size_t floats(std::size_t rows, std::size_t stride) {
    return round_up(rows * (stride + sizeof(AttentionRow) / sizeof(float)), kWidestVector);
  }
  Gathered(float* memory, std::size_t rows, std::size_t stride)
      : acc(memory), row(reinterpret_cast<AttentionRow*>(memory + rows * stride)) {}
  Gathered(const Gathered& from, int first_row, std::size_t stride)
      : acc(from.acc + first_row * stride), row(from.row + first_row) {}
};

// A thread's own scratch memory.
struct Workspace {
  float* q;            // [tile rows, stride]
  float* columns;      // [stride, tile rows rounded up]
  float* scores;       // [tile rows rounded up, kKeyBlock]
  float* key_block;    // [kKeyBlock, stride]
  float* value_block;  // [kKeyBlock, stride]
  float* kv_row;       // [stride]
  Gathered gathered;   // [tile rows]

  static std::size_t floats(const AttentionArgs& args) {
    const std::size_t rows = tile_rows_of(args), stride = padded(args.head_dim);
    const std::size_t lanes = round_up(rows, kWidestVector);
    const std::size_t queries = rows * stride + lanes * (stride + kKeyBlock);
    return queries + (2 * kKeyBlock + 1) * stride + Gathered::floats(rows, stride);
  }
  Workspace(float* memory, std::size_t rows, std::size_t stride)
      : q(memory),
        columns(q + rows * stride),
        scores(columns + stride * round_up(rows, kWidestVector)),
        key_block(scores + round_up(rows, kWidestVector) * kKeyBlock),
        value_block(key_block + kKeyBlock * stride),
        kv_row(value_block + kKeyBlock * stride),
        gathered(kv_row + stride, rows, stride) {}
};

Workspace workspace_of(const Team& team, const AttentionArgs& args) {
  float* memory = reinterpret_cast<float*>(team.scratch()) + team.rank * Workspace::floats(args);
  return Workspace(memory, tile_rows_of(args), padded(args.head_dim));
}

// What one token's rows of all heads have gathered over one stretch; behind the threads' own
// memory.
Gathered gathered_over(int stretch, const Team& team, const AttentionArgs& args) {
  const std::size_t stride = padded(args.head_dim);
  float* memory = reinterpret_cast<float*>(team.scratch()) + team.size * Workspace::floats(args);
  return Gathered(memory + stretch * Gathered::floats(args.heads, stride), args.heads, stride);
}

// Vectors read whole rows of the stride, so what lies beyond head_dim must be zero.
void clear_padding(const Workspace& w, const AttentionArgs& args) {
  const int stride = padded(args.head_dim);
  const std::size_t bytes = static_cast<std::size_t>(stride - args.head_dim) * sizeof(float);
  if (bytes == 0) return;
  for (int j = 0; j < kKeyBlock; ++j) {
    std::memset(w.key_block + j * stride + args.head_dim, 0, bytes);
    std::memset(w.value_block + j * stride + args.head_dim, 0, bytes);
  }
}

// out = the head x [D], normalized if there is a weight for that, rotated to `position`, times
// scale.
void place(const Isa& isa, const AttentionArgs& args, const float* x, const float* norm_weight,
           int position, float scale, float* out) {
  if (norm_weight != nullptr) {
    isa.rms_norm_row(x, norm_weight, out, args.head_dim, args.qk_norm.eps);
    x = out;
  }
  const std::size_t angle = static_cast<std::size_t>(position) * args.rotary_half;
  isa.rotate_row(x, args.cos + angle, args.sin + angle, args.rotary_half, args.head_dim, scale,
                 out);
}

const float* head_of(const AttentionArgs& args, int token, int head) {
  const std::size_t width =
      static_cast<std::size_t>(args.heads + 2 * args.kv_heads) * args.head_dim;
  return args.qkv + token * width + static_cast<std::size_t>(head) * args.head_dim;
}

std::size_t cache_offset(const AttentionArgs& args, int kv_head, int position) {
  const std::size_t row = static_cast<std::size_t>(kv_head) * args.capacity + position;
  return row * row_bytes(args.dtype, args.head_dim);
}

void append(const Isa& isa, const AttentionArgs& args, const Workspace& w, int token, int kv_head) {
  const int position = *args.start + token;
  const std::size_t offset = cache_offset(args, kv_head, position);
  const float* key = head_of(args, token, args.heads + kv_head);
  place(isa, args, key, args.qk_norm.k, position, 1.0f, w.kv_row);
  isa.write_row(args.dtype, w.kv_row, args.keys + offset, args.head_dim);
  const float* value = head_of(args, token, args.heads + args.kv_heads + kv_head);
  isa.write_row(args.dtype, value, args.values + offset, args.head_dim);
}

int first_visible(const AttentionArgs& args, int position) {
  return args.window > 0 ? std::max(0, position + 1 - args.window) : 0;
}

// Rows are numbered token by token, the query heads of one kv head within a token. This one gets
// the rows from first_row on, ready to attend: normalized, rotated and scaled queries, nothing
// gathered yet.
AttentionTile prepare_tile(const Isa& isa, const AttentionArgs& args, const Workspace& w,
                           const Gathered& gathered, int kv_head, int first_row, int rows) {
  const int stride = padded(args.head_dim);
  clear_padding(w, args);
  for (int i = 0; i < rows; ++i) {
    const int token = (first_row + i) / args.group();
    const int head = kv_head * args.group() + (first_row + i) % args.group();
    const int position = *args.start + token;
    float* q = w.q + static_cast<std::size_t>(i) * stride;
    place(isa, args, head_of(args, token, head), args.qk_norm.q, position, args.scale, q);
    std::fill(q + args.head_dim, q + stride, 0.0f);
    const float slope = args.alibi == nullptr ? 0.0f : args.alibi[head];
    gathered.row[i] = {position, slope, -kInfinity, 0.0f};
  }
  std::fill(gathered.acc, gathered.acc + static_cast<std::size_t>(rows) * stride, 0.0f);

  AttentionTile tile;
  tile.dtype = args.dtype;
  tile.keys = args.keys + cache_offset(args, kv_head, 0);
  tile.values = args.values + cache_offset(args, kv_head, 0);
  tile.head_dim = args.head_dim;
  tile.stride = stride;
  tile.window = args.window;
  tile.begin = first_visible(args, gathered.row[0].position);
  tile.end = gathered.row[rows - 1].position + 1;
  tile.rows = rows;
  tile.q = w.q;
  tile.acc = gathered.acc;
  tile.row = gathered.row;
  tile.scores = w.scores;
  tile.columns = w.columns;
  tile.key_block = w.key_block;
  tile.value_block = w.value_block;
  return tile;
}

void write_result(const AttentionArgs& args, const AttentionTile& tile, int kv_head,
                  int first_row) {
  for (int i = 0; i < tile.rows; ++i) {
    const std::size_t token = (first_row + i) / args.group();
    const int head = kv_head * args.group() + (first_row + i) % args.group();
    float* out = args.out + (token * args.heads + head) * args.head_dim;
    const float* acc = tile.acc + static_cast<std::size_t>(i) * tile.stride;
    const float factor = 1.0f / tile.row[i].sum;
    for (int d = 0; d < args.head_dim; ++d) out[d] = acc[d] * factor;
  }
}

// out of one head = what was gathered for it over each stretch, brought to a common maximum.
void join_stretches(const Team& team, const AttentionArgs& args, int stretches, int head) {
  const std::size_t stride = padded(args.head_dim);
  float top = -kInfinity;
  for (int s = 0; s < stretches; ++s) {
    top = std::max(top, gathered_over(s, team, args).row[head].largest);
  }
  float* out = args.out + static_cast<std::size_t>(head) * args.head_dim;
  std::fill(out, out + args.head_dim, 0.0f);
  float sum = 0.0f;
  for (int s = 0; s < stretches; ++s) {
    const Gathered one(gathered_over(s, team, args), head, stride);
    const float factor = std::exp(one.row->largest - top);
    sum += one.row->sum * factor;
    for (int d = 0; d < args.head_dim; ++d) out[d] += one.acc[d] * factor;
  }
  for (int d = 0; d < args.head_dim; ++d) out[d] /= sum;
}

void attend_one_token(Team& team, const Isa& isa, const AttentionArgs& args) {
  const int group = args.group();
  const int begin = first_visible(args, *args.start);
  const int keys = *args.start + 1 - begin;
  const int blocks = static_cast<int>(ceil_div(keys, kKeyBlock));
  const int stretches = std::min(most_stretches(args, team.size), blocks);
  const std::int64_t head_work = std::int64_t{2} * keys * group * args.head_dim;
  const int fair_share = static_cast<int>(ceil_div(args.kv_heads, team.size));
  const int grain =
      stretches > 1 ? 1 : std::min(fair_share, 1 + static_cast<int>(kPartWork / head_work));

  team.for_each(args.kv_heads * stretches, grain, [&](Range part) {
    const Workspace w = workspace_of(team, args);
    for (int i = part.begin; i < part.end; ++i) {
      const int kv_head = i / stretches;
      const int stretch = i % stretches;
      const Gathered gathered = stretches == 1 ? w.gathered
                                               : Gathered(gathered_over(stretch, team, args),
                                                          kv_head * group, padded(args.head_dim));
      AttentionTile tile = prepare_tile(isa, args, w, gathered, kv_head, 0, group);
      // Whoever reads the newest key writes it.
      if (stretch == stretches - 1) append(isa, args, w, 0, kv_head);
      tile.end = std::min(tile.end, begin + blocks * (stretch + 1) / stretches * kKeyBlock);
      tile.begin = begin + blocks * stretch / stretches * kKeyBlock;
      isa.attend(tile);
      if (stretches == 1) write_result(args, tile, kv_head, 0);
    }
  });
  if (stretches == 1) return;
  constexpr int kHeadsPerPart = 8;
  team.for_each(args.heads, kHeadsPerPart, [&](Range part) {
    for (int head = part.begin; head < part.end; ++head) {
      join_stretches(team, args, stretches, head);
    }
  });
}

void attend_chunk(Team& team, const Isa& isa, const AttentionArgs& args) {
  constexpr int kRowsPerPart = 16;
  team.for_each(args.tokens * args.kv_heads, kRowsPerPart, [&](Range part) {
    const Workspace w = workspace_of(team, args);
    for (int i = part.begin; i < part.end; ++i) {
      append(isa, args, w, i / args.kv_heads, i % args.kv_heads);
    }
  });

  const int all_rows = args.tokens * args.group();
  int tile_rows = tile_rows_of(args);
  const auto tiles = [&] { return static_cast<int>(ceil_div(all_rows, tile_rows)); };
  while (tile_rows > 8 && args.kv_heads * tiles() < 2 * team.size) tile_rows = (tile_rows + 1) / 2;
  team.for_each(args.kv_heads * tiles(), 1, [&](Range part) {
    const Workspace w = workspace_of(team, args);
    for (int i = part.begin; i < part.end; ++i) {
      const int kv_head = i % args.kv_heads;
      const int first_row = (tiles() - 1 - i / args.kv_heads) * tile_rows;
      const int rows = std::min(tile_rows, all_rows - first_row);
      const AttentionTile tile = prepare_tile(isa, args, w, w.gathered, kv_head, first_row, rows);
      isa.attend(tile);
      write_result(args, tile, kv_head, first_row);
    }
  });
}

}  // namespace

std::size_t attention_scratch_bytes(const AttentionArgs& args, int threads) {
  const std::size_t stretches = most_stretches(args, threads);
  const std::size_t shared =
      stretches > 1 ? stretches * Gathered::floats(args.heads, padded(args.head_dim)) : 0;
  return (threads * Workspace::floats(args) + shared) * sizeof(float);
}

void attention(Team& team, const Isa& isa, const AttentionArgs& args) noexcept {
  if (args.tokens == 1) {
    attend_one_token(team, isa, args);
  } else if (args.tokens > 1) {
    attend_chunk(team, isa, args);
  }
}

}  // namespace tinychat
