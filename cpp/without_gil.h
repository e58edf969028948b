// For bindings.cpp and plain_call.cpp: computing for Python. In the default floating-point environment; without the GIL
// where that is worth it, and then Ctrl-C and other signals are seen to every now and then.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>

#include "floating_point.h"
#include "stop_requests.h"

namespace crossent {

constexpr std::ptrdiff_t elements_worth_releasing_the_gil = 1 << 14;

class ReleasedGil final : public StopRequests {
 public:
  explicit ReleasedGil(const DefaultFloatingPoint& environment)
      : environment_(environment), state_(PyEval_SaveThread()) {}
  // At the end of the interpreter, a daemon thread is ended here, as by an exception.
  ~ReleasedGil() noexcept(false) override { PyEval_RestoreThread(state_); }

 private:
  // Python handles signals in its main thread alone; what a handler raises stays set.
  Answer ask() override {
    PyEval_RestoreThread(state_);
    environment_.suspend();
    Answer answer = Answer::go_on;
    if (PyErr_CheckSignals() != 0) {
      answer = Answer::stop;
    } else if (!is_main_thread()) {
      answer = Answer::go_on_for_good;
    }
    environment_.resume();
    state_ = PyEval_SaveThread();
    return answer;
  }

  static bool is_main_thread() {
    try {
      const auto main = pybind11::module_::import("threading").attr("main_thread")();
      return main.attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
    } catch (pybind11::error_already_set&) {
      return true;  // who knows
    }
  }

  const DefaultFloatingPoint& environment_;
  PyThreadState* state_;
};

template <class Function>
auto compute(std::ptrdiff_t elements, const Function& function) {
  const DefaultFloatingPoint environment;
  if (elements < elements_worth_releasing_the_gil) return function();
  try {
    const ReleasedGil released(environment);
    return function();
  } catch (const Stopped&) {
    throw pybind11::error_already_set();
  }
}

}  // namespace crossent
