// A call of a few microseconds is mostly Python. Here are no signatures, no conversions and no wrappers: two exact
// checks of two arrays, the loss, the result. Anything unusual (a subclass, another dtype, strides that are no
// multiples, a target out of range) makes the answer None, and the caller goes the long way, which knows the words for
// it.
#include "plain_call.h"

#include <pybind11/numpy.h>

#include <functional>

#include "kept_memory.h"
#include "loss.h"
#include "without_gil.h"

namespace py = pybind11;
using namespace crossent;

namespace {

using py::detail::array_proxy;
using py::detail::npy_api;

int type_number(const py::detail::PyArray_Proxy& a) {
  return py::detail::array_descriptor_proxy(static_cast<const PyObject*>(a.descr))->type_num;
}

bool is_native(const py::detail::PyArray_Proxy& a) {
  const char order = py::detail::array_descriptor_proxy(static_cast<const PyObject*>(a.descr))->byteorder;
  return order == '=' || order == '|';
}

// A (N, C) array of float32 or float64 and (N,) class indices of int64, both C-contiguous, neither empty.
struct PlainArrays {
  const py::detail::PyArray_Proxy *logits = nullptr, *target = nullptr;
  bool is_double = false;

  bool set(PyObject* logits_object, PyObject* target_object, const npy_api& api) {
    const auto* type = reinterpret_cast<PyObject*>(api.PyArray_Type_);
    for (PyObject* object : {logits_object, target_object}) {
      if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != type) return false;
    }
    logits = array_proxy(logits_object);
    target = array_proxy(target_object);
    constexpr int needed = npy_api::NPY_ARRAY_C_CONTIGUOUS_ | npy_api::NPY_ARRAY_ALIGNED_;
    if ((logits->flags & needed) != needed || (target->flags & needed) != needed) return false;
    if (logits->nd != 2 || target->nd != 1 || logits->dimensions[0] != target->dimensions[0]) return false;
    if (logits->dimensions[0] == 0 || logits->dimensions[1] == 0) return false;
    is_double = type_number(*logits) == npy_api::NPY_DOUBLE_;
    if (!is_double && type_number(*logits) != npy_api::NPY_FLOAT_) return false;
    return type_number(*target) == npy_api::NPY_INT64_ && is_native(*logits) && is_native(*target);
  }
};

// Whether `out` is an array like the logits, in their place or without a byte of theirs or the target's.
bool is_place_for_gradient(PyObject* out_object, const PlainArrays& arrays, ptrdiff_t bytes, const npy_api& api) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(out_object)) != reinterpret_cast<PyObject*>(api.PyArray_Type_)) return false;
  const auto *out = array_proxy(out_object), *logits = arrays.logits, *target = arrays.target;
  constexpr int needed = npy_api::NPY_ARRAY_C_CONTIGUOUS_ | npy_api::NPY_ARRAY_ALIGNED_ | npy_api::NPY_ARRAY_WRITEABLE_;
  if ((out->flags & needed) != needed || out->nd != 2 || type_number(*out) != type_number(*logits)) return false;
  if (out->dimensions[0] != logits->dimensions[0] || out->dimensions[1] != logits->dimensions[1]) return false;
  const auto is_apart = [&](const char* data, ptrdiff_t size) {
    return std::less_equal<>()(out->data + bytes, data) || std::less_equal<>()(data + size, out->data);
  };
  return is_native(*out) && (out->data == logits->data || is_apart(logits->data, bytes)) &&
         is_apart(target->data, target->dimensions[0] * static_cast<ptrdiff_t>(sizeof(int64_t)));
}

// None stays for "nothing is ignored"; numbers beyond int64 and other types are not for here.
bool set_ignore_index(PyObject* object, CrossEntropyCall& call) {
  call.has_ignore_index = object != Py_None;
  if (!call.has_ignore_index) return true;
  if (!PyLong_CheckExact(object)) return false;
  int overflow = 0;
  call.ignore_index = PyLong_AsLongLongAndOverflow(object, &overflow);
  return overflow == 0;
}

PyObject* new_like(const py::detail::PyArray_Proxy& a, const npy_api& api) {
  Py_INCREF(a.descr);  // the function takes it over
  return api.PyArray_NewFromDescr_(api.PyArray_Type_, a.descr, 2, a.dimensions, nullptr, nullptr, 0, nullptr);
}

// Arguments: logits, target, ignore_index and, for a gradient, where it goes, or None. The mean loss, with its gradient
// where asked for; None where this isn't the way.
template <bool with_grad>
PyObject* plain_call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  try {
    if (count != (with_grad ? 4 : 3)) {
      PyErr_SetString(PyExc_TypeError, "_core: logits, target, ignore_index and a gradient's out are needed");
      return nullptr;
    }
    const npy_api& api = npy_api::get();
    PlainArrays arrays;
    CrossEntropyCall call;
    if (!arrays.set(arguments[0], arguments[1], api) || !set_ignore_index(arguments[2], call)) Py_RETURN_NONE;
    const ptrdiff_t positions = arrays.logits->dimensions[0], classes = arrays.logits->dimensions[1];
    const ptrdiff_t bytes = positions * classes * (arrays.is_double ? 8 : 4);
    PyObject* out = with_grad ? arguments[3] : Py_None;
    if (out != Py_None && !is_place_for_gradient(out, arrays, bytes, api)) Py_RETURN_NONE;
    if (with_grad && out == Py_None && bytes >= static_cast<ptrdiff_t>(kept_memory_smallest)) Py_RETURN_NONE;

    const Element element = arrays.is_double ? Element::f64 : Element::f32;
    call.layout.add_axis(positions);
    call.layout.axis[0].stride[logits_operand] = classes;
    call.layout.axis[0].stride[target_operand] = 1;
    call.classes = classes;
    call.logits = {arrays.logits->data, element, 1};
    call.target = reinterpret_cast<const int64_t*>(arrays.target->data);
    py::object grad;
    if (with_grad) {
      grad = out != Py_None ? py::reinterpret_borrow<py::object>(out)
                            : py::reinterpret_steal<py::object>(new_like(*arrays.logits, api));
      if (!grad) return nullptr;
      call.layout.axis[0].stride[output_operand] = classes;
      call.gradient = {array_proxy(grad.ptr())->data, element, 1};
    }
    const CrossEntropyOutcome outcome = compute(positions * classes, [&] { return cross_entropy(call); });
    if (outcome.target_changed && out != Py_None) {  // the logits may be overwritten already
      PyErr_SetString(PyExc_IndexError, target_changed_message);
      return nullptr;
    }
    if (outcome.bad_position >= 0 || outcome.target_changed) Py_RETURN_NONE;
    PyObject* loss = PyFloat_FromDouble(outcome.value);
    if (!with_grad || !loss) return loss;
    PyObject* both = PyTuple_New(2);
    if (!both) {
      Py_DECREF(loss);
      return nullptr;
    }
    PyTuple_SET_ITEM(both, 0, loss);
    PyTuple_SET_ITEM(both, 1, grad.release().ptr());
    return both;
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

template <bool with_grad>
PyCFunction as_function() {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&plain_call<with_grad>));
}

PyMethodDef methods[] = {
    {"plain_cross_entropy", as_function<false>(), METH_FASTCALL, nullptr},
    {"plain_cross_entropy_with_grad", as_function<true>(), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void add_plain_calls(_object* module) {
  if (PyModule_AddFunctions(module, methods) != 0) throw py::error_already_set();
}
