// A sum of doubles, or of products of two, without any rounding: the same for every order and every split. It is one
// long fixed-point number, in digits of 32 bits that have room for carries (Neal's small superaccumulator, 2015).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace crossent {

class ExactSum {
 public:
  // The unit is 2^-2148, the smallest product of two doubles. The largest is below 2^2048, and 2^30 of them below
  // 2^(4226 - 2148).
  static constexpr ptrdiff_t digits = 134, most_terms = ptrdiff_t{1} << 30;

  // Finite values; at most `most_terms` of them, until carry() is called.
  void add(double value) {
    const Parts parts(value);
    add_at(parts.position + 1074, parts.mantissa, 0, parts.sign);
  }

  void add_product(double a, double b) {
    const Parts x(a), y(b);
    const auto product = static_cast<unsigned __int128>(x.mantissa) * y.mantissa;
    add_at(x.position + y.position, static_cast<uint64_t>(product), static_cast<uint64_t>(product >> 64),
           x.sign ^ y.sign);
  }

  // Up to 256 values below 2^16 in magnitude, a multiple of 4 in number; nothing is left of them. Adding and
  // subtracting 1.5 * 2^24 splits off a multiple of 2^-28 from each without error, and leaves no more than half of
  // that. The multiples add up to a double. The rest goes the same way, 45 bits at a time: for most losses, once.
  void add_all(double* values, ptrdiff_t count) {
    using Pair [[gnu::vector_size(16)]] = double;
    using Bits [[gnu::vector_size(16)]] = int64_t;
    for (double large = 0x1.8p24;; large *= 0x1p-45) {
      Pair sums[2] = {};
      Bits rest = {};
      for (ptrdiff_t i = 0; i < count; i += 4) {
        for (int half = 0; half < 2; ++half) {
          double* own = values + i + 2 * half;
          Pair value = {own[0], own[1]};
          const Pair multiple = (value + large) - large;
          value -= multiple;
          sums[half] += multiple;
          rest |= reinterpret_cast<Bits>(value);
          own[0] = value[0], own[1] = value[1];
        }
      }
      sums[0] += sums[1];
      add(sums[0][0] + sums[0][1]);
      if (((rest[0] | rest[1]) & INT64_MAX) == 0) return;  // but for signs
    }
  }

  // Brings each digit but the last, which has the sign, into 0 to 2^32 - 1.
  void carry() {
    for (ptrdiff_t i = 0; i + 1 < digits; ++i) {
      digit_[i + 1] += digit_[i] >> 32;
      digit_[i] &= 0xffffffff;
    }
  }

 private:
  // A double as sign, integer and power of two, counted from 2^-1074.
  struct Parts {
    explicit Parts(double value) {
      const auto bits = std::bit_cast<uint64_t>(value);
      const auto exponent = static_cast<unsigned>(bits >> 52) & 0x7ff;
      sign = -static_cast<int64_t>(bits >> 63);
      position = exponent - (exponent != 0);
      mantissa = (bits & 0xfffffffffffff) | uint64_t{exponent != 0} << 52;
    }
    int64_t sign;  // 0 or -1
    unsigned position;
    uint64_t mantissa;
  };

  // Adds (high, low) * 2^position: 106 bits and a shift of 31 reach into 5 digits.
  void add_at(unsigned position, uint64_t low, uint64_t high, int64_t sign) {
    int64_t* digit = digit_ + position / 32;
    const unsigned shift = position % 32;
    const uint64_t bottom = low << shift, middle = high << shift | low >> 1 >> (63 - shift),
                   top = high >> 1 >> (63 - shift);
    const auto add_one = [&](int i, uint64_t part) { digit[i] += (static_cast<int64_t>(part) ^ sign) - sign; };
    add_one(0, bottom & 0xffffffff);
    add_one(1, bottom >> 32);
    add_one(2, middle & 0xffffffff);
    if (high == 0) return;  // then there were 53 bits, and the shift leaves no more than 84
    add_one(3, middle >> 32);
    add_one(4, top);
  }

  int64_t digit_[digits];
};

}  // namespace crossent
