"""Members and networks of a user's own with faults in them: one line before any long work, and nothing recorded."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from slimfront.search.commands import cli
from slimfront.spaces import Candidate, CandidateError, presets, references

STUDY = """
name = "faulty"
dataset = "digits"
bar = 0.05
trials = 1
{top}
[space.architecture.residual]
stem_width = [4, 6]
stages = 1
width = [4, 6]
depth = 1
[space.recipe]
epochs = 1
{recipe}
{more}
"""
POLICY = "from slimfront.spaces.policies import Policy\ndef apply(images, labels, strength, classes, generator):\n    "
OPTIMIZER = "import torch\nfrom slimfront.spaces.optimizers import Optimizer\ndef make(network, recipe):\n    "
METHOD = (
    "import torch\nfrom slimfront.spaces.criteria import Criterion, Method\n"
    "def judge(network, groups, sample, seed):\n    "
)
COST = "from slimfront.evaluators.scoring.cost import Cost\ndef measure(subject):\n    "
SAMPLER = "from optuna.samplers import RandomSampler\nfrom slimfront.studies.sampling import Sampler\n"
POLICIES = "[space.augmentation]\npolicy = 'mine.py:IT'"
METHODS = "[space.pruning.filters]\nmethod = 'mine.py:IT'\nratio = 0.5"
A_POLICY = "\nIT = Policy('mine', apply)"
AN_OPTIMIZER = "\nIT = Optimizer('mine', make, learning_rate=0.1, fine_tuning=0.1)"
A_METHOD = "\nIT = Method('mine', 'filters', Criterion('mine', filters=judge), 'layer', 'once'{more})"
A_COST = "\nIT = Cost('mine', 'mine', 'mine', 10.0, measure)"

FAULTS = {
    "raises no Exception": (POLICIES, "class Odd(BaseException): ...\nraise Odd('gone')", "imported: Odd: gone"),
    "no attribute": (POLICIES, "def __getattr__(name): raise RuntimeError(name)", "imported: RuntimeError: IT"),
    "arguments": (POLICIES, POLICY.replace(", generator", "") + "..." + A_POLICY, "takes 4 positional arguments"),
    "exits": (POLICIES, POLICY + "raise SystemExit(3)" + A_POLICY, "SystemExit: 3 (mine.py, line 3)"),
    "gives nothing": (POLICIES, POLICY + "..." + A_POLICY, "must give two tensors"),
    "other shape": (POLICIES, POLICY + "return images[:, :, :5], labels" + A_POLICY, "images of shape (8, 1, 5, 12)"),
    "NaN": (POLICIES, POLICY + "return images * float('nan'), labels" + A_POLICY, "not finite"),
    "no function": (POLICIES, POLICY + "...\nIT = Policy('mine', 3)", "its apply must be a function, but is '3'"),
    "no number": (POLICIES, POLICY + "...\nIT = Policy('mine', apply, most='1')", "its most must be a finite number"),
    "no text": (POLICIES, POLICY + "...\nIT = Policy('mine', apply, title=3)", "its title must be text of one line"),
    "no optimizer": ("optimizer", OPTIMIZER + "..." + AN_OPTIMIZER, "must give a torch.optim.Optimizer"),
    "some parameters": (
        "optimizer",
        OPTIMIZER + "return torch.optim.SGD(list(network.parameters())[:1], 0.1)" + AN_OPTIMIZER,
        "leaves out",
    ),
    "a closure": (
        "optimizer",
        OPTIMIZER + "return torch.optim.LBFGS(network.parameters())" + AN_OPTIMIZER,
        "missing 1 required positional argument: 'closure'",
    ),
    "decay": (
        "decay",
        "from slimfront.spaces.optimizers import Decay\nIT = Decay('mine', lambda progress: -progress)",
        "at 0.5 it gives -0.5",
    ),
    "no numbers": (METHODS, METHOD + "..." + A_METHOD.format(more=""), "must give numbers by name"),
    "numbers that are none": (
        METHODS,
        METHOD + "return {g.name: torch.full((g.channels,), float('nan')) for g in groups}" + A_METHOD.format(more=""),
        "(NaN)",
    ),
    "no colour": (
        METHODS,
        METHOD + "return {g.name: torch.ones(g.channels) for g in groups}" + A_METHOD.format(more=", colour='bleu'"),
        "'bleu' is no colour",
    ),
    "no criterion": (METHODS, METHOD + "...\nIT = Method('mine', 'filters', None, 'layer', 'once')", "Criterion"),
    "cost changes": (
        "cost",
        COST + "[one.data.zero_() for one in subject.network.parameters()]\n    return 1.0" + A_COST,
        "it changes the network",
    ),
    "cost exits": ("cost", COST + "raise SystemExit" + A_COST, "SystemExit"),
    "no sampler": ("sampler", SAMPLER + "IT = Sampler('mine', lambda seeds, startup: None)", "gives a NoneType"),
    "sampler raises": (
        "sampler",
        SAMPLER + "class Bad(RandomSampler):\n    def sample_independent(self, *given): raise RuntimeError('empty')\n"
        "IT = Sampler('mine', lambda seeds, startup: Bad())",
        "mine.py:IT cannot choose a trial: RuntimeError: empty (mine.py, line 4)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_member_with_a_fault_is_refused_before_a_trial(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, source, told = FAULTS[fault]
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(source + "\n")
    line = f"{place} = 'mine.py:IT'"
    top, recipe = (line if place in names else "" for names in (("cost", "sampler"), ("optimizer", "decay")))
    Path("faulty.toml").write_text(STUDY.format(top=top, recipe=recipe, more=place if place[0] == "[" else ""))
    assert cli.main(["search", "faulty.toml", "--workers", "1"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert "mine.py:IT" in err
    assert told in err
    if cli.main(["studies", "--json"]) == 0:
        trials = json.loads(capsys.readouterr().out)["studies"]
        assert all(not any(study["trials"].values()) for study in trials), trials


NET = """
import torch, torch.nn as nn, torch.nn.functional as F, threading
class Net(nn.Module):
    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 3)
        self.last = nn.Linear(4, num_classes)
        {init}
    def forward(self, x):
        x = F.relu(self.first(x))
        {forward}
        return self.last(x.mean((2, 3)))
"""
NETS = {
    "in place": ("", "kept = x.exp(); kept.add_(1); x = kept + x", "modified by an inplace operation"),
    "no gradients": ("", "x = x.detach(); self.last.requires_grad_(False)", "logits without gradients"),
    "float64": ("self.double()", "", "is float64, but must be float32"),
    "lock": ("self.lock = threading.Lock()", "", "cannot be copied (copy.deepcopy): TypeError: cannot pickle"),
}


@pytest.mark.parametrize("net", NETS)
def test_a_network_that_cannot_be_trained_is_refused_before_it_is(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    init, forward, told = NETS[net]
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(NET.format(init=init, forward=forward))
    words = ["compress", "mine.py:Net", "--data", "digits", "--weight-bits", "4", "--epochs", "1", "--out", "o.slim"]
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert told in err
    assert not Path("o.slim").exists()


def test_what_a_users_code_prints_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("print('hello')\n" + NET.format(init="print('made')", forward="print('run')"))
    assert cli.main(["score", "mine.py:Net", "--input", "1,12,12", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["weights"] == 76
    assert all(word in told.err for word in ("hello", "made", "run"))


def test_a_member_is_known_by_what_it_is_now(tmp_path: Path) -> None:
    """What one command's code allowed is not kept for the next, whose code may allow something else."""
    augmentation = {"flip": False, "crop": 0, "policy": "mine.py:IT", "strength": 0.8}
    written = presets["resnet8"].to_dict() | {"augmentation": augmentation}
    for folder, most in (("mild", 0.2), ("strong", 1.0), ("mild", 0.2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "mine.py").write_text(f"{POLICY}...\nIT = Policy('mine', apply, most={most})\n")
        with references.only_here():
            references.give("mine.py:IT", tmp_path / folder)
            with nullcontext() if folder == "strong" else pytest.raises(CandidateError, match=r"in \(0, 0.2\]"):
                Candidate.from_dict(written)


def test_compress_prunes_by_a_method_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET.format(init="", forward=""))
    words = ["compress", "net.py:Net", "--data", "digits", "--epochs", "0", "--out", "o.slim", "--prune"]
    for body, code in {
        "return {g.name: torch.arange(g.channels) for g in groups}": 0,
        "raise ValueError('none')": 2,
    }.items():
        Path("mine.py").write_text(METHOD + body + A_METHOD.format(more=""))
        assert cli.main([*words, "mine.py:IT:0.5", "--json"]) == code
        told = capsys.readouterr()
        if code == 0:
            assert json.loads(told.out)["weights"] == 38
            Path("o.slim").unlink()
    assert "mine.py:IT cannot be used: ValueError: none (mine.py, line 4)" in told.err
    assert not Path("o.slim").exists()
