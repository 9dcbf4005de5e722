"""What a trial decides: a Candidate and its five parts.

A candidate says *what* is trained, never with which seed, on which data or on which device: those belong to the job
(`slimfront.evaluators.job`). How parts are checked, written, read and named by a digest is in `slimfront.spaces.part`.

A field that is new in a part is written `name: type = added(default)`: it is left out of the JSON while it has its
default, so that the digests of all older candidates stay. The fields without that mark are always in the JSON.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import Any

from slimfront.spaces.criteria import CRITERIA, criterion_named
from slimfront.spaces.family import FAMILIES, validate_unknown
from slimfront.spaces.optimizers import DECAYS, OPTIMIZERS
from slimfront.spaces.options import Options
from slimfront.spaces.part import CandidateError as CandidateError
from slimfront.spaces.part import Part, added, layer_pattern, one_of, plain_name, require
from slimfront.spaces.policies import NO_POLICY, POLICIES
from slimfront.spaces.references import given, is_reference
from slimfront.spaces.registry import Registry

GRANULARITIES = ("filters", "weights")
SCOPES = ("global", "layer", "stage")
GRADUAL = "gradual"
SCHEDULES = ("once", "iterative", GRADUAL, "layerwise")
UNCOMPRESSED = "dense"  # a phase: the training before any compression; files call the network so that it leaves
UNCOMPRESSED_TEACHER = UNCOMPRESSED  # a teacher's name: the candidate's own network, uncompressed
_SOURCE = re.compile(r"[0-9a-f]{16}")  # the first digits of a file's SHA-256
BIT_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)


def member(name: str, value: object, registry: Registry[Any], *others: str) -> None:
    """Raise CandidateError unless `value` names a member, one of `others`, or code of a user's own.

    A user's own need not have been given to this command: `front` and `report` read such candidates, too.
    """
    if value not in others and not is_reference(value) and value not in registry:
        raise CandidateError(f"{name}: {registry.unknown(value, (*others, *registry.names))}")


@dataclass(frozen=True)
class Architecture(Part):
    """A network: a 3x3 stem, stages of equal blocks, an optional 1x1 head, global average pooling, a classifier.

    What a block is, and which of the fields mean something, is up to the family (`slimfront.spaces.family`).

    `widths`, `depths` and `strides` have one entry a stage; a family without stages leaves them empty. A width is the
    number of channels of the stage's blocks; in a family whose blocks are concatenated it is the channels that each
    adds. The first block of a stage has its stride (or the transition before it).
    """

    family: str
    stem_width: int
    stem_stride: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    strides: tuple[int, ...]
    shortcut: str | None = None  # how a shortcut changes shape, "projection" (1x1) or "padding" (zeros)
    kernels: tuple[int, ...] = ()  # depthwise kernel size, one a stage
    expansions: tuple[int, ...] = ()  # how many times wider the inside of a block is, one a stage
    compression: float = 0.0  # share of the channels that a transition keeps, in (0, 1]
    head_width: int = 0  # channels of a 1x1 convolution before pooling; 0: none
    options: Options = added(Options())  # what a family is told beyond all that, by name

    def _validate(self) -> None:
        if not isinstance(self.options, Options):
            object.__setattr__(self, "options", Options(self.options))
        family = FAMILIES.find(self.family)
        if family is not None:
            object.__setattr__(self, "options", family.fitted(self.options))
            family.validate(self)
        elif is_reference(self.family):
            validate_unknown(self)
        else:
            raise CandidateError(f"architecture.family: {FAMILIES.unknown(self.family)}")


@dataclass(frozen=True)
class Augmentation(Part):
    """Random changes of a training batch: mirror, shift, and at most one policy on top (`slimfront.spaces.policies`).

    What a strength means is the policy's business; without a policy it is 0.
    """

    flip: bool = True
    crop: int = 4  # pixels of padding before a random crop of the original size; 0: no shift
    policy: str = NO_POLICY
    strength: float = 0.0

    def _validate(self) -> None:
        label = self._label
        require(0 <= self.crop <= 16, label("crop"), self.crop, "in 0..16")
        member(label("policy"), self.policy, POLICIES, NO_POLICY)
        if self.policy == NO_POLICY:
            require(self.strength == 0, label("strength"), self.strength, f"0 where policy is {NO_POLICY}")
        else:
            policy = POLICIES.find(self.policy)  # None: a user's own that was not given
            most = math.inf if policy is None else policy.most
            require(0 < self.strength <= most, label("strength"), self.strength, f"in (0, {most:g}]")


@dataclass(frozen=True)
class Sparsity(Part):
    """One step of pruning as a choice on four axes; `slimfront.spaces.methods` names the well-known combinations.

    `ratio` is the share removed of what is there when the step begins: of the weights of convolutions and linear
    layers, or of each layer's filters. With scope "stage" `ratios` has one entry a stage instead. A criterion of a
    user's own is named by the reference of the method that it belongs to.
    """

    granularity: str
    criterion: str
    scope: str
    schedule: str
    ratio: float = 0.0
    ratios: tuple[float, ...] = ()
    epochs: int = 0  # fine-tuning in all, shared by the rounds; 0: none
    rounds: int = 1  # of the schedules that repeat
    penalty: float = 0.0  # L1 on batch-norm scales during the uncompressed training (network slimming)

    def _validate(self) -> None:
        label = self._label
        one_of(label("granularity"), self.granularity, GRANULARITIES)
        member(label("criterion"), self.criterion, CRITERIA)
        one_of(label("scope"), self.scope, SCOPES)
        one_of(label("schedule"), self.schedule, SCHEDULES)
        require(0 <= self.ratio < 1, label("ratio"), self.ratio, "in [0, 1)")
        require(all(0 <= r < 1 for r in self.ratios), label("ratios"), self.ratios, "in [0, 1) each")
        if self.scope == "stage":
            require(len(self.ratios) > 0, label("ratios"), self.ratios, "one a stage where scope is stage")
            require(self.ratio == 0, label("ratio"), self.ratio, "absent where scope is stage")
        else:
            require(not self.ratios, label("ratios"), self.ratios, "absent unless scope is stage")
        require(0 <= self.epochs <= 10_000, label("epochs"), self.epochs, "in 0..10000")
        require(1 <= self.rounds <= 100, label("rounds"), self.rounds, "in 1..100")
        require(0 <= self.penalty <= 1, label("penalty"), self.penalty, "in [0, 1]")
        if not is_reference(self.criterion) or given(self.criterion) is not None:
            judges = criterion_named(self.criterion).judges(self.granularity)
            allowed = ", ".join(one.name for one in CRITERIA if one.judges(self.granularity))
            require(judges, label("criterion"), self.criterion, f"one that judges {self.granularity}: {allowed}")
        if self.schedule == "layerwise":
            require(self.scope != "global", label("scope"), self.scope, "layer or stage where layerwise")


@dataclass(frozen=True)
class Pruning(Part):
    """Structured pruning, then unstructured pruning of what is left; either may be absent."""

    filters: Sparsity | None = None
    weights: Sparsity | None = None

    def _validate(self) -> None:
        for name in ("filters", "weights"):
            step = getattr(self, name)
            if step is not None:
                require(isinstance(step, Sparsity), self._label(name), step, "a Sparsity")
                one_of(f"pruning.{name}.granularity", step.granularity, (name,))


@dataclass(frozen=True)
class Bits(Part):
    """Bit-widths. `weights` and `activations` hold one entry for the whole network, or one a stage.

    Stem and classifier stand apart. 32 is float32, 16 float16, 1 to 8 integers with a learned step (LSQ,
    arXiv:1902.08153). An activation width belongs to the *input* of a layer. `layers` overrides single layers, by name
    or by a pattern such as "features.*", later entries last: (name, weight bits, activation bits). With `epochs` 0 the
    network is rounded after training, nothing more; otherwise it is trained at the widths of `path`, high to low, and
    last at its own.
    """

    weights: tuple[int, ...] = (32,)
    activations: tuple[int, ...] = (32,)
    stem: int = 32
    classifier: int = 32
    layers: tuple[tuple[str, int, int], ...] = ()
    ternary: bool = False  # 2-bit weights as {-1, 0, 1}
    epochs: int = 0
    path: tuple[int, ...] = ()

    def _validate(self) -> None:
        label = self._label
        for name in ("weights", "activations"):
            values = getattr(self, name)
            require(len(values) > 0, label(name), values, "one entry, or one a stage")
            for value in values:
                one_of(label(name), value, BIT_WIDTHS)
        one_of(label("stem"), self.stem, BIT_WIDTHS)
        one_of(label("classifier"), self.classifier, BIT_WIDTHS)
        for entry in self.layers:
            right = isinstance(entry, tuple) and len(entry) == 3
            require(right, label("layers"), entry, "(name, weight bits, activation bits)")
            layer_pattern(label("layers"), entry[0])
            one_of(f"{label('layers')} {entry[0]}", entry[1], BIT_WIDTHS)
            one_of(f"{label('layers')} {entry[0]}", entry[2], BIT_WIDTHS)
        require(0 <= self.epochs <= 10_000, label("epochs"), self.epochs, "in 0..10000")
        for value in self.path:
            one_of(label("path"), value, BIT_WIDTHS[:8])
        falling = all(a > b for a, b in zip(self.path, self.path[1:], strict=False))
        require(falling, label("path"), self.path, "falling")
        if self.ternary:
            require(2 in self.weights, label("ternary"), self.ternary, "false unless weights are at 2 bits")

    @classmethod
    def uniform(cls, weights: int, activations: int, *, outer: int | None = None, **other: Any) -> Bits:
        """The same width everywhere; stem and classifier at `outer` bits, or as the rest where that is None."""
        return cls(
            weights=(weights,),
            activations=(activations,),
            stem=weights if outer is None else outer,
            classifier=weights if outer is None else outer,
            **other,
        )

    @property
    def is_float(self) -> bool:
        """Whether nothing is rounded at all."""
        widths = {*self.weights, *self.activations, self.stem, self.classifier}
        return widths == {32} and all(entry[1:] == (32, 32) for entry in self.layers)


@dataclass(frozen=True)
class Recipe(Part):
    """How a network is trained. Learning rate and weight decay are nuisance parameters: searched, never the aim.

    The learning rate rises linearly over the share `warmup` of all steps and then falls to zero by `decay`.
    `averaging` is the decay per step of an exponential moving average of the weights; 0: none.
    `teacher` names a preset whose trained network is distilled into this one with weight `distillation`; "dense" is the
    network itself as it is uncompressed, which teaches the phases after the uncompressed training and needs no training
    of its own.
    `starting_weights` names the file of weights that the training begins with by the first 16 hexadecimal digits of
    its SHA-256; where that file lies is the job's business. "": fresh weights.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    epochs: int = 20
    batch_size: int = 128
    warmup: float = 0.1
    decay: str = "cosine"
    label_smoothing: float = 0.0
    averaging: float = 0.0
    teacher: str | None = None
    distillation: float = 0.0
    temperature: float = 4.0
    starting_weights: str = added("")

    def _validate(self) -> None:
        label = self._label
        member(label("optimizer"), self.optimizer, OPTIMIZERS)
        require(0 < self.learning_rate <= 10, label("learning_rate"), self.learning_rate, "in (0, 10]")
        require(0 <= self.weight_decay <= 1, label("weight_decay"), self.weight_decay, "in [0, 1]")
        require(0 <= self.momentum < 1, label("momentum"), self.momentum, "in [0, 1)")
        require(1 <= self.epochs <= 10_000, label("epochs"), self.epochs, "in 1..10000")
        require(2 <= self.batch_size <= 65_536, label("batch_size"), self.batch_size, "in 2..65536")
        require(0 <= self.warmup < 1, label("warmup"), self.warmup, "in [0, 1)")
        member(label("decay"), self.decay, DECAYS)
        require(0 <= self.label_smoothing < 1, label("label_smoothing"), self.label_smoothing, "in [0, 1)")
        require(0 <= self.averaging < 1, label("averaging"), self.averaging, "in [0, 1)")
        require(0 <= self.distillation <= 1, label("distillation"), self.distillation, "in [0, 1]")
        require(0 < self.temperature <= 100, label("temperature"), self.temperature, "in (0, 100]")
        known = not self.starting_weights or _SOURCE.fullmatch(self.starting_weights) is not None
        require(known, label("starting_weights"), self.starting_weights, "16 hexadecimal digits of a file's SHA-256")
        if self.teacher:
            plain_name(label("teacher"), self.teacher)
        if self.distillation > 0:
            require(bool(self.teacher), label("teacher"), self.teacher, "named where distillation > 0")

    @property
    def uncompressed(self) -> Recipe:
        """The recipe of the uncompressed training, which has no teacher yet where that is the uncompressed network."""
        if self.teacher != UNCOMPRESSED_TEACHER:
            return self
        return dataclasses.replace(self, teacher=None, distillation=0.0, temperature=Recipe.temperature)


@dataclass(frozen=True)
class Candidate(Part):
    """All that a trial decides.

    >>> from slimfront.spaces import presets
    >>> candidate = presets["resnet20"]
    >>> Candidate.from_json(candidate.to_json()) == candidate
    True
    """

    architecture: Architecture
    augmentation: Augmentation = field(default_factory=Augmentation)
    pruning: Pruning = field(default_factory=Pruning)
    bits: Bits = field(default_factory=Bits)
    recipe: Recipe = field(default_factory=Recipe)

    def _validate(self) -> None:
        kinds = (Architecture, Augmentation, Pruning, Bits, Recipe)
        for name, kind in zip(("architecture", "augmentation", "pruning", "bits", "recipe"), kinds, strict=True):
            require(isinstance(getattr(self, name), kind), f"candidate.{name}", getattr(self, name), f"a {kind}")
        stages = len(self.architecture.widths)
        for name in ("weights", "activations"):
            values = getattr(self.bits, name)
            require(len(values) in (1, stages), f"bits.{name}", values, f"1 or {stages} entries, one a stage")
        for step in (self.pruning.filters, self.pruning.weights):
            if step is not None and step.scope == "stage":
                right = len(step.ratios) == stages
                require(right, f"pruning.{step.granularity}.ratios", step.ratios, f"{stages} entries")

    @functools.cached_property
    def uncompressed_digest(self) -> str:
        """Digest of what the uncompressed network depends on: architecture, augmentation and recipe."""
        penalty = self.pruning.filters.penalty if self.pruning.filters is not None else 0.0
        parts = [
            self.architecture.to_json(),
            self.augmentation.to_json(),
            self.recipe.uncompressed.to_json(),
            repr(penalty),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @property
    def phases(self) -> dict[str, int]:
        """Epochs of each phase, in order: "dense" (uncompressed), then "filters", "weights", "bits" if asked for.

        0: the phase changes the network and trains nothing.
        """
        found = {UNCOMPRESSED: self.recipe.epochs}
        for step in (self.pruning.filters, self.pruning.weights):
            if step is not None:
                found[step.granularity] = step.epochs if step.ratio or any(step.ratios) else 0
        if not self.bits.is_float:
            found["bits"] = self.bits.epochs
        return found

    @property
    def is_compressed(self) -> bool:
        """Whether anything follows the uncompressed training."""
        return self.pruning.filters is not None or self.pruning.weights is not None or not self.bits.is_float
