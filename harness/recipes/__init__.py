"""What a CI service is told of a project's suites: values, and the files that are written of them."""

from harness.recipes.modes import Mode, Suite, mode_of
from harness.recipes.writing import CIS, Recipe, more_of, path_of, text_of

__all__ = ["CIS", "Mode", "Recipe", "Suite", "mode_of", "more_of", "path_of", "text_of"]
