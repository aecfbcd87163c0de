"""Metadata of the distribution; see the Makefile for an installation that does not download torch twice."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(
        'deplsr: expected Python 3.10, 3.11 or 3.12, got {}.{}; BasicSR 1.4.2 cannot be built on others: '
        'make an environment with python3.11'.format(*sys.version_info)
    )

PACKAGES = ['basicsr_plugin', 'deplsr_arch', 'deplsr_data', 'deplsr_model']
INIT = Path(__file__).with_name('basicsr_plugin').joinpath('__init__.py').read_text(encoding='utf-8')
VERSION = re.findall(r"^__version__ = '(.+)'$", INIT, re.MULTILINE)[0]

setup(
    name='deplsr',
    version=VERSION,
    description='BasicSR plug-in: real-world super-resolution with a degradation prior (DePLSR)',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0 AND CC-BY-SA-4.0',  # the code, and the weights in deplsr_model/presets
    packages=[*find_packages(include=[f'{name}*' for name in PACKAGES]), 'deplsr_options'],
    package_dir={'deplsr_options': 'options'},
    package_data={
        'deplsr_options': ['*.yml', '*/*.yml', 'schema/*.json'],
        'deplsr_model.benchmark': ['templates/*'],
        'deplsr_model.presets': ['*.safetensors', '*.json', '*.md', '*.tsv'],
    },
    python_requires='>=3.10,<3.13',
    install_requires=[
        'basicsr==1.4.2',
        'torch>=2.4',
        'torchvision>=0.19',
        'open_clip_torch>=3',
        'timm>=1',
        'pydantic>=2',
        'numpy',
        'scipy',
        'opencv-python',
        'PyYAML',
        'safetensors',
        'Pillow',
        'lmdb',
        'tqdm',
        'Jinja2',
        'lpips',
    ],
    extras_require={
        'spandrel': ['spandrel'],
        'iqa': ['pyiqa'],
        'onnx': ['onnx', 'onnxruntime'],
        'dev': [
            'deplsr[onnx]',
            'pytest',
            'pytest-xdist',
            'ruff',
            'mypy',
            'import-linter',
            'jsonschema',
            'types-PyYAML',
        ],
    },
    entry_points={
        'console_scripts': ['basicsr = basicsr_plugin.cli:entry'],
        'basicsr.plugins': [f'{name} = {name}' for name in PACKAGES[1:]],
        'basicsr.options': ['deplsr = deplsr_options'],
        'basicsr.commands': [
            'benchmark = deplsr_model.commands.benchmark',
            'caption = deplsr_data.commands.caption_photos',
            'describe = deplsr_model.commands.describe',
            'export = deplsr_model.commands.export',
            'replay = deplsr_model.commands.replay',
            'synthesize = deplsr_data.commands.synthesize',
            'upscale = deplsr_model.commands.upscale',
        ],
    },
)
