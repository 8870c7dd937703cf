// All PTX that kernels use, as functions. Each has a host twin in emulation/ptx.h that does the
// same to the emulated thread, so kernels themselves hold no assembly.
//
// Fragments. A matrix operand of a tensor-core instruction is spread over the 32 lanes of a warp.
// With g = lane / 4 and t = lane % 4, and "k, k+1" meaning the low and the high half of a register:
//
// clang-format off
//   A [16 rows, 16 k]  a[0]: row g,     k = 2t, 2t+1      a[2]: row g,     k = 2t+8, 2t+9
//                      a[1]: row g + 8, k = 2t, 2t+1      a[3]: row g + 8, k = 2t+8, 2t+9
//   B [16 k, 8 cols]   b[0]: col g,     k = 2t, 2t+1      b[1]: col g,     k = 2t+8, 2t+9
//   C [16 rows, 8 cols]   sum[0], sum[1]: row g,     cols 2t, 2t+1
//                         sum[2], sum[3]: row g + 8, cols 2t, 2t+1
// clang-format on
#pragma once

#include <cstdint>

#include "cuda/common.cuh"

#ifndef __CUDACC__
#include "cuda/emulation/ptx.h"
#else

namespace tinychat::cuda {

// Any function of three bits, on 32 of them at once: lop3.b32. kTable is that function of the
// constants a = 0xf0, b = 0xcc, c = 0xaa: for (a & b) | c it is (0xf0 & 0xcc) | 0xaa.
template <int kTable>
__device__ __forceinline__ std::uint32_t lop3(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(result) : "r"(a), "r"(b), "r"(c), "n"(kTable));
  return result;
}

// --- cp.async: copies from global to shared memory that bypass registers and L1

__device__ __forceinline__ unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// Begins to copy 16 bytes, or to write 16 zeros where `read` is false: cp.async.cg.shared.global.
// Both addresses are multiples of 16. sm_75 has no such copy and does it at once.
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool read = true) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  *static_cast<uint4*>(shared) =
      read ? *static_cast<const uint4*>(global) : make_uint4(0u, 0u, 0u, 0u);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(read ? 16 : 0)
               : "memory");
#endif
}

// Makes a group of the copies that this thread has begun since the last call; it may be empty:
// cp.async.commit_group.
__device__ __forceinline__ void cp_async_commit() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all groups of this thread but the latest kPending are there, for this thread; others
// see them after a barrier: cp.async.wait_group.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// --- tensor cores

// Four 8 x 8 matrices of 16-bit elements from shared memory: ldmatrix.sync.aligned.m8n8.x4. Lane
// 8 m + r gives the address of row r of matrix m, a multiple of 16; each lane gets, of matrix m, in
// out[m] the elements 2t and 2t + 1 of row g.
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}

// sum += A B in float32, A and B float16: mma.sync.aligned.m16n8k16.row.col, fragments as above.
// sm_75 does it in two steps of eight k, for which the fragments fall apart by registers.
__device__ __forceinline__ void mma_m16n8k16(float (&sum)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[2 * step]), "r"(a[2 * step + 1]), "r"(b[step]));
  }
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// --- memory

// 16 bytes that are read once, such as weights, without a place in L1: ld.global.nc. The address is
// a multiple of 16, and nothing of this launch or of one that it may overtake writes there.
__device__ __forceinline__ uint4 load_stream16(const void* global) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(__cvta_generic_to_global(global)));
  return value;
}

// Adds to a counter in global memory and returns what it was. What the block did before (across a
// barrier) is seen by who adds later, and the other way round: atom.acq_rel.gpu.add.
__device__ __forceinline__ unsigned fetch_add_acq_rel(unsigned* counter, unsigned by) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(counter)), "r"(by)
               : "memory");
  return before;
}

// What this thread wrote before is seen, by the host too, before what it writes after:
// fence.acq_rel.sys.
__device__ __forceinline__ void fence_system() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

// --- programmatic dependent launch; neither does anything below sm_90

// Waits until the launches before this one have ended and what they wrote is seen:
// griddepcontrol.wait.
__device__ __forceinline__ void pdl_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next launch start as soon as all blocks have said so or ended:
// griddepcontrol.launch_dependents.
__device__ __forceinline__ void pdl_launch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace tinychat::cuda

#endif
