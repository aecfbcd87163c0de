"""The built-in recipes, registered; the table itself is in :mod:`deplsr_data.degradation.recipe_table`."""

from __future__ import annotations

from deplsr_data.degradation.bsrgan import BSRGANRecipe, draw_bsrgan
from deplsr_data.degradation.camera import CameraRecipe, draw_camera
from deplsr_data.degradation.clean import CleanRecipe, draw_clean
from deplsr_data.degradation.mixture import MixturePart, MixtureRecipe, draw_mixture, read_mixture
from deplsr_data.degradation.recipe_options import RealESRGANRecipe, SemanticRecipe, kernel_reach
from deplsr_data.degradation.recipe_table import (
    RECIPES,
    Recipe,
    RecipeEntry,
    draw,
    read_recipe,
    register_recipe,
    rounds_of,
)
from deplsr_data.degradation.sampling import draw_realesrgan, draw_semantic

__all__ = [
    'RECIPES',
    'BSRGANRecipe',
    'CameraRecipe',
    'CleanRecipe',
    'MixturePart',
    'MixtureRecipe',
    'RealESRGANRecipe',
    'Recipe',
    'RecipeEntry',
    'SemanticRecipe',
    'draw',
    'kernel_reach',
    'read_recipe',
    'register_recipe',
    'rounds_of',
]

register_recipe(SemanticRecipe, draw_semantic)
register_recipe(RealESRGANRecipe, draw_realesrgan)
register_recipe(BSRGANRecipe, draw_bsrgan)
register_recipe(CameraRecipe, draw_camera)
register_recipe(CleanRecipe, draw_clean)
register_recipe(MixtureRecipe, draw_mixture, read_mixture)
