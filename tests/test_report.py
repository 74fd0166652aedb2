"""The page and the tables of one patient, from a result made by hand."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk

from app import image, lesions, picture, report
from app.pipeline import Result
from app.place import Place
from app.preprocessing import Pair
from app.quality import ScanQuality
from app.registration import Aligned


@pytest.fixture
def result() -> Result:
    """One lesion of 4 x 4 x 4 voxels of 1 mm about index (z, y, x) = (11.5, 13.5, 15.5), and one of 2 x 2 x 2."""
    grid = sitk.Image(32, 28, 24, sitk.sitkUInt8)
    mask = np.zeros((24, 28, 32), dtype=bool)
    mask[10:14, 12:16, 14:18] = True
    mask[3:5, 3:5, 3:5] = True
    probability = np.where(mask, 0.8, 0.1).astype(np.float32)
    scan = np.ones(mask.shape, dtype=np.float32)
    pair = Pair(scan, scan + mask, np.ones_like(mask), grid)
    identity = sitk.Transform()
    aligned = Aligned(identity, identity, similarity_before=1.0, similarity_after=1.0, angle_degrees=0.0, shift_mm=0.0)
    found = [replace(lesion, place=Place("left", "periventricular")) for lesion in lesions.describe(mask, probability, grid)]
    quality = ScanQuality((32, 28, 24), (1.0, 1.0, 1.0), 3.0, 1.2), ScanQuality((32, 28, 12), (1.0, 1.0, 2.0), 2.0, 1.1)
    return Result(image.like(mask, grid), image.like(probability, grid), found, aligned, pair, quality, {"predict": 1.0}, ("look <here>",))


class _Page(HTMLParser):
    """Counts tags and collects whatever a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_counts_and_shows_each_lesion_and_loads_nothing(result: Result) -> None:
    text = report.page(result)
    page = _Page(text)
    assert "2 new lesions, 0.07 ml" in text  # 64 + 8 mm3
    assert "not a medical device" in text
    assert page.tags.count("tr") == 3
    assert page.tags.count("img") == 2 * 9
    assert all(source.startswith("data:image/png;base64,") for source in page.loaded)


def test_a_page_without_lesions_says_so(result: Result) -> None:
    nothing = replace(result, mask=result.mask * 0, probability=result.probability * 0, lesions=[])
    text = report.page(nothing)
    assert "0 new lesions, 0.00 ml" in text
    assert "No new lesion was found." in text


def test_a_slice_as_read_on_screen() -> None:
    """A bright voxel superior, posterior and left of the centre: right of an axial slice's middle and below it, above it in a coronal one."""
    scan = np.zeros((9, 9, 9), dtype=np.float32)
    scan[6, 7, 5] = picture.BRIGHTEST
    nothing = np.zeros(scan.shape, dtype=bool)
    axial = picture.slice_rgb(scan, nothing, 0, (6, 4, 4), 4)  # rows y 0..7, columns x 0..7
    coronal = picture.slice_rgb(scan, nothing, 1, (4, 7, 4), 4)  # rows z 7..0
    assert np.argwhere(axial[..., 0]).tolist() == [[7, 5]]
    assert np.argwhere(coronal[..., 0]).tolist() == [[7 - 6, 5]]


def test_the_outline_is_the_mask_s_rim_and_the_rest_is_grey() -> None:
    scan = np.full((9, 9, 9), picture.BRIGHTEST / 2, dtype=np.float32)
    mask = np.zeros(scan.shape, dtype=bool)
    mask[4, 3:6, 3:6] = True
    rgb = picture.slice_rgb(scan, mask, 0, (4, 4, 4), 4)
    red = (rgb == picture.OUTLINE).all(axis=-1)
    assert red.sum() == 8  # 3 x 3 without its middle
    assert (rgb[~red] == 127).all()


def test_beyond_the_volume_is_black() -> None:
    rgb = picture.slice_rgb(np.ones((3, 3, 3), dtype=np.float32), np.zeros((3, 3, 3), dtype=bool), 0, (1, 1, 1), 5)
    assert rgb.shape == (10, 10, 3)
    assert (rgb > 0).any(axis=-1).sum() == 9
