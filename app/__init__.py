"""New multiple-sclerosis lesions between two FLAIR scans of one patient."""

__version__ = "0.1.0"
