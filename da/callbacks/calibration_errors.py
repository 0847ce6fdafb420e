"""Calibration errors over all batches and processes."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from da.transfer.calibration import BINS, Bins, brier_score, expected_calibration_error, reliability


class CalibrationErrors(Metric):
    """Expected calibration error and Brier score of labelled rows; sums, so several processes give what one gives."""

    full_state_update = False
    count: Tensor
    confidence: Tensor
    right: Tensor
    brier: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("count", "confidence", "right"):
            self.add_state(name, torch.zeros(BINS, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("brier", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Take in logits [n, c] of rows with a label [n]."""
        if not len(y):
            return
        p = F.softmax(logits.double(), dim=1)
        found = reliability(p, y, BINS)
        self.count += found.rows
        self.confidence += (found.confidence * found.rows).nan_to_num()
        self.right += (found.accuracy * found.rows).nan_to_num()
        self.brier += brier_score(p, y) * len(y)

    def compute(self) -> Tensor:
        """Return ECE and Brier score [2]; NaN where no row had a label."""
        n = self.count.sum()
        if n == 0:
            return torch.full((2,), torch.nan)
        ece = expected_calibration_error(Bins(self.count, self.confidence / self.count, self.right / self.count))
        return torch.stack([torch.tensor(ece, dtype=torch.float64), (self.brier / n).cpu()])
