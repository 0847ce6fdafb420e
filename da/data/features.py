"""The features of a frozen backbone, computed once and kept on disk."""

import hashlib

import torch
from torch import Tensor, nn

from da.data.cache import cached_tensor
from da.data.rows import Draw, Rows, TensorRows

BATCH = 64  # rows encoded at a time


class FeatureCache:
    """Features [N, d] of all rows by a backbone in evaluation mode, as they are scored: without augmentation.

    They are kept under a hash of the backbone's weights and code, of the rows' content and of their transform, so
    that another of these is another entry.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self._weights: str | None = None

    def __call__(self, rows: TensorRows, sha256: str) -> Tensor:
        """Return the features of `rows`, whose content has this hash, computed if they are not there yet."""
        if self._weights is None:
            self._weights = weights_hash(self.backbone)
        width = self._encode(rows, torch.arange(1)).shape[1]
        key = repr((sha256, self._weights, repr(self.backbone), repr(rows.transform)))
        return cached_tensor("features", key, (len(rows), width), torch.float32, lambda out: self._fill(rows, out))

    def _fill(self, rows: Rows, out: Tensor) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone.to(device)
        for chosen in torch.arange(len(rows)).split(BATCH):
            out[chosen] = self._encode(rows, chosen, device).cpu()
        self.backbone.to("cpu")

    @torch.no_grad()
    def _encode(self, rows: Rows, chosen: Tensor, device: torch.device | str = "cpu") -> Tensor:
        x = rows[Draw(chosen, 0)].x
        x = {name: part.to(device) for name, part in x.items()} if isinstance(x, dict) else x.to(device)
        z: Tensor = self.backbone.eval()(x)
        return z


def weights_hash(module: nn.Module) -> str:
    """Return the sha256 of all parameters and buffers of a module, with their names."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
