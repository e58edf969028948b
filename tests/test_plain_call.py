"""Plain arrays take a short cut into the core: same bits, same errors as by the long way, which axis=1 takes."""

import crossent
import numpy as np
import pytest
from crossent import _core
from numpy.typing import NDArray

RANDOM = np.random.default_rng(5)


def plain(rows: int, classes: int, dtype: type) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    return RANDOM.normal(size=(rows, classes)).astype(dtype), RANDOM.integers(0, classes, rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (4, 10), (33, 10), (100, 64), (65, 65), (300, 100), (3, 20_000), (5000, 3)])
def test_same_bits(shape: tuple[int, int], dtype: type) -> None:
    logits, target = plain(*shape, dtype)
    for ignore_index in (-100, None, 0, int(target[0]), 2**62):
        assert _core.plain_cross_entropy(logits, target, ignore_index) is not None
        short = crossent.cross_entropy(logits, target, ignore_index=ignore_index)
        long = crossent.cross_entropy(logits, target, ignore_index=ignore_index, axis=1)
        np.testing.assert_array_equal(short, long)
        loss, grad = crossent.cross_entropy_with_grad(logits, target, ignore_index=ignore_index)
        _, long_grad = crossent.cross_entropy_with_grad(logits, target, ignore_index=ignore_index, axis=1)
        np.testing.assert_array_equal(loss, long)
        np.testing.assert_array_equal(grad, long_grad, strict=True)
        assert type(loss) is float


def test_what_takes_the_long_way() -> None:
    logits, target = plain(6, 4, np.float32)
    read_only = logits.copy()
    read_only.flags.writeable = False
    assert _core.plain_cross_entropy(read_only, target, -100) is not None
    unaligned = np.frombuffer(b"x" + logits.tobytes(), np.float32, offset=1).reshape(6, 4)
    for x, y, ignore_index in [
        (logits.tolist(), target, -100),
        (logits, target.tolist(), -100),
        (logits.astype(np.float16), target, -100),
        (logits.astype(">f4"), target, -100),
        (logits, target.astype(">i8"), -100),
        (logits, target.astype(np.int32), -100),
        (logits, target.astype(np.uint64), -100),
        (logits.view(np.recarray), target, -100),
        (np.asfortranarray(logits), target, -100),
        (logits[:, :3], target % 3, -100),
        (logits[::2], target[::2], -100),
        (unaligned, target, -100),
        (logits[0], target[0], -100),
        (logits, target[:5], -100),
        (logits[:0], target[:0], -100),
        (logits[:, :0], target, -100),
        (logits, target[:, None], -100),
        (logits, target + 4, -100),
        (logits, target, 2**63),
        (logits, target, True),
        (logits, target, 1.0),
        (None, None, None),
    ]:
        assert _core.plain_cross_entropy(x, y, ignore_index) is None
        assert _core.plain_cross_entropy_with_grad(x, y, ignore_index, None) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 2), (33, 10), (300, 100), (1100, 1000)])
def test_same_bits_in_a_given_place(shape: tuple[int, int], dtype: type) -> None:
    logits, target = plain(*shape, dtype)
    expected_loss, expected = crossent.cross_entropy_with_grad(logits, target, axis=1)
    out = np.full_like(logits, np.nan)
    assert _core.plain_cross_entropy_with_grad(logits, target, -100, out) is not None
    np.testing.assert_array_equal(out, expected)
    out[:] = np.nan
    loss, grad = crossent.cross_entropy_with_grad(logits, target, out=out)
    assert grad is out
    assert loss == expected_loss
    np.testing.assert_array_equal(out, expected)
    loss, grad = crossent.cross_entropy_with_grad(logits, target, out=logits)
    assert grad is logits
    assert loss == expected_loss
    np.testing.assert_array_equal(logits, expected)


def test_what_is_no_plain_place() -> None:
    memory = np.zeros(60, np.float32)
    logits, target = memory[:24].reshape(6, 4), np.arange(6) % 4
    read_only = np.zeros_like(logits)
    read_only.flags.writeable = False
    unaligned = np.frombuffer(bytearray(97), np.float32, offset=1).reshape(6, 4)
    for out in [
        read_only,
        unaligned,
        memory[1:25].reshape(6, 4),
        memory[23:47].reshape(6, 4),
        np.zeros((6, 4)),
        np.zeros((6, 4), ">f4"),
        np.zeros((4, 6), np.float32),
        np.zeros(24, np.float32),
        np.zeros((6, 8), np.float32)[:, ::2],
        np.zeros((4, 6), np.float32).T,
        np.zeros((6, 4), np.float32).view(np.recarray),
        [[0.0] * 4] * 6,
        1,
    ]:
        assert _core.plain_cross_entropy_with_grad(logits, target, -100, out) is None
    for shift in range(-5, 6):  # of a place for 24 words across the labels, which take 12
        place = np.zeros(80, np.float32)
        labels = place[24:36].view(np.int64)
        before, after = place[:24].reshape(6, 4), place[36:60].reshape(6, 4)
        assert _core.plain_cross_entropy_with_grad(logits, labels, -100, before) is not None
        assert _core.plain_cross_entropy_with_grad(logits, labels, -100, after) is not None
        shared = place[24 + 2 * shift : 48 + 2 * shift].reshape(6, 4)
        assert _core.plain_cross_entropy_with_grad(logits, labels, -100, shared) is None
    assert _core.plain_cross_entropy_with_grad(logits, target, -100, memory[24:48].reshape(6, 4)) is not None


def test_nothing_is_written_before_an_error() -> None:
    logits, target = plain(6, 4, np.float32)
    target[3] = 4
    before = logits.copy()
    with pytest.raises(IndexError, match="position 3 is 4"):
        crossent.cross_entropy_with_grad(logits, target, out=logits)
    np.testing.assert_array_equal(logits, before)


def test_same_error() -> None:
    logits, target = plain(6, 4, np.float32)
    target[3] = 4
    messages = []
    for axis in (None, 1):
        with pytest.raises(IndexError) as error:
            crossent.cross_entropy_with_grad(logits, target, axis=axis)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "position 3 is 4" in messages[0]


def test_options_that_compare_oddly() -> None:
    logits, target = plain(6, 4, np.float32)
    with pytest.raises(TypeError, match="label_smoothing"):
        crossent.cross_entropy(logits, target, label_smoothing=np.zeros(3))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="label_smoothing"):
        crossent.cross_entropy(logits, target, label_smoothing=float("nan"))
    with pytest.raises(ValueError, match="reduction"):
        crossent.cross_entropy(logits, target, reduction=np.array(["mean", "sum"]))  # type: ignore[call-overload]
    assert crossent.cross_entropy(logits, target, reduction="".join(["me", "an"])) == crossent.cross_entropy(  # type: ignore[call-overload]
        logits, target
    )


def test_wrong_number_of_arguments() -> None:
    with pytest.raises(TypeError):
        _core.plain_cross_entropy(1, 2)  # type: ignore[call-arg]
