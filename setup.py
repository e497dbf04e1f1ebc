"""What `pyproject.toml` cannot say: the top-level `configs/` is installed as package data."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["keras_maskrcnn", "keras_maskrcnn.*"]),
        "keras_maskrcnn.configs",
    ],
    package_dir={"keras_maskrcnn.configs": "configs"},
    package_data={"keras_maskrcnn.configs": ["*.yaml"]},
)
