// For the bindings: a NumPy array is what the core takes, or a TypeError says why not. Nothing is converted.
#pragma once

#include <pybind11/numpy.h>

#include <bit>
#include <string>

#include "binary_loss.h"
#include "kernels.h"

namespace crossent {

[[noreturn]] inline void refuse(const char* name, const char* why) {
  throw pybind11::type_error(std::string("_core: ") + name + " " + why);
}

struct DtypeEntry {
  char kind;
  pybind11::ssize_t bytes;
  Scalar scalar;
};

// bfloat16 is known to NumPy as two opaque bytes.
inline constexpr DtypeEntry dtypes[] = {
    {'f', 4, Scalar::f32},     {'f', 8, Scalar::f64}, {'f', 2, Scalar::f16}, {'V', 2, Scalar::bf16},
    {'b', 1, Scalar::boolean}, {'i', 1, Scalar::i8},  {'i', 2, Scalar::i16}, {'i', 4, Scalar::i32},
    {'i', 8, Scalar::i64},     {'u', 1, Scalar::u8},  {'u', 2, Scalar::u16}, {'u', 4, Scalar::u32},
    {'u', 8, Scalar::u64},
};

inline Scalar scalar_of(const pybind11::array& a, const char* name) {
  const pybind11::dtype dtype = a.dtype();
  for (const DtypeEntry& entry : dtypes) {
    if (dtype.kind() != entry.kind || dtype.itemsize() != entry.bytes) continue;
    const char order = dtype.byteorder();  // this machine's own may also be named
    if (order != '=' && order != '|' && order != (std::endian::native == std::endian::little ? '<' : '>')) break;
    return entry.scalar;
  }
  refuse(name, "has a dtype that the core doesn't take");
}

inline void check(const pybind11::array& a, const char* name, bool is_written) {
  const auto alignment_flag = pybind11::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if (!(a.flags() & alignment_flag)) refuse(name, "is not aligned");
  if (is_written && !a.writeable()) refuse(name, "is read-only");
  for (pybind11::ssize_t i = 0; i < a.ndim(); ++i) {
    if (a.shape(i) > 1 && a.strides(i) % a.itemsize() != 0)
      refuse(name, "has a stride that is no multiple of its item size");
  }
}

inline Element element_of(const pybind11::array& a, const char* name) {
  switch (scalar_of(a, name)) {
    case Scalar::f32:
      return Element::f32;
    case Scalar::f64:
      return Element::f64;
    case Scalar::f16:
      return Element::f16;
    case Scalar::bf16:
      return Element::bf16;
    default:
      refuse(name, "is not floating");
  }
}

inline bool is_absent(const pybind11::handle& object) { return object.is_none(); }

inline void* data_of(const pybind11::array& a) { return const_cast<void*>(a.data()); }

}  // namespace crossent
