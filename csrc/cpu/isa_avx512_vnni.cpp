// Micro-kernels for AVX-512 with VNNI: Intel servers since 2019, AMD since Zen 4.
#include "cpu/matmul_simd.h"
#include "cpu/ops.h"
#include "cpu/read_page.h"
#include "cpu/vector512.h"
#include "cpu/vector_ops.h"

namespace tinychat {

Isa avx512_vnni_isa() {
  Isa isa = avx2_isa();
  isa.name = "avx512_vnni";
  // --- matmul ---
  use_matmul<Vector512>(&isa);
  // --- read_bandwidth, int8_rate ---
  isa.sum_page = sum_page;
  // --- norm, embedding, attention, activation, sample ---
  use_vector_ops(&isa);
  return isa;
}

}  // namespace tinychat
