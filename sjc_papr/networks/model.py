"""The PAPR network: a point cloud, proximity attention and a UNet."""

from torch import Tensor, nn

from sjc_papr.networks.attention import ProximityAttention
from sjc_papr.networks.config import ModelConfig
from sjc_papr.networks.neighbours import typical_spacing
from sjc_papr.networks.point_cloud import PointCloud, PointRows
from sjc_papr.networks.unet import SmallUNet


class Papr(nn.Module):
    """All trainable state of one scene at one moment.

    Attributes:
        points: the cloud. attention: key, query and value networks. unet: feature map to image.
    """

    def __init__(self, config: ModelConfig, points: PointRows) -> None:
        super().__init__()
        self.config = config
        self.points = PointCloud(*points)
        self.attention = ProximityAttention(
            config.attention, config.point_features, typical_spacing(points.positions)
        )
        self.unet = SmallUNet(config.attention.value_width, config.unet_base)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable tensors by the name under which configs set learning rates and freezing."""
        return {
            "positions": [self.points.positions],
            "influence": [self.points.influence],
            "features": [self.points.features],
            "attention": list(self.attention.parameters()),
            "renderer": list(self.unet.parameters()),
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load a state dict whose number of points may differ from the present one.

        Raises:
            RuntimeError: a tensor is missing, left over or of the wrong shape.
        """
        for name, parameter in self.points.named_parameters():
            saved = tensors.get(f"points.{name}")
            if saved is not None and saved.shape[1:] == parameter.shape[1:]:
                parameter.data = parameter.data.new_empty(saved.shape)
        self.load_state_dict(tensors)
