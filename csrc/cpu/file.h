// Bytes between files and memory by all threads of a pool, with a sum that tells damage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "cpu/threads.h"

namespace tinychat {

// Reads `bytes` of an open file from `offset` on; returns their checksum, or nothing where the file
// ends before that or cannot be read.
std::optional<std::uint64_t> read_file(ThreadPool& pool, int file, std::int64_t offset,
                                       std::byte* to, std::size_t bytes);

// A sum over every word and its place. It finds damage, not forgery.
std::uint64_t checksum(ThreadPool& pool, const std::byte* data, std::size_t bytes);

}  // namespace tinychat
