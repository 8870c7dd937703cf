// How an op launches its kernel, on a card or on the emulated one. Nothing here throws, allocates
// on the card or waits for it, so a launch can be captured into a CUDA graph.
//
// All launches of a queue that allows it are programmatic, which puts one duty on every kernel:
// pdl_wait() before it reads what an earlier launch wrote, and before it writes anything.
//
// Every kernel prefers all of a multiprocessor's memory as shared. Those that go from one split
// between shared memory and L1 to another have to run empty first: some 4 us a launch in a graph,
// others found.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/common.cuh"
#include "cuda/queue.h"

#ifndef __CUDACC__
#include "cuda/emulation/stream.h"
#endif

namespace tinychat::cuda {

// What every card gives a block of dynamic shared memory without being asked: 48 KB.
inline constexpr int kMostShared = 48 << 10;
// Of a product's kernel, at least, for which its registers must do.
inline constexpr int kBlocksPerMultiprocessor = 2;

struct LaunchShape {
  const char* name;  // of the op, for messages
  dim3 grid, block;
  std::size_t shared_bytes = 0;
};

template <class T>
struct Identity {
  using type = T;
};

// Arguments are converted to the kernel's own types and copied.
template <class... Params>
Status launch(const Queue& queue, const LaunchShape& shape, void (*kernel)(Params...),
              typename Identity<Params>::type... args) noexcept {
#ifdef __CUDACC__
  // The function's attribute: that of a launch is newer than some drivers, which refuse it.
  cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                           cudaSharedmemCarveoutMaxShared);
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(queue.stream);
  config.attrs = &overlap;
  config.numAttrs = queue.programmatic ? 1 : 0;
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, kernel, args...);
  if (error == cudaSuccess) return {};
  cudaGetLastError();  // so that the next launch does not report it again
  return {std::string("kernel ") + shape.name + ": " + cudaGetErrorString(error)};
#else
  return {static_cast<emulation::Stream*>(queue.stream)
              ->launch(reinterpret_cast<const void*>(kernel),
                       {shape.name, shape.grid, shape.block, shape.shared_bytes, queue.programmatic,
                        [=] { kernel(args...); }})};
#endif
}

// Lets `kernel` have more than kMostShared of dynamic shared memory. Once for each card and kernel,
// before any launch is captured.
template <class... Params>
Status allow_shared([[maybe_unused]] const Queue& queue, void (*kernel)(Params...),
                    std::size_t bytes) noexcept {
#ifdef __CUDACC__
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) return {};
  cudaGetLastError();
  return {std::to_string(bytes) + " bytes of shared memory: " + cudaGetErrorString(error)};
#else
  return {static_cast<emulation::Stream*>(queue.stream)
              ->allow_shared(reinterpret_cast<const void*>(kernel), bytes)};
#endif
}

}  // namespace tinychat::cuda
