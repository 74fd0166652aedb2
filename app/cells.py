"""Which text in a table would a spreadsheet run as a formula?"""

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a formula, or an older program's command, begins with


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula."""
    return text.startswith(FORMULAS)


def as_text(text: str) -> str:
    """A cell that no program reads back, with an apostrophe before a formula: spreadsheets then show it."""
    return f"'{text}" if is_formula(text) else text
