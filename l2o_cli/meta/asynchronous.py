"""Families on workers that never wait for each other: meta-gradients of weights that may be some updates old.

A meta-step takes the first answers that come, as many as it has families. Their instances go on with the weights after it. Which
answers these are depends on the time that each took, so such a run is not repeatable.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping

import numpy as np

from l2o_cli.executor.cluster import Cluster
from l2o_cli.meta.hosted import HostedRun
from l2o_cli.meta.meta_step import Answer, FamilyRequest
from l2o_cli.meta.remote import RemoteFamilies


class AsynchronousFamilies(RemoteFamilies):
    """As `RemoteFamilies`, but that each worker is asked again as soon as it has answered."""

    def __init__(self, run: HostedRun, cluster: Cluster):
        super().__init__(run, cluster)
        self._spec = run.spec
        self._asked: dict[asyncio.Task[Answer], tuple[FamilyRequest, int]] = {}  # with the number of the version

    def estimates(self, rng: np.random.Generator, weights: Mapping[str, np.ndarray], meta_step: int) -> tuple[list[Answer], int]:
        return self._cluster.do(self._estimates, rng, weights, meta_step)

    async def _forget(self) -> None:
        for task in self._asked:
            task.cancel()
        self._asked.clear()
        await super()._forget()

    async def _estimates(
        self, rng: np.random.Generator, weights: Mapping[str, np.ndarray], meta_step: int
    ) -> tuple[list[Answer], int]:
        wanted = min(self._spec.families_per_step, len(self._members))
        answers: list[Answer] = []
        late = 0
        while len(answers) < wanted:
            await self._cluster.arrival()
            self._ask(rng, weights, meta_step, {record.family for _, record in answers})
            done, _ = await asyncio.wait(self._asked, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if len(answers) == wanted:
                    break  # it is of the next meta-step
                request, number = self._asked.pop(task)
                gradient, record = task.result()
                member, age = self._members[request.family], meta_step - request.meta_step
                if age > self._spec.executor.staleness or member.number != number:
                    late, member.asked = late + 1, None
                else:
                    answers.append((gradient, dataclasses.replace(record, age=age)))
        return answers, late

    def _ask(self, rng: np.random.Generator, weights: Mapping[str, np.ndarray], meta_step: int, answered: set[int]) -> None:
        """Ask as many families as the workers have threads; none twice, nor one whose last answer is not applied yet."""
        threads = sum(found.threads for found in self._cluster.workers.values())
        asked = {request.family for request, _ in self._asked.values()}
        free = [family for family in range(len(self._members)) if family not in asked | answered]
        count = min(threads - len(asked), len(free))
        if count <= 0:
            return
        requests = self._families.requests(rng, weights, meta_step, free, count)
        places = self._places(requests, [request for request, _ in self._asked.values()])
        for request in requests:
            task = asyncio.ensure_future(self._answer(request, places.get(request.family)))
            self._asked[task] = request, self._members[request.family].number


def families_on(cluster: Cluster, run: HostedRun) -> RemoteFamilies:
    """The families of a run on the workers of a cluster, in the mode of its spec."""
    return (AsynchronousFamilies if run.spec.executor.mode == "asynchronous" else RemoteFamilies)(run, cluster)
