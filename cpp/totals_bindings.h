// The functions of _core that add up scored rows. Part of bindings.cpp, and compiled with it: apart, pybind11's own
// code would be there twice.
#pragma once

#include <pybind11/pybind11.h>

#include "checked_arrays.h"
#include "totals.h"
#include "without_gil.h"

namespace crossent {

// An array of one axis (or, for what is written, of any number) without gaps, or null for None.
inline void* contiguous(const pybind11::object& object, const char* name, Scalar scalar, ptrdiff_t size,
                        bool is_written) {
  if (is_absent(object)) return nullptr;
  const auto array = pybind11::cast<pybind11::array>(object);
  check(array, name, is_written);
  if (scalar_of(array, name) != scalar) refuse(name, "has a wrong dtype");
  if (array.size() != size) refuse(name, "has a wrong size");
  if (!(array.flags() & pybind11::array::c_style)) refuse(name, "is not contiguous");
  return data_of(array);
}

template <class T>
T* present(void* data, const char* name) {
  if (data == nullptr) refuse(name, "is missing");
  return static_cast<T*>(data);
}

inline Figures figures(const pybind11::object& object, const char* name, ptrdiff_t size) {
  const auto array = pybind11::cast<pybind11::array>(object);
  const bool is_f64 = scalar_of(array, name) == Scalar::f64;
  return {present<void>(contiguous(array, name, is_f64 ? Scalar::f64 : Scalar::f32, size, false), name), is_f64};
}

inline ptrdiff_t size_of(const pybind11::object& object) { return pybind11::cast<pybind11::array>(object).size(); }

inline ptrdiff_t add_rows_binding(const pybind11::tuple& columns, const pybind11::tuple& results, ptrdiff_t classes,
                                  const pybind11::object& guesses, ptrdiff_t bins) {
  const ptrdiff_t n = size_of(columns[0]);
  if (n > most_rows) refuse("columns", "are more than can be added at once");
  if (classes < 0 || classes > ptrdiff_t{1} << 62 || bins < 1 || bins > most_bins)
    refuse("classes or bins", "are out of range");
  const auto column = [&](int i, const char* name, Scalar scalar) {
    return contiguous(columns[i], name, scalar, n, false);
  };
  ScoredRows rows = {};
  rows.rows = n, rows.classes = classes, rows.bins = bins, rows.guess_numbers = size_of(guesses);
  rows.valid = present<uint8_t>(column(0, "valid", Scalar::boolean), "valid");
  rows.weight = static_cast<double*>(column(1, "weight", Scalar::f64));
  rows.loss = figures(columns[2], "loss", n);
  rows.entropy = figures(columns[3], "entropy", n);
  rows.confidence = figures(columns[4], "confidence", n);
  rows.further = figures(columns[5], "sum_of_squares or divergence", n);
  rows.predicted = present<int64_t>(column(6, "predicted", Scalar::i64), "predicted");
  rows.target = static_cast<int64_t*>(column(7, "target", Scalar::i64));
  rows.rank = static_cast<int64_t*>(column(8, "rank", Scalar::i64));
  if (!rows.target != !rows.rank) refuse("target and rank", "must both be there or not");
  rows.guesses = present<int64_t>(contiguous(guesses, "guesses", Scalar::i64, rows.guess_numbers, false), "guesses");

  const ptrdiff_t tallies = rows.guess_numbers + 2 * bins, sums = sum_hits + tallies + bins;
  const auto result = [&](int i, const char* name, ptrdiff_t size) {
    return static_cast<int64_t*>(contiguous(results[i], name, Scalar::i64, size, true));
  };
  RowTotals totals = {};
  totals.sums = present<ExactSum>(result(0, "sums", sums * ExactSum::digits), "sums");
  totals.not_finite = reinterpret_cast<int64_t (*)[3]>(present<int64_t>(result(1, "not_finite", 12), "not_finite"));
  totals.tallies = present<int64_t>(result(2, "tallies", 2 + tallies), "tallies");
  totals.scored = totals.tallies++, totals.non_finite = totals.tallies++;
  totals.targets = result(3, "targets", classes);
  totals.predicted = result(4, "predicted", classes);
  totals.correct = result(5, "correct", classes);
  totals.pairs = result(6, "pairs", classes < 1 << 16 ? classes * classes : -1);
  return compute(n, [&] { return add_rows(rows, totals); });
}

inline ptrdiff_t add_by_group_binding(const pybind11::object& values, const pybind11::object& group,
                                      const pybind11::object& digits) {
  const ptrdiff_t count = size_of(values), groups = size_of(digits) / ExactSum::digits;
  if (count > ExactSum::most_terms) refuse("values", "are more than can be added at once");
  const Figures terms = figures(values, "values", count);
  const auto* own = static_cast<int64_t*>(contiguous(group, "group", Scalar::i64, count, false));
  auto* sums = present<ExactSum>(contiguous(digits, "sums", Scalar::i64, groups * ExactSum::digits, true), "sums");
  return compute(count, [&] { return add_by_group(terms, count, own, groups, sums); });
}

inline void add_totals(pybind11::module_& module) {
  module.def("add_rows", &add_rows_binding);
  module.def("add_by_group", &add_by_group_binding);
  module.attr("exact_sum_digits") = ExactSum::digits;
  module.attr("most_bins") = most_bins;
}

}  // namespace crossent
