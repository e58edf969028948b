// The functions of _core that add up scored rows.
#pragma once

#include <pybind11/pybind11.h>

namespace crossent {

// Adds add_rows, add_by_group and the constants that go with them to a module.
void add_totals(pybind11::module_& module);

}  // namespace crossent
