"""Methods that mask single weights."""

from slimfront.evaluators.pruning.criteria.chance import RANDOM
from slimfront.evaluators.pruning.criteria.magnitude import L1
from slimfront.evaluators.pruning.criteria.taylor import TAYLOR
from slimfront.spaces.candidate import GRADUAL
from slimfront.spaces.criteria import Method

GLOBAL_L1 = Method(
    "global_l1",
    granularity="weights",
    criterion=L1,
    scope="global",
    schedule="once",
    in_sweep=True,
    title="global L1",
    words="smallest weights of the whole network, at once",
    colour="#0072B2",
    marker="o",
)
HAN = Method(
    "han",
    granularity="weights",
    criterion=L1,
    scope="global",
    schedule="iterative",
    rounds=3,
    in_sweep=True,
    title="Han",
    words="smallest weights of the whole network, in rounds",
    paper="Han et al. 2015, arXiv:1506.02626",
    colour="#56B4E9",
    marker="s",
)
GRADUALLY = Method(
    "gradual",
    granularity="weights",
    criterion=L1,
    scope="global",
    schedule=GRADUAL,
    title="gradual",
    words="more and more weights while it trains",
    paper="Zhu and Gupta 2017, arXiv:1710.01878",
    colour="#009E73",
    marker="^",
)
TAYLOR_WEIGHTS = Method(
    "taylor_weights",
    granularity="weights",
    criterion=TAYLOR,
    scope="global",
    schedule="iterative",
    rounds=3,
    title="Taylor weights",
    words="weights whose removal changes the loss least, in rounds",
    paper="Molchanov et al. 2019, arXiv:1906.10771",
    colour="#CC79A7",
    marker="D",
)
RANDOM_WEIGHTS = Method(
    "random",
    granularity="weights",
    criterion=RANDOM,
    scope="global",
    schedule="once",
    is_control=True,
    in_sweep=True,
    title="random weights",
    words="random weights, as a control",
    colour="#8b8f96",
    marker="o",
)
