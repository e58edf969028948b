// Measures the largest errors of exp.h and log.h in ulp, against long double and numbers of 113 bits, and fails where
// one exceeds what the header promises. Compiled with the flags of an instruction set by test_math.py, for NEON by
// .ci/aarch64. Usage: math_error STEP, with a step of 1 for every float from -2^17 to 2^17.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "../../cpp/simd/exp.h"
#include "../../cpp/simd/log.h"
#include "../../cpp/simd/row_groups.h"

using namespace crossent::CROSSENT_ISA;

namespace {

long double ulps(long double computed, long double exact, int mantissa_bits) {
  int exponent;
  std::frexp(exact, &exponent);
  return std::fabs(computed - exact) / std::ldexp(1.0L, exponent - mantissa_bits);
}

#if LDBL_MANT_DIG == 113
using Quad = long double;
#else
using Quad = __float128;
#endif

// exp(x) · 2^-n, with x reduced in 113 bits.
long double exact_exp(double x, double n) {
  constexpr Quad ln2 = Quad(0x1.62e42fefa39efp-1) + Quad(0x1.abc9e3b39803fp-56);
  return std::exp(static_cast<long double>(static_cast<Quad>(x) - static_cast<Quad>(n) * ln2));
}

// Infinite if exp_in_range(x) differs from normal_exp(x) for an ordinary logit.
template <class T>
long double difference_in_range(const T* x) {
  T result[lanes<T>], general[lanes<T>];
  store(result, exp_in_range(load(x)));
  store(general, normal_exp(load(x), splat<T>(ExpConstants<T>::shifter)));
  for (int i = 0; i < lanes<T>; ++i) {
    const bool is_ordinary = Ordinary<T>::least <= x[i] && x[i] <= Ordinary<T>::largest;
    if (is_ordinary && __builtin_memcmp(&result[i], &general[i], sizeof(T)) != 0) return INFINITY;
  }
  return 0;
}

template <class T>
long double error_of_vector(const T* x) {
  T n[lanes<T>], result[lanes<T>];
  for (int i = 0; i < lanes<T>; ++i) n[i] = std::nearbyint(x[i] * T(1.4426950408889634));
  store(result, scaled_exp(load(x), splat<T>(-200000), shifter_of(splat<T>(0) - load(n))));
  long double worst = difference_in_range(x);
  for (int i = 0; i < lanes<T>; ++i) {
    worst = std::max(worst, ulps(result[i], exact_exp(x[i], n[i]), sizeof(T) == 4 ? 24 : 53));
  }
  return worst;
}

// Of the floats from that with the bits `begin` on, of both signs.
long double error_of_float_exp(uint32_t begin, uint32_t step) {
  long double worst = 0;
  for (const uint32_t sign : {0u, 0x80000000u}) {
    for (uint64_t first = begin; first <= 0x48000000u; first += 16ull * step) {  // 0x48000000 is 2^17
      float x[16];
      for (uint32_t i = 0; i < 16; ++i) {
        const uint32_t bits = sign | static_cast<uint32_t>(std::min<uint64_t>(first + i * step, 0x48000000u));
        __builtin_memcpy(&x[i], &bits, 4);
      }
      worst = std::max(worst, error_of_vector(x));
    }
  }
  return worst;
}

long double error_of_double_exp(std::mt19937_64& random, int count) {
  long double worst = 0;
  for (const double range : {0.5, 50.0, 800.0, 60000.0}) {
    std::uniform_real_distribution<double> uniform(-range, range);
    for (int k = 0; k < count; ++k) {
      double x[8];
      for (double& each : x) each = uniform(random);
      worst = std::max(worst, error_of_vector(x));
    }
  }
  return worst;
}

template <class T>
long double error_of_exp_of_sum(std::mt19937_64& random, int count) {
  std::uniform_real_distribution<double> uniform(-700, 0), half(-0.5, 0.5);
  long double worst = 0;
  for (int k = 0; k < count; ++k) {
    double high[8], low[8], result[8];
    for (int i = 0; i < 8; ++i) {
      high[i] = uniform(random);
      low[i] = half(random) * (std::nextafter(high[i], 0.0) - high[i]);
    }
    store(result, exp_of_sum<T>(load(high), load(low)));
    for (int i = 0; i < 8; ++i) {
      const long double exact = std::exp(static_cast<long double>(high[i]) + low[i]);
      worst = std::max(worst, ulps(result[i], exact, 53));
    }
  }
  return worst;
}

// log(a + b) with b from 2^-1060 to 2^60 beside a = 1, 2, 3 and 0; near 1 from both sides too.
template <class T>
long double error_of_log(std::mt19937_64& random, int count) {
  std::uniform_real_distribution<double> mantissa(1, 2), small(-0.5, 0.5);
  std::uniform_int_distribution<int> tiny(-1000, 60), normal(-1000, 1000);
  long double worst = 0;
  for (int k = 0; k < count; ++k) {
    double a[8], b[8], result[8];
    for (int i = 0; i < 8; ++i) {
      const int kind = (k + i) % 4;
      a[i] = kind == 3 ? 0 : kind == 2 ? 1 + k % 3 : 1;
      b[i] = kind == 0   ? small(random)
             : kind == 3 ? std::ldexp(mantissa(random), normal(random))
                         : std::ldexp(mantissa(random), tiny(random));
    }
    store(result, log_of_sum<T>(load(a), load(b)));
    for (int i = 0; i < 8; ++i) {
      const long double exact = a[i] == 0 ? std::log(static_cast<long double>(b[i]))
                                          : std::log1p(static_cast<long double>(b[i]) + (a[i] - 1));
      worst = std::max(worst, exact == 0 ? 0 : ulps(result[i], exact, 53));
    }
  }
  return worst;
}

bool report(const char* name, long double error, double promised) {
  std::printf("%s: %.4Lf ulp, promised %.1f\n", name, error, promised);
  return error <= promised;
}

}  // namespace

int main(int, char** arguments) {
  const auto step = static_cast<uint32_t>(std::atoi(arguments[1]));
  const int count = 20'000'000 / static_cast<int>(step);
  std::mt19937_64 random(20240229);
  const uint32_t far = 0x47000000u;  // 2^15: from here on the steps are off the most
  const long double near_and_far = std::max(error_of_float_exp(0, step), error_of_float_exp(far, (step + 15) / 16));
  bool is_good = report("float exp", near_and_far, scaled_exp_ulp);
  is_good &= report("double exp", error_of_double_exp(random, count), scaled_exp_ulp);
  is_good &= report("double exp of a sum", error_of_exp_of_sum<double>(random, count), exp_of_sum_ulp);
  is_good &= report("exp of a sum for floats", error_of_exp_of_sum<float>(random, count), std::ldexp(1, 53 - 38));
  is_good &= report("double log of a sum", error_of_log<double>(random, count), log_of_sum_ulp);
  is_good &= report("log of a sum for floats", error_of_log<float>(random, count), std::ldexp(1, 53 - 36));
  return is_good ? 0 : 1;
}
