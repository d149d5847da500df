"""Files of network weights: found in the hub's cache, read tensor by tensor, checked by name.

Nothing is downloaded, and no code of a file is run.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from training_core.config import InputError
from training_core.files.pickled_tensors import listed, read_pickled

# Of safetensors. Quantised weights need factors of their own, which nobody would apply here; whole
# numbers are counters and positions.
_TYPES = ("F16", "BF16", "F32", "F64", "I32", "I64")


class WeightFile:
    """The tensors of one file (safetensors or torch.save); remembers which were read.

    Attributes:
        path: of the file.
        shapes: shape of every tensor in the file, by name.

    Raises:
        InputError: the file is missing, damaged, or holds something else; or weights of a type
            that is no plain floating point.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes: dict[str, tuple[int, ...]]
        if not path.is_file():
            raise InputError(f"{path}: missing")
        self._read: Callable[[str], Tensor]
        if path.suffix == ".safetensors":
            self._open_safetensors()
        else:
            tensors = read_pickled(path)
            self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            self._read = tensors.__getitem__
        self._used: set[str] = set()

    def _open_safetensors(self) -> None:
        try:
            file = safe_open(self.path, framework="pt")
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            self.shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
            types = {name: part.get_dtype() for name, part in parts.items()}
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path}: not a readable safetensors file: {error}") from error
        if odd := [f"{name} ({kind})" for name, kind in types.items() if kind not in _TYPES]:
            raise InputError(f"{self.path}: weights of a type that is not read: {listed(odd)}")
        self._read = file.get_tensor

    def read(self, name: str) -> Tensor:
        """A tensor by its name in the file; it lies in the file, so copy what is to stay.

        Raises:
            InputError: it holds NaN or infinity, which would spoil every result without a word.
        """
        self._used.add(name)
        tensor = self._read(name)
        refuse_not_finite({name: tensor}, self.path)
        return tensor

    def require(self, wanted: Mapping[str, Sequence[int]]) -> None:
        """Refuse the file unless it holds tensors of these names and shapes.

        Raises:
            InputError: tensors are missing or of another shape; the message names them.
        """
        if missing := [name for name in wanted if name not in self.shapes]:
            raise InputError(f"{self.path}: {len(missing)} tensors missing: {listed(missing)}")
        wrong = [
            f"{name} is {list(self.shapes[name])}, expected {list(shape)}"
            for name, shape in wanted.items()
            if self.shapes[name] != tuple(shape)
        ]
        if wrong:
            raise InputError(f"{self.path}: {len(wrong)} wrong shapes: {listed(wrong, '; ')}")

    def refuse_others(self, known: Iterable[str]) -> None:
        """Refuse tensors whose names are not among ``known``.

        Raises:
            InputError: there are others; the message names them.
        """
        known = set(known)
        if unknown := [name for name in self.shapes if name not in known]:
            raise InputError(f"{self.path}: {len(unknown)} unknown tensors: {listed(unknown)}")

    def refuse_unread(self, ignored: re.Pattern[str]) -> None:
        """Refuse tensors that were not read, but for names in which ``ignored`` is found.

        Raises:
            InputError: there are such tensors; the message names them.
        """
        self.refuse_others(n for n in self.shapes if n in self._used or ignored.search(n))


def refuse_not_finite(tensors: Mapping[str, Tensor], where: Path | str) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        InputError: naming ``where`` they are from and the tensors.
    """
    if bad := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise InputError(f"{where}: weights that are not finite: {listed(bad)}")


def is_hub_name(source: str | Path) -> bool:
    """Whether ``source`` has the form OWNER/NAME[@REVISION] and is nothing on this machine."""
    owner, _, name = str(source).partition("@")[0].partition("/")
    named = bool(owner and name) and "/" not in name and not owner.startswith((".", "~"))
    return named and not Path(source).exists()


def hub_snapshot(name: str | Path) -> Path:
    """The folder of a model OWNER/NAME[@REVISION] in the hub's cache.

    Raises:
        InputError: it is no such name, or the model has not been downloaded.
    """
    if not is_hub_name(name):
        raise InputError(f"{name}: no such file or folder")
    from huggingface_hub import snapshot_download

    repository, _, revision = str(name).partition("@")
    try:
        # Only looks into the cache; downloading is a decision of its own (scripts, login nodes).
        return Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: neither here nor in the hub's cache; fetch it first: hf download {repository}"
        ) from error
