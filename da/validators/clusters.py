"""Whether predicted classes are clusters of the features."""

import math
import warnings

import torch
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor
from torch.nn.functional import one_hot

from da.transfer.probes import one_thread
from da.validators.base import Seen, Validator

CHUNK = 1024  # rows of the matrix of distances held at a time


class ClassAmi(Validator):
    """Adjusted mutual information of the predicted classes and k-means clusters of the target features.

    ClassAMI, Musgrave et al. 2022: as many clusters as there are classes (or rows, if these are fewer). 1 for a perfect
    match, about 0 by chance, and 0 by convention where all rows are predicted to be of one class: such predictions
    say nothing of the clusters. Below 0 for less than chance, -1 at least: what is lower counts as that. The best of
    four starts of k-means, from a seed of its own.
    """

    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        labels, clusters = seen.predicted.cpu().numpy(), min(seen.p.shape)
        if len(set(labels.tolist())) == 1:
            return torch.tensor(0.0)
        with warnings.catch_warnings():  # rows that are equal may make fewer clusters
            warnings.simplefilter("ignore", ConvergenceWarning)
            means = KMeans(clusters, n_init=4, random_state=0)
            found = one_thread(means.fit_predict)(seen.target.z.double().cpu().numpy())
        return torch.tensor(max(float(adjusted_mutual_info_score(labels, found)), -1.0))

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -1.0, 1.0


def silhouette(z: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over the rows of (b - a) / max(a, b), Euclidean (Rousseeuw 1987); `labels` are 0, 1, ...

    a is a row's mean distance to the others of its cluster, b the least of its mean distances to another cluster. 0 for
    a row that is alone in its cluster (his convention), and where a = b = 0. -1, the lowest, where there is one
    cluster: nothing is told apart.
    """
    members = one_hot(labels).to(z.dtype)
    sizes = members.sum(dim=0)
    if (sizes > 0).sum() < 2:
        return z.new_tensor(-1.0)
    z = z - z.mean(dim=0)  # shrinks rounding errors
    total = z.new_zeros(())
    for rows, own in zip(z.split(CHUNK), labels.split(CHUNK), strict=True):
        sums = torch.cdist(rows, z) @ members
        others = (sums / sizes).masked_fill(sizes == 0, math.inf).scatter(1, own[:, None], math.inf)
        a = sums.gather(1, own[:, None])[:, 0] / (sizes[own] - 1).clamp_min(1)
        b = others.amin(dim=1)
        score = (b - a) / torch.maximum(a, b).clamp_min(torch.finfo(z.dtype).tiny)
        total = total + score.where(sizes[own] > 1, 0.0).sum()
    return total / len(z)


class Silhouette(Validator):
    """`silhouette` of the predicted classes in the target features: 1 for tight classes far apart.

    Rousseeuw 1987, with the predicted classes as the clusters. O(n^2 d): twice the rows take four times as long.
    """

    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        return silhouette(seen.target.z.double(), seen.predicted)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -1.0, 1.0
