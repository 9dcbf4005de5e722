"""Methods that remove whole filters."""

from slimfront.evaluators.pruning.criteria.batch_norm import BATCH_NORM
from slimfront.evaluators.pruning.criteria.chance import RANDOM
from slimfront.evaluators.pruning.criteria.feature_map import FEATURE_MAP
from slimfront.evaluators.pruning.criteria.magnitude import L1
from slimfront.evaluators.pruning.criteria.taylor import TAYLOR
from slimfront.spaces.criteria import Method

LI_FILTERS = Method(
    "li_filters",
    granularity="filters",
    criterion=L1,
    scope="layer",
    schedule="layerwise",
    in_sweep=True,
    title="Li filters",
    words="filters with the smallest L1 norm, layer by layer",
    paper="Li et al. 2016, arXiv:1608.08710",
    colour="#D55E00",
    marker="o",
)
THINET = Method(
    "thinet",
    granularity="filters",
    criterion=FEATURE_MAP,
    scope="layer",
    schedule="layerwise",
    in_sweep=True,
    title="ThiNet",
    words="filters whose removal changes the next layer least",
    paper="Luo et al. 2017, arXiv:1707.06342",
    colour="#E69F00",
    marker="s",
)
SLIMMING = Method(
    "slimming",
    granularity="filters",
    criterion=BATCH_NORM,
    scope="global",
    schedule="once",
    penalty=1e-4,
    title="slimming",
    words="filters with the smallest batch-norm scale",
    paper="Liu et al. 2017, arXiv:1708.06519",
    colour="#009E73",
    marker="^",
)
TAYLOR_FILTERS = Method(
    "taylor",
    granularity="filters",
    criterion=TAYLOR,
    scope="global",
    schedule="iterative",
    rounds=3,
    title="Taylor filters",
    words="filters whose removal changes the loss least, in rounds",
    paper="Molchanov et al. 2016, arXiv:1611.06440",
    colour="#CC79A7",
    marker="D",
)
RANDOM_FILTERS = Method(
    "random_filters",
    granularity="filters",
    criterion=RANDOM,
    scope="layer",
    schedule="once",
    is_control=True,
    in_sweep=True,
    title="random filters",
    words="random filters, as a control",
    colour="#8b8f96",
    marker="s",
)
