"""Write pass and read pass of reference attention as one call, which training needs."""

from torch import Tensor, nn

from mnvs.networks.conditioning import Conditioning
from mnvs.networks.motion_unet import MNVSMotionUNet
from mnvs.networks.unet import MNVSUNet

VideoUNet = MNVSUNet | MNVSMotionUNet


class Denoiser(nn.Module):
    """A UNet whose two passes are one ``forward``: DistributedDataParallel hooks only that one.

    Args:
        unet: ``MNVSUNet`` or ``MNVSMotionUNet``.
    """

    def __init__(self, unet: VideoUNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, noisy: Tensor, noisy_condition: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """Predict v.

        Args:
            noisy: [B, T, 4, h, w]. noisy_condition: [B, Tc, 4, h', w'], Tc = 1 or T, noised to the
                same level. timesteps: [B] long, 0 to 999.

        Returns:
            v, [B, T, 4, h, w].
        """
        reference = self.unet.write_reference(noisy_condition, timesteps, conditioning.prompt)
        prediction: Tensor = self.unet(noisy, timesteps, conditioning, reference)
        return prediction
