// COMPILED ONCE PER INSTRUCTION SET. The groups of a row of ordinary logits, each with the sum of its exp(x) and its
// maximum, lane by lane. What becomes of them is in one_pass.h.
#pragma once

#include "reduce.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Up to `vanishing`, exp(x) is 0 beside any ordinary maximum. Within the other bounds exp(x) is normal, here and in
// units of the maximum times 2^-headroom. So is power · r of times_exp() for doubles, or so small that the sum it goes
// into is the power itself: with b bits in a mantissa the latter is so for |r| < 2^-(b + 2), and for greater r the
// former, as long as the power is 2^-967 at least.
template <class T, bool scores = false>
struct Ordinary;
template <>
struct Ordinary<float> {
  static constexpr float vanishing = -300, least = -69, largest = 80, gap = 109;
};
template <>
struct Ordinary<double> {
  static constexpr double vanishing = -2300, least = -670, largest = 680, gap = 1015;
};
// Scores have exp(x)^2 as well, which is normal within these, here and in units of the maximum times 2^-headroom. So is
// exp(x) · (m - x) unless it is m - x itself, for x so small that exp(x) is 1.
template <class T>
struct Ordinary<T, true> : Ordinary<T> {
  static constexpr T least = sizeof(T) == 4 ? -42 : -350, largest = -least, gap = 2 * largest;
};

// A group of classes, or a part of one, lane by lane.
template <class T>
struct GroupPart {
  Vec<T> sum, maximum;
  friend CROSSENT_INLINE GroupPart operator+(const GroupPart& a, const GroupPart& b) {
    return {a.sum + b.sum, max(a.maximum, b.maximum)};
  }
};

// The largest logit of a row, and the least that doesn't vanish; nan in neither, but in the row's sum.
template <class T>
struct Extremes {
  Vec<T> largest, least;
};
template <class T>
CROSSENT_INLINE Extremes<T> no_extremes() {
  return {splat(-(T)__builtin_inf()), splat((T)__builtin_inf())};
}

// Whether kept terms are used up group by group: the output of half precision doesn't wait, as a rule.
template <class E, bool keeps>
constexpr bool makes_room_by_groups = keeps && sizeof(typename E::Storage) >= 4;

// A whole group.
template <class T, bool scores>
struct Group : GroupPart<T> {};
template <class T>
struct Group<T, true> : GroupPart<T> {
  Vec<T> gaps, squares;  // see ScoresOfGroup
};

// Whether rows are summed as if no logit vanished until there is a group in which one does: a comparison less for each
// vector, which takes some 8 % off the time of floats. Left out where logits are converted, to save its code.
template <class E, bool scores>
constexpr bool expects_none_to_vanish = !scores && sizeof(typename E::Storage) >= 4;
struct NoneVanishes : FirstLanes {};

// Then a group has its least logit as well, by which to tell.
template <class T>
struct GroupWithLeast {
  Vec<T> sum, maximum, least;
  friend CROSSENT_INLINE GroupWithLeast operator+(const GroupWithLeast& a, const GroupWithLeast& b) {
    return {a.sum + b.sum, max(a.maximum, b.maximum), min(a.least, b.least)};
  }
};

// The groups of a row, one after another, with what scores need of them. With `keeps` every exp(x) goes to `kept` as
// well. The memory is asked for what lies `ahead_bytes` further on. `some_vanish`: it is likely that some logits do,
// since some before did.
template <class E, bool keeps, class Terms, bool scores = Terms::has_scores, class T = typename E::Real>
CROSSENT_INLINE Extremes<T> row_groups(const typename E::Storage* x, ptrdiff_t classes, Group<T, scores>* group,
                                       [[maybe_unused]] T* kept, ptrdiff_t ahead_bytes,
                                       [[maybe_unused]] WaitingRows<T>& waiting, bool& some_vanish) {
  const Vec<T> zero = splat<T>(0), vanishing = splat(Ordinary<T>::vanishing);
  Extremes<T> row = no_extremes<T>();
  ScoresOfGroup<T, group_terms> scores_of_group(vanishing);
  const auto keep = [&](const Vec<T>& e, ptrdiff_t c) __attribute__((always_inline)) {
    if constexpr (keeps) store(kept + c, e);
  };
  const auto term = [&](Vec<T> x_lanes, ptrdiff_t c, int v, auto present) __attribute__((always_inline)) {
    prefetch_with<E, 2>(x_lanes, x + c, v, ahead_bytes);
    if constexpr (sizeof(typename E::Storage) >= 4) prefetch_with<E, 3>(x_lanes, x + c, v, bytes_to_first_cache);
    if constexpr (std::is_same_v<decltype(present), NoneVanishes>) {
      const GroupWithLeast<T> part{exp_in_range(x_lanes), x_lanes, x_lanes};
      keep(part.sum, c + v * lanes<T>);
      return part;
    } else {
      const auto counts = not_less(x_lanes, vanishing);
      row.least = select(counts, min(x_lanes, row.least), row.least);
      GroupPart<T> part{select(counts, exp_in_range(x_lanes), zero), x_lanes};
      if constexpr (scores) {
        part.maximum = max(x_lanes, vanishing);
        scores_of_group.put(v, part.sum, part.maximum);
      }
      keep(part.sum, c + v * lanes<T>);
      return part;
    }
  };
  const auto take = [&](auto sums, [[maybe_unused]] auto used) __attribute__((always_inline)) {
    if constexpr (std::is_same_v<decltype(sums), GroupWithLeast<T>>) {
      for (auto& part : sums.sum.part) compute_here(part);  // or the lines would be asked for all at once
      if (bits_of(less(sums.least, vanishing)) != 0) return false;
      row.least = min(sums.least, row.least);
    }
    row.largest = max(sums.maximum, row.largest);
    group->sum = sums.sum;
    group->maximum = sums.maximum;
    if constexpr (scores) {
      const auto [gaps, squares] = scores_of_group.take(sums.maximum, used);
      group->gaps = gaps;
      group->squares = squares;
    }
    ++group;
    if constexpr (makes_room_by_groups<E, keeps>) {
      if constexpr (std::is_same_v<decltype(used), whole_group>) {
        waiting.make_room_for_next_group();
      } else {
        waiting.end_groups();
      }
    }
    return true;
  };

  ptrdiff_t c = 0;
  if constexpr (expects_none_to_vanish<E, scores>) {
    if (!some_vanish) c = each_whole_group<E, NoneVanishes>(x, c, classes, term, take);
    some_vanish = some_vanish || c + group_terms * lanes<T> <= classes;
  }
  c = each_whole_group<E>(x, c, classes, term, take);
  last_group<E>(x, c, classes, term, take);
  return row;
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
