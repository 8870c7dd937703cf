// Emulated streams for tests that come through ctypes, and a kernel that only the emulation minds.
#include "cuda/emulation/stream.h"
#include "cuda/launch.h"
#include "exported.h"

using tinychat::emulation::Settings;
using tinychat::emulation::Stream;

EXPORTED void* open_stream(const Settings* settings) { return new Stream(*settings); }
EXPORTED void close_stream(void* stream) { delete static_cast<Stream*>(stream); }
EXPORTED const char* synchronize(void* stream) {
  return tinychat::cuda::message({static_cast<Stream*>(stream)->synchronize()});
}

namespace {

constexpr int kDeep = 30000;  // floats; more than the stack of a fiber holds

void deep_kernel(float* out) {
  volatile float kept[kDeep];
  for (int i = 0; i < kDeep; ++i) kept[i] = static_cast<float>(i);
  *out = kept[0];
}

}  // namespace

EXPORTED const char* deep(const tinychat::cuda::Queue* q, float* out) {
  return tinychat::cuda::message(tinychat::cuda::launch(*q, {"deep", 1, 1}, deep_kernel, out));
}
