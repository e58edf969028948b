// COMPILED ONCE PER INSTRUCTION SET. Rows of ordinary logits reduced to their statistics in a single pass, where
// reduce.h needs one for the maximum and one for the sum. The bits are the same.
//
// exp(x) is summed as it is: a power of two less, exactly, than what reduce.h sums. The sum of every group of classes
// is kept, with its maximum. Once the row's maximum is known, the few lanes of groups that have it are summed again
// without it, and the groups are added up; for targets by class the row, still in the first cache, is read once more.
// All that holds while no exp(x) overflows, while none that counts here vanishes there or the other way round, and
// while nothing on the way to one is rounded as a denormal: see Ordinary.
#pragma once

#include "maximum_lanes.h"
#include "rank.h"
#include "target_sums.h"

namespace crossent::CROSSENT_ISA {
namespace {

// In cache it takes 20 to 28 % off the time of 1000 classes. AVX2 has it for floats without scores.
template <class E, class Terms>
constexpr bool has_one_pass = parts == 1 || (parts == 2 && sizeof(typename E::Storage) == 4 && Terms::is_plain);

// Rows of fewer take longer so.
template <class T>
constexpr ptrdiff_t least_classes_of_one_pass = sizeof(T) == 4 ? 256 : 128;

// Whether positions can be summed in one pass whose largest logits, and the least of all of them, these are.
template <class Bound, class T>
CROSSENT_INLINE bool are_ordinary(const Vec<T>& largest, T least) {
  const Vec<T> all_least = splat(least);
  const uint32_t others = bits_of(less(splat(Bound::largest), largest)) | bits_of(less(largest, splat(Bound::least))) |
                          bits_of(less(splat(Bound::gap), largest - all_least));
  return others == 0 && least >= Bound::least;
}

// reduce_rows_and_targets() for ordinary logits, for scores with rank_rows(). Where terms are kept, their unit is 1.
template <class E, bool keeps, class Terms>
class OnePass {
  using T = typename E::Real;
  static constexpr bool scores = Terms::has_scores, has_targets = !scores && sizeof(typename E::Storage) >= 4;
  // See line_step_. The others take too long for the memory to be what they wait for.
  static constexpr bool asks_meanwhile = !scores && sizeof(typename E::Storage) >= 4;
  using Bound = Ordinary<T, scores>;
  static constexpr ptrdiff_t width = lanes<T>, group_classes = width * group_terms;
  // Of the rows taken together, which leave room for them in the first cache; or of one long row.
  static constexpr ptrdiff_t groups_at_once = scores ? 128 : 256, groups_of_chunk = chunk_classes / group_classes;
  static constexpr ptrdiff_t most_groups = groups_at_once < groups_of_chunk ? groups_of_chunk : groups_at_once;

 public:
  OnePass(const SegmentInput<T>& in, WaitingRows<T>& waiting, ptrdiff_t c, ptrdiff_t classes, ptrdiff_t first)
      : in_(in),
        waiting_(waiting),
        c_(c),
        classes_(classes),
        groups_((classes + group_classes - 1) / group_classes),
        first_(first),
        positions_(in.positions - first < width ? in.positions - first : width),
        over_targets_(in, c, classes, first) {}

  // Of the logits of the rows that were summed last, the least that doesn't vanish, or 0.
  T least() const { return least_; }

  // False, and nothing to rely on, if there are other logits.
  __attribute__((noinline)) bool reduce(References<T>& references, Statistics& out) {
    const ptrdiff_t rows = groups_at_once / groups_, at_once = rows < 1 ? 1 : rows < width ? rows : width;
    for (ptrdiff_t i = 0; i < width; ++i) {
      totals_.put(i, Accumulator<T>::of_nothing());
      if constexpr (scores) {
        out.place[first_ + i] = is_skipped(i) ? 0 : (double)in_.problem.classes;
        out.ahead[first_ + i] = 0;
        ahead_.put(i, splat<T>(0));
        gaps_.put(i, Accumulator<T>::of_nothing());
        squares_.put(i, Accumulator<T>::of_nothing());
      }
      out.maximum[first_ + i] = 0;
      out.count[first_ + i] = is_skipped(i) ? 1 : 0;
    }
    for (ptrdiff_t i = 0; i < positions_; i += at_once) {
      if (!reduce_some(i, i + at_once < positions_ ? i + at_once : positions_, out)) return false;
    }
    refer_to_maxima<T>(out, references, first_);
    totals_.take(out.rest + first_);
    if constexpr (has_targets) over_targets_.take(out);
    if constexpr (scores) {
      gaps_.take(out.gaps + first_);
      squares_.take(out.squares + first_);
      add_ahead(out);
    }
    return use_units_of_rows(references, out);
  }

 private:
  bool is_skipped(ptrdiff_t i) const { return i >= positions_ || in_.targets.is_live[first_ + i] == 0; }
  const typename E::Storage* row(ptrdiff_t i) const { return in_.template row<E>(first_ + i, c_, classes_); }

  static constexpr ptrdiff_t bytes_of(ptrdiff_t elements) { return elements * (ptrdiff_t)sizeof(typename E::Storage); }
  ptrdiff_t row_stride_bytes() const { return bytes_of(in_.segment.logits.position_stride); }
  // Between whole rows where they lie.
  bool has_gaps() const {
    const bool are_whole = in_.path == Path::rows && classes_ == in_.problem.classes;
    return are_whole && have_gaps(bytes_of(classes_), row_stride_bytes());
  }

  // Positions begin … end - 1 from the first on, whose groups there is room for.
  bool reduce_some(ptrdiff_t begin, ptrdiff_t end, Statistics& out) {
    Group<T, scores> group[most_groups];
    Vec<T> least = splat<T>(0);  // which changes no answer: `gap` exceeds `largest`
    alignas(64) T maximum[width] = {};
    ptrdiff_t before = -1;  // the row before: by now its maximum is there, and nothing has to wait for it
    lanes_left_ = most_lanes;
    for (ptrdiff_t i = begin; i < end; ++i) {
      if (is_skipped(i)) continue;
      const Extremes<T> extremes =
          groups_of_row(i, group + (i - begin) * groups_, asks_meanwhile ? (end - 1 - i) * groups_ * line_step_ : 0);
      maximum[i] = largest_lane(extremes.largest);
      least = min(extremes.least, least);
      if constexpr (scores) count_greater(i, extremes.largest, out);
      out.maximum[first_ + i] = maximum[i];
      if (before >= 0) use_maximum(before, maximum[before], group + (before - begin) * groups_, out);
      before = i;
    }
    if (before >= 0) use_maximum(before, maximum[before], group + (before - begin) * groups_, out);
    if (lanes_left_ < 0) return false;
    alignas(64) T least_lanes[width];
    store(least_lanes, least);
    least_ = fold<width>(least_lanes, [](T a, T b) { return a < b ? a : b; });
    if (!are_ordinary<Bound>(load(maximum), least_)) return false;

    maximum_lanes_.sum_again();
    const char* next_line = reinterpret_cast<const char*>(row(end)) + ahead_bytes_;
    for (ptrdiff_t i = begin; i < end; ++i) {
      if (is_skipped(i)) continue;
      const ptrdiff_t first_group = (i - begin) * groups_, end_group = first_group + groups_;
      Accumulator<T> sum = Accumulator<T>::of_nothing(), gaps = sum, squares = sum;
      const Vec<T> all_maximum = splat(maximum[i]);
      for (ptrdiff_t g = first_group; g < end_group; ++g) {
        if constexpr (asks_meanwhile) {
          __builtin_prefetch(next_line, 0, 2);
          next_line += line_step_;
        }
        sum.add(group[g].sum);
        if constexpr (scores) {
          using Scores = ScoresOfGroup<T, group_terms>;
          gaps.add(Scores::gaps_to(all_maximum, group[g].maximum, group[g].sum, group[g].gaps));
          squares.add(group[g].squares);
        }
      }
      totals_.put(i, sum);
      if constexpr (scores) {
        gaps_.put(i, gaps);
        squares_.put(i, squares);
        if (out.ahead[first_ + i] < 0) count_equal(i, maximum[i], out);
      }
    }
    return true;
  }

  // A piece at a time where pieces of rows before may wait to be written.
  Extremes<T> groups_of_row(ptrdiff_t i, Group<T, scores>* group, ptrdiff_t lead) {
    const typename E::Storage* x = row(i);
    constexpr bool by_groups = makes_room_by_groups<E, keeps>;
    const ptrdiff_t piece = in_.rows_wait() && !by_groups ? piece_classes<T> : classes_;
    const ptrdiff_t ahead_bytes = ahead_bytes_ + lead;
    Extremes<T> all = no_extremes<T>();
    for (ptrdiff_t c = 0; c < classes_; c += piece) {
      const ptrdiff_t classes = classes_ - c < piece ? classes_ - c : piece;
      T* kept = keeps ? in_.kept_row(first_ + i, c_ + c) : nullptr;
      if (by_groups) {
        waiting_.make_room_for_group(first_ + i, c_ + c, classes);
      } else if constexpr (!scores) {
        waiting_.make_room(first_ + i, c_ + c, classes);
      }
      const Extremes<T> some = row_groups<E, keeps, Terms>(x + c, classes, group + c / group_classes, kept, ahead_bytes,
                                                           waiting_, some_vanish_);
      all = {max(some.largest, all.largest), min(some.least, all.least)};
    }
    return all;
  }

  // How many classes come before the target's, while the row is in the first cache; -1 if none has a greater logit.
  void count_greater(ptrdiff_t i, const Vec<T>& largest, Statistics& out) {
    const ptrdiff_t p = first_ + i;
    if (in_.targets.index[p] < 0) return;
    const Own<T> own = in_.template own<E>(p, c_, classes_);
    if (bits_of(less(splat(own.logit), largest)) == 0) {
      out.ahead[p] = -1;
    } else {
      const Ahead<T> ahead = count_ahead<E>(row(i), classes_, own);
      ahead_.put(i, ahead.in_lanes);
      out.ahead[p] = (double)ahead.others;
    }
  }

  void add_ahead(Statistics& out) const {
    alignas(64) double ahead[width];
    store_doubles<T>(ahead, as_doubles(ahead_.sum()));
    for (ptrdiff_t i = 0; i < width; ++i) out.ahead[first_ + i] += ahead[i];
  }

  // The same where no logit of the row exceeds the target's.
  void count_equal(ptrdiff_t i, T maximum, Statistics& out) const {
    const ptrdiff_t p = first_ + i;
    const Own<T> own = in_.template own<E>(p, c_, classes_);
    const bool is_first = maximum < own.logit || out.place[p] == (double)(c_ + own.index);
    out.ahead[p] = is_first ? 0 : (double)count_ahead<E>(row(i), classes_, own).total();
  }

  void use_maximum(ptrdiff_t i, T maximum, Group<T, scores>* group, Statistics& out) {
    leave_maxima_out(i, maximum, group, out);
    if constexpr (has_targets) over_targets_.add_row(i, row(i), maximum, !some_vanish_);
  }

  void leave_maxima_out(ptrdiff_t i, T maximum, Group<T, scores>* group, Statistics& out) {
    const Vec<T> all_maximum = splat(maximum);
    const auto found_in = [&](ptrdiff_t g) { return bits_of(equal(group[g].maximum, all_maximum)); };
    const auto leave_out = [&](ptrdiff_t g, uint32_t found) {
      for (; found != 0 && --lanes_left_ >= 0; found &= found - 1) {
        const ptrdiff_t lane = __builtin_ctz(found), c = g * group_classes + lane;
        if (maximum_lanes_.are_full()) maximum_lanes_.sum_again();
        maximum_lanes_.template put<E>(row(i) + c, c_ + c, classes_ - c, maximum, group[g], lane, out, first_ + i);
      }
    };
    // As a rule it is one group, and which one no processor foresees: it is looked for without a branch.
    ptrdiff_t groups_found = 0, last = 0;
    uint32_t found_last = 0;
    for (ptrdiff_t g = 0; g < groups_; ++g) {
      const uint32_t found = found_in(g);
      last = found != 0 ? g : last;
      found_last = found != 0 ? found : found_last;
      groups_found += found != 0;
    }
    for (ptrdiff_t g = 0; groups_found > 1 && g < last; ++g) leave_out(g, found_in(g));
    leave_out(last, found_last);
  }

  // From units of 1 to those of reduce_rows(); false if there was nan among the logits.
  bool use_units_of_rows(const References<T>& references, Statistics& out) const {
    alignas(64) double exponent[width];
    store_doubles<T>(exponent, as_doubles(exponent_of(load(references.shifter + first_))));
    uint32_t numbers = 0;
    for (ptrdiff_t i = 0; i < width; i += lanes<double>) {
      const Vec<double> rest = scale_by_power_of_two(load(out.rest + first_ + i), load(exponent + i));
      numbers |= bits_of(equal(rest, rest)) << i;
      store(out.rest + first_ + i, rest);
      if constexpr (scores) {
        const Vec<double> order = load(exponent + i);
        store(out.gaps + first_ + i, scale_by_power_of_two(load(out.gaps + first_ + i), order));
        store(out.squares + first_ + i, scale_by_power_of_two(load(out.squares + first_ + i), order + order));
      }
    }
    return numbers == (1u << width) - 1;
  }

  // As many lanes at most are summed again: rows of many equal logits take two passes.
  static constexpr ptrdiff_t most_lanes = 4 * width;

  const SegmentInput<T>& in_;
  WaitingRows<T>& waiting_;
  const ptrdiff_t c_, classes_, groups_, first_, positions_;
  // Nothing is read while groups are added up, and a memory that isn't asked idles: so it is asked for half a line with
  // each (for every line twice, which takes less than a branch). Before that the rows are asked for further ahead, by
  // as much less from row to row as will be made up for then. From memory that takes 4 % off the time of 1000 classes.
  // 0, always for the same line, for long rows, of which there is room for too few, and for rows with gaps.
  const ptrdiff_t line_step_ = !asks_meanwhile || has_gaps() || 8 * groups_ > groups_at_once ? 0 : line_bytes / 2;
  const ptrdiff_t ahead_bytes_ =
      has_gaps() ? bytes_to_rows(row_bytes_ahead, bytes_of(classes_), row_stride_bytes()) : row_bytes_ahead;
  T least_ = 0;
  ptrdiff_t lanes_left_ = 0;  // that may be summed again
  bool some_vanish_ = false;
  RowTotals<T> totals_, gaps_, squares_;
  RowLanes<T> ahead_;
  SumsOverTargets<T> over_targets_;
  MaximumLanes<T, scores> maximum_lanes_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
