"""Six views as one image: 3 rows x 2 columns, row-major, in the rig's order of azimuths.

Views 0 … 5 stand at azimuth 30, 90 / 150, 210 / 270, 330 degrees from the input (Zero123++).
"""

from torch import Tensor

ROWS, COLUMNS = 3, 2
VIEWS = ROWS * COLUMNS


def pack_tile(views: Tensor) -> Tensor:
    """Views [..., 6, C, H, W] → tile [..., C, 3·H, 2·W]; a copy, any dtype.

    Raises:
        ValueError: there are not six views.
    """
    if views.ndim < 4 or views.shape[-4] != VIEWS:
        raise ValueError(f"expected views [..., {VIEWS}, C, H, W], got {list(views.shape)}")
    *lead, _, channels, height, width = views.shape
    grid = views.reshape(*lead, ROWS, COLUMNS, channels, height, width)
    order = [*range(len(lead)), *(len(lead) + i for i in (2, 0, 3, 1, 4))]
    return grid.permute(order).reshape(*lead, channels, ROWS * height, COLUMNS * width)


def unpack_tile(tile: Tensor) -> Tensor:
    """Tile [..., C, 3·H, 2·W] → views [..., 6, C, H, W]; undoes `pack_tile`.

    Raises:
        ValueError: the height is no multiple of 3 or the width none of 2.
    """
    if tile.ndim < 3 or tile.shape[-2] % ROWS or tile.shape[-1] % COLUMNS:
        raise ValueError(f"expected a tile [..., C, {ROWS}H, {COLUMNS}W], got {list(tile.shape)}")
    *lead, channels, height, width = tile.shape
    grid = tile.reshape(*lead, channels, ROWS, height // ROWS, COLUMNS, width // COLUMNS)
    order = [*range(len(lead)), *(len(lead) + i for i in (1, 3, 0, 2, 4))]
    return grid.permute(order).reshape(*lead, VIEWS, channels, height // ROWS, width // COLUMNS)
