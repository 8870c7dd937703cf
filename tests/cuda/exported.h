// Functions that tests and measurements call through ctypes.
#pragma once

#include <string>
#include <utility>

#include "cuda/queue.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace tinychat::cuda {
namespace {

// What went wrong, as text that lives until the next call; empty for nothing.
inline const char* message(Status status) {
  static std::string kept;
  kept = std::move(status.error);
  return kept.c_str();
}

}  // namespace
}  // namespace tinychat::cuda
