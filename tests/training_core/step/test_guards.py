"""The guard against NaN and infinity."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training_core.step.guards import TrainingFault, check_finite


def test_finite_values_pass_without_writing(tmp_path: Path) -> None:
    def never() -> dict[str, torch.Tensor]:
        raise AssertionError("nothing to save")

    check_finite(3, {"loss": torch.tensor(1.0), "grad": torch.zeros(4)}, tmp_path, never)
    check_finite(3, {}, tmp_path, never)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.tensor(float("nan")), "grad is NaN;"),
        (torch.tensor([1.0, float("inf"), float("-inf")]), "grad is infinite in 2 of 3 elements;"),
        (float("nan"), "grad is NaN;"),
        (torch.tensor([float("nan")], dtype=torch.bfloat16, requires_grad=True), "grad is NaN;"),
    ],
)
def test_fault_names_the_value_and_saves_the_state(
    tmp_path: Path, bad: torch.Tensor | float, words: str
) -> None:
    state = {"weight": torch.tensor([1.0, float("nan")])}
    with pytest.raises(TrainingFault) as caught:
        check_finite(7, {"loss": torch.tensor(1.0), "grad": bad}, tmp_path, lambda: state)
    path = tmp_path / "fault_step_7.safetensors"
    assert str(caught.value) == f"step 7: {words} state at the fault saved to {path}"
    assert torch.equal(load_file(path)["weight"].isnan(), torch.tensor([False, True]))


def test_fault_is_reported_even_when_it_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingFault, match=r"loss is NaN; .* could not be saved: .*directory"):
        state = {"weight": torch.zeros(1)}
        check_finite(1, {"loss": float("nan")}, tmp_path / "file", lambda: state)


def test_a_process_without_the_state_leaves_the_others_file_alone(tmp_path: Path) -> None:
    (tmp_path / "fault_step_7.safetensors").write_bytes(b"the main process's")
    with pytest.raises(TrainingFault):
        check_finite(7, {"loss": float("nan")}, tmp_path, dict)
    assert (tmp_path / "fault_step_7.safetensors").read_bytes() == b"the main process's"
