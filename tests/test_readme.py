"""Every Python example of the README runs, and prints what it says it prints."""

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import crossent
import numpy as np
import pytest
from crossent import cli

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
EXAMPLES = [
    (README.count("\n", 0, found.start()) + 1, found[1])
    for found in re.finditer(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
]


def run(example: str) -> dict[str, Any]:
    """Run an example; what it prints is what stands in the comments behind its prints."""
    for package in re.findall(r"^(?:import|from) (torch|scipy|sklearn|dask)\b", example, re.MULTILINE):
        pytest.importorskip(package)
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(example, "README.md", "exec"), names)
    assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)
    return names


@pytest.mark.parametrize("example", [pytest.param(text, id=f"line {line}") for line, text in EXAMPLES])
def test_example(example: str) -> None:
    assert "print(" in example
    run(example)


def torch_recipe() -> Any:
    pytest.importorskip("torch")
    (example,) = (example for _, example in EXAMPLES if "import torch" in example)
    return run(example)["CrossEntropy"].apply


def test_the_torch_recipe_agrees_with_autograd() -> None:
    cross_entropy = torch_recipe()
    import torch

    target = torch.tensor([1, 3, -100, 0])
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(cross_entropy, (logits, target))
    expected = torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(cross_entropy(logits, target), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(3 * cross_entropy(logits, target), logits),
        torch.autograd.grad(3 * expected, logits),
        rtol=1e-13,
        atol=1e-16,
    )


def test_the_torch_recipe_copies_nothing_and_computes_no_gradient_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    cross_entropy = torch_recipe()
    import torch

    calls: list[tuple[Any, ...]] = []

    def recorded(logits: Any, target: Any) -> Any:
        result = with_grad(logits, target)
        calls.append((logits, target, result[1]))
        return result

    with_grad = crossent.cross_entropy_with_grad
    monkeypatch.setattr(crossent, "cross_entropy_with_grad", recorded)
    logits, target = torch.eye(3), torch.arange(3)
    assert cross_entropy(logits, target).grad_fn is None
    assert not calls
    loss = cross_entropy(logits.requires_grad_(), target)
    ((seen_logits, seen_target, grad),) = calls
    assert np.shares_memory(seen_logits, logits.detach().numpy())
    assert np.shares_memory(seen_target, target.numpy())
    assert np.shares_memory(loss.grad_fn.saved_tensors[0].numpy(), grad)


def test_the_bfloat16_advice() -> None:
    torch, ml_dtypes = pytest.importorskip("torch"), pytest.importorskip("ml_dtypes")
    logits = torch.randn(4, 5).to(torch.bfloat16).requires_grad_()
    names = {"logits": logits, "torch": torch, "ml_dtypes": ml_dtypes, "numpy": np}
    there, back = re.findall(r"`((?:logits\.detach|torch\.from_numpy)\(.*?\.view\(.*?\))`", README.replace("\n", " "))[
        :2
    ]
    names["grad"] = eval(there, names)
    assert names["grad"].dtype == ml_dtypes.bfloat16
    assert torch.equal(eval(back, names), logits)


def in_form(text: str) -> list[str]:
    """Return what doesn't depend on the numbers: all else of each line."""
    return [re.sub(r"[-+\d.e%]+|\bnan\b| +", "", line) for line in text.splitlines()]


def test_the_commands_print_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its lines are those of the real thing on as many rows and classes; the figures are those of one training."""
    (block,) = re.findall(r"^```console\n(\$ python -m crossent score .*?)^```$", README, re.DOTALL | re.MULTILINE)
    commands = re.findall(r"^\$ python -m crossent (.*?)\n(.*?)(?=^\$|\Z)", block, re.DOTALL | re.MULTILINE)
    assert len(commands) >= 3
    monkeypatch.chdir(tmp_path)
    Path("crossent-demo").mkdir()
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=360)
    np.save("crossent-demo/logits.npy", rng.normal(size=(360, 10)).astype(np.float32) + 9 * np.eye(10)[labels])
    np.save("crossent-demo/labels.npy", labels)
    for command, shown in commands:
        assert cli.main(shlex.split(command)) == 0
        printed = capsys.readouterr().out
        assert in_form(printed) == in_form(shown), command
