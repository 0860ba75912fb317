"""A learned optimizer beside a teacher whose steps it is to imitate (Chen et al. 2020, "Training Stronger Baselines").

Shape letters: I instances, P parameters of one instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import Optimizer, State, loss_for
from l2o_cli.optimizers.packing import Array

DISTANCE = "distance"  # the leaf of the state that adds up how far the student's steps were from the teacher's, [1, I, 1]
_TEACHER = "teacher/"
_TINY = 1e-20


@dataclass(frozen=True)
class Imitating(Optimizer):
    """The student, with the teacher's state in its own: the teacher sees the student's params and gradients.

    Each step adds log(1 + |s - t|^2 / |t|^2) to the distance, where s and t are the steps that student and teacher would make.
    """

    name: ClassVar[str] = "imitating"
    summary: ClassVar[str] = "a learned optimizer beside a teacher"
    learned: ClassVar[bool] = True

    student: Optimizer
    teacher: Optimizer

    @property
    def evaluates_elsewhere(self):
        return self.student.evaluates_elsewhere

    @property
    def reads_validation_loss(self):
        return self.student.reads_validation_loss or self.teacher.reads_validation_loss

    @property
    def lacks_steps(self):
        return self.student.lacks_steps or self.teacher.lacks_steps

    def over(self, steps):
        return Imitating(self.student.over(steps), self.teacher.over(steps))

    def with_horizons(self, state, horizons):
        own = self.student.with_horizons(self._own(state), horizons)
        return self._joined(own, self.teacher.with_horizons(_of_teacher(state), horizons), state[DISTANCE])

    def init_weights(self, seed):
        return self.student.init_weights(seed)

    def init_state(self, weights, layout, instances, seed):
        own = self.student.init_state(weights, layout, instances, seed)
        teacher = self.teacher.init_state(self.teacher.init_weights(0), layout, instances, seed)
        return self._joined(own, teacher, np.zeros((1, instances, 1), np.float32))

    def refresh_state(self, weights, state, fresh):
        return {**state, **self.student.refresh_state(weights, self._own(state), fresh)}

    def evaluation_point(self, weights, state, params, layout):
        return self.student.evaluation_point(weights, self._own(state), params, layout)

    def update(self, weights, state, params, gradients, loss, step, layout):
        own_loss = loss_for(self.student, loss)
        new_params, own = self.student.update(weights, self._own(state), params, gradients, own_loss, step, layout)
        teacher = _of_teacher(state)
        # The teacher is taken as it is: nothing is to be learned by leading it somewhere else.
        seen = ops.stop_gradient(params), ops.stop_gradient(gradients), ops.stop_gradient(loss_for(self.teacher, loss))
        there, teacher = self.teacher.update(self.teacher.init_weights(0), teacher, *seen, step, layout)
        wanted = there - seen[0]
        apart = ops.sum(ops.square(new_params - params - wanted), axis=-1)
        distance = ops.log1p(apart / (ops.sum(ops.square(wanted), axis=-1) + _TINY))
        return new_params, self._joined(own, teacher, state[DISTANCE] + distance[None, :, None])

    def _own(self, state: State) -> State:
        return {name: leaf for name, leaf in state.items() if name != DISTANCE and not name.startswith(_TEACHER)}

    def _joined(self, own: State, teacher: State, distance: Array) -> State:
        return {**own, **{_TEACHER + name: leaf for name, leaf in teacher.items()}, DISTANCE: distance}


def _of_teacher(state: State) -> State:
    return {name.removeprefix(_TEACHER): leaf for name, leaf in state.items() if name.startswith(_TEACHER)}
