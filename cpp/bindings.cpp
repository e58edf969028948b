// The functions of _core; with plain_call.cpp the only file that knows Python. Each function views its arrays (checked,
// never converted), releases the GIL, calls C++.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>
#include <optional>

#include "binary_loss.h"
#include "checked_arrays.h"
#include "dispatch.h"
#include "kept_memory.h"
#include "loss.h"
#include "main_thread.h"
#include "parallel.h"
#include "plain_call.h"
#include "totals_bindings.h"
#include "without_gil.h"

namespace py = pybind11;
using namespace crossent;

namespace {

// The positions of `a`, which has `trailing` axes behind them, become the strides of one operand of the layout.
void add_strides(const py::array& a, const char* name, int trailing, Layout& layout, LossOperand operand) {
  if (a.ndim() != layout.axes + trailing) refuse(name, "has another number of axes than the logits");
  for (int i = 0; i < layout.axes; ++i) {
    if (a.shape(i) != layout.axis[i].extent) refuse(name, "has another shape than the logits");
    layout.axis[i].stride[operand] = a.strides(i) / a.itemsize();
  }
}

Layout layout_of(const py::array& logits) {
  if (logits.ndim() < 1) refuse("logits", "has no axis");
  Layout layout;
  for (py::ssize_t i = 0; i + 1 < logits.ndim(); ++i) layout.add_axis(logits.shape(i));
  add_strides(logits, "logits", 1, layout, logits_operand);
  return layout;
}

Operand operand_with_classes(const py::array& a, const char* name, bool is_written, ptrdiff_t classes, Layout& layout,
                             LossOperand operand) {
  check(a, name, is_written);
  add_strides(a, name, 1, layout, operand);
  const py::ssize_t last = a.ndim() - 1;
  if (a.shape(last) != classes) refuse(name, "has another number of classes than the logits");
  return {data_of(a), element_of(a, name), a.strides(last) / a.itemsize()};
}

void* per_position(const py::array& a, const char* name, bool is_written, Layout& layout, LossOperand operand) {
  check(a, name, is_written);
  add_strides(a, name, 0, layout, operand);
  return data_of(a);
}

Reduction reduction_of(const std::string& name) {
  if (name == "none") return Reduction::none;
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  throw py::value_error("unknown reduction '" + name + "'");
}

std::string position_text(const py::array& target, ptrdiff_t index) {
  std::string text;
  for (py::ssize_t i = target.ndim() - 1; i >= 0; --i) {
    text = std::to_string(index % target.shape(i)) + (text.empty() ? "" : ", ") + text;
    index /= target.shape(i);
  }
  return target.ndim() == 1 ? text : "(" + text + ")";
}

void raise_unless_classes(const CrossEntropyOutcome& outcome, const CrossEntropyCall& call, const py::array& target) {
  if (outcome.bad_position >= 0) {
    throw py::index_error("target at position " + position_text(target, outcome.bad_position) + " is " +
                          std::to_string(outcome.bad_target) + ", but there are " + std::to_string(call.classes) +
                          " classes (valid: 0 to " + std::to_string(call.classes - 1) +
                          (call.has_ignore_index ? ", or ignore_index=" + std::to_string(call.ignore_index) : "") +
                          ")");
  }
  if (outcome.target_changed) throw py::index_error(target_changed_message);
}

void add_logits(const py::array& logits, CrossEntropyCall& call) {
  call.layout = layout_of(logits);
  call.classes = logits.shape(logits.ndim() - 1);
  if (call.classes == 0 && call.layout.positions() > 0) refuse("logits", "has no classes");
  call.logits = operand_with_classes(logits, "logits", false, call.classes, call.layout, logits_operand);
}

void add_target(const py::array& target, std::optional<int64_t> ignore_index, CrossEntropyCall& call) {
  if (scalar_of(target, "target") != Scalar::i64) {
    call.probabilities =
        operand_with_classes(target, "target", false, call.classes, call.layout, probabilities_operand);
    return;
  }
  call.target = static_cast<const int64_t*>(per_position(target, "target", false, call.layout, target_operand));
  if (!(target.flags() & py::array::c_style)) refuse("target", "is not contiguous");
  call.has_ignore_index = ignore_index.has_value();
  call.ignore_index = ignore_index.value_or(0);
}

void add_losses(const py::array& losses, CrossEntropyCall& call) {
  const Element element = element_of(losses, "losses");
  if (element != Element::f32 && element != Element::f64) refuse("losses", "is neither float32 nor float64");
  call.losses_are_f64 = element == Element::f64;
  call.losses = per_position(losses, "losses", true, call.layout, losses_operand);
}

double cross_entropy_binding(const py::array& logits, const py::array& target, const py::object& weight,
                             std::optional<int64_t> ignore_index, double label_smoothing, const std::string& reduction,
                             const py::object& grad_output, const py::object& losses, const py::object& gradient) {
  CrossEntropyCall call;
  add_logits(logits, call);
  add_target(target, ignore_index, call);
  if (!is_absent(weight)) {
    const auto array = py::cast<py::array>(weight);
    check(array, "weight", false);
    if (scalar_of(array, "weight") != Scalar::f64 || array.ndim() != 1 || array.shape(0) != call.classes ||
        !(array.flags() & py::array::c_style)) {
      refuse("weight", "is not a contiguous float64 array of one value a class");
    }
    call.weight = static_cast<const double*>(array.data());
  }
  call.label_smoothing = label_smoothing;
  call.reduction = reduction_of(reduction);
  if (py::isinstance<py::array>(grad_output)) {
    const auto array = py::cast<py::array>(grad_output);
    if (scalar_of(array, "grad_output") != Scalar::f64) refuse("grad_output", "is not float64");
    call.grad_outputs =
        static_cast<const double*>(per_position(array, "grad_output", false, call.layout, scale_operand));
  } else {
    call.grad_output = py::cast<double>(grad_output);
  }
  if (!is_absent(losses)) add_losses(py::cast<py::array>(losses), call);
  if (!is_absent(gradient)) {
    call.gradient =
        operand_with_classes(py::cast<py::array>(gradient), "grad", true, call.classes, call.layout, output_operand);
    const Element in = call.logits.element, out = call.gradient.element;
    const bool is_half = in == Element::f16 || in == Element::bf16;
    if (out != in && !(is_half && out == Element::f32)) refuse("grad", "has another dtype than the logits");
  }

  const CrossEntropyOutcome outcome = compute(logits.size(), [&] { return cross_entropy(call); });
  raise_unless_classes(outcome, call, target);
  return outcome.value;
}

// A result of a score, written with the strides of the losses.
void* beside_losses(const py::array& a, const char* name, const py::array& losses, Scalar scalar) {
  check(a, name, true);
  if (scalar_of(a, name) != scalar) refuse(name, "has a wrong dtype");
  if (a.ndim() != losses.ndim()) refuse(name, "has another number of axes than the losses");
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    if (a.shape(i) != losses.shape(i)) refuse(name, "has another shape than the losses");
  }
  if (!(a.flags() & losses.flags() & py::array::c_style)) refuse(name, "or the losses are not contiguous");
  return data_of(a);
}

void score_binding(const py::array& logits, const py::array& target, std::optional<int64_t> ignore_index,
                   double temperature, const py::array& losses, const py::array& predicted, const py::object& rank,
                   const py::array& confidence, const py::array& log_sum_exp, const py::array& entropy,
                   const py::array& sum_of_squares) {
  CrossEntropyCall call;
  add_logits(logits, call);
  add_target(target, ignore_index, call);
  add_losses(losses, call);
  call.reduction = Reduction::none;
  call.temperature = temperature;
  const Scalar figure = call.losses_are_f64 ? Scalar::f64 : Scalar::f32;
  const auto place = [&](const py::array& a, const char* name) {
    return static_cast<int64_t*>(beside_losses(a, name, losses, Scalar::i64));
  };
  const ScoreColumns scores = {place(predicted, "predicted"),
                               is_absent(rank) ? nullptr : place(py::cast<py::array>(rank), "rank"),
                               beside_losses(confidence, "confidence", losses, figure),
                               beside_losses(log_sum_exp, "log_sum_exp", losses, figure),
                               beside_losses(entropy, "entropy", losses, figure),
                               beside_losses(sum_of_squares, "sum_of_squares", losses, figure)};
  call.scores = &scores;
  const CrossEntropyOutcome outcome = compute(logits.size(), [&] { return cross_entropy(call); });
  raise_unless_classes(outcome, call, target);
}

void softmax_binding(const py::array& x, const py::array& out, bool logarithm) {
  SoftmaxCall call = {};
  call.layout = layout_of(x);
  call.classes = x.shape(x.ndim() - 1);
  if (call.classes == 0) return;
  call.operation = logarithm ? Operation::log_softmax : Operation::softmax;
  call.logits = operand_with_classes(x, "x", false, call.classes, call.layout, logits_operand);
  call.output = operand_with_classes(out, "out", true, call.classes, call.layout, output_operand);
  const bool is_half = call.logits.element == Element::f16 || call.logits.element == Element::bf16;
  if (call.output.element != call.logits.element && !(is_half && call.output.element == Element::f32)) {
    refuse("out", "has another dtype than x");
  }
  compute(x.size(), [&] { softmax(call); });
}

void logsumexp_binding(const py::array& x, const py::array& out) {
  SoftmaxCall call = {};
  call.layout = layout_of(x);
  call.classes = x.shape(x.ndim() - 1);
  if (call.classes == 0) refuse("x", "has no classes");
  call.operation = Operation::logsumexp;
  call.logits = operand_with_classes(x, "x", false, call.classes, call.layout, logits_operand);
  const Element element = element_of(out, "out");
  if (element != Element::f32 && element != Element::f64) refuse("out", "is neither float32 nor float64");
  call.losses_are_f64 = element == Element::f64;
  call.losses = per_position(out, "out", true, call.layout, losses_operand);
  compute(x.size(), [&] { softmax(call); });
}

void add_binary_operand(const py::handle& object, const char* name, bool is_written, BinaryOperand which,
                        BinaryCall& call) {
  if (is_absent(object)) return;
  const auto array = py::cast<py::array>(object);
  check(array, name, is_written);
  if (array.ndim() != call.layout.axes) refuse(name, "has another number of axes than x");
  const int operand = static_cast<int>(which);
  call.data[operand] = data_of(array);
  call.scalar[operand] = scalar_of(array, name);
  for (int i = 0; i < call.layout.axes; ++i) {
    if (array.shape(i) != call.layout.axis[i].extent) refuse(name, "has another shape than x");
    call.layout.axis[i].stride[operand] = array.strides(i) / array.itemsize();
  }
  if (is_written) element_of(array, name);
}

double binary_cross_entropy_binding(const py::array& x, const py::array& target, const py::object& weight,
                                    const py::object& pos_weight, bool from_logits, bool is_mean,
                                    const py::object& grad_output, const py::object& losses,
                                    const py::object& gradient) {
  BinaryCall call = {};
  for (py::ssize_t i = 0; i < x.ndim(); ++i) call.layout.add_axis(x.shape(i));
  call.from_logits = from_logits;
  call.is_mean = is_mean;
  element_of(x, "x");
  add_binary_operand(x, "x", false, BinaryOperand::x, call);
  add_binary_operand(target, "target", false, BinaryOperand::target, call);
  add_binary_operand(weight, "weight", false, BinaryOperand::weight, call);
  add_binary_operand(pos_weight, "pos_weight", false, BinaryOperand::pos_weight, call);
  if (py::isinstance<py::array>(grad_output)) {
    add_binary_operand(grad_output, "grad_output", false, BinaryOperand::grad_outputs, call);
  } else {
    call.grad_output = py::cast<double>(grad_output);
  }
  add_binary_operand(losses, "losses", true, BinaryOperand::losses, call);
  add_binary_operand(gradient, "grad", true, BinaryOperand::gradient, call);
  return compute(x.size(), [&] { return binary_cross_entropy(call); });
}

// Bytes for a large result. They are given back when the last array that views them is gone.
py::array_t<uint8_t> kept_bytes(py::ssize_t count) {
  try {
    std::unique_ptr<Piece, void (*)(Piece*)> piece(take_piece(static_cast<size_t>(count)), give_piece);
    auto* data = static_cast<uint8_t*>(piece->data);
    const py::capsule owner(piece.get(), [](void* p) { give_piece(static_cast<Piece*>(p)); });
    piece.release();
    return py::array_t<uint8_t>(count, data, owner);
  } catch (const std::bad_alloc&) {
    PyErr_Format(PyExc_MemoryError, "unable to allocate %zd bytes for a result", count);
    throw py::error_already_set();
  }
}

py::dict build_info() {
  py::dict info;
  info["version"] = CROSSENT_VERSION;
  info["compiler"] = CROSSENT_COMPILER;
  const int version = openmp_version();
  info["openmp"] = version ? py::object(py::str(std::to_string(version))) : py::object(py::none());
  info["instruction_sets"] = compiled_instruction_sets();
  return info;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  if (const char* name = std::getenv("CROSSENT_ISA"); name && *name) {
    try {
      select_instruction_set(name);
    } catch (const std::invalid_argument& error) {
      throw py::import_error(std::string("CROSSENT_ISA: ") + error.what());
    }
  }
  remember_main_thread(py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>());
  m.def("cross_entropy", &cross_entropy_binding);
  m.def("score", &score_binding);
  m.def("softmax", &softmax_binding);
  m.def("logsumexp", &logsumexp_binding);
  m.def("binary_cross_entropy", &binary_cross_entropy_binding);
  add_plain_calls(m.ptr());
  add_totals(m);
  m.def("kept_bytes", &kept_bytes);
  m.def("release_memory", &release_memory);
  m.attr("kept_memory_smallest") = kept_memory_smallest;
  m.attr("kept_memory_limit") = kept_memory_limit;
  m.def("set_num_threads", &set_thread_limit);
  m.def("get_num_threads", &thread_limit);
  m.def("get_thread_limit", &process_thread_limit);
  m.def("compute_alone", &compute_alone);
  m.def("instruction_sets", &supported_instruction_sets);
  m.def("get_instruction_set", [] { return active_kernels().instruction_set; });
  m.def("set_instruction_set", &select_instruction_set);
  m.def("build_info", &build_info);
}
