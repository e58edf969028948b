// COMPILED ONCE PER INSTRUCTION SET. The class index of each position of a batch, read once, checked, and then used.
#pragma once

#include "../kernels.h"
#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

// What is known of it before and after the statistics.
struct Targets {
  alignas(64) double logit[batch_positions];    // x_y
  alignas(64) double share[batch_positions];    // target_share · weight_y
  alignas(64) double base[batch_positions];     // base_y
  alignas(64) double is_live[batch_positions];  // 0: ignored, contributes nothing whatever its logits are
  ptrdiff_t index[batch_positions];             // y, or -1 where there is none

  void set_absent(const Problem& problem, ptrdiff_t positions) {
    for (ptrdiff_t p = 0; p < positions; ++p) {
      index[p] = -1;
      is_live[p] = 1;
      share[p] = problem.target_share;
      logit[p] = base[p] = 0;
    }
  }

  // All but the logits, for positions first, first + 1, …. Whether one of them is neither a class nor ignored. The
  // labels that follow are asked for if they lie side by side: among the columns of logits the hardware would not think
  // of them.
  template <class T>
  bool read(const Segment& segment, ptrdiff_t first, ptrdiff_t positions) {
    const Problem& problem = *segment.problem;
    constexpr ptrdiff_t labels_of_line = 64 / sizeof(int64_t);
    bool changed = false;
    for (ptrdiff_t p = 0; p < positions; ++p) {
      const int64_t* place = segment.target + (first + p) * segment.target_stride;
      if (p % labels_of_line == 0) __builtin_prefetch(place + batch_positions * segment.target_stride);
      const int64_t label = read_once(place);
      const bool is_ignored = problem.has_ignore_index & (label == problem.ignore_index);
      const bool is_class = (uint64_t)label < (uint64_t)problem.classes;
      const bool is_valid = is_class & !is_ignored;
      changed |= !is_class & !is_ignored;
      index[p] = is_valid ? (ptrdiff_t)label : -1;
      is_live[p] = is_valid;
    }
    for (ptrdiff_t p = 0; p < positions && problem.weight; ++p) {
      share[p] = index[p] < 0 ? 0 : problem.target_share * problem.weight[index[p]];
    }
    for (ptrdiff_t p = 0; p < positions && problem.base; ++p) {
      base[p] = index[p] < 0 ? 0 : (double)static_cast<const T*>(problem.base)[index[p]];
    }
    return changed;
  }
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
