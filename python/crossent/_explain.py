"""The errors that help: each function returns an exception that quotes what was found and says what to do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_VALUES = "float16, bfloat16, float32 or float64"


def masked(name: str, advice: str) -> TypeError:
    """Explain that a mask isn't supported and what takes its place."""
    return TypeError(
        f"{name} is a masked array, and its mask would be lost: pass {name}.data or {name}.filled(value){advice}"
    )


def unconvertible(name: str, error: Exception) -> TypeError:
    """Pass on why an object has no NumPy view; PyTorch's own text names ``detach()`` and ``cpu()``."""
    advice = ""
    if "BFloat16" in str(error):
        advice = f" (as bfloat16: {name}.view(torch.uint16).numpy().view(ml_dtypes.bfloat16))"
    return TypeError(f"{name} can't be seen as a NumPy array: {error}{advice}")


def not_values(array: NDArray[Any], name: str, others: str = "") -> TypeError:
    """Explain a dtype that no loss computes with."""
    if array.dtype.kind in "biu":
        advice = f": are {name} and target swapped? If not, {name}.astype(np.float32)"
    elif array.dtype == np.dtype("V2"):
        advice = f": if this is bfloat16 that went through a .npy file, {name}.view(ml_dtypes.bfloat16)"
    elif array.dtype.kind == "f" or "float" in array.dtype.name:
        advice = f": convert it, {name}.astype(np.float64) for instance"
    else:
        advice = ""
    return TypeError(f"{name} must be {_VALUES}{others}, not {_found(array)}{advice}")


def not_real(array: NDArray[Any], name: str) -> TypeError:
    """Explain a weight or a gradient that isn't made of real numbers."""
    return TypeError(f"{name} must hold real numbers, not {_found(array)}")


def unfit_target(
    target: NDArray[Any], kind: str, shape: tuple[int, ...], axis: int, probabilities: bool
) -> TypeError | ValueError:
    """Explain a target that is neither class indices nor class probabilities of logits with this shape.

    Without ``probabilities`` the logits are log-probabilities, as ``nll_loss`` takes them and calls them.
    """
    logits = "logits" if probabilities else "log_probs"
    positions = shape[:axis] + shape[axis + 1 :]
    found = f"target is {_found(target)}, the {logits} have shape {shape} with classes on axis {axis}"
    if kind not in "biuf":
        return TypeError(f"target must hold class indices{' or class probabilities' * probabilities}: {found}")
    if target.shape == shape:
        indices = f"target.argmax(axis={axis})"
        if not probabilities:
            return TypeError(f"target must be class indices, integers of shape {positions}: {found}; try {indices}")
        return TypeError(
            f"target of the logits' shape must hold class probabilities, in floating point: {found}. "
            f"If it is one-hot: {indices} for class indices, or target.astype(np.float32) for probabilities"
        )
    if target.shape == positions:
        return TypeError(f"class indices must be integers: {found}; if they are whole, target.astype(np.int64)")
    if len(target.shape) == len(shape) and target.shape == (*shape[:axis], 1, *shape[axis + 1 :]):
        return ValueError(f"class indices have no class axis: {found}; try target.squeeze({axis})")
    others = [other for other in reversed(range(len(shape))) if target.shape == shape[:other] + shape[other + 1 :]]
    if others:
        other = -1 if others[0] == len(shape) - 1 else others[0]
        return ValueError(f"target doesn't fit the {logits}: {found}; did you mean axis={other}?")
    expected = f"{positions} for class indices" + (f" or {shape} for class probabilities" if probabilities else "")
    return ValueError(f"target must have shape {expected}: {found}")


def bad_class_index(position: tuple[int, ...], index: int, classes: int, ignore_index: int | None) -> IndexError:
    """Name the first bad index, in the words of the core, which finds it wherever it can."""
    ignored = "" if ignore_index is None else f", or ignore_index={ignore_index}"
    return IndexError(
        f"target at position {_place(position)} is {index}, but there are {classes} classes "
        f"(valid: 0 to {classes - 1}{ignored})"
    )


def not_probability(position: tuple[int, ...], value: float) -> ValueError:
    """Name the first element that isn't a probability."""
    return ValueError(
        f"probabilities must be from 0 to 1, but the one at position {_place(position)} is {value}; "
        "for unnormalised scores there is binary_cross_entropy_with_logits"
    )


def ignored_probabilities(ignore_index: int) -> ValueError:
    """Explain that a class can't be ignored in a target of class probabilities."""
    return ValueError(
        f"ignore_index={ignore_index} names a class, but the target holds class probabilities, where no sample has "
        "one class: give the class probability 0, or leave ignore_index out"
    )


def no_classes(shape: tuple[int, ...], axis: int, logits: str = "logits") -> ValueError:
    """Explain that a sample without classes has no loss."""
    return ValueError(f"{logits} of shape {shape} have samples, but no classes on axis {axis}")


def unfit_weight(weight: NDArray[Any], classes: int | None) -> ValueError:
    """Explain a weight that isn't one number a class."""
    expected = "one number for each class" if classes is None else f"shape ({classes},), one number for each class"
    return ValueError(f"weight must have {expected}, but its shape is {weight.shape}")


def unfit_grad_output(grad_output: NDArray[Any], shape: tuple[int, ...]) -> ValueError:
    """Explain a grad_output that doesn't have the loss's shape."""
    expected = f"be a number or have the losses' shape {shape}" if shape else "be a number, like the loss itself"
    return ValueError(f"grad_output must {expected}, but its shape is {grad_output.shape}")


def _place(position: tuple[int, ...]) -> int | tuple[int, ...]:
    """Return the position as it is written: one axis needs no parentheses."""
    return position[0] if len(position) == 1 else position


def _found(array: NDArray[Any]) -> str:
    if array.dtype != np.dtype(object):
        return f"{array.dtype} of shape {array.shape}"
    if array.ndim == 0:  # not an array, nor anything that NumPy can make one of
        return type(array.item()).__name__
    first = f", the first of them {type(array.item(0)).__name__}" if array.size else ""
    return f"an array of objects of shape {array.shape}{first}"
