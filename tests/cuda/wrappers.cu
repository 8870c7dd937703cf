// Kernels that apply one wrapper of ptx.cuh, one name of CUDA or one conversion each, so that it
// can be compared with a plain formula: of the emulation, and of a card where there is one.
#include <cstdint>
#include <utility>

#include "cuda/half.cuh"
#include "cuda/launch.h"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"
#include "exported.h"

namespace tinychat::cuda {
namespace {

constexpr int kLutRows = 256;

template <int... kTables>
__device__ void apply_tables(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t* out,
                             std::integer_sequence<int, kTables...>) {
  ((out[kTables] = lop3<kTables>(a, b, c)), ...);
}

// out [32, 256]: every table of one triple of words a lane.
__global__ void lop3_kernel(const std::uint32_t* a, const std::uint32_t* b, const std::uint32_t* c,
                            std::uint32_t* out) {
  const unsigned i = threadIdx.x;
  apply_tables(a[i], b[i], c[i], out + i * kLutRows, std::make_integer_sequence<int, kLutRows>());
}

// out [4, 32]: from the named lane, exchanged by xor, from `by` lanes further, votes.
__global__ void shuffle_kernel(const std::uint32_t* values, const int* sources, int by,
                               std::uint32_t* out) {
  const int lane = lane_index();
  const std::uint32_t value = values[lane];
  out[lane] = __shfl_sync(kAllLanes, value, sources[lane]);
  out[32 + lane] = __shfl_xor_sync(kAllLanes, value, by);
  out[64 + lane] = __shfl_down_sync(kAllLanes, value, static_cast<unsigned>(by));
  out[96 + lane] = __ballot_sync(kAllLanes, (value & 1) != 0);
}

// rows [32, 8] of 16 bits; out [32, 4].
__global__ void ldmatrix_kernel(const uint4* rows, std::uint32_t* out) {
  uint4* shared = shared_memory<uint4>();
  const int lane = lane_index();
  shared[lane] = rows[lane];
  __syncwarp();
  std::uint32_t own[4];
  ldmatrix_x4(own, shared + lane);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = own[i];
}

// a [32, 4] and b [32, 2] fragments of pairs of float16, sum [32, 4] float32, in and out.
__global__ void mma_kernel(const std::uint32_t* a, const std::uint32_t* b, float* sum) {
  const int lane = lane_index();
  std::uint32_t own_a[4], own_b[2];
  float own[4];
  for (int i = 0; i < 4; ++i) own_a[i] = a[lane * 4 + i];
  for (int i = 0; i < 2; ++i) own_b[i] = b[lane * 2 + i];
  for (int i = 0; i < 4; ++i) own[i] = sum[lane * 4 + i];
  mma_m16n8k16(own, own_a, own_b);
  for (int i = 0; i < 4; ++i) sum[lane * 4 + i] = own[i];
}

// out[i] = from[i] where keep[i], else zeros; i in 0..31.
__global__ void cp_async_kernel(const uint4* from, const int* keep, uint4* out) {
  uint4* shared = shared_memory<uint4>();
  const unsigned i = threadIdx.x;
  cp_async16(shared + i, from + i, keep[i] != 0);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  const unsigned other = 31 - i;
  out[other] = shared[other];
}

__global__ void load_stream_kernel(const uint4* from, uint4* out) {
  out[threadIdx.x] = load_stream16(from + threadIdx.x);
}

// out[0] = the sum of `values`, one a thread of all blocks, combined by the block that comes last.
__global__ void last_block_kernel(const float* values, float* partial, unsigned* counter,
                                  float* out) {
  float* scratch = shared_memory<float>();  // [32] and the flag
  auto* flag = reinterpret_cast<unsigned*>(scratch + kWarpLanes);
  const float sum = block_sum<4>(values[blockIdx.x * blockDim.x + threadIdx.x], scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
  if (!is_last_block(counter, gridDim.x, flag)) return;
  if (threadIdx.x == 0) {
    float total = 0.0f;
    for (unsigned i = 0; i < gridDim.x; ++i) total += partial[i];
    *out = total;
  }
}

// Every block waits for all others, which must be there at the same time.
__global__ void grid_barrier_kernel(volatile unsigned* counter, unsigned* out) {
  if (threadIdx.x == 0) {
    fetch_add_acq_rel(const_cast<unsigned*>(counter), 1u);
    while (*counter < gridDim.x) spin_pause();
  }
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = *counter;
}

__global__ void produce_kernel(float value, float* out) {
  pdl_launch();
  pdl_wait();
  out[threadIdx.x] = value;
}

template <bool kWait>
__global__ void consume_kernel(const float* from, float* out) {
  if (kWait) pdl_wait();
  out[threadIdx.x] = from[threadIdx.x];
}

__global__ void halves_to_floats_kernel(const __half* from, float* out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = __half2float(from[i]);
}

__global__ void floats_to_halves_kernel(const float* from, __half* out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = __float2half_rn(from[i]);
}

// out [4, n]: a + b, a - b, a b, a b + c.
__global__ void half2_kernel(const __half2* a, const __half2* b, const __half2* c, __half2* out,
                             int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  out[i] = __hadd2(a[i], b[i]);
  out[n + i] = __hsub2(a[i], b[i]);
  out[2 * n + i] = __hmul2(a[i], b[i]);
  out[3 * n + i] = __hfma2(a[i], b[i], c[i]);
}

// What one thread writes before a fence and after it.
__global__ void fence_kernel(int* data, int* flag) {
  *data = 1;
  fence_system();
  *flag = 1;
}

// counter [1] += 2^32 - 1 by each of 32 threads; out [32] = -from, by its bits.
__global__ void bits_kernel(unsigned long long* counter, const float* from, float* out) {
  constexpr unsigned long long kStep = 0xffffffffull;
  atomicAdd(counter, kStep);
  out[threadIdx.x] = __uint_as_float(__float_as_uint(from[threadIdx.x]) ^ 0x80000000u);
}

__global__ void shared_kernel(float* out) {
  out[threadIdx.x] = shared_memory<float>()[threadIdx.x];
}

constexpr unsigned kMany = 256;
unsigned blocks_for(int n) { return (static_cast<unsigned>(n) + kMany - 1) / kMany; }

}  // namespace
}  // namespace tinychat::cuda

using namespace tinychat::cuda;
using Words = const std::uint32_t*;

EXPORTED const char* lop3_all(const Queue* q, Words a, Words b, Words c, std::uint32_t* out) {
  return message(launch(*q, {"lop3", 1, 32}, lop3_kernel, a, b, c, out));
}

EXPORTED const char* shuffles(const Queue* q, Words values, const int* sources, int by,
                              std::uint32_t* out) {
  return message(launch(*q, {"shuffles", 1, 32}, shuffle_kernel, values, sources, by, out));
}

EXPORTED const char* ldmatrix(const Queue* q, const uint4* rows, std::uint32_t* out) {
  return message(launch(*q, {"ldmatrix", 1, 32, 512}, ldmatrix_kernel, rows, out));
}

EXPORTED const char* mma(const Queue* q, Words a, Words b, float* sum) {
  return message(launch(*q, {"mma", 1, 32}, mma_kernel, a, b, sum));
}

EXPORTED const char* cp_async(const Queue* q, const uint4* from, const int* keep, uint4* out) {
  return message(launch(*q, {"cp_async", 1, 32, 512}, cp_async_kernel, from, keep, out));
}

EXPORTED const char* load_stream(const Queue* q, const uint4* from, uint4* out) {
  return message(launch(*q, {"load_stream", 1, 32}, load_stream_kernel, from, out));
}

EXPORTED const char* last_block(const Queue* q, const float* values, float* partial,
                                unsigned* counter, float* out, int blocks) {
  const unsigned grid = static_cast<unsigned>(blocks);
  return message(launch(*q, {"last_block", grid, 128, 33 * sizeof(float)}, last_block_kernel,
                        values, partial, counter, out));
}

EXPORTED const char* grid_barrier(const Queue* q, unsigned* counter, unsigned* out, int blocks,
                                  int threads) {
  return message(
      launch(*q, {"grid_barrier", static_cast<unsigned>(blocks), static_cast<unsigned>(threads)},
             grid_barrier_kernel, counter, out));
}

EXPORTED const char* produce(const Queue* q, float value, float* out) {
  return message(launch(*q, {"produce", 1, 32}, produce_kernel, value, out));
}

EXPORTED const char* consume(const Queue* q, const float* from, float* out, bool wait) {
  return message(launch(*q, {"consume", 1, 32}, wait ? consume_kernel<true> : consume_kernel<false>,
                        from, out));
}

EXPORTED const char* halves_to_floats(const Queue* q, const void* from, float* out, int n) {
  return message(launch(*q, {"halves_to_floats", blocks_for(n), kMany}, halves_to_floats_kernel,
                        static_cast<const __half*>(from), out, n));
}

EXPORTED const char* floats_to_halves(const Queue* q, const float* from, void* out, int n) {
  return message(launch(*q, {"floats_to_halves", blocks_for(n), kMany}, floats_to_halves_kernel,
                        from, static_cast<__half*>(out), n));
}

EXPORTED const char* half2_arithmetic(const Queue* q, const void* a, const void* b, const void* c,
                                      void* out, int n) {
  return message(launch(*q, {"half2", blocks_for(n), kMany}, half2_kernel,
                        static_cast<const __half2*>(a), static_cast<const __half2*>(b),
                        static_cast<const __half2*>(c), static_cast<__half2*>(out), n));
}

EXPORTED const char* fence(const Queue* q, int* data, int* flag) {
  return message(launch(*q, {"fence", 1, 1}, fence_kernel, data, flag));
}

EXPORTED const char* bits(const Queue* q, unsigned long long* counter, const float* from,
                          float* out) {
  return message(launch(*q, {"bits", 1, 32}, bits_kernel, counter, from, out));
}

// Launches with what a test asks for, to see what is refused.
EXPORTED const char* shared(const Queue* q, float* out, int threads, int bytes, int allowed) {
  if (allowed > 0) {
    const Status status = allow_shared(*q, shared_kernel, static_cast<std::size_t>(allowed));
    if (!status.error.empty()) return message(status);
  }
  return message(
      launch(*q, {"shared", 1, static_cast<unsigned>(threads), static_cast<std::size_t>(bytes)},
             shared_kernel, out));
}
