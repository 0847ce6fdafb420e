"""The family L = sum_k lambda_k(p) * term_k: DAN, CORAL, DANN, CDAN, MCC, BNM, fine-tuning ..."""

from collections.abc import Mapping
from typing import final

from da.methods.base import JointMethod, OptimizerFactory
from da.models.network import Network
from da.schedules import Schedule
from da.terms.base import Losses, Objective, Term, Weight
from da.types import Step


@final
class WeightedSum(JointMethod):
    """Trains on the sum of its terms. The streams are those that the terms read."""

    def __init__(
        self,
        net: Network,
        optimizer: OptimizerFactory,
        terms: Mapping[str, Term],
        weights: Mapping[str, Weight] | None = None,
        lr_schedule: Schedule | None = None,
    ) -> None:
        super().__init__(net, optimizer, lr_schedule)
        self.objective = Objective(terms, weights)
        self.objective.prepare(net)
        net.watch(self.objective.layers)
        self.streams = self.objective.streams

    def on_train_start(self) -> None:
        """Let the terms fit that do so on all rows; a resumed run has what they learned."""
        if self.batches_seen:
            return
        for term in self.objective.named_terms().values():
            if term.fits_on:
                term.fit({stream: self.encode_all(stream, term.layers) for stream in term.fits_on})

    def loss(self, step: Step) -> Losses:
        return self.objective(step)
