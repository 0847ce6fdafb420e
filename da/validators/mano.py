"""Matrix norm of the logits."""

from jaxtyping import Float
from torch import Tensor

from da.validators.base import Seen, Validator


def softrun(logits: Float[Tensor, "n c"], threshold: float) -> Float[Tensor, "n c"]:
    """Rows of positive numbers that add up to 1: the softmax, or its Taylor polynomial where it can't be trusted.

    Xie et al. 2024 (MaNo), sec. 4: with Phi the mean of -log softmax over all n c entries, the softmax if Phi is above
    the threshold, else 1 + q + q^2 / 2 of the logits q over its sum, which is less certain.
    """
    p = logits.softmax(dim=1)
    if -logits.log_softmax(dim=1).mean() > threshold:
        return p
    positive = 1 + logits + logits.square() / 2
    return positive / positive.sum(dim=1, keepdim=True)


class MaNo(Validator):
    """(mean over all n c entries of q^p)^(1/p), q being the `softrun` of the target logits.

    Xie et al. 2024, MaNo, with their p = 4 and threshold 5. Over all rows at once, and from the polynomial itself; the
    authors' code averages over batches, and takes off each row's smallest entry before it normalises. c^(-1/p) when
    every prediction is certain, whatever class it is; 1 / c when all are uniform.

    Args:
        power: p.
        threshold: above which the softmax is taken.
    """

    def __init__(self, power: float = 4.0, threshold: float = 5.0) -> None:
        self.power, self.threshold = power, threshold

    def score(self, seen: Seen) -> Tensor:
        return softrun(seen.target.logits.double(), self.threshold).pow(self.power).mean().pow(1 / self.power)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        c = seen.p.shape[1]
        return 1 / c, float(c ** (-1 / self.power))
