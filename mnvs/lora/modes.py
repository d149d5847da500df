"""The modules of the video UNets that each LoRA mode adapts.

The names are the reference project's. Where its report, comments and code disagree, the documented
meaning is taken, and the table says so.
"""

import re
from dataclasses import dataclass

from torch import nn

_HEADS = r"(?:to_q|to_k|to_v|to_out\.0)"
# Every module that can be adapted, by the end of its name; ``full`` is checked against the types.
_LEAF = (
    r"(?:.*\.)?(?:to_q|to_k|to_v|to_out\.0|net\.0\.proj|net\.2|proj_in|proj_out|linear_1|linear_2"
    r"|time_emb_proj|conv|conv1|conv2|conv_in|conv_out|conv_shortcut)"
)
# In AnimateDiff's motion modules both attentions are self-attention over time.
_SELF = r"(?:.*\.attn1|.*\.motion_modules\..*\.attn2)"
_CROSS = r"(?!.*\.motion_modules\.).*\.attn2"
_TEMPORAL = r".*\.(?:temporal_transformer_blocks|motion_modules)\..*"
# One token is all that SVD's temporal cross-attention is given. The softmax over one key is 1
# whatever query and key are, so these never receive a gradient.
DEAD = r".*\.temporal_transformer_blocks\.\d+\.attn2\.to_[qk]"
# diffusers calls these two with a named argument that peft's layers do not know.
_CLOSED = r".*\.motion_modules\.\d+\.proj_(?:in|out)"
LEFT_OUT = rf"(?:{DEAD}|{_CLOSED})"


@dataclass(frozen=True)
class Mode:
    """A selection of modules.

    Attributes:
        meaning: in words, with other readings of the name.
        regex: matched against whole module names.
        modules: number of modules in the full-size network (Zero123++ with SVD's blocks).
        live: number of those that can receive a gradient; the others are left out.
    """

    meaning: str
    regex: str
    modules: int
    live: int


MODES: dict[str, Mode] = {
    "noxattn": Mode(
        "all but cross-attention and everything about time embeddings. (The report's code adapted "
        "the projections of self-attention only, as it did for innoxattn and selfattn.)",
        rf"(?!{_CROSS}\.)(?!.*(?:time_embedding|add_embedding|time_pos_embed|time_emb_proj)){_LEAF}",
        366,
        366,
    ),
    "innoxattn": Mode(
        "all but self-attention, as the report and the code's comment say. (Its code skipped "
        "cross-attention instead.)",
        rf"(?!{_SELF}\.){_LEAF}",
        448,
        416,
    ),
    "selfattn": Mode("the projections of self-attention", rf"{_SELF}\.{_HEADS}", 128, 128),
    "xattn": Mode("the projections of cross-attention", rf"{_CROSS}\.{_HEADS}", 128, 96),
    "full": Mode(
        "every linear and convolutional module. (The report's code stopped at attention.)",
        _LEAF,
        576,
        544,
    ),
    "xattn-strict": Mode(
        "queries and keys of cross-attention, as reported. (The code took values too.)",
        rf"{_CROSS}\.to_[qk]",
        64,
        32,
    ),
    "temporal": Mode(
        "attention and feed-forward of the temporal blocks",
        rf"{_TEMPORAL}(?:attn[12]\.{_HEADS}|(?:ff|ff_in)\.net\.(?:0\.proj|2))",
        192,
        160,
    ),
    "kq": Mode("queries and keys of all attention", r".*\.attn[12]\.to_[qk]", 128, 96),
}


def module_names(unet: nn.Module, mode: str, *, live: bool = True) -> list[str]:
    """Names of the modules that ``mode`` selects in this network; if ``live``, without those that
    never get a gradient or cannot be adapted.

    Raises:
        ValueError: an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"LoRA mode {mode!r} is not one of: {', '.join(MODES)}")
    wanted, left_out = re.compile(MODES[mode].regex), re.compile(LEFT_OUT)
    names = [name for name, _ in unet.named_modules() if wanted.fullmatch(name)]
    return [name for name in names if not (live and left_out.fullmatch(name))]
