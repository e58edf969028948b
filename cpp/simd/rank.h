// COMPILED ONCE PER INSTRUCTION SET. Places in a row, for scores: the first class with the largest logit, nan counting
// as the largest as in NumPy, and how many classes come before the target's, those with greater logits and those with
// equal ones and a lower index. Found chunk by chunk, while the logits are in cache.
#pragma once

#include "input.h"
#include "statistics.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The lanes of which test(logits) holds, for vectors of classes c, c + 1, …, as bits.
template <class E, class Test>
CROSSENT_INLINE uint32_t where(const typename E::Storage* x, ptrdiff_t c, ptrdiff_t classes, const Test& test) {
  const ptrdiff_t left = classes - c;
  if (left >= element_lanes<E>) return bits_of(test(E::load(x + c)));
  return bits_of(test(load_partial<E>(x + c, left, 0))) & ((1u << left) - 1);
}

// The first class of which test(logits) holds, or -1.
template <class E, class Test>
CROSSENT_INLINE ptrdiff_t first_where(const typename E::Storage* x, ptrdiff_t classes, const Test& test) {
  for (ptrdiff_t c = 0; c < classes; c += element_lanes<E>) {
    if (const uint32_t bits = where<E>(x, c, classes, test)) return c + __builtin_ctz(bits);
  }
  return -1;
}

// Of whole vectors of classes, in how many of them test(logits) holds, lane by lane.
template <class E, class Test>
CROSSENT_INLINE Vec<typename E::Real> count_where(const typename E::Storage* x, ptrdiff_t vectors, const Test& test) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  const Vec<T> one = splat<T>(1);
  Vec<T> count[4] = {splat<T>(0), splat<T>(0), splat<T>(0), splat<T>(0)};
  const auto add = [&](int i, ptrdiff_t v) __attribute__((always_inline)) {
    count[i] = select(test(E::load(x + v * width)), count[i] + one, count[i]);
  };
  ptrdiff_t v = 0;
  for (; v + 4 <= vectors; v += 4) repeat<4>(CROSSENT_EACH(i) { add(i, v + i); });
  for (; v < vectors; ++v) add(0, v);
  return (count[0] + count[1]) + (count[2] + count[3]);
}

// Classes that come before the target's: those counted lane by lane, and the others.
template <class T>
struct Ahead {
  Vec<T> in_lanes;
  ptrdiff_t others;

  ptrdiff_t total() const {
    alignas(64) T lane[lanes<T>];
    store(lane, in_lanes);
    return others + (ptrdiff_t)fold<lanes<T>>(lane, [](T a, T b) { return a + b; });
  }
};

// Those of a row or a chunk of it: before the target greater or equal logits, after it greater ones.
template <class E, class T>
CROSSENT_INLINE Ahead<T> count_ahead(const typename E::Storage* x, ptrdiff_t classes, const Own<T>& own) {
  constexpr ptrdiff_t width = lanes<T>;
  const Vec<T> logit = splat(own.logit);
  const auto is_no_less = [&](const Vec<T>& a) __attribute__((always_inline)) { return not_less(a, logit); };
  const auto is_greater = [&](const Vec<T>& a) __attribute__((always_inline)) { return less(logit, a); };
  const ptrdiff_t before = own.index < 0 ? 0 : own.index < classes ? own.index : classes;
  const ptrdiff_t mixed = before / width * width, rest = classes - mixed, after = rest < width ? rest : width;
  const uint32_t first = (1u << (before - mixed)) - 1;
  Ahead<T> ahead = {count_where<E>(x, before / width, is_no_less), 0};
  if (rest > 0) {
    const uint32_t bits =
        (where<E>(x, mixed, classes, is_no_less) & first) | (where<E>(x, mixed, classes, is_greater) & ~first);
    ahead.others = __builtin_popcount(bits);
  }
  const ptrdiff_t vectors = (rest - after) / width, end = mixed + after + vectors * width;
  ahead.in_lanes = ahead.in_lanes + count_where<E>(x + mixed + after, vectors, is_greater);
  if (end < classes) ahead.others += __builtin_popcount(where<E>(x, end, classes, is_greater));
  return ahead;
}

inline bool has_nan(const Statistics& s, ptrdiff_t p) { return s.rest[p] != s.rest[p]; }

// Classes c, c + 1, … of positions first … end - 1, whose other statistics are known. R: the element of the rows, which
// may have been gathered.
template <class R>
void rank_rows(const SegmentInput<typename R::Real>& in, ptrdiff_t c, ptrdiff_t classes, ptrdiff_t first, ptrdiff_t end,
               Statistics& s) {
  using T = typename R::Real;
  for (ptrdiff_t p = first; p < end; ++p) {
    s.place[p] = s.ahead[p] = 0;
    if (in.targets.is_live[p] == 0) continue;
    const auto* x = in.template row<R>(p, c, classes);
    const Vec<T> largest = splat((T)s.maximum[p]), zero = splat<T>(0), one = splat<T>(1);
    const ptrdiff_t place =
        has_nan(s, p)
            ? first_where<R>(x, classes, [&](const Vec<T>& a) { return less(zero, select(equal(a, a), zero, one)); })
            : first_where<R>(x, classes, [&](const Vec<T>& a) { return equal(a, largest); });
    s.place[p] = (double)(c + place);
    if (in.targets.index[p] < 0 || has_nan(s, p)) continue;
    const Own<T> own = in.template own<R>(p, c, classes);
    const bool is_first = (T)s.maximum[p] < own.logit || place == own.index;
    if (!is_first) s.ahead[p] = (double)count_ahead<R>(x, classes, own).total();
  }
}

// The same of positions p, p + 1, …, a vector of them, that lie side by side from x on; none has nan.
template <class E>
void rank_columns(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t c, ptrdiff_t classes,
                  ptrdiff_t present, const Targets& targets, ptrdiff_t p, Statistics& s) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  const Vec<T> zero = splat<T>(0), one = splat<T>(1), nowhere = splat((T)classes);
  alignas(64) T own_class[width];
  for (ptrdiff_t i = 0; i < width; ++i) {
    const ptrdiff_t own = targets.index[p + i] - c;
    own_class[i] = (T)(own < -1 ? -1 : own > classes ? classes : own);
  }
  const Vec<T> largest = load_as<T>(s.maximum + p), own = load_as<T>(targets.logit + p), own_index = load(own_class);
  Vec<T> place = nowhere, ahead = zero;
  for (ptrdiff_t k = 0; k < classes; ++k) {
    const Vec<T> value = load_partial<E>(x + k * class_stride, present, 0), index = splat((T)k);
    place = min(select(equal(value, largest), index, nowhere), place);
    ahead = ahead + select(less(own, value), one, zero);
    ahead = ahead + select(equal(value, own), select(less(index, own_index), one, zero), zero);
  }
  store_doubles(s.place + p, as_doubles(place + splat((T)c)));
  store_doubles(s.ahead + p, as_doubles(ahead));
}

// The same of a batch by columns.
template <class E>
void rank_batch_of_columns(const SegmentInput<typename E::Real>& in, ptrdiff_t c, ptrdiff_t classes, Statistics& s) {
  using T = typename E::Real;
  for (ptrdiff_t p = 0; p < in.positions; p += lanes<T>) {
    const ptrdiff_t present = in.positions - p;
    if (in.path == Path::tile) {
      rank_columns<PlainOf<T>>(in.scratch_logits + p, batch_positions, c, classes, present, in.targets, p, s);
    } else {
      rank_columns<InPlace<E>>(in.template logits<InPlace<E>>(p, c), in.segment.logits.class_stride, c, classes,
                               present, in.targets, p, s);
    }
  }
  for (ptrdiff_t p = 0; p < in.positions; ++p) {
    if (!has_nan(s, p)) continue;
    for (ptrdiff_t k = classes - 1; k >= 0; --k) {
      const T x = load_one<E>(in.template logits<E>(p, c + k));
      if (x != x) s.place[p] = (double)(c + k);
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
