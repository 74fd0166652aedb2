"""The label numbers of FreeSurfer, as in SynthSeg's head maps, and the tissues that the generator tells
apart.
"""

TISSUES: dict[str, tuple[int, ...]] = {
    "outside": (),
    "csf": (24,),
    "ventricle": (4, 5, 14, 15, 43, 44, 72),
    "white": (2, 41),
    "grey": (3, 42),
    "cerebellar_white": (7, 46),
    "cerebellar_grey": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "stem": (16,),
    "hippocampus": (17, 18, 53, 54),
    "ventral": (26, 28, 58, 60, 85),
    "vessel": (30, 62),
    "hyperintensity": (25, 57),
    "plexus": (136, 137, 163, 164),
}

# Of the numbers above that code asks for one by one, and of those outside the brain.
CSF, STEM, CORD = 24, 16, 512
OUTSIDE_BRAIN = 500  # from here on
