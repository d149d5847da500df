"""`python -m animate_papr.view`: a trained animation in the browser.

Orbit, scrub and play; see points, renders of the model, depth, trajectories and cameras, and the
dataset's pictures beside renders of the same view. With `page=FILE` the points go into one HTML
file that plays by itself, to send to others. Needs the extra `viewer`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animate_papr.sequence import load_sequence
from animate_papr.view.app import App
from animate_papr.view.content import read_show
from animate_papr.view.extra import import_viser
from animate_papr.view.page import write_page
from animate_papr.view.scene import LAYERS
from sjc_papr.networks.config import precision_option
from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import MISSING, option
from training_core.devices import pick_device, prepare_cpu

logger = logging.getLogger(__name__)


@dataclass
class ViewConfig:
    """Which run, and how it is shown."""

    run: str = option(MISSING, "run folder of animate_papr.train; it may be unfinished")
    page: str = option("", "HTML file to write instead of starting a server")
    layers: list[str] = option(["points"], f"what the page shows, of {', '.join(LAYERS)}")
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 = from other machines too")
    port: int = option(8080, "port to listen on; a busy one is replaced by the next")
    coarse: int = option(40, "longest side in pixels of images while the camera moves")
    fine: int = option(160, "longest side in pixels once it rests")
    device: str = option("auto", "auto, cpu or cuda", ("auto", "cpu", "cuda"))
    precision: str = precision_option()

    def validate(self) -> None:
        """Raises ValueError on sizes and layers that there are not."""
        at_least(8, coarse=self.coarse, fine=self.fine)
        at_least(0, port=self.port)
        unknown = [name for name in self.layers if name not in LAYERS]
        if unknown:
            raise ValueError(f"layers: {unknown[0]!r} is none of {', '.join(LAYERS)}")


def view(config: ViewConfig) -> None:
    """Write the page, or serve until interrupted."""
    viser = import_viser()
    prepare_cpu()
    show = read_show(Path(config.run), pick_device(config.device), config.precision)
    if config.page:
        path = Path(config.page)
        write_page(viser, show, path, tuple(config.layers))
        logger.info("page: %s (%.1f MB)", path.resolve(), path.stat().st_size / 1e6)
        return
    app = App(
        viser, show, host=config.host, port=config.port, coarse=config.coarse, fine=config.fine
    )
    logger.info("open http://%s:%d in a browser; Ctrl-C ends it", config.host, app.port)
    app.serve()


def plan(config: ViewConfig) -> str:
    """What ``view`` would do, after looking at its inputs."""
    sequence = load_sequence(Path(config.run))
    where = f"write {config.page}" if config.page else f"serve on {config.host}:{config.port}"
    return f"{len(sequence.frames)} frames of {config.run}\n{where}"


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(ViewConfig, run=view, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
