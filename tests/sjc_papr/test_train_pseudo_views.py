"""Training the view network: it learns, resumes bit for bit, and says early what is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pseudo_data import write_pair
from refusals import assert_refused
from six_spheres import random_network, write_six
from taken_up import assert_same_when_taken_up
from tiny_scene import TINY_MODEL

from sjc_papr import train, train_pseudo_views
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.pseudo_views.config import TrainPseudoViewsConfig
from sjc_papr.pseudo_views.network_files import VIEW_FILES
from sjc_papr.pseudo_views.samples import ViewDrawer, as_batch, pairs_of, read_samples, worsened
from sjc_papr.pseudo_views.trainer import ViewTrainer
from training_core.checkpoint import CheckpointStore
from training_core.config import load_config

PLACES = (("paths", "six"), ("views", "views"))
TINY = (
    "network.size=32",
    "network.widths=[8,8,8,8]",
    "optimize.batch=2",
    "threads=1",
    "device=cpu",
    "precision=float32",
    "name=tiny",
    "log.validate_every=0",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of two assets, a depth network, and pairs that do not fit; for reading only."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pair(folder / "train", "ball", "a")
    write_pair(folder / "val", "other", "b")
    write_pair(folder / "lonely", "ball", "c", action="fall")
    write_pair(folder / "later", "ball", "d", frames=[0.0, 2.0])
    write_pair(folder / "away", "ball", "e", world_to_asset={"scale": 2.0, "offset": [0, 0, 0]})
    write_pair(folder / "twice", "ball", "f")
    write_pair(folder / "twice", "same", "f")
    write_pair(folder / "nameless", "ball", "g")
    write_six(folder / "nameless" / "six" / "other", "g", depth=False)
    network = random_network()
    DEPTH_FILES.save(folder / "depth", network, network.state_dict(), {})
    return folder


def command(data: Path, output: Path, *more: str, of: str = "train") -> list[str]:
    return [
        *TINY,
        f"data.paths=[{data / of / 'six'}]",
        f"data.views=[{data / of / 'views'}]",
        f"data.depth_network={data / 'depth'}",
        f"output_root={output}",
        *more,
    ]


def test_it_learns_and_papr_learns_from_what_it_makes(data: Path, tmp_path: Path) -> None:
    more = ("optimize.steps=60", "optimize.rate=1e-2", "log.every=1", "log.validate_every=30")
    val = [f"data.val_{key}=[{data / 'val' / place}]" for key, place in PLACES]
    assert train_pseudo_views.main(command(data, tmp_path, *more, *val)) == 0
    run = tmp_path / "train_pseudo_views" / "tiny"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    quality = [line["train/psnr"] for line in lines if "train/psnr" in line]
    assert sum(quality[-10:]) > sum(quality[:10]) + 10.0
    assert [line["step"] for line in lines if "val/psnr" in line] == [30, 60]
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["views"] == 20 and figures["assets"] == 1
    assert set(figures["val_psnr"]) == {"other"}
    network, saved = VIEW_FILES.read(run / "network"), CheckpointStore(run / "checkpoints").load()
    assert saved is not None
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, saved.tensors[f"ema.{name}"].half().float()), name
    frame, six = (data / "train" / place / "ball" for place in ("views", "six"))
    papr = [
        *TINY_MODEL,
        f"data.path={frame / 'frame_000'}",
        "data.width=24",
        "data.height=24",
        "sparse.kind=sixview",
        f"sparse.sixview={six}",
        "optimize.steps=4",
        "optimize.patches.size=8",
        "log.validate_every=0",
        "log.checkpoint_every=2",
        f"output_root={tmp_path}",
        "pseudo.count=3",
        f"pseudo.network={run / 'network'}",
        f"pseudo.depth_network={data / 'depth'}",
    ]
    assert train.main([*papr, "name=with"]) == 0
    assert train.main([*papr, "pseudo.share=0", "name=without"]) == 0
    ours, theirs = (
        json.loads((tmp_path / "sjc_papr" / name / "metrics.json").read_text())["psnr"]
        for name in ("with", "without")
    )
    assert ours != theirs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "pseudo_views", lambda *_: pytest.fail("of a finished run"))
        assert train.main([*papr, "name=with"]) == 0
    checkpoints = CheckpointStore(tmp_path / "sjc_papr" / "with" / "checkpoints")
    last = checkpoints.latest()
    assert last is not None
    whole = (last / "tensors.safetensors").read_bytes()
    (last / "tensors.safetensors").write_bytes(whole[:-4])
    assert train.main([*papr, "name=with"]) == 0
    assert (last / "tensors.safetensors").read_bytes() == whole, "the last steps saw them again"


def test_a_run_that_is_taken_up_again_is_the_same_to_the_last_bit(
    data: Path, tmp_path: Path
) -> None:
    config = load_config(TrainPseudoViewsConfig, None, command(data, tmp_path, "optimize.steps=6"))
    pairs = pairs_of(config.data.paths, config.data.views)
    network = DEPTH_FILES.read(config.data.depth_network)
    samples = read_samples(pairs, "train", network, 32, noise=0.02, seed=1)

    def trainer() -> ViewTrainer:
        return ViewTrainer(config, ViewDrawer(samples, True, config.seed), tmp_path)

    assert_same_when_taken_up(trainer, tmp_path)


def test_samples_are_the_same_for_one_seed(data: Path) -> None:
    pairs = pairs_of([str(data / "train" / "six")], [str(data / "train" / "views")])
    network = DEPTH_FILES.read(data / "depth")
    first, again = (read_samples(pairs, "test", network, 32, noise=0.02, seed=3) for _ in range(2))
    other = read_samples(pairs, "test", network, 32, noise=0.02, seed=4)
    plain = read_samples(pairs, "test", network, 32)
    assert len(first) == 4  # two frames, two views
    for ours, same in zip(first, again, strict=True):
        assert torch.equal(ours.gathered.channels, same.gathered.channels)
    for others in (other, plain):
        assert not torch.equal(first[0].gathered.channels, others[0].gathered.channels)


def test_views_are_mirrored_and_recoloured_in_all_parts(data: Path) -> None:
    pairs = pairs_of([str(data / "train" / "six")], [str(data / "train" / "views")])
    sample = read_samples(pairs, "test", DEPTH_FILES.read(data / "depth"), 32)[0]
    # Colours of one pixel are in the truth what they are in the input, and lie at its left.
    colour = torch.tensor([0.9, 0.5, 0.1])
    gathered = sample.gathered
    pixels = torch.where(gathered.pixels % 32 < 10)[0]
    marked = gathered._replace(colour=torch.zeros_like(gathered.colour))
    marked.colour[pixels] = colour.half()
    picture = torch.zeros_like(sample.picture).flatten(0, 1)
    picture[marked.pixels[pixels].long(), :3] = (255 * colour).round().byte()
    drawer = ViewDrawer(
        [replace(sample, gathered=marked, picture=picture.view(32, 32, 4))], True, 0
    )
    inputs, truth = drawer.draw(5, 40)
    assert torch.allclose(inputs.colour, truth[:, :3], atol=0.01)
    columns = (truth[:, :3].sum(1) > 0).any(1)
    assert {bool(row[:10].any()) for row in columns} == {True, False}
    tops = {tuple(round(x, 1) for x in own.amax((1, 2)).tolist()) for own in truth[:, :3]}
    assert len(tops) == 6
    plain, _ = as_batch(sample)
    straight = ViewDrawer([sample], False, 0).draw(0, 2)[0]
    assert torch.equal(straight.channels[:1], plain.channels)


def test_depths_are_made_worse_between_hull_and_guess() -> None:
    depth, hull = torch.full((6, 32, 32), 2.0), torch.full((6, 32, 32), 1.9)
    depth[:, :8] = 0.0
    hull[:, :, :4] = 0.0
    generator = torch.Generator().manual_seed(0)
    still = worsened(depth, hull, 0.0, generator)
    assert (still[:, :8] == 0).all()
    assert (still[:, 8:, :4] == 2.0).all()
    moved = still[:, 8:, 4:]
    assert moved.min() == moved.max() and 1.93 < float(moved[0, 0, 0]) < 2.02
    bent = torch.stack([worsened(depth, depth, 0.02, generator) for _ in range(20)])[:, :, 8:]
    assert 0.002 < float((bent - 2.0).abs().mean()) < 0.02
    near, far = (float((bent[..., d:] - bent[..., :-d]).abs().mean()) for d in (1, 8))
    assert near < 0.5 * far


@pytest.mark.parametrize(
    ("of", "override", "said"),
    [
        ("train", "data.paths=[]", "which pictures"),
        ("train", "data.views=[]", "which pictures"),
        ("train", "data.paths=[nowhere]", "nowhere"),
        ("lonely", "seed=0", "no dataset of data.views is of its asset and action"),
        ("later", "seed=0", "other frames than"),
        ("away", "seed=0", "another world than"),
        ("twice", "seed=0", "of the same asset and action as"),
        ("nameless", "seed=0", "does not say of which asset and action"),
        ("train", "data.val_views=[{data}/val/views]", "go together"),
        ("train", "data.val_paths=[{data}/train/six]", "is among those"),
        ("train", "data.depth_network={data}/train", "no depth network"),
        ("train", "network.widths=[8,8,12,8]", "widths"),
        ("train", "network.size=40", "multiple of 16"),
        ("train", "optimize.stpes=3", "stpes"),
    ],
)
def test_what_cannot_be_trained_ends_with_one_line_and_2(
    data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    of: str,
    override: str,
    said: str,
) -> None:
    more = [override.format(data=data)]
    if "val_paths" in override:  # and the other one
        more.append(f"data.val_views=[{data}/train/views]")
    arguments = command(data, tmp_path, *more, "--dry-run", of=of)
    assert_refused(train_pseudo_views.main, arguments, capfd, said)


def test_dry_run_says_what_it_would_do(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train_pseudo_views.main(command(data, tmp_path, "--dry-run")) == 0
    assert "1 videos of 1 assets at 32 px" in capfd.readouterr().out
    assert not list(tmp_path.iterdir())
