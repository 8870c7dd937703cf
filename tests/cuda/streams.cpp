// Emulated streams for tests that come through ctypes.
#include "cuda/emulation/stream.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

using tinychat::emulation::Settings;
using tinychat::emulation::Stream;

EXPORTED void* open_stream(const Settings* settings) { return new Stream(*settings); }
EXPORTED void close_stream(void* stream) { delete static_cast<Stream*>(stream); }
EXPORTED const char* synchronize(void* stream) {
  static std::string kept;
  kept = static_cast<Stream*>(stream)->synchronize();
  return kept.c_str();
}
