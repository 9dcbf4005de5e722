import copy
import math

import pytest
import torch
from slimfront.evaluators.artifacts.artifact import ArtifactError, save, to_bytes
from slimfront.evaluators.artifacts.container import seal, unseal
from slimfront.evaluators.artifacts.verify import _FIRST, verify
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.scoring.score import score
from slimfront.models.network import Network
from slimfront.models.quantization.quantizers import QuantConv2d
from slimfront.spaces.candidate import Bits

from tests.evaluators.finished_networks import ALL, CLASSES, DENSE, PADDED, SHAPE, finished, images, pixels

FOUR = Bits.uniform(4, 4, outer=8)
KEYS = {
    "artifact", "bytes", "parameters", "weights", "stored_weights", "macs", "score", "strict_score", "accuracy", "ok",
}  # fmt: skip


@pytest.fixture(scope="module")
def test_images():
    labels = torch.randint(CLASSES, (400,), generator=torch.Generator().manual_seed(5))
    return Images(pixels(400, seed=9), labels)


@pytest.fixture(scope="module")
def network():
    return finished(PADDED, FOUR, filters=True, masked=0.5)


@pytest.fixture(scope="module")
def honest(network, test_images):
    with torch.no_grad():
        right = (network(images(400, seed=9)).argmax(1) == test_images.labels).float().mean()
    return to_bytes(network, SHAPE, accuracy=float(right))


@pytest.fixture
def path(honest, tmp_path):
    path = tmp_path / "a.slim"
    path.write_bytes(honest)
    return path


def rewrite(path, change):
    """Change the description under a right seal."""
    arrays, facts = unseal(path.read_bytes())
    arrays, facts = {name: array.copy() for name, array in arrays.items()}, copy.deepcopy(facts)
    change(arrays, facts)
    path.write_bytes(seal(arrays, facts))


def test_an_honest_file_is_confirmed(path, network, test_images):
    found = verify(path, test_images)
    assert found.ok, found.problems
    measured = score(network, SHAPE)
    for name in ("parameters", "weights", "stored_weights", "macs"):
        assert getattr(found, name) == getattr(measured, name)
    assert found.score == pytest.approx(measured.score, rel=1e-12)
    assert found.strict_score == pytest.approx(measured.strict_score, rel=1e-12)
    assert found.accuracy == pytest.approx(found.claims["accuracy"])
    assert found.bytes == path.stat().st_size
    assert set(found.to_dict()) >= KEYS


def test_networks_with_large_images_are_measured_in_small_batches(path, test_images, monkeypatch):
    whole = verify(path, test_images).accuracy
    seen = []
    monkeypatch.setattr(
        "slimfront.evaluators.artifacts.verify._NUMBERS", 7 * 6 * 16 * 16
    )  # seven images' outputs of the stem
    forward = Network.forward
    monkeypatch.setattr(Network, "forward", lambda network, x: (seen.append(len(x)), forward(network, x))[1])
    assert verify(path, test_images).accuracy == whole
    assert 1 < max(seen) <= 10


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: f"{a.family}-{a.shortcut}")
@pytest.mark.parametrize("bits", [Bits.uniform(1, 1), Bits.uniform(3, 2), Bits.uniform(16, 16), Bits()], ids=range(4))
def test_every_kind_of_network_is_confirmed(architecture, bits, tmp_path):
    path = tmp_path / "a.slim"
    masked = 0.6 if architecture.depths[0] == 1 else 0.0
    save(finished(architecture, bits, masked=masked), path, SHAPE)
    found = verify(path)
    assert found.ok, found.problems
    assert found.accuracy is None


@pytest.mark.parametrize(
    "name", ["parameters", "weights", "stored_weights", "macs", "score", "strict_score", "accuracy"]
)
def test_every_false_claim_is_found(path, test_images, name):
    def lie(arrays, facts):
        claim = facts["claims"][name]
        facts["claims"][name] = claim + 1 if isinstance(claim, int) else claim * 1.01

    rewrite(path, lie)
    found = verify(path, test_images)
    assert not found.ok
    assert any(f"it claims {name}" in problem for problem in found.problems)


def test_one_more_image_is_a_false_claim_and_the_fact_is_reported(path, test_images):
    before = verify(path, test_images).accuracy

    def lie(arrays, facts):
        facts["claims"]["accuracy"] += 1 / 400

    rewrite(path, lie)
    found = verify(path, test_images)
    assert not found.ok
    assert found.accuracy == before


@pytest.mark.parametrize("value", [None, "0.9", True, [1], 10**400])
def test_missing_or_senseless_claims_are_false(path, value):
    def lie(arrays, facts):
        facts["claims"]["score"] = value

    rewrite(path, lie)
    assert not verify(path).ok


def other_bits(arrays, facts):
    facts["layers"][1][3] = 2


def more_bits(arrays, facts):
    facts["layers"][1][3] = 8


def fewer_bits(arrays, facts):
    facts["layers"][1][2] = 3


def sign(arrays, facts):
    facts["layers"][0][4] &= ~1


def unstored(arrays, facts):
    facts["layers"][1][5] -= 1


def not_a_number(arrays, facts):
    arrays["numbers16"][0] = float("inf")


@pytest.mark.parametrize("change", [more_bits, fewer_bits, unstored, not_a_number])
def test_tampering_under_a_right_seal_is_found_from_the_file_alone(path, change):
    rewrite(path, change)
    assert not verify(path).ok


@pytest.mark.parametrize("change", [sign, other_bits])
def test_tampering_that_only_changes_predictions_is_found_with_images(path, test_images, change):
    rewrite(path, change)
    assert not verify(path, test_images).ok


def test_any_flipped_bit_behind_the_header_makes_it_not_ok(path, test_images):
    data = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    for place in range(header, len(data), 331):
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        found = verify(path, test_images)
        assert not found.ok
        assert found.accuracy is None
        assert found.problems == ("its checksum does not fit: the file was changed after it was written.",)


def test_what_is_no_artifact_raises_one_line(tmp_path):
    path = tmp_path / "a.slim"
    path.write_bytes(b"not an artifact at all")
    with pytest.raises(ArtifactError, match=r"a\.slim: it is not a \.slim file"):
        verify(path)


def test_images_of_another_shape_are_a_problem_not_a_crash(path):
    found = verify(path, Images(pixels(4, 0, (3, 8, 8)), torch.zeros(4, dtype=torch.int64)))
    assert not found.ok
    assert "takes images of shape (3, 16, 16)" in found.problems[0]


def test_a_layer_that_uses_more_values_than_its_bits_is_found(tmp_path, monkeypatch):
    path = tmp_path / "a.slim"
    save(finished(DENSE, FOUR), path, SHAPE)
    monkeypatch.setattr(QuantConv2d, "quantize_input", lambda layer, x: x)
    found = verify(path)
    assert not found.ok
    assert any("different numbers, more than 4 bits" in problem for problem in found.problems)


@pytest.mark.parametrize("late", ["in the first batch", "in the second batch", "as a number that is none"])
def test_a_value_too_many_is_found_wherever_it_appears(tmp_path, monkeypatch, late):
    path = tmp_path / "a.slim"
    save(finished(DENSE, FOUR), path, SHAPE)
    calls = {}

    def on_the_grid_at_first(layer, x):
        calls[id(layer)] = calls.get(id(layer), 0) + 1
        values = torch.zeros(x.numel())
        if late == "in the first batch":
            values[_FIRST:] = torch.arange(x.numel() - _FIRST) % 17 if x.numel() > _FIRST else 0
        elif calls[id(layer)] > 2:  # the first is the count of multiply-adds, with one image
            values[:17] = torch.arange(17) if late == "in the second batch" else math.nan
        return values.view(x.shape)

    monkeypatch.setattr("slimfront.evaluators.artifacts.verify._BATCH", 6)
    monkeypatch.setattr(QuantConv2d, "quantize_input", on_the_grid_at_first)
    found = verify(path, Images(pixels(24, 0, SHAPE), torch.zeros(24, dtype=torch.int64)))
    assert any("17 different numbers, more than 4 bits" in problem for problem in found.problems) or late.endswith(
        "none"
    )
    assert any("different numbers, more than 4 bits" in problem for problem in found.problems)
