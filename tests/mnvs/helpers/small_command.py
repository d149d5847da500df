"""Arguments of ``mnvs.train`` for a run of seconds."""

from pathlib import Path

from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint

SIZES = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 16}


def command(tiny: TinyCheckpoint, dots: list[Path], output: Path, *more: str) -> list[str]:
    return [
        f"data.paths=[{','.join(map(str, dots))}]",
        f"model.zero123plus={tiny.zero123plus}",
        f"model.temporal_source={tiny.svd}",
        f"output_root={output}",
        "name=small",
        "device=cpu",
        "threads=1",
        "data.frames=3",
        "data.view_size=16",
        "data.condition_size=16",
        "train.steps=4",
        "train.batch=2",
        "train.lora.rank=2",
        "train.optimizer.rate=1e-3",
        "train.optimizer.warmup=1",
        "train.gradient_checkpointing=false",
        "validation.every=2",
        "validation.steps=2",
        "validation.guidance=2",
        "log.every=1",
        "log.checkpoint_every=2",
        *more,
    ]
