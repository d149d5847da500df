"""Weight files: what they hold is checked when it is read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training_core.config import InputError
from training_core.files.weight_file import WeightFile, refuse_not_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_one_number_that_is_not_finite_is_refused(
    tmp_path: Path, value: float, dtype: torch.dtype, name: str
) -> None:
    bad = torch.ones(7, dtype=dtype)
    bad[5] = value
    tensors = {"good": torch.ones(3), "bad": bad, "count": torch.tensor(3)}
    (save_file if name == "w.safetensors" else torch.save)(tensors, tmp_path / name)
    file = WeightFile(tmp_path / name)
    assert torch.equal(file.read("good"), torch.ones(3)) and int(file.read("count")) == 3
    with pytest.raises(InputError, match=rf"{name}: weights that are not finite: bad$"):
        file.read("bad")


def test_all_bad_tensors_are_named() -> None:
    tensors = {
        "a": torch.ones(2),
        "b": torch.tensor(float("nan")),
        "c": torch.tensor([0.0, float("-inf")]),
    }
    with pytest.raises(InputError, match=r"^here: weights that are not finite: b, c$"):
        refuse_not_finite(tensors, "here")
