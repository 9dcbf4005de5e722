import copy
import json

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.evaluators.artifacts import artifact as files
from slimfront.evaluators.artifacts import container
from slimfront.evaluators.artifacts.artifact import ArtifactError, TamperedError, from_bytes, load, save, to_bytes
from slimfront.evaluators.artifacts.container import seal, unseal
from slimfront.evaluators.artifacts.structure import from_runs, row_of, to_runs
from slimfront.evaluators.scoring.score import score
from slimfront.models import build
from slimfront.models.network import Network, count_weights, weight_layers
from slimfront.models.quantization.precision import assign_bits
from slimfront.spaces import presets
from slimfront.spaces.candidate import Architecture, Bits, Candidate
from torch import nn

from tests.evaluators.finished_networks import ALL, DENSE, PADDED, RESIDUAL, SHAPE, finished, images
from tests.random_architectures import architectures, mixed_bits

FOUR = Bits.uniform(4, 4, outer=8)
MIXES = [
    FOUR,
    Bits.uniform(1, 1, outer=8),
    Bits.uniform(16, 16),
    Bits(),
    Bits(weights=(2, 32), activations=(8, 4), stem=16, classifier=3, ternary=True),
]


@pytest.fixture(scope="module")
def data():
    return to_bytes(finished(PADDED, FOUR, filters=True, masked=0.5), SHAPE, accuracy=0.5, provenance={"seed": 0})


def logits(network, seed=3):
    with torch.no_grad():
        return network(images(8, seed))


PRUNINGS = [{}, {"filters": True, "masked": 0.5}, {"masked": 0.97, "taken_away": True}]
# Every architecture with every mix; each meets every pruning, though not all three together.
CASES = [(a, m, (a + m) % len(PRUNINGS)) for a in range(len(ALL)) for m in range(len(MIXES))]


@pytest.mark.parametrize(("architecture", "mix", "pruning"), CASES)
def test_a_loaded_network_is_the_saved_one_bit_for_bit(architecture, mix, pruning, tmp_path):
    architecture, bits, pruning = ALL[architecture], MIXES[mix], PRUNINGS[pruning]
    network = finished(architecture, bits, **pruning)
    path = tmp_path / "network.slim"
    assert save(network, path, SHAPE, accuracy=0.25, provenance={"seed": 3}) == path.stat().st_size
    loaded = load(path)
    assert torch.equal(logits(loaded.network), logits(network))
    before, after = score(network, SHAPE), score(loaded.network, SHAPE)
    assert after == before
    assert loaded.claims["accuracy"] == 0.25
    assert loaded.provenance == {"seed": 3}
    # The size rule: payload within 2 % of the strict score's bits (here: plus what tiny streams lose at their ends).
    assert before.strict_bits / 8 <= loaded.payload_bytes <= before.strict_bits / 8 * 1.02 + 2 * len(before.layers)
    assert loaded.bytes - loaded.payload_bytes <= 4096
    assert [found.name for found in tmp_path.iterdir()] == ["network.slim"]


@settings(max_examples=12, deadline=None)
@given(
    data=st.data(),
    architecture=architectures(),
    filters=st.booleans(),
    masked=st.sampled_from([0.0, 0.4, 0.95, 1.0]),
    taken_away=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_candidate_survives_bit_for_bit(data, architecture, filters, masked, taken_away, seed):
    bits = data.draw(mixed_bits(architecture))
    network = finished(architecture, bits, filters=filters, masked=masked, taken_away=taken_away, seed=seed)
    raw = to_bytes(network, SHAPE)
    loaded = from_bytes(raw)
    assert torch.equal(logits(loaded.network), logits(network))
    measured = score(network, SHAPE)
    assert score(loaded.network, SHAPE) == measured
    assert 0 <= loaded.payload_bytes - measured.strict_bits / 8 <= 2 * len(measured.layers)  # ends of streams
    assert loaded.bytes - loaded.payload_bytes <= 4096
    assert to_bytes(network, SHAPE) == raw


@pytest.mark.parametrize("name", ["resnet20", "small_inverted", "small_dense"])
def test_known_networks_keep_the_size_rule(name):
    network = finished(presets[name].architecture, FOUR, masked=0.3)
    found = from_bytes(to_bytes(network, (3, 32, 32), provenance={"commit": "0" * 40, "data": "0" * 16}))
    strict = score(network, (3, 32, 32)).strict_bits / 8
    assert strict <= found.payload_bytes <= strict * 1.02
    assert found.bytes - found.payload_bytes <= 4096


def test_masks_are_stored_exactly_and_zeros_that_merely_happen_are_not_pruned():
    network = finished(RESIDUAL, FOUR, masked=0.5)
    layer = network.stages[1][0].conv2
    mask = layer.weight_mask.bool()
    assert (layer.weight[mask] == 0).any()
    loaded = from_bytes(to_bytes(network, SHAPE)).network.stages[1][0].conv2
    assert loaded.stored_weights == int(mask.sum())
    assert torch.equal(loaded.integers, layer.integers)


def test_other_tools_can_open_the_file(data, tmp_path):
    path = tmp_path / "a.slim"
    path.write_bytes(data)
    with safetensors.safe_open(path, "np") as file:
        assert set(file.keys()) == {"weights", "numbers16"}
        facts = json.loads(file.metadata()["slimfront"])
    assert facts["architecture"]["family"] == "residual"
    assert facts["claims"]["accuracy"] == 0.5


def test_networks_that_are_not_finished_are_refused(tmp_path):
    plain = build(RESIDUAL, 5, seed=0)
    with pytest.raises(ArtifactError, match=r"stem\.norm is not folded: deploy"):
        save(plain, tmp_path / "a.slim", SHAPE)
    promised = finished(RESIDUAL, Bits())
    assign_bits(promised, FOUR)
    with pytest.raises(ArtifactError, match="but is not quantized"):
        save(promised, tmp_path / "a.slim", SHAPE)
    moved = finished(RESIDUAL, FOUR)
    with torch.no_grad():
        moved.classifier.bias.add_(1e-6)
    with pytest.raises(ArtifactError, match="do not fit into it"):
        save(moved, tmp_path / "a.slim", SHAPE)
    with pytest.raises(ArtifactError, match=r"end in \.slim"):
        save(finished(RESIDUAL, FOUR), tmp_path / "a.pt", SHAPE)
    assert not list(tmp_path.iterdir())


# --- hostile files


def test_every_flipped_bit_is_noticed(data):
    generator = np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    places = {
        *range(10),
        *generator.integers(0, header, 150),
        *generator.integers(header, len(data), 150),
        len(data) - 1,
    }
    for place in places:
        for bit in (0, 7):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            # Not merely unreadable: whoever verifies it learns that it was changed.
            with pytest.raises(TamperedError):
                from_bytes(bytes(changed))


def test_flips_behind_the_header_are_called_tampering(data):
    header = 8 + int.from_bytes(data[:8], "little")
    for place in (header, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(TamperedError, match="checksum"):
            from_bytes(bytes(changed))


def test_every_truncation_and_every_appendix_is_noticed(data):
    for length in {*range(0, 40), *range(0, len(data), 97), len(data) - 1}:
        with pytest.raises(ArtifactError) as caught:
            from_bytes(data[:length])
        assert not isinstance(caught.value, TamperedError)  # cut off is not changed
    with pytest.raises(ArtifactError, match="behind its tensors"):
        from_bytes(data + b"\0")


@settings(max_examples=200, deadline=None)
@given(garbage=st.binary(max_size=300), header=st.booleans())
def test_garbage_gives_one_line(garbage, header):
    if header:
        garbage = len(garbage).to_bytes(8, "little") + garbage
    with pytest.raises(ArtifactError) as caught:
        from_bytes(garbage)
    assert "\n" not in str(caught.value)


def _json_values():
    leaves = st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(leaves | st.text(max_size=5), lambda inner: st.lists(inner, max_size=4), max_leaves=6)


KEYS = ["format", "architecture", "classes", "input", "layers", "norms", "shortcuts", "claims", "provenance"]


@settings(max_examples=100, deadline=None)
@given(key=st.sampled_from(KEYS), inner=st.integers(0, 30), value=_json_values(), whole=st.booleans())
def test_sealed_nonsense_in_the_description_is_refused_or_harmless(data, key, inner, value, whole):
    arrays, facts = unseal(data)
    facts = copy.deepcopy(facts)
    if whole:
        facts[key] = value
    elif isinstance(facts[key], dict):
        name = sorted(facts[key])[inner % len(facts[key])]
        facts[key][name] = value
    elif isinstance(facts[key], list) and facts[key]:
        entry = facts[key][inner % len(facts[key])]
        if isinstance(entry, list):
            entry[inner % len(entry)] = value
        else:
            facts[key][inner % len(facts[key])] = value
    try:
        network = from_bytes(seal(arrays, facts)).network
    except ArtifactError as error:
        lines = str(error).splitlines()
    else:
        lines = ["loaded"]
        network(torch.zeros(1, *facts["input"]))
    assert len(lines) == 1


def change(data, **changes):
    """The file with other facts or numbers, and a right seal."""
    arrays, facts = unseal(data)
    arrays = {name: array.copy() for name, array in arrays.items()}
    facts = copy.deepcopy(facts)
    for name, change in changes.items():
        change(arrays[name] if name in arrays else facts[name])
    return seal(arrays, facts)


def put(place, value):
    def change(container):
        *path, last = place if isinstance(place, tuple) else (place,)
        for step in path:
            container = container[step]
        container[last] = value

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": put((1, 2), 3)}, "its layers take"),
        ({"layers": put((1, 2), 9)}, "impossible bits"),
        ({"layers": put((1, 0), 9999)}, "but its architecture has"),
        ({"layers": put((1, 0), 3)}, "do not fit each other|its layers take"),
        ({"layers": put((1, 5), 10**9)}, "stores"),
        ({"layers": put((1, 4), 7)}, "a grid that its bits do not have"),
        ({"shortcuts": put((0, 0), [5000, 1])}, "takes channel 5000"),
        ({"shortcuts": put((0, 0), [0, 10**9])}, "pairs of whole numbers"),
        ({"architecture": put("stem_width", 10**6)}, "stem_width must be in 1..4096"),
        ({"architecture": put("widths", [4096, 4096])}, "more than the 67,108,864 allowed"),
        ({"input": put(1, 10**6)}, "image shape"),
        ({"input": put(0, 4)}, "do not fit each other|but its architecture has"),
        ({"numbers16": put(0, float("nan"))}, "not finite"),
        ({"numbers16": put(slice(None), 0)}, "input step of 0"),
    ],
)
def test_sealed_contradictions_are_found(data, changes, message):
    with pytest.raises(ArtifactError, match=message):
        from_bytes(change(data, **changes))


def test_a_changed_mask_is_found():
    network = finished(RESIDUAL, FOUR, masked=0.5)
    raw = to_bytes(network, SHAPE)
    arrays, _ = unseal(raw)
    # The stem's stream comes first and begins with its bitmap.
    changed = change(raw, weights=put(0, int(arrays["weights"][0]) ^ 1))
    with pytest.raises(TamperedError, match=r"bitmap|spare|another number"):
        from_bytes(changed)


def test_a_weight_outside_the_ternary_grid_is_found():
    network = finished(RESIDUAL, Bits.uniform(2, 2, ternary=True))
    raw = to_bytes(network, SHAPE)
    with pytest.raises(TamperedError, match="ternary grid"):
        from_bytes(change(raw, weights=put(0, 0)))


def test_tensors_that_do_not_belong_are_refused(data):
    arrays, facts = unseal(data)
    for extra in ({"other": np.zeros(3, np.uint8)}, {"numbers32": np.zeros(3, np.float32)}):
        with pytest.raises(TamperedError):
            from_bytes(seal({**arrays, **extra}, facts))
    with pytest.raises(TamperedError, match="float16"):
        from_bytes(seal({**arrays, "numbers16": arrays["numbers16"].astype(np.float32)}, facts))


def test_a_small_file_cannot_ask_for_much_memory(data, monkeypatch):
    architecture = Architecture("residual", 64, 1, (512, 1024), (2, 2), (1, 2), shortcut="projection")
    with torch.device("meta"):
        layers = weight_layers(Network(architecture, 10))
    rows = [row_of(layer, layer.weight.numel()).to_list(layer.weight.numel()) for layer in layers.values()]
    arrays, facts = unseal(data)
    facts |= {"architecture": architecture.to_dict(), "classes": 10, "layers": rows, "norms": [], "shortcuts": []}

    def never(*_args):
        raise AssertionError("memory was asked for")

    monkeypatch.setattr(files, "give_memory", never)
    with pytest.raises(TamperedError, match="its layers take"):
        from_bytes(seal(arrays, facts))


def test_many_layers_of_their_own_bits_keep_the_metadata_small():
    architecture = Architecture("residual", 4, 1, (4, 4, 4), (9, 9, 9), (1, 2, 2), shortcut="padding")
    names = list(weight_layers(build(architecture, 5, seed=0)))
    bits = Bits(layers=tuple((name, 1 + place % 8, 8 - place % 8) for place, name in enumerate(names)))
    provenance = {"candidate": Candidate(architecture, bits=bits).to_dict(), "commit": "0" * 40}
    assert len(json.dumps(provenance)) > 2000
    loaded = from_bytes(to_bytes(finished(architecture, bits, masked=0.5), SHAPE, provenance=provenance))
    assert loaded.bytes - loaded.payload_bytes <= 4096
    assert loaded.provenance == provenance


def test_large_tables_are_compressed_and_bombs_are_not_opened(monkeypatch):
    rows = [[16, 16, 4, 4, 4]] * 600
    squeezed = container.squeeze(rows)
    assert isinstance(squeezed, str)
    assert len(squeezed) < 200
    assert container.expand(squeezed) == rows
    monkeypatch.setattr(container, "LARGEST_TEXT", 1000)
    with pytest.raises(TamperedError, match="too large"):
        container.expand(squeezed)
    with pytest.raises(TamperedError, match="cannot be decompressed"):
        container.expand("é")


def test_what_is_no_file_says_so(tmp_path):
    with pytest.raises(ArtifactError, match=r"absent\.slim: it cannot be read"):
        load(tmp_path / "absent.slim")
    with pytest.raises(ArtifactError, match="not a file"):
        load(tmp_path)
    huge = tmp_path / "huge.slim"
    with huge.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(ArtifactError, match="more than"):
        load(huge)


@given(st.lists(st.integers(-1, 12), max_size=20))
def test_runs_are_a_bijection(source):
    assert from_runs(to_runs(source), len(source)) == source


@settings(max_examples=30, deadline=None)
@given(architectures())
def test_weights_are_counted_without_building(architecture):
    network = build(architecture, 5, seed=0)
    weights = sum(layer.weight.numel() for layer in weight_layers(network).values())
    assert count_weights(architecture, 5, 3) == weights


def test_the_dense_familys_remaining_norms_are_stored():
    network = finished(DENSE, FOUR)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    loaded = from_bytes(to_bytes(network, SHAPE)).network
    found = [m for m in loaded.modules() if isinstance(m, nn.BatchNorm2d)]
    for one, other in zip(norms, found, strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.weight, one.weight.half().float())
