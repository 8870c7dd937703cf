// CPUID is asked here and nowhere else. This file is compiled for the plainest CPU: the tables of
// the ISA files may only be called after their instructions were found.
#include "cpu/select.h"

#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tinychat {
namespace {

struct Entry {
  const char* name;
  const char* needs;
  bool (*supported)();
  Isa (*table)();  // null: not in this build
  bool for_tests = false;
};

bool always() { return true; }

#if defined(__x86_64__)

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kAvxVnni = 1u << 4;
  return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & kAvxVnni) != 0;
}

bool has_avx512_vnni() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

// Tiles are state that a process gets on request only.
bool system_grants_tiles() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool has_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kTileAndInt8 = 3u << 24;
  return has_avx512_vnni() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
         (edx & kTileAndInt8) == kTileAndInt8 && system_grants_tiles();
}

#if defined(TINYCHAT_HAVE_AVX2)
constexpr auto kAvx2 = avx2_isa;
#else
constexpr Isa (*kAvx2)() = nullptr;
#endif
#if defined(TINYCHAT_HAVE_AVX_VNNI)
constexpr auto kAvxVnni = avx_vnni_isa;
#else
constexpr Isa (*kAvxVnni)() = nullptr;
#endif
#if defined(TINYCHAT_HAVE_AVX512_VNNI)
constexpr auto kAvx512Vnni = avx512_vnni_isa;
#else
constexpr Isa (*kAvx512Vnni)() = nullptr;
#endif
#if defined(TINYCHAT_HAVE_AMX)
constexpr auto kAmx = amx_isa;
constexpr auto kEmulatedAmx = emulated_amx_isa;
#else
constexpr Isa (*kAmx)() = nullptr;
constexpr Isa (*kEmulatedAmx)() = nullptr;
#endif

#endif

constexpr Entry kEntries[] = {
#if defined(__x86_64__)
    {"amx", "AMX-INT8 beside AVX-512 VNNI, or the system's leave to use it", has_amx, kAmx},
    {"emulated_amx", "AVX-512 VNNI", has_avx512_vnni, kEmulatedAmx, true},
    {"avx512_vnni", "AVX-512 F, BW, VL, DQ and VNNI", has_avx512_vnni, kAvx512Vnni},
    {"avx_vnni", "AVX-VNNI", has_avx_vnni, kAvxVnni},
    {"avx2", "AVX2, FMA and F16C", has_avx2, kAvx2},
#endif
    {"scalar", "nothing", always, scalar_isa},
};

std::string refusal(const Entry& entry) {
  if (entry.table == nullptr) return "not in this build, the compiler could not build it";
  if (!entry.supported()) return std::string("this CPU lacks ") + entry.needs;
  return "";
}

}  // namespace

std::vector<Candidate> isa_candidates() {
  std::vector<Candidate> candidates;
  for (const Entry& entry : kEntries) {
    if (!entry.for_tests) candidates.push_back({entry.name, refusal(entry)});
  }
  return candidates;
}

Isa select_isa(const std::string& name) {
  std::string names;
  for (const Entry& entry : kEntries) {
    if (!entry.for_tests) names += (names.empty() ? "" : ", ") + std::string(entry.name);
    // Others are not asked: to ask for tiles is to get them.
    if (name.empty() ? entry.for_tests : name != entry.name) continue;
    const std::string reason = refusal(entry);
    if (reason.empty()) return entry.table();
    if (!name.empty()) throw std::invalid_argument("isa " + name + ": " + reason);
  }
  throw std::invalid_argument("isa '" + name + "' is unknown; there are: " + names);
}

}  // namespace tinychat
