"""Pairs of patches with known lesions, from label maps and from single real scans."""
