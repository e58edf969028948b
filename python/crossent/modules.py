"""The losses as objects that keep their options, for code written in PyTorch's style."""

from __future__ import annotations  # help() shows them as they are written

import functools
import warnings
from typing import Any, Generic, Literal, NoReturn, TypeVar, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _options
from ._options import Reduction
from .losses import Losses, cross_entropy, cross_entropy_with_grad, nll_loss

#: What a call returns: ``reduction`` decides it when the object is made.
_Loss_co = TypeVar("_Loss_co", bound=float | Losses, covariant=True)


class _Criterion(Generic[_Loss_co]):
    """Options that are checked when they are set and never change; ``__slots__`` of the subclass names them."""

    __slots__: tuple[str, ...] = ()

    def _set(self, **options: Any) -> None:
        for name, value in options.items():
            object.__setattr__(self, name, value)

    def _kept(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).__slots__}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} can't be changed: make a new one with the other {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} can't be changed: it keeps its {name}")

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._kept().items())
        return f"{type(self).__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        # copied and unpickled by its constructor, so that a copy is as constant as the original
        return functools.partial(type(self), **self._kept()), ()


class CrossEntropyLoss(_Criterion[_Loss_co]):
    """``cross_entropy`` with its options kept, as ``torch.nn.CrossEntropyLoss``.

    Call it with logits and target. The options are checked when it is made, are attributes of the same names, and
    don't change.

    Parameters
    ----------
    weight, ignore_index, reduction, label_smoothing, axis
        As for ``cross_entropy``. The weight is copied.
    size_average, reduce : bool, optional
        Deprecated, as in PyTorch: ``reduce=False`` means ``reduction="none"``, otherwise ``size_average=False`` means
        "sum" and anything else "mean".

    Raises
    ------
    ValueError, TypeError
        As ``cross_entropy``.

    Examples
    --------
    >>> import crossent
    >>> criterion = crossent.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)
    >>> round(criterion([[2.0, -1.0, 0.0]], [0]), 4)
    0.3365
    >>> loss, grad = criterion.with_grad([[2.0, -1.0, 0.0]], [0])
    >>> grad.round(4)
    array([[-0.0895,  0.0087,  0.0809]])
    """

    __slots__ = ("weight", "ignore_index", "reduction", "label_smoothing", "axis")  # noqa: RUF023  # signature's order

    weight: NDArray[np.float64] | None
    ignore_index: int | None
    reduction: Reduction
    label_smoothing: float
    axis: int | None

    @overload
    def __init__(
        self: CrossEntropyLoss[float],
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Literal["mean", "sum"] = "mean",
        label_smoothing: float = 0.0,
        axis: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: CrossEntropyLoss[Losses],
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Literal["none"],
        label_smoothing: float = 0.0,
        axis: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: CrossEntropyLoss[float | Losses],
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        axis: int | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
    ) -> None: ...
    def __init__(
        self,
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        axis: int | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
    ) -> None:
        self._set(
            weight=_constant_weight(weight),
            ignore_index=_options.as_ignore_index(ignore_index),
            reduction=_reduction(reduction, size_average, reduce),
            label_smoothing=_options.as_label_smoothing(label_smoothing),
            axis=None if axis is None else _options.as_axis_number(axis),
        )

    def __call__(self, logits: ArrayLike, target: ArrayLike) -> _Loss_co:
        """Return ``cross_entropy`` of logits and target with these options."""
        return cast(_Loss_co, cross_entropy(logits, target, **self._kept()))

    def with_grad(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        *,
        grad_output: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> tuple[_Loss_co, NDArray[Any]]:
        """Return ``cross_entropy_with_grad`` of logits and target with these options."""
        loss, grad = cross_entropy_with_grad(logits, target, grad_output=grad_output, out=out, **self._kept())
        return cast(_Loss_co, loss), grad


class NLLLoss(_Criterion[_Loss_co]):
    """``nll_loss`` with its options kept, as ``torch.nn.NLLLoss``.

    Call it with log-probabilities and target. The options are checked when it is made, are attributes of the same
    names, and don't change.

    Parameters
    ----------
    weight, ignore_index, reduction, axis
        As for ``nll_loss``. The weight is copied.
    size_average, reduce : bool, optional
        Deprecated, as for ``CrossEntropyLoss``.

    Raises
    ------
    ValueError, TypeError
        As ``nll_loss``.

    Examples
    --------
    >>> import crossent
    >>> criterion = crossent.NLLLoss()
    >>> round(criterion(crossent.log_softmax([[2.0, -1.0, 0.0]]), [0]), 4)
    0.1698
    """

    __slots__ = ("weight", "ignore_index", "reduction", "axis")  # noqa: RUF023  # signature's order

    weight: NDArray[np.float64] | None
    ignore_index: int | None
    reduction: Reduction
    axis: int | None

    @overload
    def __init__(
        self: NLLLoss[float],
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Literal["mean", "sum"] = "mean",
        axis: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: NLLLoss[Losses],
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Literal["none"],
        axis: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: NLLLoss[float | Losses],
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
        axis: int | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
    ) -> None: ...
    def __init__(
        self,
        weight: ArrayLike | None = None,
        *,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
        axis: int | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
    ) -> None:
        self._set(
            weight=_constant_weight(weight),
            ignore_index=_options.as_ignore_index(ignore_index),
            reduction=_reduction(reduction, size_average, reduce),
            axis=None if axis is None else _options.as_axis_number(axis),
        )

    def __call__(self, log_probs: ArrayLike, target: ArrayLike) -> _Loss_co:
        """Return ``nll_loss`` of log-probabilities and target with these options."""
        return cast(_Loss_co, nll_loss(log_probs, target, **self._kept()))


def _constant_weight(weight: ArrayLike | None) -> NDArray[np.float64] | None:
    """Return a copy that nobody can write to."""
    if weight is None:
        return None
    copy: NDArray[np.float64] = _arrays.as_weight(weight).copy()
    copy.flags.writeable = False
    return copy


def _reduction(reduction: Reduction, size_average: bool | None, reduce: bool | None) -> Reduction:
    """Return the reduction, which PyTorch's older pair of options overrides."""
    if size_average is None and reduce is None:
        return _options.as_reduction(reduction)
    older: Reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        f"size_average and reduce are deprecated: use reduction={older!r}",
        DeprecationWarning,
        stacklevel=3,  # the line that makes the object
    )
    return older
