// Work on the elements of a matrix, cut into pieces of rows that are worth a visit to the shared
// counter.
#pragma once

#include <algorithm>

#include "cpu/threads.h"
#include "w4.h"

namespace tinychat {

inline constexpr int kPieceCols = 1024;  // about a microsecond

// Calls f(row, first column, columns) for all of [rows, cols].
template <class F>
void for_pieces(Team& team, int rows, int cols, F f) {
  const int pieces = static_cast<int>(ceil_div(cols, kPieceCols));
  team.for_each(rows * pieces, 1, [&](Range part) {
    for (int i = part.begin; i < part.end; ++i) {
      const int first = i % pieces * kPieceCols;
      f(static_cast<std::size_t>(i / pieces), first, std::min(kPieceCols, cols - first));
    }
  });
}

}  // namespace tinychat
