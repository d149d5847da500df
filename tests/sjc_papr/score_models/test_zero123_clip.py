"""Zero123's image encoder out of an original checkpoint computes what OpenAI's does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("diffusers")
from tiny_zero123 import original_state, tiny_networks, write_original

from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.loading import load_networks


class _PlainClip(nn.Module):
    """OpenAI's vision transformer, with its tensors' names, in as few words as possible."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        prefix = "cond_stage_model.model.visual."
        self.w = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}

    def norm(self, x: Tensor, name: str) -> Tensor:
        return nn.functional.layer_norm(
            x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5
        )

    def forward(self, image: Tensor) -> Tensor:
        w = self.w
        patch = w["conv1.weight"].shape[-1]
        x = nn.functional.conv2d(image, w["conv1.weight"], stride=patch).flatten(2).mT
        x = torch.cat([w["class_embedding"].expand(len(x), 1, -1), x], 1)
        x = self.norm(x + w["positional_embedding"], "ln_pre")
        width, blocks = x.shape[-1], "transformer.resblocks"
        for i in range(sum(n.endswith("ln_1.weight") for n in w)):
            attention = nn.MultiheadAttention(width, width // 64, batch_first=True)
            start = f"{blocks}.{i}.attn."
            own = {n.removeprefix(start): t for n, t in w.items() if n.startswith(start)}
            attention.load_state_dict(own)
            y = self.norm(x, f"{blocks}.{i}.ln_1")
            x = x + attention(y, y, y, need_weights=False)[0]
            y = self.norm(x, f"{blocks}.{i}.ln_2")
            mlp = f"{blocks}.{i}.mlp"
            y = nn.functional.linear(y, w[f"{mlp}.c_fc.weight"], w[f"{mlp}.c_fc.bias"])
            y = y * torch.sigmoid(1.702 * y)
            x = x + nn.functional.linear(y, w[f"{mlp}.c_proj.weight"], w[f"{mlp}.c_proj.bias"])
        return self.norm(x[:, 0], "ln_post") @ w["proj"]


@torch.no_grad()
def test_clip_computes_what_openai_s_does(tmp_path: Path) -> None:
    """Queries, keys and values out of one matrix, the transposed projection, the activation."""
    networks = tiny_networks()
    state = original_state(networks, averaged=False)
    image = torch.randn(2, 3, 28, 28)
    path = write_original(networks, tmp_path)
    config = Zero123Config(path=str(path), original_config=str(path.with_name("zero123.yaml")))
    loaded = load_networks(config, torch.device("cpu"))
    torch.testing.assert_close(
        loaded.vision(image).image_embeds, _PlainClip(state)(image), atol=1e-5, rtol=1e-4
    )
