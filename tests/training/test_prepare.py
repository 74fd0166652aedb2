"""What training reads: masks packed and unpacked, depths, places, a whole tiny folder."""

import json
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from training.cases import read_cases
from training.labels import TISSUES
from training.places import depth_of, places
from training.prepare import pack_shapes, shapes
from training.synthesis.lesions import draw_shape, read_shapes


def test_components_are_cut_out_and_the_tiny_ones_left() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[2:5, 2:5, 2:5] = True  # 27 mm^3
    mask[10, 10, 10:14] = True  # 4 mm^3, below 8
    mask[15:17, 15:17, 15:18] = True  # 12 mm^3
    assert sorted(component.shape for component in shapes(mask)) == [(2, 2, 3), (3, 3, 3)]
    assert list(shapes(np.zeros((4, 4, 4), bool))) == []


def test_packed_shapes_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(side) < 0.5 for side in ((3, 5, 7), (4, 4, 4), (9, 2, 6))]
    np.savez(tmp_path / "lesions.npz", allow_pickle=False, **pack_shapes(iter(masks)))
    packed = read_shapes(tmp_path / "lesions.npz", torch.device("cpu"))
    drawn = [draw_shape(packed, torch.Generator().manual_seed(seed)) for seed in range(20)]
    # turned and mirrored, but each has a mask's sides and volume
    known = {(tuple(sorted(mask.shape)), int(mask.sum())) for mask in masks}
    assert {(tuple(sorted(mask.shape)), int(mask.sum())) for mask in drawn} == known


def test_depth_is_in_half_millimetres() -> None:
    brain = np.zeros((9, 9, 9), bool)
    brain[2:7, 2:7, 2:7] = True
    depth = depth_of(brain)
    # the centre is 3 voxels from the nearest outside one; an outside corner sqrt(12) = 3.46 from the nearest
    # inside one
    assert depth[4, 4, 4] == 6
    assert depth[2, 4, 4] == 2
    assert depth[0, 0, 0] == -7


def test_places_near_the_ventricle_are_five_times_likelier() -> None:
    ventricle = np.zeros((3, 3, 200), bool)
    ventricle[:, :, 0] = True
    likely = np.ones((3, 3, 200))
    place = places(likely, ventricle)
    assert place[1, 1, 0] == 255
    assert place[1, 1, -1] == 51
    assert np.array_equal(places(likely, np.zeros_like(ventricle)), np.full((3, 3, 200), 51))


def test_a_whole_tiny_folder(prepared: Path) -> None:
    names = {str(path.relative_to(prepared)) for path in prepared.rglob("*.npz")}
    assert names == {
        *(
            "heads/training_seg_01.npz",
            "heads/training_seg_02.npz",
            "scans/cross_patient07.npz",
            "lesions.npz",
        ),
        *("pairs/patient01.npz", "pairs/patient03.npz"),
    }
    with np.load(prepared / "heads" / "training_seg_01.npz") as head:
        ventricle = head["tissues"] == list(TISSUES).index("ventricle")
        assert int(ventricle.sum()) == 280  # voxels within 4 of the centre of an even cube
        assert (head["depth"][ventricle] > 2 * 15).all()
    with np.load(prepared / "scans" / "cross_patient07.npz") as scan:
        numbers = scan["lesions"]
        assert numbers.max() == 1
        assert ndimage.mean(scan["values"].astype(float), numbers, 1) > 1.5


def test_cases_of_both_orders(prepared: Path) -> None:
    cases = {case.name: case for case in read_cases(prepared / "pairs")}
    assert list(cases) == [f"patient0{n} {order}" for n in (1, 3) for order in ("forward", "backward")]
    forward, backward = cases["patient01 forward"], cases["patient01 backward"]
    assert np.array_equal(forward.channels, backward.channels[::-1])
    assert forward.has_new
    assert not backward.has_new
    change = forward.channels[1] - forward.channels[0]
    assert change[forward.truth].mean() > 0.3


def test_preparation_goes_on_where_it_was(prepared: Path) -> None:
    assert not list(prepared.rglob("*unfinished*"))
    assert json.dumps(sorted(np.load(prepared / "lesions.npz").files)) == '["bits", "sides", "volumes_mm3"]'
