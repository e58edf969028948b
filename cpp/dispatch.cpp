// The one list of instruction sets, best first. A new one needs its name declared, a test for it and an entry here, a
// line in CMakeLists.txt, a section in simd/native.h and simd/native_memory.h and, for registers of a new width, one in
// simd/transpose.h.
#include "dispatch.h"

#include <atomic>
#include <stdexcept>

#if defined(_WIN32)
#include <immintrin.h>
#include <intrin.h>
#endif

#if defined(__x86_64__) && !defined(CROSSENT_BASELINE_ONLY)
#define CROSSENT_HAS_AVX
#endif

namespace crossent {

#define CROSSENT_DECLARE(isa)                                                     \
  namespace isa {                                                                 \
  SegmentResult segment_float(const Segment&);                                    \
  SegmentResult segment_double(const Segment&);                                   \
  void binary(const BinarySegment&);                                              \
  TargetCount count_targets(const int64_t*, ptrdiff_t count, const TargetRange&); \
  }
#define CROSSENT_KERNELS(isa, is_supported) \
  {#isa, is_supported, isa::segment_float, isa::segment_double, isa::binary, isa::count_targets}

#if defined(CROSSENT_HAS_AVX)
CROSSENT_DECLARE(avx512)
CROSSENT_DECLARE(avx2)
#endif
CROSSENT_DECLARE(baseline)

namespace {

bool always() { return true; }

#if defined(CROSSENT_HAS_AVX)
// All features that the compiler may use at a level, with the operating system's support for their registers.
#if defined(_WIN32)  // where clang's __builtin_cpu_supports has no library behind it
bool has_bits(int value, unsigned bits) { return (static_cast<unsigned>(value) & bits) == bits; }
__attribute__((target("xsave"))) bool system_keeps(unsigned registers) {
  return has_bits(static_cast<int>(_xgetbv(0)), registers);
}
bool has_v3() {
  int one[4], seven[4], extended[4];  // eax, ebx, ecx, edx
  __cpuid(one, 0);
  if (one[0] < 7) return false;
  __cpuid(one, 1);
  __cpuidex(seven, 7, 0);
  __cpuid(extended, 0x80000001);
  // FMA, MOVBE, OSXSAVE, AVX, F16C; BMI, AVX2, BMI2; LZCNT
  return has_bits(one[2], 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29) &&
         has_bits(seven[1], 1u << 3 | 1u << 5 | 1u << 8) && has_bits(extended[2], 1u << 5) && system_keeps(0x06);
}
bool has_v4() {
  if (!has_v3()) return false;
  int seven[4];
  __cpuidex(seven, 7, 0);  // AVX-512 F, DQ, CD, BW, VL
  return has_bits(seven[1], 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) && system_keeps(0xe6);
}
#elif !defined(__clang__) && __GNUC__ >= 12
bool has_v3() { return __builtin_cpu_supports("x86-64-v3"); }
bool has_v4() { return __builtin_cpu_supports("x86-64-v4"); }
#else
bool has_v3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif
#endif

constexpr Kernels best_first[] = {
#if defined(CROSSENT_HAS_AVX)
    CROSSENT_KERNELS(avx512, has_v4),
    CROSSENT_KERNELS(avx2, has_v3),
#endif
    CROSSENT_KERNELS(baseline, always),
};

const Kernels* best() {
#if defined(CROSSENT_HAS_AVX)
  __builtin_cpu_init();
#endif
  for (const Kernels& kernels : best_first) {
    if (kernels.is_supported()) return &kernels;
  }
  return nullptr;
}

std::atomic<const Kernels*> active{best()};

std::vector<std::string> names(bool only_supported) {
  std::vector<std::string> result;
  for (const Kernels& kernels : best_first) {
    if (!only_supported || kernels.is_supported()) result.emplace_back(kernels.instruction_set);
  }
  return result;
}

}  // namespace

const Kernels& active_kernels() { return *active.load(std::memory_order_acquire); }

std::vector<std::string> supported_instruction_sets() { return names(true); }
std::vector<std::string> compiled_instruction_sets() { return names(false); }

void select_instruction_set(const std::string& name) {
  for (const Kernels& kernels : best_first) {
    if (name == kernels.instruction_set && kernels.is_supported()) {
      active.store(&kernels, std::memory_order_release);
      return;
    }
  }
  std::string valid;
  for (const std::string& each : supported_instruction_sets()) valid += (valid.empty() ? "" : ", ") + each;
  bool is_compiled = false;
  for (const std::string& each : compiled_instruction_sets()) is_compiled |= each == name;
  throw std::invalid_argument("instruction set '" + name + "' is " +
                              (is_compiled ? "not supported by this CPU" : "unknown") + "; valid here: " + valid);
}

}  // namespace crossent
