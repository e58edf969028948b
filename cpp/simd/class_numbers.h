// COMPILED ONCE PER INSTRUCTION SET. Class indices become numbers among floating-point ones, a vector of positions
// at a time, checked.
#pragma once

#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The class indices of a vector of positions as numbers; no_class where there is none to be heeded.
constexpr double no_class = -1, bad_class = -2;

// Labels as kernels.h reads them, a register at a time.
CROSSENT_INLINE NativeI64 read_vector_once(const int64_t* labels) {
  typedef NativeI64 Labels __attribute__((aligned(8), may_alias));
  return *reinterpret_cast<const volatile Labels*>(labels);
}

// Of positions first, first + 1, …: `present` of them, the others have no class. bad_class is what is neither a class
// nor ignored.
template <class T>
CROSSENT_INLINE Doubles<T> read_class_numbers(const Segment& segment, ptrdiff_t first, ptrdiff_t present) {
  constexpr ptrdiff_t width = lanes<T>;
  const Problem& problem = *segment.problem;
  const int64_t* labels = segment.target + first * segment.target_stride;
  int64_t own[width];
  if (present < width || segment.target_stride != 1) {
    for (ptrdiff_t i = 0; i < width; ++i) own[i] = i < present ? read_once(labels + i * segment.target_stride) : 0;
    labels = own;
  } else {  // the hardware sees no stream of them among so many others
    constexpr ptrdiff_t labels_ahead = 8 * batch_positions;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) { __builtin_prefetch(labels + labels_ahead + i * lanes<double>); });
  }
  const auto number = [&](NativeI64 label) __attribute__((always_inline)) {
    using Bits = NativeOf<uint64_t>;
    constexpr int64_t shift = 0x4330000000000000, none = shift - 4;  // the bits of 2^52 and of 2^52 - 2
    const NativeI64 is_ignored = (NativeI64)(label == problem.ignore_index) & -(int64_t)problem.has_ignore_index;
    const NativeI64 is_class = (NativeI64)((Bits)label < (Bits{} + (uint64_t)problem.classes)) & ~is_ignored;
    return (is_class & (label | shift)) | (~is_class & (none + (is_ignored & 2)));
  };
  Doubles<T> result;
  repeat<double_vectors<T>>(CROSSENT_EACH(i) {
    const int64_t* first_label = labels + i * lanes<double>;
    const Vec<double> lanes_of_labels = each_part<Vec<double>>(
        CROSSENT_EACH(k) { return (NativeF64)read_vector_once(first_label + k * Vec<double>::lanes_per_part); });
    result.part[i] = map_bits(lanes_of_labels, number) - splat(0x1p52);
  });
  if (present < width) {
    double numbers[width];
    store_doubles<T>(numbers, result);
    for (ptrdiff_t i = present; i < width; ++i) numbers[i] = no_class;
    result = load_doubles<T>(numbers);
  }
  return result;
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
